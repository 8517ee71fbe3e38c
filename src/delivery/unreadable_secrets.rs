//! Unreadable secrets: endpoints whose secret cannot be decrypted wait as if they were paused.
//!
//! The worker reports this as its problem, and looks again when the configuration is reloaded, and
//! from time to time.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::timestamp::Timestamp;

/// How often the endpoints that wait are looked at again.
const INTERVAL: Duration = Duration::from_secs(60);

/// What was found since the endpoints were looked at last.
#[derive(Default)]
pub struct UnreadableSecrets(RefCell<Option<Found>>);

struct Found {
    at: Timestamp,
    look_again: Instant,
    problem: String,
}

impl UnreadableSecrets {
    /// Call for an endpoint whose secret cannot be decrypted. The first problem is logged and kept.
    pub fn found(&self, problem: &str) {
        self.0.borrow_mut().get_or_insert_with(|| {
            pgrx::log!("webhook_delivery: {problem}; its deliveries wait");
            Found { at: Timestamp::now(), look_again: Instant::now() + INTERVAL, problem: problem.to_owned() }
        });
    }

    /// Call before the endpoints are looked at again.
    pub fn forget(&self) {
        self.0.take();
    }

    pub fn is_to_look_again(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(|found| found.look_again <= Instant::now())
    }

    /// The problem and since when, for `webhook_delivery.status`.
    pub fn problem(&self) -> Option<(Timestamp, String)> {
        self.0.borrow().as_ref().map(|found| (found.at, found.problem.clone()))
    }
}
