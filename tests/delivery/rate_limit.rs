//! Rate limits: an endpoint receives no more requests in a second than its limit, and other
//! endpoints are not delayed.

use std::time::{Duration, Instant};

use postgres::Client;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, refusal};

fn limited(client: &mut Client, url: &str, per_second: f32) -> Endpoint {
    let endpoint = Endpoint::create(client, url);
    let sql = "update webhook_endpoints set max_per_second = $1 where id = $2";
    client.execute(sql, &[&per_second, &endpoint.id]).unwrap();
    endpoint
}

/// The largest number of requests within any period of this length.
fn most_within(receiver: &Receiver, time: Duration) -> usize {
    let mut arrived: Vec<_> = receiver.requests().iter().map(|request| request.arrived_at).collect();
    arrived.sort();
    let within =
        |first: usize| arrived[first..].iter().filter(|at| at.duration_since(arrived[first]).unwrap() < time).count();
    (0..arrived.len()).map(within).max().unwrap_or(0)
}

#[test]
fn rate_limit_holds_and_does_not_delay_other_endpoints() {
    let (receiver, slow, fast) =
        (Receiver::start(|_| Reply::ok()), Receiver::start(|_| Reply::ok()), Receiver::start(|_| Reply::ok()));
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let ten = limited(&mut client, &slow.url("/"), 10.0);
    let hundred = limited(&mut client, &fast.url("/"), 100.0);
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    let began = Instant::now();
    ten.emit(&mut client, 25);
    hundred.emit(&mut client, 200);
    good.emit(&mut client, 500);
    receiver.wait_for(500, Duration::from_secs(2));
    assert!(slow.count() < 25 && fast.count() < 200);
    hundred.wait_for(&mut client, 200, "success");
    ten.wait_for(&mut client, 25, "success");
    let took = began.elapsed().as_secs_f64();
    assert!((2.3..6.0).contains(&took), "{took} s");
    // A request that is delayed on its way may arrive within the next second.
    assert!(most_within(&slow, Duration::from_secs(1)) <= 11, "{}", most_within(&slow, Duration::from_secs(1)));
    assert!(most_within(&fast, Duration::from_secs(1)) <= 110, "{}", most_within(&fast, Duration::from_secs(1)));
}

#[test]
fn events_committed_one_by_one_are_rate_limited() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = limited(&mut client, &receiver.url("/"), 5.0);
    for _ in 0..8 {
        endpoint.emit(&mut client, 1);
    }
    receiver.wait_for(8, DEADLINE);
    assert!(most_within(&receiver, Duration::from_secs(1)) <= 6);
}

#[test]
fn endpoint_can_be_rate_limited_and_ordered() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = limited(&mut client, &receiver.url("/"), 20.0);
    client.execute("update webhook_endpoints set ordered = true where id = $1", &[&endpoint.id]).unwrap();
    endpoint.emit(&mut client, 20);
    let requests = receiver.wait_for(20, DEADLINE);
    let numbers: Vec<_> = requests.iter().map(|request| request.json()["data"]["n"].as_i64().unwrap()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert!(most_within(&receiver, Duration::from_millis(500)) <= 11);
}

#[test]
fn invalid_rate_limit_is_refused() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    Endpoint::create(&mut client, "https://example.com/");
    for number in ["0", "-1", "0.001", "10001", "'NaN'", "'infinity'"] {
        let error = refusal(&mut client, &format!("update webhook_endpoints set max_per_second = {number}"), &[]);
        assert_eq!(
            (error.code().code(), error.constraint()),
            ("23514", Some("max_per_second_is_between_a_hundredth_and_10000")),
            "{number}"
        );
    }
}

/// An endpoint whose limit allows a request every 100 seconds does not wait for the end of them
/// after its limit is raised.
#[test]
fn changed_limit_takes_effect_at_once() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (_cluster, mut client) = Cluster::with_client(&[]);
    for (limit, prompt) in [("null", true), ("1000", true), ("0.02", false)] {
        let endpoint = limited(&mut client, &receiver.url(&format!("/{limit}")), 0.01);
        endpoint.emit(&mut client, 3);
        endpoint.wait_for(&mut client, 1, "success");
        let began = Instant::now();
        let change = format!("update webhook_endpoints set max_per_second = {limit} where id = $1");
        client.execute(&change, &[&endpoint.id]).unwrap();
        if prompt {
            endpoint.wait_for(&mut client, 3, "success");
            assert!(began.elapsed() < Duration::from_secs(5), "{limit}: {:?}", began.elapsed());
        } else {
            // A change of another endpoint makes the worker read all endpoints again. That grants
            // no extra delivery.
            let other = Endpoint::create(&mut client, &receiver.url("/other"));
            client.execute("update webhook_endpoints set is_active = false where id = $1", &[&other.id]).unwrap();
            client.execute("update webhook_endpoints set is_active = true where id = $1", &[&other.id]).unwrap();
            other.emit(&mut client, 1);
            other.wait_for(&mut client, 1, "success");
            assert_eq!(receiver.requests_to(&format!("/{limit}")).len(), 1);
        }
    }
}
