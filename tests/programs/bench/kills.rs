//! How many requests are made twice when the worker is killed while it sends as fast as it can.

use crate::patience::wait_for;
use crate::stand::{AUCTION, Stand};
use crate::throughput::{EVENTS, data};

const KILLS: u64 = 5;

/// On average.
pub fn measure(stand: &Stand) -> f64 {
    stand.set_endpoints(1);
    stand.receiver.reset();
    let emit = "select count(webhook_delivery.emit('submission.created', $1::uuid, $2::text::json)) from generate_series(1, $3::int)";
    stand.connect().execute(emit, &[&AUCTION, &data(), &(EVENTS as i32)]).expect("events");
    for kill in 1..=KILLS {
        let goal = EVENTS as u64 * kill / (KILLS + 1);
        wait_for("the next kill", goal, || stand.receiver.stats().distinct_ids);
        let worker = stand.worker_pid();
        stand.cluster.kill9(worker);
        stand.cluster.wait_for_worker("postgres", Some(worker));
    }
    wait_for("the last request", EVENTS as u64, || stand.receiver.stats().distinct_ids);
    stand.wait_until_queue_is_empty();
    stand.receiver.stats().duplicates as f64 / KILLS as f64
}
