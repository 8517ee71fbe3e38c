//! A row that moves to another partition of its table sends an update, not a deletion and an
//! insertion.

use serde_json::{Value, json};
use webhook_harness::{Application, Cluster, Listener, Receiver, Reply, application, sample};

mod nested;

/// The application's tables, three of them partitioned by a column that changes. Partitions have
/// their columns in another order, and one has a dropped column.
const PARTITIONED: &str = "
    alter table problem_actions drop constraint problem_actions_problem_id_fkey;
    drop table problems;
    create table problems (
        id uuid not null default gen_random_uuid(), auction_id uuid not null, issue_name text not null, area text, location_id uuid,
        status text not null default 'open', prepared_by uuid, assigned_to uuid, updated_at timestamptz not null default now(),
        primary key (id, status)
    ) partition by list (status);
    create schema parts;
    create table parts.problems_open partition of problems for values in ('open') partition by hash (id);
    create table parts.problems_open_0 partition of parts.problems_open for values with (modulus 2, remainder 0);
    create table parts.problems_open_1 partition of parts.problems_open for values with (modulus 2, remainder 1);
    create table parts.problems_closed (
        assigned_to uuid, gone text, status text not null default 'open', prepared_by uuid, location_id uuid, area text,
        issue_name text not null, updated_at timestamptz not null default now(), auction_id uuid not null, id uuid not null default gen_random_uuid(),
        primary key (id, status)
    );
    alter table parts.problems_closed drop column gone;
    alter table problems attach partition parts.problems_closed for values in ('in_progress', 'closed');
    drop table auction_members;
    create table auction_members (
        id uuid not null default gen_random_uuid(), auction_id uuid not null, user_id uuid not null, role text not null, invited_by uuid,
        joined_at timestamptz not null default now(), primary key (id, role)
    ) partition by list (role);
    create table members partition of auction_members for values in ('member');
    create table admins partition of auction_members for values in ('admin', 'owner');
    alter table submission_entries drop constraint submission_entries_submission_id_fkey;
    drop table submissions;
    create table submissions (
        id uuid not null default gen_random_uuid(), auction_id uuid not null, location_id uuid, user_id uuid,
        submitted_at timestamptz not null default now(), image_url text, primary key (id, submitted_at)
    ) partition by range (submitted_at);
    create table submissions_past partition of submissions for values from (minvalue) to ('2026-01-01');
    create table submissions_now partition of submissions for values from ('2026-01-01') to (maxvalue);";

fn partitioned() -> Listener {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    application::install_tables(&mut client);
    client.batch_execute("create extension webhook_delivery").unwrap();
    client.batch_execute(PARTITIONED).unwrap();
    client.batch_execute("select webhook_delivery.install_triggers()").unwrap();
    let mut application = Application { client, cluster };
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    Listener { application, receiver }
}

/// Type of each received event, with one field of its data.
fn received(listener: &mut Listener, field: &str) -> Vec<(String, Value)> {
    listener.received().into_iter().map(|(event, mut data)| (event, data[field].take())).collect()
}

fn events(expected: &[(&str, Value)]) -> Vec<(String, Value)> {
    expected.iter().map(|(event, value)| ((*event).to_owned(), value.clone())).collect()
}

#[test]
fn moved_row_of_a_built_in_event_sends_one_update() {
    let mut listener = partitioned();
    let riverside = sample::RIVERSIDE;
    listener.run(&format!(
        "insert into problems (auction_id, issue_name) select '{riverside}', n::text from generate_series(1, 3) as n"
    ));
    assert_eq!(received(&mut listener, "new_status").len(), 3);
    listener.run("update problems set status = 'closed' where issue_name = '1'");
    assert_eq!(received(&mut listener, "previous_status"), events(&[("problem.status_changed", json!("open"))]));
    listener.run("update problems set status = 'open'");
    assert_eq!(received(&mut listener, "previous_status"), events(&[("problem.status_changed", json!("closed"))]));
    // Several rows of several partitions, some of which move twice.
    listener.run("begin; update problems set status = 'in_progress'; update problems set status = 'closed'; commit");
    assert_eq!(
        received(&mut listener, "previous_status"),
        vec![("problem.status_changed".to_owned(), json!("open")); 3]
    );
    // A move there and back in one transaction is no change, and a new row sends only `created`.
    listener.run("begin; update problems set status = 'open'; update problems set status = 'closed'; commit");
    listener.run(&format!(
        "begin; insert into problems (auction_id, issue_name) values ('{riverside}', 'new'); update problems set status = 'closed' where issue_name = 'new'; commit"
    ));
    assert_eq!(received(&mut listener, "new_status"), events(&[("problem.created", json!("closed"))]));
    listener.run("begin; savepoint s; update problems set status = 'open'; rollback to s; commit");
    assert_eq!(received(&mut listener, "new_status"), []);

    listener.run(&format!("insert into submissions (auction_id, submitted_at) values ('{riverside}', '2025-06-01')"));
    assert_eq!(received(&mut listener, "image_url"), events(&[("submission.created", Value::Null)]));
    listener.run("update submissions set submitted_at = '2026-06-01', image_url = 'x'");
    assert_eq!(received(&mut listener, "image_url"), events(&[("submission.updated", json!("x"))]));

    listener.run(&format!(
        "insert into auction_members (auction_id, user_id, role) values ('{riverside}', '{}', 'member')",
        sample::SAM
    ));
    assert_eq!(received(&mut listener, "role"), events(&[("member.joined", json!("member"))]));
    listener.run("update auction_members set role = 'admin'");
    assert_eq!(received(&mut listener, "previous_role"), events(&[("member.role_changed", json!("member"))]));
    listener.run("delete from auction_members");
    assert_eq!(received(&mut listener, "role"), events(&[("member.removed", json!("admin"))]));
}

