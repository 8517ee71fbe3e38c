//! Which endpoints cannot be reached, so that to try all that waits for them would be in vain?
//!
//! A circuit breaker: after some attempts in a row for which no connection came about, an endpoint is tried with one delivery
//! at a time, ever more seldom. The others wait and keep their attempts for the time when somebody listens again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

/// So many attempts in a row open it.
const THRESHOLD: u32 = 10;

/// Then it is tried again after this time, which doubles with each failure, ...
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// ... up to this: no longer than the first wait of a retry.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The endpoints that could not be reached, with the number of attempts in a row.
#[derive(Default)]
pub struct Breaker(HashMap<Uuid, u32>);

impl Breaker {
    /// Somebody has answered, with whatever.
    pub fn reached(&mut self, endpoint_id: &Uuid) {
        self.0.remove(endpoint_id);
    }

    /// No connection came about. How long the endpoint is to be left alone now; `None` while it is not open.
    pub fn failed(&mut self, endpoint_id: Uuid) -> Option<Duration> {
        let failures = self.0.entry(endpoint_id).or_default();
        *failures = failures.saturating_add(1);
        let beyond = failures.checked_sub(THRESHOLD)?;
        Some(FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(beyond)).min(LONGEST_PAUSE))
    }

    /// Forgets those that are not there any more.
    pub fn retain(&mut self, endpoints: &HashSet<Uuid>) {
        self.0.retain(|endpoint_id, _| endpoints.contains(endpoint_id));
    }

    /// Whether the endpoint is tried with one delivery at a time.
    pub fn is_open(&self, endpoint_id: &Uuid) -> bool {
        self.0.get(endpoint_id).is_some_and(|failures| *failures >= THRESHOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: Uuid = Uuid::from_u128(1);

    #[test]
    fn ten_failures_in_a_row_open_it_and_each_further_one_doubles_the_pause_up_to_a_minute() {
        let mut breaker = Breaker::default();
        for _ in 0..9 {
            assert_eq!(breaker.failed(ENDPOINT), None);
        }
        assert!(!breaker.is_open(&ENDPOINT));
        let pauses: Vec<u64> = (0..8).map(|_| breaker.failed(ENDPOINT).unwrap().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(breaker.is_open(&ENDPOINT) && !breaker.is_open(&Uuid::from_u128(2)));
        (0..100).for_each(|_| assert_eq!(breaker.failed(ENDPOINT), Some(LONGEST_PAUSE)));
    }

    #[test]
    fn an_answer_closes_it() {
        let mut breaker = Breaker::default();
        (0..12).for_each(|_| _ = breaker.failed(ENDPOINT));
        breaker.reached(&ENDPOINT);
        assert!(!breaker.is_open(&ENDPOINT));
        assert_eq!(breaker.failed(ENDPOINT), None);
    }
}
