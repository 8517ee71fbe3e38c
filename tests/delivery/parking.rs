//! Parking: deliveries that wait for longer than a minute are parked, and are sent, cancelled,
//! counted and shown like any other.

use postgres::Client;
use webhook_harness::{Application, Cluster, DEADLINE, Endpoint, Receiver, Reply, sample, tenant, wait_until};

/// A failed delivery waits long enough to be parked.
const RETRY_IN_AN_HOUR: &[(&str, &str)] = &[("webhook_delivery.retry_schedule", "1h")];

fn parked(client: &mut Client) -> i64 {
    client.query_one("select count(*) from webhook_delivery.queue_parked", &[]).unwrap().get(0)
}

fn wait_until_parked(client: &mut Client, count: i64) {
    wait_until(&format!("{count} parked deliveries"), DEADLINE, || (parked(client) == count).then_some(()));
}

/// Queues deliveries of an endpoint, due at the given interval from now.
fn queue(client: &mut Client, endpoint: &Endpoint, count: i32, due: &str) {
    let rows = format!(
        "with event as (
             insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, data)
             select webhook_delivery.uuid_v7(), auction_id, 'submission.created', now(), '{{}}'
             from webhook_endpoints, generate_series(1, {count}) where id = '{id}'
             returning id, auction_id, event_type)
         insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
         select now() + interval '{due}', webhook_delivery.uuid_v7(), auction_id, '{id}', id, event_type from event",
        id = endpoint.id,
    );
    client.batch_execute(&rows).unwrap_or_else(|e| panic!("deliveries are not queued: {:?}", e.as_db_error()));
}

#[test]
fn retrying_delivery_is_parked_and_sent_when_due() {
    let receiver = Receiver::by_path();
    let (_cluster, mut client) = Cluster::with_client(RETRY_IN_AN_HOUR);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/fail-then-ok/1"));
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 1, "retrying");
    wait_until_parked(&mut client, 1);
    client
        .batch_execute("update webhook_delivery.queue set due_at = now(); select webhook_delivery.wake_to_rescan()")
        .unwrap();
    let delivery = endpoint.wait_for(&mut client, 1, "success").remove(0);
    assert_eq!((delivery.attempts, parked(&mut client)), (2, 0));
    let requests = receiver.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].webhook_id(), requests[1].webhook_id());
}

#[test]
fn deliveries_of_a_disabled_endpoint_are_parked_until_enabled() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (_cluster, mut client) = Cluster::with_client(RETRY_IN_AN_HOUR);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    client.batch_execute("update webhook_endpoints set is_active = false").unwrap();
    queue(&mut client, &endpoint, 500, "-2 minutes");
    wait_until_parked(&mut client, 500);
    client.batch_execute("update webhook_endpoints set is_active = true").unwrap();
    endpoint.wait_for(&mut client, 500, "success");
    assert_eq!((receiver.count(), parked(&mut client)), (500, 0));
}

#[test]
fn deliveries_are_parked_while_the_database_is_paused() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (_cluster, mut client) = Cluster::with_client(RETRY_IN_AN_HOUR);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    queue(&mut client, &endpoint, 3, "-2 minutes");
    queue(&mut client, &endpoint, 3, "1 hour");
    queue(&mut client, &endpoint, 3, "0 s");
    wait_until_parked(&mut client, 6);
    client.batch_execute("select webhook_delivery.resume()").unwrap();
    endpoint.wait_for(&mut client, 6, "success");
    assert_eq!(parked(&mut client), 3, "the deliveries due in an hour");
}

#[test]
fn locked_delivery_is_parked_later_and_delays_no_other() {
    let (cluster, mut client) = Cluster::with_client(RETRY_IN_AN_HOUR);
    let endpoint = Endpoint::create(&mut client, "https://127.0.0.1:1/");
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    let mut other = cluster.connect();
    let mut queued = 0;
    // The worker may park all three before one of them is locked.
    wait_until("a delivery to be locked", DEADLINE, || {
        queue(&mut client, &endpoint, 3, "-2 minutes");
        queued += 3;
        other.batch_execute("rollback; begin").unwrap();
        let lock = "select from webhook_delivery.queue_recent limit 1 for update skip locked";
        other.query_opt(lock, &[]).unwrap().map(|_| ())
    });
    wait_until_parked(&mut client, queued - 1);
    other.batch_execute("commit").unwrap();
    wait_until_parked(&mut client, queued);
}

