//! Pauses: the operator stops sending to one endpoint, one auction or all, and the status shows it.

use std::time::{Duration, SystemTime};

use postgres::Client;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, refusal, tenant, wait_until};

fn status<T: postgres::types::FromSqlOwned>(client: &mut Client, column: &str) -> T {
    client.query_one(&format!("select {column} from webhook_delivery.status"), &[]).unwrap().get(0)
}

#[test]
fn paused_endpoint_or_auction_receives_nothing_until_resumed() {
    for by in ["endpoint_id", "auction_id"] {
        let receiver = Receiver::by_path();
        let (_cluster, mut client) = Cluster::with_client(&[]);
        let paused = Endpoint::create(&mut client, &receiver.url("/paused"));
        let other = Endpoint::create(&mut client, &receiver.url("/other"));
        let id = if by == "endpoint_id" { paused.id } else { paused.auction_id };
        client.execute(&format!("select webhook_delivery.pause('a dispute', {by} => $1)"), &[&id]).unwrap();
        paused.emit(&mut client, 3);
        client.execute("select test_webhook($1, 'submission.created')", &[&paused.id]).unwrap();
        for _ in 0..3 {
            other.emit(&mut client, 1);
        }
        other.wait_for(&mut client, 3, "success");
        assert_eq!(receiver.requests_to("/paused").len(), 0, "{by}");
        assert_eq!(paused.deliveries(&mut client).iter().filter(|delivery| delivery.status == "pending").count(), 4);
        // A paused delivery is not due, because it does not wait for the worker.
        assert_eq!((status::<i64>(&mut client, "queued"), status::<i64>(&mut client, "due")), (4, 0));
        assert_eq!(status::<String>(&mut client, "state"), "sending");
        let paused_number = status::<i64>(&mut client, "endpoints_paused + 2 * auctions_paused");
        assert_eq!(paused_number, if by == "endpoint_id" { 1 } else { 2 });
        let reason: String = client.query_one("select reason from webhook_delivery.pauses", &[]).unwrap().get(0);
        assert_eq!(reason, "a dispute");

        client.execute(&format!("select webhook_delivery.resume({by} => $1)"), &[&id]).unwrap();
        paused.wait_for(&mut client, 4, "success");
    }
}

/// Deliveries that are prefetched in memory are not sent after a pause.
#[test]
fn pausing_or_disabling_an_endpoint_drops_its_prefetch() {
    for stop in [
        "select webhook_delivery.pause(endpoint_id => id) from webhook_endpoints",
        "select webhook_delivery.pause(auction_id => auction_id) from webhook_endpoints",
        "update webhook_endpoints set is_active = false",
    ] {
        let receiver = Receiver::start(|_| Reply::ok().after(Duration::from_millis(30)));
        let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.pool_size", "4")]);
        let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
        endpoint.emit(&mut client, 200);
        receiver.wait_for(1, DEADLINE);
        client.batch_execute(stop).unwrap();
        wait_until("all requests in flight to be recorded", DEADLINE, || {
            let idle = "requests_in_flight = 0 and deliveries_in_memory = 0 and attempts_to_record = 0";
            let is_idle = status::<bool>(&mut client, idle);
            (is_idle && status::<i64>(&mut client, "queued") == 200 - receiver.count() as i64).then_some(())
        });
        let received = receiver.count();
        assert!(received < 100, "{stop}: {received} requests arrived");
        client.batch_execute("select webhook_delivery.resume(id, auction_id) from webhook_endpoints").unwrap();
        client.batch_execute("update webhook_endpoints set is_active = true").unwrap();
        endpoint.wait_for(&mut client, 200, "success");
        assert_eq!(receiver.count(), 200);
    }
}

#[test]
fn status_shows_the_reason_and_the_start_of_a_pause() {
    let receiver = Receiver::by_path();
    let (_cluster, mut client) = Cluster::with_client(&[]);
    Endpoint::create(&mut client, &receiver.url("/"));
    wait_until("the worker", DEADLINE, || (status::<String>(&mut client, "state") == "sending").then_some(()));
    assert!(status::<bool>(&mut client, "since = worker_started_at and since > now() - interval '1 minute'"));
    client.batch_execute("select webhook_delivery.pause('migration'); select webhook_delivery.pause()").unwrap();
    wait_until("the pause", DEADLINE, || (status::<String>(&mut client, "state") == "paused").then_some(()));
    assert!(status::<bool>(&mut client, "since = paused_at and since > worker_started_at"));
    assert_eq!(status::<String>(&mut client, "pause_reason"), "migration");
    client.batch_execute("select webhook_delivery.resume()").unwrap();
    wait_until("the end of the pause", DEADLINE, || {
        (status::<String>(&mut client, "state") == "sending").then_some(())
    });
    assert_eq!(status::<Option<String>>(&mut client, "pause_reason"), None);
    let error = refusal(&mut client, "select webhook_delivery.pause(endpoint_id => gen_random_uuid())", &[]);
    assert_eq!(error.code().code(), "PT404");
}

#[test]
fn status_counts_deliveries_failures_and_due_deliveries() {
    let receiver = Receiver::by_path();
    let (cluster, mut client) = Cluster::with_client(&[("webhook_delivery.retry_schedule", "1h")]);
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    let failing = Endpoint::create(&mut client, &receiver.url("/status/503"));
    let began = SystemTime::now();
    good.emit(&mut client, 7);
    failing.emit(&mut client, 3);
    wait_until("both to be counted", DEADLINE, || {
        status::<bool>(&mut client, "delivered_per_minute = 7 and failed_attempts_per_minute = 3").then_some(())
    });
    assert_eq!(status::<String>(&mut client, "last_failure"), "status 503");
    assert!(status::<SystemTime>(&mut client, "last_failure_at") >= began);
    assert_eq!((status::<i64>(&mut client, "queued"), status::<i64>(&mut client, "due")), (3, 0));
    assert_eq!(status::<Option<SystemTime>>(&mut client, "oldest_due_at"), None);
    // Without a worker the due deliveries stay in the queue.
    cluster.set("webhook_delivery.databases", "");
    wait_until("the worker to exit", DEADLINE, || {
        (status::<String>(&mut client, "state") == "no worker").then_some(())
    });
    good.emit(&mut client, 2);
    assert_eq!((status::<i64>(&mut client, "queued"), status::<i64>(&mut client, "due")), (5, 2));
    assert!(status::<bool>(&mut client, "oldest_due_at between now() - interval '1 minute' and now()"));
}

#[test]
fn tenant_can_neither_pause_nor_resume() {
    let (cluster, mut client) = Cluster::with_client(&[]);
    tenant::create_roles(&mut client);
    let mut session = tenant::session(&cluster, "tenant", "{}");
    for call in ["pause()", "resume()", "pause(endpoint_id => gen_random_uuid())"] {
        let error = refusal(&mut session, &format!("select webhook_delivery.{call}"), &[]);
        assert_eq!(error.code().code(), "42501", "{call}");
    }
}
