//! Parking: deliveries that wait longer than a minute move to a partition of their own.
//!
//! Most deliveries are made within milliseconds, and their rows have one index entry. Millions of
//! others may wait for an endpoint that does not answer, and the history must find them:
//! `queue_parked` has indexes for this, and its rows are counted for `webhook_delivery.status` once
//! a minute. Parking and counting run in small steps that take at most a tenth of the worker's
//! time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::spi::SpiResult;

use super::parking_statements::{Counted, Group, Left, ParkingStatements};
use crate::timestamp::Timestamp;

/// A delivery is parked when it has been due for this time, or will not be due for this time.
const PARK_AFTER: Duration = Duration::from_secs(60);

/// Maximum number of overdue deliveries, and of deliveries that will be due later, that one step
/// parks.
const MAX_PARKED: i32 = 200;

/// Number of blocks of the table that one step counts.
const BLOCKS_PER_STEP: i64 = 400;

/// Maximum number of blocks of a table that each query counts itself; a larger one is counted by
/// the worker.
const MAX_UNCOUNTED_BLOCKS: i64 = BLOCKS_PER_STEP;

/// How soon to look again if there is nothing left to park.
const PARK_EVERY: Duration = Duration::from_secs(5);

/// How soon to look again for overdue deliveries from the start of the queue.
const RESTART_EVERY: Duration = Duration::from_secs(15);

/// How soon to count again.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// After a step, other work gets this many times the duration of the step before the next one.
const OTHER_WORK: u32 = 9;

/// The same if there was nothing to park, and before the next look from the start of the queue:
/// with an old snapshot open, this look walks over dead rows.
const OTHER_WORK_WITHOUT_ANY: u32 = 99;

pub struct Parking {
    next_step: Instant,
    /// The next step continues the last one, which has not parked or counted everything.
    is_unfinished: bool,
    /// Deliveries that were due before this time were parked, or could not be. The next step begins
    /// there.
    overdue_from: Timestamp,
    /// All deliveries that will be due later, but before this time, are parked; `None` to begin
    /// with the first of them.
    later_from: Option<Timestamp>,
    /// When a step begins at the start of the queue again, because of deliveries that were locked
    /// or committed late.
    next_restart: Instant,
    count: Count,
}

/// The state of counting the parked deliveries.
enum Count {
    BeginsAt(Instant),
    Running { next_block: i64, end: i64, counted: HashMap<Group, Counted> },
}

/// The result of a step.
pub struct Progress {
    /// Where the next step continues with each kind, if there may be more to park.
    left: Left,
    /// All overdue deliveries that were due before this time have been read, unless `left` has
    /// some.
    overdue_until: Timestamp,
    /// The step began at the start of the queue.
    has_restarted: bool,
    count: CountProgress,
}

enum CountProgress {
    /// It was not yet time to count.
    None,
    /// The table has this number of blocks.
    Began(i64),
    /// The table has grown to this number of blocks.
    Extended(i64),
    /// The next blocks have these deliveries.
    Read(Vec<(Group, Counted)>),
    Ended,
}

impl Parking {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            next_step: now,
            is_unfinished: false,
            overdue_from: Timestamp::MIN,
            later_from: None,
            next_restart: now,
            count: Count::BeginsAt(now),
        }
    }

    pub fn is_due(&self) -> bool {
        self.next_step <= Instant::now()
    }

    /// How long until the next step, if it continues the last one. Otherwise the step waits until
    /// the worker wakes up.
    pub fn time_to_due(&self) -> Option<Duration> {
        self.is_unfinished.then(|| self.next_step.saturating_duration_since(Instant::now()))
    }

    /// Skips a step, because a session has stopped the worker from parking.
    pub fn postpone(&mut self) {
        self.next_step = Instant::now() + PARK_EVERY;
    }

    /// Runs a step, inside a transaction. It takes effect with `conclude`.
    pub fn step(&self, statements: &ParkingStatements, now: Timestamp) -> SpiResult<Progress> {
        let has_restarted = self.next_restart <= Instant::now();
        let from = if has_restarted { Timestamp::MIN } else { self.overdue_from };
        let overdue_until = now - PARK_AFTER;
        let later_from = self.later_from.unwrap_or(now + PARK_AFTER);
        let left = statements.park(from, overdue_until, later_from, MAX_PARKED)?;
        let parking = Progress { left, overdue_until, has_restarted, count: CountProgress::None };
        let count = match &self.count {
            Count::BeginsAt(moment) if *moment > Instant::now() => CountProgress::None,
            Count::BeginsAt(_) => {
                let (blocks, has_counts) = statements.parked_size()?;
                if blocks > MAX_UNCOUNTED_BLOCKS {
                    CountProgress::Began(blocks)
                } else {
                    if has_counts {
                        statements.publish_counts(&HashMap::new())?;
                    }
                    CountProgress::Ended
                }
            }
            Count::Running { next_block, end, .. } if next_block < end => {
                CountProgress::Read(statements.count_parked(*next_block, next_block + BLOCKS_PER_STEP)?)
            }
            Count::Running { end, counted, .. } => {
                let (blocks, _) = statements.parked_size()?;
                if blocks > *end {
                    // Deliveries that were parked in the meantime are behind the end.
                    return Ok(Progress { count: CountProgress::Extended(blocks), ..parking });
                }
                let mut counts = counted.clone();
                // Shows that there are counts, even to a tenant without a parked delivery.
                counts.insert(Group::MARKER, Counted::default());
                statements.publish_counts(&counts)?;
                CountProgress::Ended
            }
        };
        Ok(Progress { count, ..parking })
    }

    /// Call when the transaction of the step is committed.
    pub fn conclude(&mut self, progress: Progress, took: Duration) {
        let Progress { left, overdue_until, has_restarted, count } = progress;
        self.overdue_from = left.overdue.unwrap_or(overdue_until);
        self.later_from = left.later;
        if has_restarted {
            self.next_restart = Instant::now() + RESTART_EVERY.max(took * OTHER_WORK_WITHOUT_ANY);
        }
        match (count, &mut self.count) {
            (CountProgress::None, _) => {}
            (CountProgress::Began(end), state) => {
                *state = Count::Running { next_block: 0, end, counted: HashMap::new() };
            }
            (CountProgress::Extended(blocks), Count::Running { end, .. }) => *end = blocks,
            (CountProgress::Read(found), Count::Running { next_block, counted, .. }) => {
                *next_block += BLOCKS_PER_STEP;
                for (group, number) in found {
                    counted.entry(group).or_default().add(&number);
                }
            }
            (CountProgress::Ended | CountProgress::Extended(_) | CountProgress::Read(_), state) => {
                *state = Count::BeginsAt(Instant::now() + COUNT_EVERY);
            }
        }
        let is_left = left.overdue.is_some() || left.later.is_some();
        self.is_unfinished = is_left || matches!(self.count, Count::Running { .. });
        let pause = if self.is_unfinished { took * OTHER_WORK } else { PARK_EVERY.max(took * OTHER_WORK_WITHOUT_ANY) };
        self.next_step = Instant::now() + pause;
    }
}
