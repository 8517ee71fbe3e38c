//! Throughput: counts since the start and of the last minute, and the last failure.

use std::time::Instant;

use super::outcome::Outcome;
use crate::postgres::worker_stats::Totals;
use crate::timestamp::Timestamp;

/// Seconds in the window.
const WINDOW: u64 = 60;

pub struct Throughput {
    began: Instant,
    totals: Totals,
    /// The seconds of the window, each at the index of its number modulo the length, with its
    /// number.
    seconds: [(u64, Totals); WINDOW as usize],
    /// The error of the last failed request, and when it started.
    last_failure: Option<(Timestamp, String)>,
}

impl Throughput {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            totals: Totals::default(),
            seconds: [(0, Totals::default()); WINDOW as usize],
            last_failure: None,
        }
    }

    pub fn recorded(&mut self, outcome: &Outcome) {
        let has_failed = outcome.error_message.is_some() && outcome.response_time_ms.is_some();
        let one = Totals {
            delivered: u64::from(outcome.error_message.is_none()),
            failed: u64::from(outcome.error_message.is_some() && outcome.next_attempt_at.is_none()),
            failed_attempts: u64::from(has_failed),
        };
        self.totals.add(&one);
        let now = self.second();
        let (second, counted) = &mut self.seconds[(now % WINDOW) as usize];
        if *second != now {
            (*second, *counted) = (now, Totals::default());
        }
        counted.add(&one);
        if let Some(error_message) = outcome.error_message.as_ref().filter(|_| has_failed) {
            self.last_failure = Some((outcome.attempted_at, error_message.clone()));
        }
    }

    fn second(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// Since the worker started.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// In the last sixty seconds.
    pub fn last_minute(&self) -> Totals {
        let now = self.second();
        let mut sum = Totals::default();
        let within = self.seconds.iter().filter(|(second, _)| now - second < WINDOW);
        within.for_each(|(_, counted)| sum.add(counted));
        sum
    }

    pub fn last_failure(&self) -> Option<&(Timestamp, String)> {
        self.last_failure.as_ref()
    }
}
