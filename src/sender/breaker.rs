//! The circuit breaker: an endpoint that cannot be reached gets only one delivery at a time, as a
//! test.
//!
//! It opens after some attempts in a row without a connection. While it is open nothing is sent to
//! the endpoint; after a pause it is half-open, and a single delivery is tried: success closes it,
//! failure opens it for a longer pause. The other deliveries wait and keep their attempts. This
//! file counts failures and computes the pause. The extension's `delivery/throttle.rs` makes the
//! endpoint wait and sends the single delivery.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use crate::retry::backoff;

/// Number of failures in a row that opens the breaker.
const THRESHOLD: u32 = 10;

/// The first pause. It doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: no longer than the first wait of the retry schedule.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The endpoints that could not be reached, with the number of failures in a row.
#[derive(Default)]
pub struct Breaker(HashMap<Uuid, u32>);

impl Breaker {
    /// Call when there was a connection, with any response.
    pub fn reached(&mut self, endpoint_id: &Uuid) {
        self.0.remove(endpoint_id);
    }

    /// Call when there was no connection. Returns the pause if the breaker is open now.
    pub fn failed(&mut self, endpoint_id: Uuid) -> Option<Duration> {
        let failures = self.0.entry(endpoint_id).or_default();
        *failures = failures.saturating_add(1);
        let beyond = failures.checked_sub(THRESHOLD)?;
        Some(backoff(FIRST_PAUSE, LONGEST_PAUSE, beyond.saturating_add(1)))
    }

    /// Removes all other endpoints.
    pub fn retain(&mut self, endpoints: &HashSet<Uuid>) {
        self.0.retain(|endpoint_id, _| endpoints.contains(endpoint_id));
    }

    /// Whether the endpoint's breaker is open or half-open.
    pub fn is_open(&self, endpoint_id: &Uuid) -> bool {
        self.0.get(endpoint_id).is_some_and(|failures| *failures >= THRESHOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: Uuid = Uuid::from_u128(1);

    #[test]
    fn ten_failures_open_the_breaker_and_further_ones_double_pause() {
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
    fn response_closes_the_breaker() {
        let mut breaker = Breaker::default();
        (0..12).for_each(|_| _ = breaker.failed(ENDPOINT));
        breaker.reached(&ENDPOINT);
        assert!(!breaker.is_open(&ENDPOINT));
        assert_eq!(breaker.failed(ENDPOINT), None);
    }
}
