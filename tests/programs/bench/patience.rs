//! How the benchmark waits on a machine that may be slow for a minute.

use std::time::{Duration, Instant};

use webhook_harness::wait_until;

/// A benchmark that gives up has measured nothing: only what will never come ends it.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// So often somebody who looks is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Waits until `count` has reached `target`, and says now and then how far it is.
pub fn wait_for(what: &str, target: u64, mut count: impl FnMut() -> u64) {
    let mut told = Instant::now();
    wait_until(what, PATIENCE, || {
        let now = count();
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            println!("    waiting for {what}: {now} of {target}");
        }
        (now >= target).then_some(())
    });
}