#[test]
fn row_deleted_and_inserted_again_sends_created() {
    let mut listener = partitioned();
    let id = "00000000-0000-4000-8000-00000000f005";
    let insert = format!(
        "insert into problems (id, auction_id, issue_name, status) values ('{id}', '{}', 'x', 'closed')",
        sample::RIVERSIDE
    );
    listener.run(&insert.replace("'closed'", "'open'"));
    listener.received();
    // In one transaction, in one statement, and right after a move.
    listener.run(&format!("begin; delete from problems; {insert}; commit"));
    assert_eq!(received(&mut listener, "new_status"), events(&[("problem.created", json!("closed"))]));
    listener.run(&format!("begin; update problems set status = 'open'; delete from problems; {insert}; commit"));
    assert_eq!(received(&mut listener, "new_status").last(), Some(&("problem.created".to_owned(), json!("closed"))));
    let other = insert.replace("f005", "f006");
    listener.run(&format!(
        "with inserted as ({other} returning *) update problems set status = 'open' where id <> '{id}' or true"
    ));
    let mut found: Vec<String> = received(&mut listener, "id").into_iter().map(|(event, _)| event).collect();
    found.sort();
    assert_eq!(found, ["problem.created", "problem.status_changed"]);
}

const ORDERS: &str = "
    create table orders (id bigint generated always as identity, auction_id uuid, state text, price integer, note text, primary key (id, state))
        partition by list (state);
    create table orders_placed partition of orders for values in ('placed');
    create table orders_paid (price integer, gone integer, note text, state text not null, id bigint not null, auction_id uuid, primary key (id, state));
    alter table orders_paid drop column gone;
    alter table orders attach partition orders_paid for values in ('paid', 'sent');
    select webhook_delivery.register_event_type('order.' || name, 'An order', 'true', '{}')
    from unnest('{created,updated,deleted,expensive,priced,off,changed}'::text[]) as name;";

const THREE: &str = "
    create trigger a_created after insert on orders for each row execute function webhook_delivery.row_event('order.created', 'auction_id');
    create trigger b_updated after update on orders for each row execute function webhook_delivery.row_event('order.updated', 'auction_id', 'auction_id');
    create trigger c_deleted after delete on orders for each row execute function webhook_delivery.row_event('order.deleted', 'auction_id');";

fn place(price: i32) -> String {
    format!("insert into orders (auction_id, state, price) values ('{}', 'placed', {price})", sample::RIVERSIDE)
}

fn updated(id: i64, state: &str, price: i32, previous: Value) -> (&'static str, Value) {
    ("order.updated", json!({ "id": id, "state": state, "price": price, "note": null, "previous": previous }))
}

#[test]
fn moved_row_of_a_row_event_sends_one_update() {
    let mut listener = Listener::start(&[]);
    listener.run(ORDERS);
    listener.run(THREE);
    listener.run(&format!("{}; {}", place(1), place(2)));
    listener.received();
    listener.run("update orders set state = 'paid'");
    let previous = json!({ "state": "placed" });
    let moved = |id: i64| {
        let (event, mut data) = updated(id, "paid", id as i32, previous.clone());
        // The fields have the order of the partition's columns.
        data = json!({ "price": data["price"], "note": null, "state": "paid", "id": id, "previous": data["previous"] });
        (event, data)
    };
    // Either row may arrive first.
    let mut arrived = listener.received();
    arrived.sort_by_key(|(_, data)| data["id"].as_i64());
    assert_eq!(format!("{arrived:?}"), format!("{:?}", events(&[moved(1), moved(2)])));
    listener.run("update orders set state = 'placed', price = 5 where id = 1");
    listener.assert_received(&[updated(1, "placed", 5, json!({ "state": "paid", "price": 1 }))]);
    listener.run("delete from orders");
    let kinds: Vec<String> = listener.received().into_iter().map(|(event, _)| event).collect();
    assert_eq!(kinds, ["order.deleted", "order.deleted"]);
}

