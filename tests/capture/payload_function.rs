//! Payload functions: an application whose tables have other names sends the built-in events.

use postgres::Client;
use serde_json::json;
use webhook_harness::{Listener, refusal, sample};

/// The example of docs/other-tables.md: lot counts in a table of another name, with an owner that has no other
/// privileges.
const LOT_COUNTS: &str = "
    create role app login;
    select webhook_delivery.grant_application('app');
    grant create, usage on schema public to app;
    -- Whoever gives the data of an event owns all tables that make it.
    alter table submissions owner to app; alter table submission_entries owner to app;
    grant select on users, locations, count_types to app;
    set role app;
    create table lot_counts (count_id uuid primary key default gen_random_uuid(), house uuid not null, lot text, cars integer);
    create function lot_count_payload(ids uuid[]) returns table (id uuid, auction_id uuid, data json)
        language sql stable as $$
        select count_id, house, json_build_object('id', count_id, 'location_name', lot, 'total_car_count', cars, 'read_as', current_user)
        from public.lot_counts where count_id = any (ids)
        $$;
    create trigger lot_count_created after insert on lot_counts
        for each row execute function webhook_delivery.capture_row_change('submission.created', 'count_id', 'house');
    create trigger lot_count_updated after update on lot_counts for each row when (old.* is distinct from new.*)
        execute function webhook_delivery.capture_row_change('submission.updated', 'count_id', 'house', '', 'submission.created');
    reset role;";

const SET: &str = "select webhook_delivery.set_payload_function('submission.created', 'public.lot_count_payload(uuid[])', 'lot_counts'),
    webhook_delivery.set_payload_function('submission.updated', 'public.lot_count_payload(uuid[])', 'lot_counts')";

fn with_lot_counts() -> (Listener, Client) {
    let mut listener = Listener::start(&[]);
    listener.run(LOT_COUNTS);
    let app = listener.application.cluster.connect_as("app", "postgres");
    (listener, app)
}

/// Type and data of each received event, without a check against the schema, because the data is
/// the application's own.
fn received(listener: &mut Listener) -> Vec<(String, serde_json::Value)> {
    listener.application.settle();
    let requests = listener.receiver.requests();
    listener.receiver.clear();
    requests.iter().map(|request| (request.event().unwrap().to_owned(), request.json()["data"].take())).collect()
}

#[test]
fn payload_function_runs_with_the_table_owners_rights() {
    let (mut listener, mut app) = with_lot_counts();
    app.batch_execute(SET).unwrap();
    let insert = format!("insert into lot_counts (house, lot, cars) values ('{}', 'North', 42)", sample::RIVERSIDE);
    listener.run(&format!("{insert}; update lot_counts set cars = 43"));
    let first = received(&mut listener);
    let [(event, data)] = first.as_slice() else { panic!("expected one event, not {first:?}") };
    assert_eq!(event, "submission.created");
    let expected = json!({ "id": data["id"], "location_name": "North", "total_car_count": 43, "read_as": "app" });
    assert_eq!(data.to_string(), expected.to_string());
    listener.run("update lot_counts set cars = 44");
    let second = received(&mut listener);
    assert_eq!((second[0].0.as_str(), &second[0].1["total_car_count"]), ("submission.updated", &44.into()));
}

#[test]
fn setting_a_payload_function_takes_effect_in_every_session() {
    let (mut listener, _app) = with_lot_counts();
    let mut session = listener.application.cluster.connect();
    let mut submit = |listener: &mut Listener| {
        session
            .execute(
                "insert into submissions (auction_id, user_id) values ($1, $2)",
                &[&sample::RIVERSIDE, &sample::DANA],
            )
            .unwrap();
        received(listener).remove(0).1
    };
    assert_eq!(submit(&mut listener)["submitted_by"], "Dana Reyes");
    listener.run(
        "create function plain(uuid[], json[]) returns table (id uuid, auction_id uuid, data json) language sql stable as
             $$ select id, auction_id, json_build_object('mine', true) from public.submissions where id = any ($1) $$;
         select webhook_delivery.set_payload_function('submission.created', 'plain(uuid[], json[])')",
    );
    assert_eq!(submit(&mut listener), json!({ "mine": true }));
    listener.run("select webhook_delivery.set_payload_function('submission.created', null)");
    assert_eq!(submit(&mut listener)["submitted_by"], "Dana Reyes");
}

#[test]
fn failed_payload_function_costs_its_event_until_recaptured() {
    let (mut listener, mut app) = with_lot_counts();
    app.batch_execute(SET).unwrap();
    app.batch_execute("alter table lot_counts rename lot to lot_name").unwrap();
    listener
        .run(&format!("insert into lot_counts (house, lot_name, cars) values ('{}', 'North', 42)", sample::RIVERSIDE));
    assert_eq!(received(&mut listener), []);
    app.batch_execute("alter table lot_counts rename lot_name to lot").unwrap();
    listener.run("select webhook_delivery.recapture(id) from webhook_delivery.capture_errors");
    assert_eq!(received(&mut listener)[0].1["location_name"], "North");
}

