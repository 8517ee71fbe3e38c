//! Latency from a commit to the arrival of its webhook.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::progress::wait_for;
use crate::report::Latency;
use crate::testbed::{AUCTION, Testbed};
use crate::throughput::data;
use uuid::Uuid;

const EVENTS: usize = 200;
const INTERVAL: Duration = Duration::from_millis(50);

/// Events in each transaction of the load.
const LOAD_EVENTS: i32 = 5;
const LOAD_INTERVAL: Duration = Duration::from_millis(1);

/// Latency without other load.
pub fn measure(testbed: &Testbed) -> Latency {
    testbed.set_endpoints(1);
    of_the_healthy_endpoint(testbed)
}

/// Latency while another auction has 5,000 events per second in small transactions.
pub fn under_load(testbed: &Testbed) -> Latency {
    testbed.set_endpoints(1);
    let other = Uuid::new_v4();
    let mut session = testbed.connect();
    let endpoint = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}')";
    session.execute(endpoint, &[&other, &testbed.receiver.url("/load")]).expect("an endpoint");
    let emit = "select count(webhook_delivery.emit('submission.created', $1::uuid, $2::text::json)) from generate_series(1, $3::int)";
    let over = AtomicBool::new(false);
    let latency = std::thread::scope(|scope| {
        scope.spawn(|| {
            let emit = session.prepare(emit).expect("a statement");
            let mut next = Instant::now();
            while !over.load(Ordering::Relaxed) {
                session.execute(&emit, &[&other, &data(), &LOAD_EVENTS]).expect("events");
                next += LOAD_INTERVAL;
                // Keeps the rate. There is no condition to wait for.
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let latency = of_the_healthy_endpoint(testbed);
        over.store(true, Ordering::Relaxed);
        latency
    });
    testbed.wait_until_queue_is_empty();
    latency
}

/// Latency of the auction's only endpoint under the present load, in milliseconds. The time of the
/// commit is the server's (`pg_xact_commit_timestamp`), that of the arrival is the receiver's.
pub fn of_the_healthy_endpoint(testbed: &Testbed) -> Latency {
    testbed.receiver.reset();
    let mut session = testbed.connect();
    let began: Uuid = session.query_one("select webhook_delivery.uuid_v7()", &[]).expect("an id").get(0);
    let emit =
        session.prepare("select webhook_delivery.emit('submission.created', $1, $2::text::json)").expect("a statement");
    let mut next = Instant::now();
    for _ in 0..EVENTS {
        session.execute(&emit, &[&AUCTION, &data()]).expect("an event");
        next += INTERVAL;
        // Keeps the rate, as above.
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let delivered = "select count(*) from webhook_delivery.attempts
                     where auction_id = $1 and delivery_id > $2 and status = 'success'";
    wait_for("every delivery", EVENTS as u64, || {
        let count: i64 = session.query_one(delivered, &[&AUCTION, &began]).expect("the history is readable").get(0);
        count.unsigned_abs()
    });

    let committed: HashMap<Uuid, i64> = session
        .query(
            "select attempt.delivery_id, (extract(epoch from pg_xact_commit_timestamp(event.xmin)) * 1000000)::bigint
             from webhook_delivery.events as event
             join webhook_delivery.attempts as attempt on attempt.event_id = event.id
             where attempt.auction_id = $1 and attempt.delivery_id > $2",
            &[&AUCTION, &began],
        )
        .expect("the times of the commits")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let arrivals = testbed.receiver.arrivals();
    let mut millis: Vec<f64> =
        committed.iter().map(|(id, committed)| (arrivals[id] - committed) as f64 / 1000.0).collect();
    millis.sort_by(f64::total_cmp);
    let percentile = |share: f64| millis[((millis.len() - 1) as f64 * share).round() as usize];
    Latency { p50: percentile(0.50), p95: percentile(0.95), p99: percentile(0.99) }
}
