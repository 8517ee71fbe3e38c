//! The fetch schedule: when the next fetch is due, and from where it reads.

use crate::postgres::wakeup::Wakeup;
use crate::timestamp::Timestamp;
use std::time::{Duration, Instant};

/// Minimum time between two reads of everything that is due. To walk past a backlog takes a moment,
/// and a tenant who redelivers one delivery after the other must not keep the fetcher at the start
/// of the queue.
const MIN_RESCAN_INTERVAL: Duration = Duration::from_millis(250);

/// Until the next such read, the fetcher still finds rows that have just been committed: it reads
/// those that became due within this time.
const JUST_COMMITTED: Duration = Duration::from_millis(100);

pub struct FetchSchedule {
    /// The earliest due time that commits have announced and that no fetch has covered yet.
    announced: Option<Timestamp>,
    /// Everything that is due must be reread, not before `next_rescan`.
    rescan: bool,
    next_rescan: Instant,
    next_due: NextDue,
}

/// The earliest due time of the deliveries that are not due yet.
#[derive(Clone, Copy)]
enum NextDue {
    /// It must be looked up.
    Unknown,
    /// It is this time; `None` if there is no such delivery.
    Known(Option<Timestamp>),
}

impl FetchSchedule {
    pub fn new() -> Self {
        Self { announced: None, rescan: false, next_rescan: Instant::now(), next_due: NextDue::Unknown }
    }

    /// Call when commits have woken the worker.
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

    /// Requests that everything that is due is reread.
    pub fn request_rescan(&mut self) {
        self.rescan = true;
    }

    /// Includes the due time of another delivery.
    pub fn include(&mut self, due_at: Option<Timestamp>) {
        if let NextDue::Known(known) = &mut self.next_due {
            *known = known.iter().copied().chain(due_at).min();
        }
    }

    /// Begins a fetch. Returns the time that it must go back to, if there is one.
    pub fn begin(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.include(self.announced.filter(|due_at| *due_at > now));
        self.announced
    }

    /// Whether this fetch has to read everything that is due.
    pub fn is_rescan_due(&self) -> bool {
        self.rescan && Instant::now() >= self.next_rescan
    }

    /// Call before everything that is due is read. The next due time must be looked up after that.
    pub fn rescanned(&mut self) {
        self.rescan = false;
        self.next_rescan = Instant::now() + MIN_RESCAN_INTERVAL;
        self.next_due = NextDue::Unknown;
    }

    /// Whether the next due time must be looked up when this fetch has read everything. This is
    /// always so after a rewind.
    pub fn needs_next_due(&mut self, now: Timestamp, has_rewound: bool) -> bool {
        let is_ahead = matches!(self.next_due, NextDue::Known(at) if at.is_none_or(|at| at > now));
        if has_rewound || !is_ahead {
            self.next_due = NextDue::Unknown;
        }
        matches!(self.next_due, NextDue::Unknown)
    }

    /// Sets the next due time; `None` if there is no such delivery.
    pub fn set_next_due(&mut self, due_at: Option<Timestamp>) {
        self.next_due = NextDue::Known(due_at);
    }

    /// Makes the next due time unknown, so that it is looked up.
    pub fn forget_next_due(&mut self) {
        self.next_due = NextDue::Unknown;
    }

    /// Call when the fetch has covered what was announced.
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