#[test]
fn event_cannot_be_taken_from_the_owner_of_its_table() {
    let (mut listener, mut app) = with_lot_counts();
    listener.run(
        "create role other login; select webhook_delivery.grant_application('other'); grant create, usage on schema public to other;
         set role other;
         create table decoys (id uuid primary key, auction_id uuid);
         create function nothing(uuid[]) returns table (id uuid, auction_id uuid, data json) language sql stable
             as $$ select null::uuid, null::uuid, null::json where false $$;
         reset role",
    );
    let mut other = listener.application.cluster.connect_as("other", "postgres");
    let take = "select webhook_delivery.set_payload_function('submission.created', 'nothing(uuid[])', 'decoys')";
    // This holds for the built-in payload's table, for a table with its own trigger, and for one
    // with a payload function.
    let refused = |other: &mut Client, sql: &str, table: &str| {
        let error = refusal(other, sql, &[]);
        assert_eq!(
            (error.code().code(), error.message()),
            ("42501", format!("role other must be owner of public.{table}").as_str())
        );
    };
    refused(&mut other, take, "submissions");
    listener.run("alter table submissions rename to counts");
    refused(&mut other, take, "counts");
    listener.run("select webhook_delivery.remove_triggers()");
    refused(&mut other, take, "lot_counts");
    app.batch_execute(SET).unwrap();
    listener.run("drop trigger lot_count_created on lot_counts");
    refused(&mut other, take, "lot_counts");
    refused(
        &mut other,
        "select webhook_delivery.set_payload_function('submission.created', null, 'decoys')",
        "lot_counts",
    );
}

#[test]
fn payload_function_does_not_run_with_a_new_owners_rights() {
    let (mut listener, mut app) = with_lot_counts();
    app.batch_execute(SET).unwrap();
    let insert = format!("insert into lot_counts (house, lot, cars) values ('{}', 'North', 42)", sample::RIVERSIDE);
    listener.run(&insert);
    assert_eq!(received(&mut listener)[0].1["read_as"], "app");
    // The former owner's function does not get the new owner's rights.
    listener.run("alter table lot_counts owner to postgres");
    listener.run(&insert);
    assert_eq!(received(&mut listener), []);
    let error = "select count(*) from webhook_delivery.capture_errors where error_code = '42501' and error_message like '%rights of the table''s owner%'";
    assert_eq!(listener.application.count(error), 1);
    let error = refusal(&mut listener.application.client, SET, &[]);
    assert_eq!((error.code().code(), error.hint()), ("42501", Some("Create the function as postgres.")));
    listener.run("alter function lot_count_payload(uuid[]) owner to postgres");
    listener.run("select webhook_delivery.recapture(id) from webhook_delivery.capture_errors");
    assert_eq!(received(&mut listener)[0].1["read_as"], "postgres");
}

#[test]
fn recreated_payload_function_is_used_again() {
    let (mut listener, mut app) = with_lot_counts();
    app.batch_execute(SET).unwrap();
    let insert = format!("insert into lot_counts (house, lot, cars) values ('{}', 'North', 42)", sample::RIVERSIDE);
    listener.run(&insert);
    assert_eq!(received(&mut listener).len(), 1);
    app.batch_execute("drop function lot_count_payload(uuid[])").unwrap();
    listener.run(&insert);
    assert_eq!(
        listener.application.count("select count(*) from webhook_delivery.capture_errors where error_code = '42883'"),
        1
    );
    app.batch_execute(
        "create function lot_count_payload(ids uuid[]) returns table (id uuid, auction_id uuid, data json) language sql stable as
             $$ select count_id, house, json_build_object('anew', true) from public.lot_counts where count_id = any (ids) $$",
    )
    .unwrap();
    listener.run(&insert);
    listener.run("select webhook_delivery.recapture(id) from webhook_delivery.capture_errors");
    let data: Vec<_> = received(&mut listener).into_iter().map(|(_, data)| data).collect();
    assert_eq!(data, [json!({ "anew": true }), json!({ "anew": true })]);
}

