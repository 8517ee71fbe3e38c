//! Waiting for a condition instead of a fixed time.

use std::thread;
use std::time::{Duration, Instant};

/// After this time a test assumes that what it waits for will never happen.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Time between two calls of a condition: short enough not to prolong a test, long enough not to
/// load the machine.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Calls `condition` until it returns a value, and returns that value.
///
/// # Panics
/// If `deadline` passes first. `what` completes the sentence "waited 30s for …".
#[track_caller]
pub fn wait_until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < deadline, "waited {deadline:?} for {what}, and it did not happen");
        thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_returned_as_soon_as_there_is_one() {
        let mut calls = 0;
        let value = wait_until("the third call", DEADLINE, || {
            calls += 1;
            (calls == 3).then_some("here")
        });
        assert_eq!(value, "here");
        assert_eq!(calls, 3);
    }

    #[test]
    #[should_panic(expected = "waited 20ms for a miracle, and it did not happen")]
    fn missed_deadline_names_what_was_waited_for() {
        wait_until("a miracle", Duration::from_millis(20), || None::<()>);
    }
}
