//! SQL injection: no name of the application runs as SQL of the extension.

use serde_json::json;
use webhook_harness::{Listener, sample};

/// Names that a template of the extension could mistake for a placeholder or for SQL.
const NAMES: [&str; 7] = [
    "a@excluded_columns@b",
    "||app.evil()||",
    "@changed@",
    "@submissions@",
    "@event@",
    "'||app.evil()||'",
    "\"\"; select app.evil(); --",
];

const EVIL: &str = "create schema app;
    create sequence app.ran;
    create function app.evil() returns text language sql as $$ select nextval('app.ran')::text $$;";

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[track_caller]
fn assert_evil_has_not_run(listener: &mut Listener) {
    assert_eq!(listener.application.count("select count(*) from app.ran where is_called"), 0);
}

#[test]
fn columns_with_any_name_are_sent_or_excluded() {
    let mut listener = Listener::start(&[]);
    listener.run(EVIL);
    listener.run("select webhook_delivery.register_event_type('odd.made', 'Odd', 'true', '{}')");
    for (number, name) in NAMES.iter().enumerate() {
        for other in NAMES.iter().filter(|other| *other != name) {
            let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
            listener.run(&format!(
                "drop table if exists odd;
                 create table odd (id integer primary key, {} text, {} text, {} uuid);
                 create trigger made after insert or update on odd for each row
                     execute function webhook_delivery.row_event('odd.made', {}, {}, {})",
                quoted(name),
                quoted(other),
                quoted("a@auction_column@"),
                literal("a@auction_column@"),
                literal(other),
                literal("a@auction_column@"),
            ));
            listener.run(&format!("insert into odd values ({number}, 'told', 'secret', '{}')", sample::RIVERSIDE));
            listener.run(&format!("update odd set {} = 'again', {} = 'secrets'", quoted(name), quoted(other)));
            let (mut made, mut changed) = (json!({ "id": number }), json!({ "id": number }));
            made[*name] = "told".into();
            changed[*name] = "again".into();
            changed["previous"][*name] = "told".into();
            listener.assert_received(&[("odd.made", made), ("odd.made", changed)]);
        }
    }
    assert_evil_has_not_run(&mut listener);
}

#[test]
fn tables_in_a_schema_with_any_name_are_captured() {
    let mut listener = Listener::start(&[]);
    listener.run(EVIL);
    for name in NAMES {
        let client = &mut listener.application.client;
        client.batch_execute(&format!("create schema {0}; set search_path = {0}", quoted(name))).unwrap();
        let schema = include_str!("../../sql/auction/schema.sql").replace("public.", &format!("{}.", quoted(name)));
        client.batch_execute(&schema).unwrap();
        client.batch_execute("reset search_path").unwrap();
        client.query("select webhook_delivery.install_triggers($1)", &[&name]).unwrap();
        let insert = format!(
            "insert into {0}.auctions values ('{1}', 'x'); insert into {0}.submissions (auction_id) values ('{1}')",
            quoted(name),
            sample::RIVERSIDE
        );
        client.batch_execute(&insert).unwrap();
        let received = listener.received();
        assert_eq!((received.len(), received[0].0.as_str()), (1, "submission.created"), "{name}");
    }
    assert_evil_has_not_run(&mut listener);
}

#[test]
fn payload_functions_with_any_name_are_called() {
    let mut listener = Listener::start(&[]);
    listener.run(EVIL);
    for name in NAMES {
        listener.run(&format!(
            "create function {0}(ids uuid[]) returns table (id uuid, auction_id uuid, data json) language sql as
                 $$ select s.id, s.auction_id, '{{\"mine\": true}}'::json from public.submissions as s where s.id = any (ids) $$",
            quoted(name)
        ));
        let set = "select webhook_delivery.set_payload_function('submission.created', $1::text::regprocedure)";
        listener.application.client.query(set, &[&format!("public.{}(uuid[])", quoted(name))]).unwrap();
        listener.run(&format!("insert into submissions (auction_id) values ('{}')", sample::RIVERSIDE));
        listener.application.settle();
        assert_eq!(listener.receiver.requests()[0].json()["data"], json!({ "mine": true }), "{name}");
        listener.receiver.clear();
    }
    assert_evil_has_not_run(&mut listener);
}

#[test]
fn member_is_found_for_every_type_of_user_id() {
    for column_type in ["uuid", "text", "varchar(40)"] {
        let mut listener = Listener::start(&[]);
        let client = &mut listener.application.client;
        client
            .batch_execute(&format!(
                "alter table auction_members drop constraint auction_members_user_id_fkey;
                 alter table auction_members alter user_id type {column_type};
                 set request.jwt.claims = '{{\"sub\": \"{}\"}}'",
                sample::DANA
            ))
            .unwrap();
        let mine: Vec<uuid::Uuid> = client
            .query("select webhook_delivery.auctions_of_member()", &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert_eq!(mine, [sample::RIVERSIDE], "{column_type}");
    }
}
