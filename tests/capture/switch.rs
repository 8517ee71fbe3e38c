//! webhook_delivery.capture: only the owner of a table switches capture of its changes off.

use webhook_harness::{Listener, sample};

/// A role that owns the submissions, and a tenant that may insert submissions.
const ROLES: &str = "
    create role app login; create role tenant login;
    grant create, usage on schema public to app; grant usage on schema public to tenant;
    alter table submissions owner to app; alter table submission_entries owner to app; alter table users owner to app;
    alter table locations owner to app; alter table count_types owner to app;
    grant insert on submissions to tenant;
    set role app;
    create function submit() returns void language sql security definer set search_path = public
        as $$ insert into submissions (auction_id) values ('00000000-0000-4000-8000-000000000001') $$;
    create function load() returns void language sql security definer set search_path = public set webhook_delivery.capture = off
        as $$ insert into submissions (auction_id) values ('00000000-0000-4000-8000-000000000001') $$;
    reset role";

fn insert() -> String {
    format!("insert into submissions (auction_id) values ('{}')", sample::RIVERSIDE)
}

#[test]
fn owner_switches_capture_off_for_a_transaction() {
    let mut listener = Listener::start(&[]);
    listener.run(ROLES);
    let mut app = listener.application.cluster.connect_as("app", "postgres");
    app.batch_execute(&format!("begin; set local webhook_delivery.capture = off; {}; commit", insert())).unwrap();
    app.batch_execute("select load()").unwrap();
    listener.run(&format!("begin; set local webhook_delivery.capture = off; {}; commit", insert()));
    listener.assert_received(&[]);
    app.batch_execute(&insert()).unwrap();
    assert_eq!(listener.received().len(), 1);
}

#[test]
fn tenant_cannot_switch_capture_off() {
    let mut listener = Listener::start(&[]);
    listener.run(ROLES);
    let mut tenant = listener.application.cluster.connect_as("tenant", "postgres");
    tenant.batch_execute("set webhook_delivery.capture = off").unwrap();
    tenant.batch_execute(&insert()).unwrap();
    tenant.batch_execute("select submit()").unwrap();
    tenant.batch_execute("select load()").unwrap();
    assert_eq!(listener.received().len(), 3);
}

#[test]
fn owner_of_one_table_switches_off_only_its_capture() {
    let mut listener = Listener::start(&[]);
    listener.run(ROLES);
    listener.run("grant insert on channels to app");
    let mut app = listener.application.cluster.connect_as("app", "postgres");
    app.batch_execute(&format!(
        "set webhook_delivery.capture = off; {}; insert into channels (auction_id, name) values ('{}', 'x')",
        insert(),
        sample::RIVERSIDE
    ))
    .unwrap();
    let received: Vec<_> = listener.received().into_iter().map(|(event, _)| event).collect();
    assert_eq!(received, ["channel.created"]);
}

#[test]
fn owner_switches_row_events_off() {
    let mut listener = Listener::start(&[]);
    listener.run(
        "create table orders (id bigint primary key, auction_id uuid);
         select webhook_delivery.register_event_type('order.created', 'An order', 'true', '{}');
         create trigger order_created after insert on orders
             for each row execute function webhook_delivery.row_event('order.created', 'auction_id')",
    );
    let order = |id: i32| format!("insert into orders values ({id}, '{}')", sample::RIVERSIDE);
    listener.run(&format!("begin; set local webhook_delivery.capture = off; {}; commit; {}", order(1), order(2)));
    let received: Vec<_> = listener.received().into_iter().map(|(_, data)| data["id"].clone()).collect();
    assert_eq!(received, [2]);
}
