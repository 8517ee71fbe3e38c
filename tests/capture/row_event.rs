//! Row events: a row of any table becomes an event, built with the rights of the table's owner.

use postgres::Client;
use serde_json::{Value, json};
use webhook_harness::{Listener, refusal, sample};

const ORDERS: &str = "
    create table orders (id bigint generated always as identity primary key, auction_id uuid, lot text, price numeric, notes json, internal text);
    select webhook_delivery.register_event_type('order.created', 'An order is placed', 'true', '{}'),
        webhook_delivery.register_event_type('order.updated', 'An order is changed', 'true', '{}'),
        webhook_delivery.register_event_type('order.deleted', 'An order is withdrawn', 'true', '{}');
    create trigger order_created after insert on orders
        for each row execute function webhook_delivery.row_event('order.created', 'auction_id', 'internal');
    create trigger order_updated after update on orders
        for each row execute function webhook_delivery.row_event('order.updated', 'auction_id', 'internal', 'auction_id');
    create trigger order_deleted after delete on orders
        for each row execute function webhook_delivery.row_event('order.deleted', 'auction_id');";

fn with_orders() -> Listener {
    let mut listener = Listener::start(&[]);
    listener.run(ORDERS);
    listener
}

fn place(lot: &str, price: &str) -> String {
    format!(
        "insert into orders (auction_id, lot, price, notes, internal) values ('{}', '{lot}', {price}, '{{\"b\": 1, \"a\":[ ]}}', 'x');",
        sample::RIVERSIDE
    )
}

fn order(id: i64, lot: &str, price: Value) -> Value {
    json!({ "id": id, "auction_id": sample::RIVERSIDE, "lot": lot, "price": price, "notes": { "b": 1, "a": [] } })
}

fn updated(id: i64, lot: &str, price: Value, previous: Value) -> (&'static str, Value) {
    (
        "order.updated",
        json!({ "id": id, "lot": lot, "price": price, "notes": { "b": 1, "a": [] }, "previous": previous }),
    )
}

#[test]
fn data_is_the_row_and_an_update_has_previous_values() {
    let mut listener = with_orders();
    listener.run(&place("A1", "99.50"));
    listener.assert_received(&[("order.created", order(1, "A1", json!(99.5)))]);
    listener.run("update orders set price = 120, lot = 'A2'");
    listener.assert_received(&[updated(1, "A2", json!(120), json!({ "lot": "A1", "price": 99.5 }))]);
    listener.run("update orders set price = null");
    listener.assert_received(&[updated(1, "A2", Value::Null, json!({ "price": 120 }))]);
    listener.run("delete from orders");
    let mut gone = order(1, "A2", Value::Null);
    gone["internal"] = "x".into();
    listener.assert_received(&[("order.deleted", gone)]);
}

#[test]
fn unchanged_row_and_change_of_an_excluded_column_send_nothing() {
    let mut listener = with_orders();
    listener.run(&place("A1", "1"));
    listener.received();
    listener.run("update orders set price = price, lot = lot");
    listener.run("update orders set internal = 'y'");
    listener.run(&format!(
        "begin; savepoint s; {} update orders set lot = 'B'; delete from orders; rollback to s; commit",
        place("A2", "2")
    ));
    listener.run("insert into orders (lot) values ('of no auction')");
    listener.assert_received(&[]);
}