#[test]
fn unsuitable_payload_function_is_refused_when_it_is_set() {
    let (mut listener, mut app) = with_lot_counts();
    listener.run(
        "create function one(uuid) returns table (id uuid, auction_id uuid, data json) language sql as 'select null::uuid, null::uuid, null::json';
         create function text(uuid[]) returns table (id uuid, auction_id uuid, data text) language sql as 'select null::uuid, null::uuid, null::text';
         create function scalar(uuid[]) returns json language sql as 'select null::json';
         create function hidden(uuid[]) returns table (id uuid, auction_id uuid, data json) language sql as 'select null::uuid, null::uuid, null::json';
         revoke execute on function hidden(uuid[]) from public;
         create role other login; select webhook_delivery.grant_application('other')",
    );
    let set = |event: &str, function: &str, table: &str| {
        format!("select webhook_delivery.set_payload_function('{event}', {function}, {table})")
    };
    for (code, event, function, table, message) in [
        ("22023", "submission.gone", "'hidden(uuid[])'", "null", "unknown event type: submission.gone"),
        ("42883", "submission.created", "'nowhere(uuid[])'", "null", "does not exist"),
        ("42P13", "submission.created", "'one(uuid)'", "'lot_counts'", "cannot be a payload function"),
        ("42P13", "submission.created", "'text(uuid[])'", "'lot_counts'", "does not return data json"),
        (
            "42P13",
            "submission.created",
            "'scalar(uuid[])'",
            "'lot_counts'",
            "does not return id uuid, auction_id uuid, data json",
        ),
        ("42501", "submission.created", "'hidden(uuid[])'", "'lot_counts'", "may not execute hidden(uuid[])"),
        (
            "42501",
            "submission.created",
            "'lot_count_payload(uuid[])'",
            "'users'",
            "role app must be owner of public.users",
        ),
    ] {
        let error = refusal(&mut app, &set(event, function, table), &[]);
        assert_eq!(error.code().code(), code, "{function}: {error}");
        assert!(
            error.message().replace("public.", "").contains(&message.replace("public.", "")),
            "{function}: {error}"
        );
        assert!(error.hint().is_some() || code == "42883", "{function}: {error:?}");
    }
    let mut other = listener.application.cluster.connect_as("other", "postgres");
    let error =
        refusal(&mut other, &set("submission.created", "'public.lot_count_payload(uuid[])'", "'lot_counts'"), &[]);
    assert_eq!(error.code().code(), "42501");
    // The application's own event type has no built-in table, so that a table is required.
    listener.run("select webhook_delivery.register_event_type('lot.counted', 'A lot is counted', 'true', '{}')");
    let error = refusal(&mut app, &set("lot.counted", "'lot_count_payload(uuid[])'", "null"), &[]);
    assert_eq!(error.code().code(), "42P01");
    app.batch_execute(&set("lot.counted", "'lot_count_payload(uuid[])'", "'lot_counts'")).unwrap();
}

#[test]
fn application_tables_may_be_in_another_schema() {
    let mut listener = Listener::start(&[]);
    listener.run("select webhook_delivery.remove_triggers()");
    listener.run(
        "create schema \"App\"; alter table submissions set schema \"App\"; alter table submission_entries set schema \"App\";
         alter table locations set schema \"App\"; alter table users set schema \"App\"; alter table count_types set schema \"App\"",
    );
    let installed = "select count(*) from webhook_delivery.install_triggers('App') where result = 'installed'";
    assert_eq!(listener.application.count(installed), 5);
    let missing = "select count(*) from webhook_delivery.install_triggers('App') where result = 'missing' and detail like 'Table \"App\".% does not exist.'";
    assert!(listener.application.count(missing) > 5);
    listener.run(&format!(
        "insert into \"App\".submissions (auction_id, user_id) values ('{}', '{}')",
        sample::RIVERSIDE,
        sample::DANA
    ));
    let arrived = listener.received();
    assert_eq!((arrived[0].0.as_str(), &arrived[0].1["submitted_by"]), ("submission.created", &"Dana Reyes".into()));
    let error = refusal(&mut listener.application.client, "select webhook_delivery.install_triggers('nowhere')", &[]);
    assert_eq!(error.code().code(), "3F000");
}

#[test]
fn remove_triggers_drops_only_installed_triggers() {
    let (mut listener, _app) = with_lot_counts();
    let attached = "select count(*) from pg_trigger where tgname like 'webhook\\_delivery\\_%' and not tgisinternal and tgrelid::regclass::text not like 'webhook%'";
    let before = listener.application.count(attached);
    assert_eq!(before, 22);
    assert_eq!(listener.application.count("select count(*) from webhook_delivery.remove_triggers()"), before);
    assert_eq!(listener.application.count(attached), 0);
    assert_eq!(listener.application.count("select count(*) from webhook_delivery.remove_triggers()"), 0);
    let own = "select count(*) from pg_trigger where tgname like 'lot_count_%'";
    assert_eq!(listener.application.count(own), 2);
    listener.run(&format!("insert into submissions (auction_id) values ('{}')", sample::RIVERSIDE));
    listener.assert_received(&[]);
}
