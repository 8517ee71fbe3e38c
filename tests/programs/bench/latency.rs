//! How long from a commit to the arrival of its webhook, with nothing else going on?

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::patience::wait_for;
use crate::report::Latency;
use crate::stand::{AUCTION, Stand};
use crate::throughput::data;
use uuid::Uuid;

const EVENTS: usize = 200;
const EVERY: Duration = Duration::from_millis(50);

/// Milliseconds. The commit's time is the server's own (`pg_xact_commit_timestamp`), the arrival's the receiver's.
pub fn measure(stand: &Stand) -> Latency {
    stand.set_endpoints(1);
    stand.receiver.reset();
    let mut session = stand.connect();
    let emit =
        session.prepare("select webhook_delivery.emit('submission.created', $1, $2::text::json)").expect("a statement");
    let mut next = Instant::now();
    for _ in 0..EVENTS {
        session.execute(&emit, &[&AUCTION, &data()]).expect("an event");
        next += EVERY;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    wait_for("every arrival", EVENTS as u64, || stand.receiver.stats().distinct_ids);
    stand.wait_until_queue_is_empty();

    let arrivals = stand.receiver.arrivals();
    let committed: HashMap<Uuid, i64> = session
        .query(
            "select attempt.delivery_id, (extract(epoch from pg_xact_commit_timestamp(event.xmin)) * 1000000)::bigint
             from webhook_delivery.events as event
             join webhook_delivery.attempts as attempt on attempt.event_id = event.id
             where attempt.delivery_id = any ($1)",
            &[&arrivals.keys().copied().collect::<Vec<_>>()],
        )
        .expect("the times of the commits")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let mut millis: Vec<f64> = arrivals.iter().map(|(id, arrival)| (arrival - committed[id]) as f64 / 1000.0).collect();
    millis.sort_by(f64::total_cmp);
    let percentile = |share: f64| millis[((millis.len() - 1) as f64 * share).round() as usize];
    Latency { p50: percentile(0.50), p95: percentile(0.95), p99: percentile(0.99) }
}
