//! How much has the worker delivered, in all and in the last minute, and what went wrong last?

use std::time::Instant;

use super::outcome::Outcome;

/// Seconds in the window.
const WINDOW: u64 = 60;

/// What has been recorded.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Deliveries that have ended well.
    pub delivered: u64,
    /// Deliveries that have failed for good.
    pub failed: u64,
    /// Requests that have failed, whatever became of their deliveries.
    pub failed_attempts: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.failed_attempts += other.failed_attempts;
    }
}

pub struct Throughput {
    began: Instant,
    totals: Totals,
    /// Of each second of the window, in the place of its number; the number says which second that was.
    seconds: [(u64, Totals); WINDOW as usize],
    /// What a request failed with, and when, in Postgres microseconds.
    last_failure: Option<(i64, String)>,
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

    /// Since the worker began.
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

    pub fn last_failure(&self) -> Option<&(i64, String)> {
        self.last_failure.as_ref()
    }
}