#[test]
fn single_trigger_for_all_changes_sends_a_move_once() {
    let mut listener = Listener::start(&[]);
    listener.run(ORDERS);
    listener.run("create trigger changed after insert or update or delete on orders for each row execute function webhook_delivery.row_event('order.changed', 'auction_id', 'auction_id')");
    listener.run(&place(1));
    listener.received();
    listener.run("update orders set state = 'sent'");
    let arrived = listener.received();
    assert_eq!((arrived.len(), &arrived[0].1["previous"]), (1, &json!({ "state": "placed" })));
}

#[test]
fn update_triggers_apply_their_conditions_to_moves() {
    let mut listener = Listener::start(&[]);
    listener.run(ORDERS);
    listener.run(
        "create trigger webhook_delivery_moved after insert or delete on orders for each row execute function webhook_delivery.capture_partition_move();
         create trigger a after update on orders for each row when (new.price > 100 and old.state is distinct from new.state)
             execute function webhook_delivery.row_event('order.expensive', 'auction_id', 'auction_id');
         create trigger b after update of price on orders for each row
             execute function webhook_delivery.row_event('order.priced', 'auction_id', 'auction_id');
         create trigger c after update on orders for each row execute function webhook_delivery.row_event('order.off', 'auction_id');
         alter table orders disable trigger c; alter table orders_placed disable trigger c; alter table orders_paid disable trigger c",
    );
    listener.run(&format!("{}; {}", place(50), place(500)));
    assert_eq!(listener.received(), []);
    let kinds = |listener: &mut Listener| -> Vec<(String, Value)> { received(listener, "id") };
    listener.run("update orders set state = 'paid'");
    assert_eq!(kinds(&mut listener), events(&[("order.expensive", json!(2))]));
    listener.run("update orders set state = 'placed', price = price + 1");
    let mut found = kinds(&mut listener);
    found.sort_by_key(|(event, id)| (event.clone(), id.as_i64()));
    assert_eq!(found, events(&[("order.expensive", json!(2)), ("order.priced", json!(1)), ("order.priced", json!(2))]));
    listener.run("update orders set price = 7 where id = 1; set session_replication_role = replica; update orders set state = 'paid', price = 3; reset session_replication_role");
    assert_eq!(kinds(&mut listener), events(&[("order.priced", json!(1))]));
}

#[test]
fn ten_thousand_moved_rows_send_updates_and_no_errors() {
    let mut listener = Listener::start(&[]);
    listener.run(ORDERS);
    listener.run(THREE);
    listener.run("drop trigger a_created on orders");
    listener.run(&format!(
        "insert into orders (auction_id, state, price) select '{}', 'placed', n from generate_series(1, 10000) as n",
        sample::RIVERSIDE
    ));
    listener.run("update orders set state = 'paid'");
    let updated = "select count(*) from webhook_delivery.events where event_type = 'order.updated' and data -> 'previous' ->> 'state' = 'placed'";
    let deleted = "select count(*) from webhook_delivery.events where event_type = 'order.deleted'";
    assert_eq!(
        listener.application.count(deleted),
        10_000,
        "without capture_partition_move no trigger sees the inserted rows"
    );
    listener.run("create trigger webhook_delivery_moved after insert or delete on orders for each row execute function webhook_delivery.capture_partition_move()");
    listener.run("update orders set state = 'placed'; update orders set state = 'paid'");
    assert_eq!(listener.application.count(updated), 10_000);
    assert_eq!(listener.application.count("select count(*) from webhook_delivery.capture_errors"), 0);
}

#[test]
fn trigger_that_misses_moves_raises_a_warning_with_the_fix() {
    let mut listener = Listener::start(&[]);
    listener.run(ORDERS);
    let notices = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&notices);
    let mut config = listener.application.cluster.config();
    config.notice_callback(move |notice| kept.lock().unwrap().push(notice));
    let mut session = config.connect(postgres::NoTls).unwrap();
    let attach = "create trigger b_updated after update on orders for each row execute function webhook_delivery.row_event('order.updated', 'auction_id')";
    session.batch_execute(attach).unwrap();
    let hint = notices.lock().unwrap().remove(0).hint().unwrap().to_owned();
    session.batch_execute(&hint).unwrap();
    session.batch_execute(&attach.replace("b_updated", "again")).unwrap();
    assert_eq!(notices.lock().unwrap().len(), 0);
    session.batch_execute("drop table orders").unwrap();
}
