//! A dump restores everything into another database, which sends nothing by mistake.

use postgres::Client;
use webhook_harness::application::endpoint;
use webhook_harness::verify::assert_signed;
use webhook_harness::{Application, DEADLINE, Receiver, Submission, inventory, sample, wait_until};

/// Every row that a dump must contain, as text.
fn contents(client: &mut Client) -> Vec<(&'static str, Vec<String>)> {
    let tables = [
        "public.webhook_event_types",
        "public.webhook_endpoints",
        "webhook_delivery.endpoint_secrets",
        "webhook_delivery.endpoint_health",
        "webhook_delivery.pauses",
        "webhook_delivery.events",
        "webhook_delivery.queue",
        "webhook_delivery.attempts",
        "webhook_delivery.capture_errors",
        "webhook_delivery.payload_functions",
        "public.webhook_deliveries",
        "public.webhook_delivery_attempts",
    ];
    let mut rows_of = |table: &'static str| {
        let query = format!("select content::text from {table} as content order by 1");
        (table, client.query(&query, &[]).unwrap().iter().map(|row| row.get(0)).collect())
    };
    tables.map(&mut rows_of).into()
}

/// An application whose history has a delivery of every kind: delivered, failed, waiting for the
/// next attempt, waiting for a disabled endpoint.
fn application_with_history(receiver: &Receiver) -> Application {
    let mut application = Application::start(&[("webhook_delivery.retry_schedule", "1h")]);
    let client = &mut application.client;
    client
        .batch_execute(
            "select webhook_delivery.register_event_type('sale.closed', 'A sale is closed', '{\"type\": \"object\"}', '{\"price\" : 100}');
             create table sales (id bigint primary key, auction_id uuid);
             create trigger sale_closed after insert on sales
                 for each row execute function webhook_delivery.row_event('sale.closed', 'auction_id');
             create function sale(uuid[]) returns table (id uuid, auction_id uuid, data json) language sql
                 as $$ select null::uuid, null::uuid, null::json $$;
             select webhook_delivery.set_payload_function('sale.closed', 'sale(uuid[])', 'sales')",
        )
        .unwrap();
    let good = endpoint(client, sample::RIVERSIDE, &receiver.url("/good"), &["*"]);
    let failing = endpoint(client, sample::RIVERSIDE, &receiver.url("/status/503"), &["submission.created"]);
    let disabled = endpoint(client, sample::HILLTOP, &receiver.url("/disabled"), &["*"]);
    let given = "update webhook_endpoints set secret = 'a secret of the customer''s own' where id = $1";
    client.execute(given, &[&good.id]).unwrap();
    Submission::of_riverside().insert(client);
    let test = "select test_webhook($1, 'submission.created')";
    client.execute(test, &[&failing.id]).unwrap();
    Submission::of_hilltop().insert(client);
    application.wait_for_deliveries(2, "success");
    application.wait_for_deliveries(1, "retrying");
    application.wait_for_deliveries(1, "failed");
    wait_until("a parked delivery", DEADLINE, || {
        (application.count("select count(*) from webhook_delivery.queue where is_parked") == 1).then_some(())
    });
    wait_until("the worker's partitions", DEADLINE, || {
        (application.count("select count(*) from pg_inherits where inhrelid::regclass::text like 'webhook_delivery.%'")
            >= 17)
            .then_some(())
    });
    // This delivery stays in the queue until the endpoint is enabled.
    let mut transaction = application.client.transaction().unwrap();
    transaction
        .execute("select webhook_delivery.emit('sale.closed', $1, '{\"price\" : 7}')", &[&sample::HILLTOP])
        .unwrap();
    // Disables the endpoint as the server does, and sets every option that an endpoint can have.
    let disable = "update webhook_endpoints set is_active = false, disabled_at = now(), disabled_reason = 'it fails',
        headers = '{\"X-Environment\": \"test\"}', retry_schedule = '{1 minute}', ordered = true, max_per_second = 5 where id = $1";
    transaction.execute(disable, &[&disabled.id]).unwrap();
    transaction.commit().unwrap();
    wait_until("the health of the failing endpoint", DEADLINE, || {
        (application.count("select count(*) from webhook_delivery.endpoint_health") == 1).then_some(())
    });
    application
        .client
        .batch_execute("select webhook_delivery.pause('a dispute', auction_id => gen_random_uuid())")
        .unwrap();
    application.client.batch_execute("alter table public.users rename full_name to fullname").unwrap();
    Submission::of_riverside().insert(&mut application.client);
    application.client.batch_execute("alter table public.users rename fullname to full_name").unwrap();
    application
}

