//! Waiting with progress reports, on a machine that may be slow for a minute.

use std::time::{Duration, Instant};

use webhook_harness::wait_until;

/// A benchmark that gives up has measured nothing, so it waits much longer than a test.
pub const BENCH_DEADLINE: Duration = Duration::from_secs(600);

/// Time between two progress reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Waits until `count` has reached `target`, and reports the progress.
pub fn wait_for(what: &str, target: u64, mut count: impl FnMut() -> u64) {
    let mut reported_at = Instant::now();
    wait_until(what, BENCH_DEADLINE, || {
        let now = count();
        if reported_at.elapsed() >= REPORT_INTERVAL {
            reported_at = Instant::now();
            println!("    waiting for {what}: {now} of {target}");
        }
        (now >= target).then_some(())
    });
}
