//! Who may switch capture off.

use webhook_harness::{Listener, sample};

/// A role that owns the submissions, and a tenant who may insert some.
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
fn the_owner_switches_it_off_for_a_transaction_and_it_is_on_again_after_it() {
    let mut listener = Listener::start(&[]);
    listener.run(ROLES);
    let mut app = listener.application.cluster.connect_as("app", "postgres");
    app.batch_execute(&format!("begin; set local webhook_delivery.capture = off; {}; commit", insert())).unwrap();
    app.batch_execute("select load()").unwrap();
    listener.run(&format!("begin; set local webhook_delivery.capture = off; {}; commit", insert()));
    listener.assert_told(&[]);
    app.batch_execute(&insert()).unwrap();
    assert_eq!(listener.told().len(), 1);
}

#[test]
fn a_tenant_does_not_neither_directly_nor_through_the_owners_function() {
    let mut listener = Listener::start(&[]);
    listener.run(ROLES);
    let mut tenant = listener.application.cluster.connect_as("tenant", "postgres");
    tenant.batch_execute("set webhook_delivery.capture = off").unwrap();
    tenant.batch_execute(&insert()).unwrap();
    tenant.batch_execute("select submit()").unwrap();
    tenant.batch_execute("select load()").unwrap();
    assert_eq!(listener.told().len(), 3);
}

#[test]
fn who_owns_one_table_switches_off_what_is_told_of_that_one_only() {
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
    let told: Vec<_> = listener.told().into_iter().map(|(event, _)| event).collect();
    assert_eq!(told, ["channel.created"]);
}

#[test]
fn whole_rows_too() {
    let mut listener = Listener::start(&[]);
    listener.run(
        "create table orders (id bigint primary key, auction_id uuid);
         select webhook_delivery.register_event_type('order.created', 'An order', 'true', '{}');
         create trigger order_created after insert on orders
             for each row execute function webhook_delivery.row_event('order.created', 'auction_id')",
    );
    let order = |id: i32| format!("insert into orders values ({id}, '{}')", sample::RIVERSIDE);
    listener.run(&format!("begin; set local webhook_delivery.capture = off; {}; commit; {}", order(1), order(2)));
    let told: Vec<_> = listener.told().into_iter().map(|(_, data)| data["id"].clone()).collect();
    assert_eq!(told, [2]);
}