#[test]
fn dump_contains_everything_and_its_copy_sends_nothing() {
    let receiver = Receiver::by_path();
    let mut application = application_with_history(&receiver);
    let original = contents(&mut application.client);
    for (table, rows) in &original {
        assert!(!rows.is_empty(), "{table} has no rows to dump");
    }
    application.cluster.copy_database("copy", &[]);
    let mut copy = application.cluster.connect_to("copy");
    assert_eq!(contents(&mut copy), original);
    let valid = "select count(*) from pg_trigger where tgfoid = 'webhook_delivery.capture_row_change'::regproc and tgenabled = 'O'";
    assert_eq!(copy.query_one(valid, &[]).unwrap().get::<_, i64>(0), application.count(valid));

    // Events in the copy are queued and stay there, while the original sends its own.
    receiver.clear();
    let of_copy = Submission::of_riverside().insert(&mut copy);
    let of_original = Submission::of_riverside().insert(&mut application.client);
    application.wait_for_deliveries(3, "success");
    let requests = receiver.requests();
    assert!(!requests.is_empty());
    for request in &requests {
        assert_eq!(request.json()["data"]["id"], of_original.to_string());
    }
    assert_eq!(application.cluster.worker_pid("copy"), None);
    let waiting = "select count(*) from webhook_delivery.queue as waiting join webhook_delivery.events as event on event.id = waiting.event_id
        where event.data ->> 'id' = $1";
    assert_eq!(copy.query_one(waiting, &[&of_copy.to_string()]).unwrap().get::<_, i64>(0), 2);

    // A worker in the copy sends nothing either before `resume()`.
    receiver.clear();
    application.cluster.set("webhook_delivery.databases", "postgres, copy");
    let state = "select from webhook_delivery.status where state = 'fenced'";
    wait_until("the worker to detect the copy", DEADLINE, || copy.query_opt(state, &[]).unwrap());
    assert_eq!(receiver.count(), 0);
    // Then it sends them, signed with the secrets from the dump.
    copy.batch_execute("select webhook_delivery.resume()").unwrap();
    let requests = receiver.wait_for_distinct(2, DEADLINE);
    let to_good: Vec<_> = requests.into_iter().filter(|request| request.path == "/good").collect();
    assert_eq!(to_good.len(), 1);
    assert_eq!(to_good[0].json()["data"]["id"], of_copy.to_string());
    assert_signed("a secret of the customer's own", &to_good);
    assert_eq!(receiver.requests_to("/disabled").len(), 0);
}

#[test]
fn custom_format_dump_is_restored_like_a_plain_one() {
    let receiver = Receiver::by_path();
    let mut application = application_with_history(&receiver);
    application.cluster.copy_database("copy", &["--format=custom"]);
    assert_eq!(contents(&mut application.cluster.connect_to("copy")), contents(&mut application.client));
}

#[test]
fn dump_is_restored_while_a_worker_watches_the_database() {
    let receiver = Receiver::by_path();
    let mut application = application_with_history(&receiver);
    application.cluster.set("webhook_delivery.databases", "postgres, copy");
    application.cluster.copy_database("copy", &[]);
    assert_eq!(contents(&mut application.cluster.connect_to("copy")), contents(&mut application.client));
    application.cluster.wait_for_worker("copy", None);
}

#[test]
fn schema_only_dump_restores_the_applications_triggers() {
    let receiver = Receiver::by_path();
    let mut application = application_with_history(&receiver);
    application.cluster.copy_database("copy", &["--schema-only"]);
    let mut copy = application.cluster.connect_to("copy");
    let triggers = "select count(*) from pg_trigger where tgfoid in ('webhook_delivery.capture_row_change'::regproc, 'webhook_delivery.row_event'::regproc)";
    assert_eq!(copy.query_one(triggers, &[]).unwrap().get::<_, i64>(0), application.count(triggers));
    assert_eq!(copy.query_one("select count(*) from webhook_event_types", &[]).unwrap().get::<_, i64>(0), 21);
}

#[test]
fn restored_dump_has_the_same_objects_as_its_original() {
    let receiver = Receiver::by_path();
    let mut application = application_with_history(&receiver);
    application.cluster.copy_database("copy", &[]);
    let original = inventory(&mut application.client);
    let copy = inventory(&mut application.cluster.connect_to("copy"));
    let missing: Vec<_> = original.difference(&copy).collect();
    let left_over: Vec<_> = copy.difference(&original).collect();
    assert!(missing.is_empty() && left_over.is_empty(), "missing: {missing:#?}\nleft over: {left_over:#?}");
    assert!(original.len() > 900, "{}", original.len());
}