/// Runs a call while another transaction parks three deliveries, and asserts that the call changes
/// all three.
fn assert_changes_deliveries_being_parked(call: &'static str, changed: &str) {
    let mut application = Application::start(&[]);
    tenant::create_roles(&mut application.client);
    let endpoint = application.endpoint(sample::RIVERSIDE, "https://127.0.0.1:1/", &["*"]);
    // The worker shall not park these deliveries, because the test does.
    application.client.batch_execute("select webhook_delivery.pause()").unwrap();
    queue(&mut application.client, &endpoint, 3, "50 s");
    let mut parking = application.cluster.connect();
    parking.batch_execute("begin; update webhook_delivery.queue set is_parked = true").unwrap();
    let mut dana = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    let session = std::thread::spawn(move || {
        dana.batch_execute(call).unwrap_or_else(|e| panic!("{call}: {:?}", e.as_db_error()));
    });
    let waits = "select count(*) from pg_locks where not granted and locktype = 'transactionid'";
    wait_until("the session to wait", DEADLINE, || (application.count(waits) > 0).then_some(()));
    parking.batch_execute("commit").unwrap();
    session.join().unwrap();
    let query = format!("select count(*) from webhook_delivery.queue where is_parked and {changed}");
    assert_eq!(application.count(&query), 3, "{call}");
}

#[test]
fn cancelling_a_delivery_while_it_is_parked_cancels_it() {
    assert_changes_deliveries_being_parked(
        "select cancel_webhook(id) from webhook_deliveries",
        "end_reason = 'cancelled'",
    );
}

#[test]
fn redelivering_a_delivery_while_it_is_parked_makes_it_due() {
    assert_changes_deliveries_being_parked("select redeliver_webhook(id) from webhook_deliveries", "due_at <= now()");
}

#[test]
fn expunging_an_event_while_its_delivery_is_parked_ends_it() {
    assert_changes_deliveries_being_parked(
        "select expunge_webhook_data((select auction_id from webhook_endpoints), containing => '{}')",
        "end_reason = 'event_deleted'",
    );
}

/// The worker has a backlog to park, and a session waits for a row that is being parked.
#[test]
fn statement_that_meets_parking_suspends_it_without_spinning() {
    let mut application = Application::start(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, "https://127.0.0.1:1/", &["*"]);
    application.client.batch_execute("select webhook_delivery.pause()").unwrap();
    queue(&mut application.client, &endpoint, 1, "50 s");
    let mut parking = application.cluster.connect();
    parking.batch_execute("begin; update webhook_delivery.queue set is_parked = true").unwrap();
    let mut operator = application.cluster.connect();
    let cancel =
        "select webhook_delivery.cancel(array(select delivery_id from webhook_delivery.queue where due_at > now()))";
    let session = std::thread::spawn(move || operator.query_one(cancel, &[]).map(|row| row.get::<_, i64>(0)));
    let waits = "select count(*) from pg_locks where not granted and locktype = 'transactionid'";
    wait_until("the session to wait", DEADLINE, || (application.count(waits) > 0).then_some(()));
    queue(&mut application.client, &endpoint, 100_000, "-2 minutes");
    wait_until("the worker to park", DEADLINE, || {
        (application.count("select count(*) from webhook_delivery.queue_parked") >= 200).then_some(())
    });
    parking.batch_execute("commit").unwrap();
    assert_eq!(session.join().unwrap().unwrap(), 1);

    let before = parked(&mut application.client);
    let turns = application.cluster.worker_turns_within(2.0);
    let after = parked(&mut application.client);
    assert!(after - before <= 200, "at most one step ends after the statement: {before}, {after}");
    assert!(turns < 20, "{turns}");
}

#[test]
fn repeatable_read_cancel_of_a_parked_delivery_fails_with_40001() {
    let (cluster, mut client) = Cluster::with_client(RETRY_IN_AN_HOUR);
    let endpoint = Endpoint::create(&mut client, "https://127.0.0.1:1/");
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    queue(&mut client, &endpoint, 1, "50 s");
    let mut session = cluster.connect();
    session.batch_execute("begin isolation level repeatable read; select from webhook_deliveries").unwrap();
    client.batch_execute("update webhook_delivery.queue set is_parked = true").unwrap();
    let refused = session.batch_execute("select cancel_webhook(id) from webhook_deliveries").unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("40001"), "{refused:?}");
}

