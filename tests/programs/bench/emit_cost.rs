//! The cost of a custom event for the statement that emits it.

use std::time::Instant;

use crate::report::median;
use crate::testbed::{AUCTION, Testbed};
use crate::throughput::data;

/// Events of one statement.
const EVENTS: i32 = 20_000;

const STATEMENTS: usize = 5;

/// Microseconds for each event including the commit, with one interested endpoint, while nothing is
/// delivered: without an idempotency key, and with one.
pub fn measure(testbed: &Testbed) -> (f64, f64) {
    testbed.activate_endpoints(1);
    (microseconds(testbed, ""), microseconds(testbed, ", gen_random_uuid()::text"))
}

fn microseconds(testbed: &Testbed, key: &str) -> f64 {
    let mut session = testbed.connect();
    let emit = format!(
        "select count(webhook_delivery.emit('submission.created', $1::uuid, $2::text::json{key})) from generate_series(1, $3::int)"
    );
    let figures: Vec<f64> = (0..STATEMENTS)
        .map(|_| {
            let began = Instant::now();
            session.execute(&emit, &[&AUCTION, &data(), &EVENTS]).expect("events");
            began.elapsed().as_secs_f64() * 1_000_000.0 / f64::from(EVENTS)
        })
        .collect();
    median(&figures)
}
