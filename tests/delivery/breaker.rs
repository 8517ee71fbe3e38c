//! The circuit breaker stops requests to an unreachable endpoint and resumes them when the endpoint
//! is reachable again.

use std::time::Duration;

use postgres::Client;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, wait_until};

fn attempts(client: &mut Client, endpoint: &Endpoint) -> i64 {
    let sql = "select count(*) from webhook_delivery_attempts where endpoint_id = $1";
    client.query_one(sql, &[&endpoint.id]).unwrap().get(0)
}

#[test]
fn backlog_of_an_unreachable_endpoint_keeps_its_attempts() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    let address = receiver.address();
    drop(receiver);
    let endpoint = Endpoint::create(&mut client, &format!("http://{address}/"));
    endpoint.emit(&mut client, 5000);
    // Ten failures open the breaker. Requests that started before these were recorded fail as well.
    // One second later the half-open breaker makes one more attempt.
    wait_until("another attempt", DEADLINE, || {
        let latest = "select max(attempted_at) - min(attempted_at) > interval '900 ms' from webhook_delivery_attempts where endpoint_id = $1";
        client.query_one(latest, &[&endpoint.id]).unwrap().get::<_, Option<bool>>(0).filter(|again| *again).map(drop)
    });
    let made = attempts(&mut client, &endpoint);
    assert!((11..1500).contains(&made), "{made} attempts were made");
    let receiver = Receiver::start_at(address, |_| Reply::ok());
    let delivered = endpoint.wait_for(&mut client, 3500, "success");
    assert!(delivered.iter().all(|delivery| delivery.attempts == 1), "each success took one attempt");
    assert!(receiver.count() >= 3500);
}

#[test]
fn unreachable_endpoints_delay_no_others_even_after_a_restart() {
    let (cluster, mut client) = Cluster::with_client(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    let dead: Vec<Endpoint> = (0..5).map(|_| Endpoint::create(&mut client, "http://127.0.0.1:1/")).collect();
    for endpoint in &dead {
        endpoint.emit(&mut client, 10_000);
    }
    good.emit(&mut client, 500);
    receiver.wait_for(500, Duration::from_secs(5));
    cluster.restart(webhook_harness::StopMode::Fast);
    let mut client = cluster.connect();
    good.emit(&mut client, 500);
    receiver.wait_for(1000, Duration::from_secs(5));
    for endpoint in &dead {
        let made = attempts(&mut client, endpoint);
        // Twice the requests that may start before the first failures are recorded.
        assert!(made < 3000, "{made} attempts were made");
    }
}

#[test]
fn error_responses_do_not_open_the_breaker() {
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.disable_after_failures", "0")]);
    let receiver = Receiver::start(|_| Reply::status(500));
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 200);
    endpoint.wait_for(&mut client, 200, "retrying");
}

#[test]
fn ordered_endpoint_keeps_its_order_after_being_unreachable() {
    let (_cluster, mut client) = Cluster::with_client(&[(
        "webhook_delivery.retry_schedule",
        "10ms,10ms,10ms,10ms,10ms,10ms,10ms,10ms,10ms,10ms,10ms,10ms,10ms,10ms",
    )]);
    let receiver = Receiver::start(|_| Reply::ok());
    let address = receiver.address();
    drop(receiver);
    let endpoint = Endpoint::create(&mut client, &format!("http://{address}/"));
    client.execute("update webhook_endpoints set ordered = true where id = $1", &[&endpoint.id]).unwrap();
    endpoint.emit(&mut client, 20);
    wait_until("ten attempts", DEADLINE, || (attempts(&mut client, &endpoint) >= 10).then_some(()));
    let receiver = Receiver::start_at(address, |_| Reply::ok());
    endpoint.wait_for(&mut client, 20, "success");
    let came: Vec<_> =
        receiver.requests().iter().map(|request| request.json()["data"]["n"].as_i64().unwrap()).collect();
    assert_eq!(came, (1..=20).collect::<Vec<_>>());
}