#[test]
fn json_and_numbers_arrive_byte_for_byte() {
    let mut listener = with_orders();
    listener.run(&place("1", "12345678901234567890.12345678901234567890"));
    listener.application.settle();
    let text = listener.receiver.requests()[0].text().to_owned();
    assert!(text.contains("12345678901234567890.12345678901234567890"), "{text}");
    assert!(text.contains(r#"{"b": 1, "a":[ ]}"#), "{text}");
}

#[test]
fn when_clause_filters_and_events_of_a_row_keep_their_order() {
    let mut listener = with_orders();
    listener.run(
        "drop trigger order_updated on orders;
         create trigger order_updated after update on orders for each row when (new.price > 100)
             execute function webhook_delivery.row_event('order.updated', 'auction_id', 'auction_id', 'internal')",
    );
    listener.run(&format!(
        "{} update orders set price = 50; update orders set price = 101; delete from orders",
        place("A1", "10")
    ));
    let mut gone = order(1, "A1", json!(101));
    gone["internal"] = "x".into();
    listener.assert_received(&[
        ("order.created", order(1, "A1", json!(10))),
        updated(1, "A1", json!(101), json!({ "price": 50 })),
        ("order.deleted", gone),
    ]);
    // Each of two rows has its own order.
    listener.run(&format!(
        "{} {} begin; update orders set price = 200 where lot = 'X'; delete from orders where lot = 'Y';
         update orders set lot = 'Z' where lot = 'X'; delete from orders; commit",
        place("X", "150"),
        place("Y", "150")
    ));
    let events = |arrived: &[(String, Value)], id: i64| -> Vec<String> {
        arrived.iter().filter(|(_, data)| data["id"] == id).map(|(event, _)| event.clone()).collect()
    };
    let arrived = listener.received();
    assert_eq!(events(&arrived, 2), ["order.created", "order.updated", "order.updated", "order.deleted"]);
    assert_eq!(events(&arrived, 3), ["order.created", "order.deleted"]);
}

#[test]
fn ten_thousand_rows_of_a_table_without_a_key_are_sent() {
    let mut listener = Listener::start(&[]);
    listener.run(
        "create table readings (auction_id uuid, value integer);
         select webhook_delivery.register_event_type('reading.taken', 'A reading', 'true', '{}');
         create trigger taken after insert or update on readings
             for each row execute function webhook_delivery.row_event('reading.taken', 'auction_id', 'auction_id')",
    );
    listener
        .run(&format!("insert into readings select '{}', n from generate_series(1, 10000) as n", sample::RIVERSIDE));
    listener.application.settle();
    let mut values: Vec<i64> =
        listener.receiver.requests().iter().map(|request| request.json()["data"]["value"].as_i64().unwrap()).collect();
    values.sort();
    assert_eq!(values, (1..=10_000).collect::<Vec<_>>());
    listener.receiver.clear();
    listener.run("update readings set value = -value where value = 7");
    listener.assert_received(&[("reading.taken", json!({ "value": -7, "previous": { "value": 7 } }))]);
}

#[test]
fn alternating_events_of_a_row_need_few_subtransactions() {
    let mut listener = Listener::start(&[]);
    listener.run(
        "create table counters (id integer primary key, auction_id uuid, value integer);
         select webhook_delivery.register_event_type('counter.up', 'Up', 'true', '{}'), webhook_delivery.register_event_type('counter.down', 'Down', 'true', '{}');
         create trigger up after update on counters for each row when (new.value > old.value)
             execute function webhook_delivery.row_event('counter.up', 'auction_id', 'auction_id');
         create trigger down after update on counters for each row when (new.value < old.value)
             execute function webhook_delivery.row_event('counter.down', 'auction_id', 'auction_id')",
    );
    listener.run(&format!("insert into counters values (1, '{}', 0)", sample::RIVERSIDE));
    let up_and_down = "do $$ begin for n in 1..500 loop
            update counters set value = value + 2 where id = 1; update counters set value = value - 1 where id = 1;
        end loop; end $$";
    let before: i64 = listener.application.client.query_one("select txid_current()", &[]).unwrap().get(0);
    listener.run(up_and_down);
    let after: i64 = listener.application.client.query_one("select txid_current()", &[]).unwrap().get(0);
    listener.application.settle();
    assert_eq!(listener.receiver.count(), 1_000);
    // The worker also writes meanwhile, in one transaction for hundreds of requests.
    assert!(after - before < 100, "{} transactions", after - before);
}

#[test]
fn columns_may_have_any_name() {
    let mut listener = Listener::start(&[]);
    listener.run(
        "create table odd (\"der Schlüssel\" text primary key, \"auction id\" uuid, \"größe '\\,\" text);
         select webhook_delivery.register_event_type('odd.made', 'Odd', 'true', '{}');
         create trigger made after insert on odd for each row
             execute function webhook_delivery.row_event('odd.made', 'auction id', 'größe ''\\,', 'auction id')",
    );
    listener.run(&format!("insert into odd values ('x', '{}', 'y')", sample::RIVERSIDE));
    listener.assert_received(&[("odd.made", json!({ "der Schlüssel": "x" }))]);
}

#[test]
fn recaptured_row_event_has_the_data_of_its_time() {
    let mut listener = with_orders();
    listener.run(&place("A1", "1"));
    listener.received();
    listener.run(
        "alter table webhook_delivery.events add constraint closed check (event_type not like 'order.%') not valid",
    );
    listener.run("update orders set price = 2");
    listener.run(
        "alter table webhook_delivery.events drop constraint closed; update webhook_endpoints set is_active = false",
    );
    listener.run("delete from orders");
    listener.run("update webhook_endpoints set is_active = true");
    let again = "select sum(webhook_delivery.recapture(id))::bigint from webhook_delivery.capture_errors";
    let written: i64 = listener.application.client.query_one(again, &[]).unwrap().get(0);
    assert_eq!(written, 1);
    listener.assert_received(&[updated(1, "A1", json!(2), json!({ "price": 1 }))]);
}

#[test]
fn row_event_that_cannot_be_recaptured_keeps_its_dead_letter() {
    let mut listener = with_orders();
    listener.run(&place("A1", "1"));
    listener.received();
    listener.run(
        "create type label as enum ('a');
         create function label_to_json(label) returns json language plpgsql as $$ begin raise 'no'; end $$;
         create cast (label as json) with function label_to_json(label);
         alter table orders add column label label default 'a'",
    );
    listener.run("update orders set price = 2");
    listener.run("drop cast (label as json)");
    let client = &mut listener.application.client;
    // The row's JSON could not be stored, so the capture error must stay.
    let again = "select webhook_delivery.recapture(id) from webhook_delivery.capture_errors";
    assert_eq!(client.query_one(again, &[]).unwrap().get::<_, Option<i64>>(0), None);
    assert_eq!(listener.application.count("select count(*) from webhook_delivery.capture_errors"), 1);
}

/// The auction's column or an excluded column is renamed, and the trigger has the old name.
#[test]
fn rows_of_a_mismatched_trigger_are_kept_and_recaptured() {
    for (old, new, arguments) in
        [("auction_id", "tenant_id", "'tenant_id', 'internal'"), ("internal", "secret", "'auction_id', 'secret'")]
    {
        let mut listener = Listener::start(&[]);
        let client = &mut listener.application.client;
        let trigger = |arguments: &str| {
            format!(
                "create or replace trigger sale_changed after update on sales for each row
                     execute function webhook_delivery.row_event('sale.changed', {arguments})"
            )
        };
        client
            .batch_execute(&format!(
                "create table sales (id bigint primary key, auction_id uuid, price integer, internal text);
                 select webhook_delivery.register_event_type('sale.changed', 'A sale is changed', 'true', '{{}}');
                 insert into sales values (1, '{}', 1, 'nobody is to see it'), (2, null, 1, 'of nobody');
                 {};
                 alter table sales rename {old} to {new}",
                sample::RIVERSIDE,
                trigger("'auction_id', 'internal'")
            ))
            .unwrap();
        client.batch_execute("update sales set price = 2, id = id").unwrap();
        client.batch_execute("begin; savepoint s; update sales set price = 9; rollback to s; commit").unwrap();
        let kept =
            "select cardinality(row_ids), array_position(row_ids, null), hint from webhook_delivery.capture_errors";
        let row = client.query_one(kept, &[]).unwrap();
        assert_eq!((row.get(0), row.get(1)), (2, None::<i32>), "both rows, with their keys");
        let hint: String = row.get(2);
        assert!(hint.contains("row_event('sale.changed', '<column>')") && !hint.contains("install_triggers"), "{hint}");
        // Recapture before the trigger is corrected has no effect and loses nothing.
        let again = "select webhook_delivery.recapture(id) from webhook_delivery.capture_errors";
        let captured = |client: &mut Client| client.query_one(again, &[]).unwrap().get::<_, Option<i64>>(0);
        if old == "auction_id" {
            assert_eq!(captured(client), None);
        }
        client.batch_execute(&trigger(arguments)).unwrap();
        assert_eq!(captured(client), Some(1));
        let column = if old == "auction_id" { new } else { "auction_id" };
        let data = json!({ "id": 1, column: sample::RIVERSIDE, "price": 2, "previous": { "price": 1 } });
        listener.assert_received(&[("sale.changed", data)]);
        assert_eq!(listener.application.count("select count(*) from webhook_delivery.capture_errors"), 0);
    }
}

#[test]
fn emit_for_hints_at_the_statement_that_emits_row_events() {
    let mut listener = with_orders();
    listener.run("update webhook_endpoints set is_active = false");
    listener.run(&(place("A1", "1") + &place("A2", "2")));
    listener.run("update webhook_endpoints set is_active = true");
    let client = &mut listener.application.client;
    let error = refusal(client, "select webhook_delivery.backfill('order.created', '{}')", &[]);
    assert_eq!(error.code().code(), "0A000", "{error:?}");
    let hint = error.hint().unwrap_or_default();
    let statement: String =
        client.query_one("select webhook_delivery.emit_statement('order.created')", &[]).unwrap().get(0);
    assert_eq!(hint.strip_prefix("Emit the events with: "), Some(statement.as_str()));
    client.batch_execute(&statement.replace("where ...;", "where source.id = 2")).unwrap();
    listener.assert_received(&[("order.created", order(2, "A2", json!(2)))]);
    let others = "select count(webhook_delivery.emit_statement(event_type)) from webhook_event_types where is_builtin";
    assert_eq!(listener.application.count(others), 0);
}

#[test]
fn invalid_trigger_arguments_are_refused_at_create_trigger() {
    let mut listener = with_orders();
    let client = &mut listener.application.client;
    client.batch_execute("create table odd (id integer, auction_id text, previous text)").unwrap();
    let refused = |client: &mut Client, timing: &str, table: &str, call: &str, message: &str| {
        let sql = format!("create trigger t {timing} on {table} for each row execute function webhook_delivery.{call}");
        let error = refusal(client, &sql.replace("STATEMENT for each row", "for each statement"), &[]);
        assert_eq!(error.code().code(), "22023", "{sql}: {error}");
        assert!(error.message().contains(message), "{sql}: {error}");
        assert!(error.hint().unwrap_or_default().contains("create trigger"), "{sql}");
    };
    for (timing, table, call, message) in [
        ("before insert", "orders", "row_event('order.created', 'auction_id')", "it must be AFTER"),
        ("after insert", "orders", "row_event('order.created')", "its arguments must be"),
        ("after insert", "orders", "row_event()", "its arguments must be"),
        ("after insert", "orders", "row_event('order.created', 'auction')", "no column auction"),
        ("after insert", "orders", "row_event('order.created', 'lot')", "column lot is text, not uuid"),
        ("after insert", "orders", "row_event('order.created', 'auction_id', 'interna')", "no column interna"),
        ("after update", "odd", "row_event('order.updated', 'id', 'previous')", "column id is integer, not uuid"),
        ("after insert", "orders", "capture_row_change('submission.created', 'id')", "column id is bigint, not uuid"),
        ("after insert", "orders", "capture_row_change('submission.created')", "its arguments must be"),
        ("before insert", "submissions", "capture_row_change('submission.created', 'id')", "it must be AFTER"),
    ] {
        refused(client, timing, table, call, message);
    }
    client.batch_execute("alter table odd alter auction_id type uuid using null").unwrap();
    refused(client, "after update", "odd", "row_event('order.updated', 'auction_id')", "column previous has the name");
    let statement = "create trigger t after insert on orders for each statement execute function webhook_delivery.row_event('order.created', 'auction_id')";
    assert_eq!(refusal(client, statement, &[]).code().code(), "22023");
    // An unknown event type raises only a warning, because a dump restores the schema before the
    // catalogue.
    client
        .batch_execute("create trigger t after insert on orders for each row execute function webhook_delivery.row_event('order.unheard_of', 'auction_id')")
        .unwrap();
    // Other trigger functions are not checked.
    client
        .batch_execute(
            "create function noop() returns trigger language plpgsql as 'begin return null; end';
             create trigger n before insert on odd for each statement execute function noop()",
        )
        .unwrap();
}

/// A role that owns `sales`, another application role, and a tenant, both of which have all
/// privileges on `sales`.
const ROLES: &str = "
    create role app login; create role other login; create role tenant login;
    select webhook_delivery.grant_application('app'), webhook_delivery.grant_application('other');
    grant create, usage on schema public to app, other; grant usage on schema public to tenant;
    set role app;
    create table sales (id uuid primary key default gen_random_uuid(), auction_id uuid, price numeric);
    grant all on sales to other, tenant;
    reset role;
    select webhook_delivery.register_event_type('sale.closed', 'A sale', 'true', '{}');";

const ATTACH: &str = "create trigger closed after insert or update on sales
    for each row execute function webhook_delivery.row_event('sale.closed', 'auction_id', 'id', 'auction_id')";

#[test]
fn only_the_owner_of_a_table_may_attach_row_event() {
    let mut listener = Listener::start(&[]);
    listener.run(ROLES);
    let [mut app, mut other, mut tenant] =
        ["app", "other", "tenant"].map(|role| listener.application.cluster.connect_as(role, "postgres"));
    let error = refusal(&mut other, ATTACH, &[]);
    assert_eq!((error.code().code(), error.message()), ("42501", "role other must be owner of public.sales"));
    assert_eq!(refusal(&mut tenant, ATTACH, &[]).code().code(), "42501");
    // A security definer function of the owner does not allow it either.
    app.batch_execute("create function attach() returns void language plpgsql security definer set search_path = public as
        $$ begin create trigger closed after insert on sales for each row execute function webhook_delivery.row_event('sale.closed', 'auction_id'); end $$;
        grant execute on function attach() to tenant").unwrap();
    assert_eq!(refusal(&mut tenant, "select attach()", &[]).code().code(), "42501");
    app.batch_execute(ATTACH).unwrap();
    tenant.execute("insert into sales (auction_id, price) values ($1, 5)", &[&sample::RIVERSIDE]).unwrap();
    listener.assert_received(&[("sale.closed", json!({ "price": 5 }))]);
}

#[test]
fn row_event_runs_with_the_table_owners_rights() {
    let mut listener = Listener::start(&[]);
    listener.run(ROLES);
    let mut app = listener.application.cluster.connect_as("app", "postgres");
    app.batch_execute(ATTACH).unwrap();
    app.batch_execute(
        "create type label as enum ('a', 'b');
         create function try_to(statement text) returns void language plpgsql as $$ begin execute statement; exception when others then null; end $$;
         create function label_to_json(label) returns json language plpgsql as $$
         begin
             perform public.try_to('alter role app superuser'), public.try_to('insert into public.sales default values'), public.try_to('set role postgres');
             return to_json(current_user::text);
         end $$;
         create cast (label as json) with function label_to_json(label);
         alter table sales add column label label",
    )
    .unwrap();
    listener
        .application
        .client
        .execute("insert into sales (auction_id, price, label) values ($1, 5, 'a')", &[&sample::RIVERSIDE])
        .unwrap();
    listener.assert_received(&[("sale.closed", json!({ "price": 5, "label": "app" }))]);
    listener.run("update sales set label = 'b'");
    // The cast gives the same JSON for both labels, so that nothing has changed.
    listener.assert_received(&[]);
    let superusers = "select count(*) from pg_roles where rolname = 'app' and rolsuper";
    assert_eq!(listener.application.count(superusers), 0);
    assert_eq!(listener.application.count("select count(*) from sales"), 1);
}