#[test]
fn tenant_without_parked_deliveries_does_not_count_any() {
    let mut application = Application::start(&[]);
    tenant::create_roles(&mut application.client);
    let endpoint = application.endpoint(sample::RIVERSIDE, "https://127.0.0.1:1/", &["*"]);
    application.endpoint(sample::HILLTOP, "https://127.0.0.1:1/", &["*"]);
    application.client.batch_execute("select webhook_delivery.pause()").unwrap();
    queue(&mut application.client, &endpoint, MANY, "2 days");
    application.client.batch_execute("update webhook_delivery.queue set is_parked = true").unwrap();
    application.cluster.restart_worker();
    let counts = "select count(*) from webhook_delivery.parked_counts where deliveries > 0";
    wait_until("the counts", DEADLINE, || (application.count(counts) == 1).then_some(()));
    let mut kim = tenant::session_of(&application.cluster, "tenant", sample::KIM);
    let explain = "explain (analyze, costs off, timing off) select sum(queued) from webhook_endpoint_health";
    let plan: Vec<String> = kim.query(explain, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    let counted = plan.iter().filter(|line| line.contains("Function Scan on count_queue"));
    let counted: Vec<bool> = counted.map(|line| !line.contains("never executed")).collect();
    assert_eq!(counted, [true, false], "{plan:#?}");
}

#[test]
fn copy_of_a_database_parks_nothing() {
    let (cluster, mut client) = Cluster::with_client(RETRY_IN_AN_HOUR);
    let endpoint = Endpoint::create(&mut client, "https://127.0.0.1:1/");
    client.batch_execute("update webhook_delivery.installations set system_identifier = 1").unwrap();
    queue(&mut client, &endpoint, 3, "-2 minutes");
    cluster.restart_worker();
    let activity = "select count(*) from pg_stat_activity
        where backend_type = 'webhook_delivery worker' and query like '%this is a copy of another database'";
    wait_until("a turn of the worker", DEADLINE, || {
        (client.query_one(activity, &[]).unwrap().get::<_, i64>(0) == 1).then_some(())
    });
    assert_eq!(parked(&mut client), 0, "replication must find each row at the original's place");
}

/// Enough parked deliveries for the worker to count them.
const MANY: i32 = 30_000;

#[test]
fn worker_counts_very_many_parked_deliveries() {
    let mut application = Application::start(&[]);
    tenant::create_roles(&mut application.client);
    let endpoint = application.endpoint(sample::RIVERSIDE, "https://127.0.0.1:1/", &["*"]);
    let other = application.endpoint(sample::HILLTOP, "https://127.0.0.1:1/", &["*"]);
    application.client.batch_execute("select webhook_delivery.pause()").unwrap();
    queue(&mut application.client, &endpoint, MANY, "2 days");
    queue(&mut application.client, &endpoint, 10, "-2 days");
    queue(&mut application.client, &other, 20, "-1 day");
    application.client.batch_execute("update webhook_delivery.queue set is_parked = true").unwrap();
    application.cluster.restart_worker();
    wait_until("the counts", DEADLINE, || {
        (application.count("select count(*) from webhook_delivery.parked_counts where deliveries > 0") == 2)
            .then_some(())
    });
    // Deliveries that are not parked yet, and those parked after the count, are included.
    queue(&mut application.client, &other, 5, "30 s");
    queue(&mut application.client, &other, 7, "-2 minutes");
    let recent = "select count(*) from webhook_delivery.queue_recent";
    wait_until("the late deliveries to be parked", DEADLINE, || (application.count(recent) == 5).then_some(()));

    let depth = "select queued, due, oldest_due_at < now() - interval '47 hours' from webhook_delivery.status";
    let row = application.client.query_one(depth, &[]).unwrap();
    let depth: (i64, i64, bool) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(depth, (i64::from(MANY) + 42, 37, true));
    let health = "select auction_id::text, queued, next_attempt_at < now() from webhook_endpoint_health";
    let mut dana = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    let rows = dana.query(health, &[]).unwrap();
    let seen: Vec<(String, i64, bool)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(
        seen,
        [(sample::RIVERSIDE.to_string(), i64::from(MANY) + 10, true)],
        "a tenant sees only its own deliveries"
    );

    application.client.batch_execute("truncate webhook_delivery.queue").unwrap();
    application.cluster.restart_worker();
    wait_until("the counts to be removed", DEADLINE, || {
        (application.count("select count(*) from webhook_delivery.parked_counts") == 0).then_some(())
    });
    assert_eq!(application.count("select queued from webhook_delivery.status"), 0);
}
