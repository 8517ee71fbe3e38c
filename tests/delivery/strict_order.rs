//! Strict ordering: an ordered endpoint receives an auction's events in order, despite failures and
//! killed workers.

use std::time::Duration;

use postgres::Client;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, Request, StopMode, wait_until};

fn ordered(client: &mut Client, url: &str) -> Endpoint {
    let endpoint = Endpoint::create(client, url);
    client.execute("update webhook_endpoints set ordered = true where id = $1", &[&endpoint.id]).unwrap();
    endpoint
}

/// The number of the event within `Endpoint::emit`, from 1.
fn number(request: &Request) -> i64 {
    request.json()["data"]["n"].as_i64().unwrap()
}

fn numbers(requests: &[Request]) -> Vec<i64> {
    requests.iter().map(number).collect()
}

#[test]
fn failure_stops_later_deliveries_until_it_succeeds() {
    let receiver = Receiver::start(|request| {
        let fails = number(request) == 3 && request.attempt <= 2;
        Reply::status(if fails { 500 } else { 200 }).after(Duration::from_millis(5))
    });
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.retry_schedule", "300ms, 200ms")]);
    let endpoint = ordered(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 20);
    let waiting = wait_until("the third delivery to fail", DEADLINE, || {
        let deliveries = endpoint.deliveries(&mut client);
        deliveries.iter().any(|delivery| delivery.status == "retrying").then_some(deliveries)
    });
    let attempt = endpoint.attempts(&mut client).into_iter().find(|attempt| attempt.status == "failed").unwrap();
    let third = waiting.iter().find(|delivery| delivery.status == "retrying").unwrap();
    assert_eq!(
        (third.attempts, third.next_attempt_at),
        (1, attempt.next_attempt_at),
        "the history shows the time of the next attempt"
    );
    endpoint.wait_for(&mut client, 20, "success");
    let requests = receiver.requests();
    assert_eq!(numbers(&requests), [vec![1, 2, 3, 3, 3], (4..=20).collect()].concat());
    // Each request was sent after the previous one had been answered.
    let gaps = requests.windows(2).map(|pair| pair[1].arrived_at.duration_since(pair[0].arrived_at).unwrap());
    assert!(gaps.min() >= Some(Duration::from_millis(5)));
}

#[test]
fn delivery_that_ends_as_failed_releases_later_ones() {
    let receiver = Receiver::start(|request| Reply::status(if number(request) == 2 { 500 } else { 200 }));
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.retry_schedule", "50ms")]);
    let endpoint = ordered(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 5);
    endpoint.wait_for(&mut client, 4, "success");
    assert_eq!(numbers(&receiver.requests()), [1, 2, 2, 3, 4, 5]);
}

#[test]
fn deliveries_behind_a_failure_wait_across_a_restart() {
    let receiver = Receiver::by_path();
    let (cluster, mut client) = Cluster::with_client(&[("webhook_delivery.retry_schedule", "1h")]);
    let endpoint = ordered(&mut client, &receiver.url("/fail-then-ok/1"));
    endpoint.emit(&mut client, 3);
    endpoint.wait_for(&mut client, 1, "retrying");
    let good = Endpoint::create(&mut client, &receiver.url("/ok"));
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect();
    for _ in 0..2 {
        good.emit(&mut client, 20);
        // Each wakeup makes the worker read the due deliveries of the ordered endpoint again.
        client.batch_execute("select webhook_delivery.wake_to_rescan()").unwrap();
    }
    good.wait_for(&mut client, 40, "success");
    assert_eq!(receiver.requests_to("/fail-then-ok/1").len(), 1);
    assert_eq!(endpoint.wait_for(&mut client, 2, "pending").len(), 2);
    // The documentation gives this statement for an immediate retry by the operator.
    let now = "update webhook_delivery.queue set due_at = least(due_at, now()), not_before = null where attempts > 0;
               select webhook_delivery.wake_to_rescan()";
    client.batch_execute(now).unwrap();
    endpoint.wait_for(&mut client, 1, "success");
}

#[test]
fn killed_worker_repeats_no_delivery_after_its_successor() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = ordered(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 400);
    for kill in 1..=3 {
        receiver.wait_for(kill * 100, DEADLINE);
        let worker = cluster.wait_for_worker("postgres", None);
        cluster.kill9(worker);
        cluster.wait_for_worker("postgres", Some(worker));
        client = cluster.connect();
    }
    endpoint.wait_for(&mut client, 400, "success");
    let arrived = numbers(&receiver.requests());
    assert!(arrived.is_sorted(), "{arrived:?}");
    assert_eq!(receiver.distinct_ids().len(), 400);
}

#[test]
fn disabled_ordered_endpoint_continues_in_order_once_enabled() {
    let receiver =
        Receiver::start(|request| Reply::status(if number(request) == 2 && request.attempt == 1 { 410 } else { 200 }));
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.retry_schedule", "10ms")]);
    let endpoint = ordered(&mut client, &receiver.url("/"));
    // The delay lets the endpoint be disabled before the next attempt.
    client
        .execute("update webhook_endpoints set retry_schedule = '{2 seconds}' where id = $1", &[&endpoint.id])
        .unwrap();
    endpoint.emit(&mut client, 5);
    wait_until("the endpoint to be disabled", DEADLINE, || {
        let row = client.query_one("select is_active from webhook_endpoints where id = $1", &[&endpoint.id]).unwrap();
        (!row.get::<_, bool>(0)).then_some(())
    });
    client.execute("update webhook_endpoints set is_active = true where id = $1", &[&endpoint.id]).unwrap();
    endpoint.wait_for(&mut client, 5, "success");
    assert_eq!(numbers(&receiver.requests()), [1, 2, 2, 3, 4, 5]);
}

#[test]
fn tests_bypass_the_order_and_unordering_releases_all() {
    let receiver = Receiver::by_path();
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.retry_schedule", "1h")]);
    let endpoint = ordered(&mut client, &receiver.url("/fail-then-ok/1"));
    endpoint.emit(&mut client, 3);
    endpoint.wait_for(&mut client, 1, "retrying");
    client.execute("select test_webhook($1, 'submission.created')", &[&endpoint.id]).unwrap();
    receiver.wait_for(2, DEADLINE);
    client.execute("update webhook_endpoints set ordered = false where id = $1", &[&endpoint.id]).unwrap();
    // Each of the two others fails once as well, and the first succeeds.
    receiver.wait_for(5, DEADLINE);
    endpoint.wait_for(&mut client, 1, "success");
    endpoint.wait_for(&mut client, 2, "retrying");
}
