//! Duplicate requests after the worker was killed while it sends at full speed.

use crate::progress::wait_for;
use crate::testbed::{AUCTION, Testbed};
use crate::throughput::{EVENTS, data};

const KILLS: u64 = 5;

/// The average number of duplicate requests per kill.
pub fn measure(testbed: &Testbed) -> f64 {
    testbed.set_endpoints(1);
    testbed.receiver.reset();
    let emit = "select count(webhook_delivery.emit('submission.created', $1::uuid, $2::text::json)) from generate_series(1, $3::int)";
    testbed.connect().execute(emit, &[&AUCTION, &data(), &(EVENTS as i32)]).expect("events");
    for kill in 1..=KILLS {
        let goal = EVENTS as u64 * kill / (KILLS + 1);
        wait_for("the next kill", goal, || testbed.receiver.stats().distinct_ids);
        let worker = testbed.worker_pid();
        testbed.cluster.kill9(worker);
        testbed.cluster.wait_for_worker("postgres", Some(worker));
    }
    wait_for("the last request", EVENTS as u64, || testbed.receiver.stats().distinct_ids);
    testbed.wait_until_queue_is_empty();
    testbed.receiver.stats().duplicates as f64 / KILLS as f64
}
