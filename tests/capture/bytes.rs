//! The bytes of an event depend on the row and not on the settings of the session that writes it.

use std::collections::BTreeSet;

use postgres::Client;
use serde_json::json;
use webhook_harness::{Listener, StopMode, sample};

/// Settings of a session. Each entry after the first one changes how values are written or literals
/// are read.
const SESSIONS: [&str; 11] = [
    "",
    "set TimeZone = 'Pacific/Chatham'",
    "set DateStyle = 'SQL, DMY'",
    "set DateStyle = 'German'; set TimeZone = 'America/New_York'",
    "set IntervalStyle = sql_standard; set IntervalStyle = iso_8601",
    "set bytea_output = escape; set xmlbinary = hex; set xmloption = document",
    "set extra_float_digits = 0",
    "set extra_float_digits = -15; set lc_monetary = 'C.UTF-8'; set lc_time = 'C.UTF-8'; set lc_numeric = 'C.UTF-8'; set TimeZone = 'Etc/UTC'",
    "set quote_all_identifiers = on; set search_path = pg_catalog",
    "set standard_conforming_strings = off; set escape_string_warning = off; set backslash_quote = on",
    "set transform_null_equals = on; set array_nulls = off; set client_min_messages = error",
];

const FIGURES: &str = "
    create table template as select
        timestamptz '2026-03-04 05:06:07.89+00' as moment, timestamp '2026-03-04 05:06:07' as local, date '2026-03-04' as day,
        daterange '[2026-03-04,2026-05-06)' as days, tstzrange '[2026-03-04 00:00+00,2026-05-06 00:00+00)' as moments,
        interval '1 year 2 months -3 days 04:05:06' as span, '\\x00ff5c'::bytea as bytes, 0.1::float8 + 0.2::float8 as double,
        1.1::float4 as single, array['2026-03-04 05:06:07+00'::timestamptz, null] as list, 12.34::money as price,
        'public.auctions'::regclass as relation, xml '<a/>text' as markup, '{\"b\": 1.50, \"a\":[ ]}'::json as notes,
        row(date '2026-03-04', 0.1::float8 + 0.2::float8)::text as composed;
    create table figures (id uuid primary key, auction_id uuid, like template);
    select webhook_delivery.register_event_type('figure.made', 'Made', 'true', '{}'),
        webhook_delivery.register_event_type('figure.changed', 'Changed', 'true', '{}');
    create trigger made after insert on figures for each row execute function webhook_delivery.row_event('figure.made', 'auction_id');
    create trigger changed after update on figures for each row execute function webhook_delivery.row_event('figure.changed', 'auction_id');";

/// The SQL that creates the tables, without XML values if the server was built without XML.
fn figures(client: &mut Client) -> String {
    let has_xml = client.batch_execute("select xml '<a/>'").is_ok();
    FIGURES.replace("xml '<a/>text'", if has_xml { "xml '<a/>text'" } else { "'<a/>text'::text" })
}

