//! How long from a commit to the arrival of its webhook.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::patience::wait_for;
use crate::report::Latency;
use crate::stand::{AUCTION, Stand};
use crate::throughput::data;
use uuid::Uuid;

const EVENTS: usize = 200;
const EVERY: Duration = Duration::from_millis(50);

/// Events of one transaction of the load.
const LOAD_AT_ONCE: i32 = 5;
const LOAD_EVERY: Duration = Duration::from_millis(1);

/// With nothing else going on.
pub fn measure(stand: &Stand) -> Latency {
    stand.set_endpoints(1);
    of_the_good_endpoint(stand)
}

/// While another auction has 5,000 events a second, in small transactions.
pub fn under_load(stand: &Stand) -> Latency {
    stand.set_endpoints(1);
    let other = Uuid::new_v4();
    let mut session = stand.connect();
    let endpoint = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}')";
    session.execute(endpoint, &[&other, &stand.receiver.url("/load")]).expect("an endpoint");
    let emit = "select count(webhook_delivery.emit('submission.created', $1::uuid, $2::text::json)) from generate_series(1, $3::int)";
    let over = AtomicBool::new(false);
    let latency = std::thread::scope(|scope| {
        scope.spawn(|| {
            let emit = session.prepare(emit).expect("a statement");
            let mut next = Instant::now();
            while !over.load(Ordering::Relaxed) {
                session.execute(&emit, &[&other, &data(), &LOAD_AT_ONCE]).expect("events");
                next += LOAD_EVERY;
                // Keeps the rate: there is nothing to wait for.
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let latency = of_the_good_endpoint(stand);
        over.store(true, Ordering::Relaxed);
        latency
    });
    stand.wait_until_queue_is_empty();
    latency
}

/// Of the auction's one endpoint, whatever else goes on. Milliseconds: the commit's time is the server's own
/// (`pg_xact_commit_timestamp`), the arrival's the receiver's.
pub fn of_the_good_endpoint(stand: &Stand) -> Latency {
    stand.receiver.reset();
    let mut session = stand.connect();
    let began: Uuid = session.query_one("select webhook_delivery.uuid_v7()", &[]).expect("an id").get(0);
    let emit =
        session.prepare("select webhook_delivery.emit('submission.created', $1, $2::text::json)").expect("a statement");
    let mut next = Instant::now();
    for _ in 0..EVENTS {
        session.execute(&emit, &[&AUCTION, &data()]).expect("an event");
        next += EVERY;
        // As above.
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
    let arrivals = stand.receiver.arrivals();
    let mut millis: Vec<f64> =
        committed.iter().map(|(id, committed)| (arrivals[id] - committed) as f64 / 1000.0).collect();
    millis.sort_by(f64::total_cmp);
    let percentile = |share: f64| millis[((millis.len() - 1) as f64 * share).round() as usize];
    Latency { p50: percentile(0.50), p95: percentile(0.95), p99: percentile(0.99) }
}
