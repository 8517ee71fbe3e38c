//! Waits for a condition, not for a fixed time.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything in a test may take before it counts as never happening.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks: short enough that a test's duration is the work's, long enough that looking does not become the load.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Asks `look` again and again until it answers, and gives the answer.
///
/// # Panics
/// When `deadline` passes first; `what` completes the sentence "waited 30 s for …".
#[track_caller]
pub fn wait_until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(started.elapsed() < deadline, "waited {deadline:?} for {what}, and it did not happen");
        thread::sleep(BETWEEN_LOOKS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_given_back_as_soon_as_there_is_one() {
        let mut looks = 0;
        let answer = wait_until("the third look", DEADLINE, || {
            looks += 1;
            (looks == 3).then_some("here")
        });
        assert_eq!(answer, "here");
        assert_eq!(looks, 3);
    }

    #[test]
    #[should_panic(expected = "waited 20ms for a miracle, and it did not happen")]
    fn a_passed_deadline_says_what_was_waited_for() {
        wait_until("a miracle", Duration::from_millis(20), || None::<()>);
    }
}