/// Writes the same rows in a session with these settings and returns the bytes of the events.
fn events_written_with(listener: &mut Listener, settings: &str) -> Vec<String> {
    listener.run("truncate webhook_delivery.events; truncate public.figures, public.template");
    let figures = figures(&mut listener.application.client);
    listener.run(figures.replace("create table template as", "insert into template").split(';').next().unwrap());
    let mut session = listener.application.cluster.connect();
    session.batch_execute(settings).unwrap();
    let id = "'00000000-0000-4000-8000-00000000f001'";
    let statements = [
        format!(
            "insert into public.figures select {id}::uuid, '{}'::uuid, template.* from public.template",
            sample::RIVERSIDE
        ),
        "update public.figures set day = day + 1, span = span * 2, bytes = bytes || bytes, double = double * 2"
            .to_owned(),
        // The two doubles, 0.3 and 0.1 + 0.2, differ only in their last digit.
        "update public.figures set single = 'Infinity'".to_owned(),
        "update public.figures set double = 0.3::float8".to_owned(),
        "update public.figures set double = 0.1::float8 + 0.2::float8".to_owned(),
        "update public.problems set status = 'closed', updated_at = timestamptz '2026-03-04 05:06:07+00'".to_owned(),
        "update public.problems set status = 'open'".to_owned(),
    ];
    for statement in &statements {
        session.batch_execute(statement).unwrap_or_else(|e| panic!("{settings}: {statement}: {:?}", e.as_db_error()));
    }
    listener.application.settle();
    let events = "select event_type || ' ' || data::text from webhook_delivery.events order by id";
    listener.application.client.query(events, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn session_settings_do_not_change_the_bytes_of_events() {
    let mut listener = Listener::start(&[("webhook_delivery.databases", "postgres")]);
    let figures = figures(&mut listener.application.client);
    listener.run(&figures);
    listener.run(&format!(
        "insert into problems (id, auction_id, issue_name) values ('00000000-0000-4000-8000-00000000f002', '{}', 'x')",
        sample::RIVERSIDE
    ));
    listener.run(
        "create function payload(ids uuid[], previous json[]) returns table (id uuid, auction_id uuid, data json) language sql as $$
            select p.id, p.auction_id, json_build_object('at', p.updated_at::text, 'class', 'public.auctions'::regclass::text,
                'parsed', '03/04/2026'::date, 'literal', 'a\\b', 'price', (12.5::numeric::money)::text, 'month', to_char(p.updated_at, 'TMMonth'),
                'nothing', null = null, 'list', '{a,NULL}'::text[], 'before', previous[1] -> 'status')
            from public.problems as p where p.id = any (ids) $$;
         select webhook_delivery.set_payload_function('problem.status_changed', 'payload(uuid[], json[])')",
    );
    listener.received();
    let expected = events_written_with(&mut listener, SESSIONS[0]);
    assert_eq!(expected.len(), 7, "{expected:#?}");
    for settings in &SESSIONS[1..] {
        assert_eq!(events_written_with(&mut listener, settings), expected, "{settings}");
    }
    // The values have the form that pg_dump writes.
    let all = expected.join("\n");
    for text in [
        r#""2026-03-04T05:06:07.89+00:00""#,
        r#""[2026-03-04,2026-05-06)""#,
        "0.30000000000000004",
        r#""\\x00ff5c""#,
        "1 year 2 mons -3 days +04:05:06",
    ] {
        assert!(all.contains(text), "{text} in {all}");
    }
}

/// Valid `json` that PostgreSQL's own operators reject.
const UNREADABLE: &str = r#"{"a": "\u0000", "b": "\ud800", "c" :  [1.50]}"#;

#[test]
fn json_that_operators_reject_is_delivered_byte_for_byte() {
    let mut listener = Listener::start(&[]);
    listener.run(
        "create table notes (id integer primary key, auction_id uuid, body json, label text);
         select webhook_delivery.register_event_type('note.made', 'Made', 'true', '{}'),
             webhook_delivery.register_event_type('note.changed', 'Changed', 'true', '{}'),
             webhook_delivery.register_event_type('note.labelled', 'Labelled', 'true', '{}');
         create trigger made after insert or delete on notes for each row execute function webhook_delivery.row_event('note.made', 'auction_id');
         create trigger changed after update on notes for each row execute function webhook_delivery.row_event('note.changed', 'auction_id', 'auction_id');
         create trigger labelled after update on notes for each row execute function webhook_delivery.row_event('note.labelled', 'auction_id', 'body');
         alter table problems add column extra json;
         alter table messages add column extra json; alter table channels add column extra json;
         alter table auction_members add column extra json; alter table problem_actions add column extra json",
    );
    let riverside = sample::RIVERSIDE;
    let deep = format!("{}1{}", "[".repeat(2000), "]".repeat(2000));
    listener.run(&format!(
        "insert into notes values (1, '{riverside}', '{UNREADABLE}', 'a'), (2, '{riverside}', '{deep}', 'a')"
    ));
    listener.run("update notes set label = 'b'");
    listener.run("update notes set body = '{\"a\": \"\\ud801\"}' where id = 1");
    listener.run("delete from notes");
    let bodies: Vec<String> = {
        listener.application.settle();
        listener.receiver.requests().iter().map(|request| request.text().to_owned()).collect()
    };
    // Two inserts, two updates of `label` with two events each, one update of `body`, two deletes.
    assert_eq!(bodies.len(), 2 + 4 + 1 + 2, "{bodies:#?}");
    assert!(bodies.iter().filter(|body| body.contains(UNREADABLE)).count() >= 3, "{bodies:#?}");
    assert!(bodies.iter().any(|body| body.contains(r#"{"a": "\ud801"}"#)), "{bodies:#?}");
    assert!(bodies.iter().filter(|body| body.contains(&deep)).count() >= 3);
    listener.receiver.clear();

    // The built-in events do not contain the extra column.
    let id = "00000000-0000-4000-8000-00000000f003";
    listener.run(&format!(
        "insert into problems (id, auction_id, issue_name, extra) values ('{id}', '{riverside}', 'x', '{UNREADABLE}')"
    ));
    listener.run(&format!(
        "insert into problem_actions (problem_id, description, extra) values ('{id}', 'x', '{UNREADABLE}')"
    ));
    listener.run("update problem_actions set completed_at = now()");
    listener.run(&format!("update problems set status = 'closed', assigned_to = '{}'", sample::DANA));
    listener.run(&format!(
        "insert into channels (id, auction_id, name, extra) values ('{id}', '{riverside}', 'x', '{UNREADABLE}')"
    ));
    listener.run(&format!("insert into messages (auction_id, channel_id, content, extra) values ('{riverside}', '{id}', 'x', '{UNREADABLE}')"));
    listener.run("update messages set content = 'y'");
    listener.run("update messages set deleted_at = now()");
    listener.run("update channels set archived_at = now()");
    listener.run(&format!("update auction_members set extra = '{UNREADABLE}'"));
    listener.run(&format!("update auction_members set role = 'owner' where user_id = '{}'", sample::SAM));
    listener.run(&format!("delete from auction_members where user_id = '{}'", sample::SAM));
    let received: Vec<String> = listener.received().into_iter().map(|(event, _)| event).collect();
    let events: BTreeSet<&str> = received.iter().map(String::as_str).collect();
    let expected = [
        "channel.archived",
        "channel.created",
        "member.removed",
        "member.role_changed",
        "message.created",
        "message.deleted",
        "message.edited",
        "problem.action_completed",
        "problem.assigned",
        "problem.created",
        "problem.status_changed",
    ];
    assert_eq!(events, BTreeSet::from(expected));
}

#[test]
fn json_that_operators_reject_is_recaptured() {
    let mut listener = Listener::start(&[]);
    listener.run(
        "create table notes (id integer primary key, auction_id uuid, body json);
         select webhook_delivery.register_event_type('note.changed', 'Changed', 'true', '{}');
         create trigger changed after update on notes for each row execute function webhook_delivery.row_event('note.changed', 'auction_id', 'auction_id');
         alter table problems add column extra json",
    );
    listener.run(&format!(
        "insert into notes values (1, '{0}', '1'); insert into problems (auction_id, issue_name, extra) values ('{0}', 'x', '{UNREADABLE}')",
        sample::RIVERSIDE
    ));
    listener.received();
    listener.run("alter table webhook_delivery.events add constraint closed check (event_type not in ('note.changed', 'problem.status_changed')) not valid");
    listener.run(&format!("update notes set body = '{UNREADABLE}'"));
    listener.run("update problems set status = 'closed'");
    assert_eq!(listener.application.count("select count(*) from webhook_delivery.capture_errors"), 2);
    listener.run("alter table webhook_delivery.events drop constraint closed; drop table notes");
    listener.run("select webhook_delivery.recapture(id) from webhook_delivery.capture_errors order by id");
    listener.application.settle();
    let requests = listener.receiver.requests();
    let of = |event: &str| requests.iter().find(|request| request.event() == Some(event)).unwrap();
    let note = of("note.changed").text();
    let expected = format!(r#""data":{{"id":1,"body":{UNREADABLE},"previous":{{"body":1}}}}"#);
    assert!(note.contains(&expected), "{note}");
    assert_eq!(of("problem.status_changed").json()["data"]["previous_status"], "open");
}

/// A text column that is stored out of line (TOAST) and is not compressed.
const LONG: &str = "create table documents (id integer primary key, auction_id uuid, body text);
    alter table documents alter body set storage external;
    select webhook_delivery.register_event_type('document.changed', 'Changed', 'true', '{}');
    create trigger changed after insert or update or delete on documents
        for each row execute function webhook_delivery.row_event('document.changed', 'auction_id', 'auction_id');
    alter table messages alter content set storage external;";

fn length_of_bodies(client: &mut Client) -> Vec<i32> {
    let lengths =
        "select length(data ->> 'body') from webhook_delivery.events where event_type = 'document.changed' order by id";
    client.query(lengths, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn out_of_line_value_outlives_its_table() {
    let mut listener = Listener::start(&[]);
    listener.run(LONG);
    let channel = "00000000-0000-4000-8000-00000000f004";
    listener.run(&format!(
        "insert into channels (id, auction_id, name) values ('{channel}', '{0}', 'x');
         insert into messages (auction_id, channel_id, content) values ('{0}', '{channel}', repeat('before ', 3000))",
        sample::RIVERSIDE
    ));
    listener.received();
    for gone in [
        "truncate documents",
        "alter table documents alter id type bigint",
        "alter table documents add column random float8 default random()",
        "cluster documents using documents_pkey",
        "delete from documents; truncate documents",
        "drop table documents",
    ] {
        listener.run("delete from webhook_delivery.queue; truncate webhook_delivery.events");
        listener.run(&format!(
            "begin; insert into documents (id, auction_id, body) values (1, '{}', repeat('long ', 2000)); {gone}; commit",
            sample::RIVERSIDE
        ));
        assert_eq!(listener.application.count("select count(*) from webhook_delivery.capture_errors"), 0, "{gone}");
        let lengths = length_of_bodies(&mut listener.application.client);
        assert_eq!(lengths, vec![10_000; lengths.len()], "{gone}");
        assert!(!lengths.is_empty(), "{gone}");
        listener.run("do $$ begin delete from public.documents; exception when undefined_table then null; end $$");
    }
    // The old content of an edited message also outlives the rewrite of its table.
    listener.application.settle();
    listener.receiver.clear();
    listener.run(
        "begin; update messages set content = 'after'; alter table messages alter message_type type varchar; commit",
    );
    assert_eq!(listener.received().len(), 1);
}

#[test]
fn damaged_out_of_line_value_fails_the_event_not_the_change() {
    let mut listener = Listener::start(&[]);
    listener.run(LONG);
    listener.run(&format!(
        "insert into documents (id, auction_id, body) values (1, '{}', repeat('long ', 2000)); checkpoint",
        sample::RIVERSIDE
    ));
    listener.received();
    let path = "select pg_relation_filepath(reltoastrelid::regclass) from pg_class where oid = 'documents'::regclass";
    let path: String = listener.application.client.query_one(path, &[]).unwrap().get(0);
    let cluster = &listener.application.cluster;
    cluster.stop(StopMode::Fast);
    std::fs::File::create(cluster.data_dir().join(path)).unwrap();
    cluster.start_again();
    let mut client = cluster.connect();
    client.batch_execute("update documents set id = 2").unwrap();
    let row = "select (select id from documents), (select count(*) from webhook_delivery.capture_errors where error_code like 'XX%')";
    let row = client.query_one(row, &[]).unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, i64>(1)), (2, 1));
    listener.application.client = client;
}

#[test]
fn values_over_the_memory_limit_are_lost_with_a_dead_letter() {
    let mut listener = Listener::start(&[]);
    listener.run(LONG);
    let insert = format!(
        "insert into documents (id, auction_id, body) select n, '{}', repeat('long ', 20000) from generate_series(1, 300) as n",
        sample::RIVERSIDE
    );
    // 30 MB, of which 16 MB are kept. Values that a savepoint rolls back do not count.
    listener.run(&format!("begin; savepoint s; {insert}; rollback to s; {insert}; truncate documents; commit"));
    let kept = length_of_bodies(&mut listener.application.client);
    assert_eq!(kept, vec![100_000; 167]);
    let lost = "select sum(cardinality(row_ids))::bigint from webhook_delivery.capture_errors";
    assert_eq!(listener.application.count(lost), 300 - 167);
    let again = "select count(webhook_delivery.recapture(id)) from webhook_delivery.capture_errors";
    assert_eq!(listener.application.count(again), 0);
    assert_eq!(listener.application.count(lost), 300 - 167);
    // If the table is not truncated, nothing is lost.
    listener.run("delete from webhook_delivery.queue; truncate webhook_delivery.events; delete from webhook_delivery.capture_errors");
    listener.run(&insert);
    assert_eq!(length_of_bodies(&mut listener.application.client).len(), 300);
}

#[test]
fn excluded_column_that_cannot_be_converted_breaks_no_event() {
    let mut listener = Listener::start(&[]);
    listener.run(
        "create type label as enum ('a', 'b');
         create function label_to_json(label) returns json language plpgsql as $$ begin raise 'no'; end $$;
         create cast (label as json) with function label_to_json(label);
         create table sales (id integer primary key, auction_id uuid, price integer, label label, gone text);
         alter table sales drop column gone;
         select webhook_delivery.register_event_type('sale.changed', 'A sale', 'true', '{}');
         create trigger changed after insert or update on sales
             for each row execute function webhook_delivery.row_event('sale.changed', 'auction_id', 'label', 'auction_id')",
    );
    listener.run(&format!("insert into sales values (1, '{}', 5, 'a')", sample::RIVERSIDE));
    listener.run("update sales set label = 'b'");
    listener.run("update sales set price = 6");
    listener.assert_received(&[
        ("sale.changed", json!({ "id": 1, "price": 5 })),
        ("sale.changed", json!({ "id": 1, "price": 6, "previous": { "price": 5 } })),
    ]);
}
