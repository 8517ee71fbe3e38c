//! The fetch schedule: when the next fetch is due, and from where it reads.

use crate::postgres::wakeup::Wakeup;
use crate::timestamp::Timestamp;
use std::time::{Duration, Instant};

/// Minimum time between two reads of everything that is due. To walk past a backlog takes a moment, and a tenant who redelivers one
/// delivery after the other must not keep the fetcher at the start.
const MIN_RESCAN_INTERVAL: Duration = Duration::from_millis(250);

/// Meanwhile rows that have just been committed are found all the same: those that are due since this time.
const JUST_COMMITTED: Duration = Duration::from_millis(100);

pub struct FetchSchedule {
    /// The earliest due time that commits have announced and that no fetch has covered yet.
    announced: Option<Timestamp>,
    /// Everything that is due is to be read again, at `next_rescan`.
    rescan: bool,
    next_rescan: Instant,
    next_due: NextDue,
}

/// When the next delivery that is not due yet will be.
#[derive(Clone, Copy)]
enum NextDue {
    /// It has to be looked up.
    Unknown,
    /// Then, or never.
    Known(Option<Timestamp>),
}

impl FetchSchedule {
    pub fn new() -> Self {
        Self { announced: None, rescan: false, next_rescan: Instant::now(), next_due: NextDue::Unknown }
    }

    /// Commits have woken the worker.
    pub fn announce(&mut self, wakeup: Option<Wakeup>, now: Timestamp) {
        let due_at = wakeup.map(|wakeup| match wakeup {
            Wakeup::DueAt(due_at) => due_at,
            Wakeup::Rescan => {
                self.rescan = true;
                now - JUST_COMMITTED
            }
        });
        self.announced = self.announced.into_iter().chain(due_at).min();
    }

    /// Everything that is due is to be read again.
    pub fn request_rescan(&mut self) {
        self.rescan = true;
    }

    /// Another delivery will be due then.
    pub fn include(&mut self, due_at: Option<Timestamp>) {
        if let NextDue::Known(known) = &mut self.next_due {
            *known = known.iter().copied().chain(due_at).min();
        }
    }

    /// A fetch begins. Returns the time that it has to go back to, if there is one.
    pub fn begin(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.include(self.announced.filter(|due_at| *due_at > now));
        self.announced
    }

    /// Whether this fetch has to read everything that is due.
    pub fn is_rescan_due(&self) -> bool {
        self.rescan && Instant::now() >= self.next_rescan
    }

    /// Everything that is due is about to be read. When the next delivery will be due has to be looked up after it.
    pub fn rescanned(&mut self) {
        self.rescan = false;
        self.next_rescan = Instant::now() + MIN_RESCAN_INTERVAL;
        self.next_due = NextDue::Unknown;
    }

    /// Whether the next due time has to be looked up when this fetch has read everything; after a rewind it has to be.
    pub fn needs_next_due(&mut self, now: Timestamp, has_rewound: bool) -> bool {
        let is_ahead = matches!(self.next_due, NextDue::Known(at) if at.is_none_or(|at| at > now));
        if has_rewound || !is_ahead {
            self.next_due = NextDue::Unknown;
        }
        matches!(self.next_due, NextDue::Unknown)
    }

    /// The next delivery will be due then, or there is none.
    pub fn set_next_due(&mut self, due_at: Option<Timestamp>) {
        self.next_due = NextDue::Known(due_at);
    }

    /// The next due time has to be looked up.
    pub fn forget_next_due(&mut self) {
        self.next_due = NextDue::Unknown;
    }

    /// The fetch has covered what was announced.
    pub fn fetched(&mut self) {
        self.announced = None;
    }

    /// How long until the next fetch, given when the next throttle ends.
    pub fn time_to_next(&self, end_of_throttle: Option<Timestamp>) -> Duration {
        let NextDue::Known(next_due) = self.next_due else { return Duration::ZERO };
        let now = Timestamp::now();
        let to_due = next_due.into_iter().chain(end_of_throttle).min().map(|due_at| due_at.since(now));
        let to_rescan = self.rescan.then(|| self.next_rescan.saturating_duration_since(Instant::now()));
        to_due.into_iter().chain(to_rescan).min().unwrap_or(Duration::MAX)
    }
}
