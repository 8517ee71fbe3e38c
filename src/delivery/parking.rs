//! Parking: deliveries that wait for longer than a minute move to a partition of their own.
//!
//! Most deliveries are made within milliseconds, and their rows have one index entry. Millions of others may wait for an endpoint
//! that does not answer, and the history has to find them: in `queue_parked` they have indexes for it, and are counted for
//! `webhook_delivery.status` once a minute. Both are done in small steps that take a tenth of the worker's time at most.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::spi::SpiResult;
use uuid::Uuid;

use super::parking_statements::ParkingStatements;
use crate::timestamp::Timestamp;

/// A delivery is parked when it has been due for this time, or will not be due for this time.
const PARK_AFTER: Duration = Duration::from_secs(60);

/// Maximum number of deliveries that one step parks, of those that are due and of the others each.
const MAX_PARKED: i32 = 200;

/// Number of blocks of the table that one step counts.
const COUNTED_AT_ONCE: i64 = 400;

/// Maximum number of blocks of a table that each query counts itself; a larger one is counted by the worker.
const FEW: i64 = COUNTED_AT_ONCE;

/// How soon to look again when nothing is left to park.
const PARK_EVERY: Duration = Duration::from_secs(5);

/// How soon to look for overdue deliveries from the start again.
const RESTART_EVERY: Duration = Duration::from_secs(15);

/// How soon to count again.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// For each part of time that a step has taken, this many parts belong to other work before the next one.
const OTHER_WORK: u32 = 9;

/// The same when there was nothing to park, and before overdue deliveries are looked for from the start again: with an old snapshot open,
/// the look walks over dead rows.
const OTHER_WORK_WITHOUT_ANY: u32 = 99;

pub struct Parking {
    next_step: Instant,
    /// The step then continues what the last one has not finished.
    is_unfinished: bool,
    /// Deliveries that were due before this were parked, or could not be: the next step begins there.
    overdue_from: Timestamp,
    /// Of the deliveries that will not be due for a while, those due before this are parked; `None` to begin with the first of them.
    later_from: Option<Timestamp>,
    /// When it begins at the start again, because of deliveries that were locked or committed late.
    next_restart: Instant,
    count: Count,
}

/// The counting of the parked deliveries.
enum Count {
    BeginsAt(Instant),
    Running { next_block: i64, end: i64, counted: HashMap<Group, Counted> },
}

/// Which deliveries are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Group {
    pub endpoint_id: Uuid,
    pub auction_id: Uuid,
    pub is_test: bool,
}

impl Group {
    /// Of no endpoint.
    const MARKER: Self = Self { endpoint_id: Uuid::nil(), auction_id: Uuid::nil(), is_test: false };
}

/// How many there are of a group.
#[derive(Clone, Copy, Default)]
pub struct Counted {
    pub deliveries: i64,
    pub due: i64,
    pub oldest_due_at: Option<Timestamp>,
    pub next_attempt_at: Option<Timestamp>,
}

impl Counted {
    fn add(&mut self, other: &Self) {
        let earlier = |one: Option<Timestamp>, another| one.into_iter().chain(another).min();
        self.deliveries += other.deliveries;
        self.due += other.due;
        self.oldest_due_at = earlier(self.oldest_due_at, other.oldest_due_at);
        self.next_attempt_at = earlier(self.next_attempt_at, other.next_attempt_at);
    }
}

/// The due time of the last delivery of each kind that a step has parked, if there may be more of the kind.
pub struct Left {
    pub overdue: Option<Timestamp>,
    pub later: Option<Timestamp>,
}

/// What a step has done.
pub struct Progress {
    /// Where the next step goes on with each kind, if it may have more to park.
    left: Left,
    /// Overdue deliveries that were due before this are looked at, unless some are left.
    overdue_until: Timestamp,
    /// It began at the start.
    has_restarted: bool,
    count: CountProgress,
}

enum CountProgress {
    /// It was not time for it.
    None,
    /// The table has this number of blocks.
    Began(i64),
    /// The table has grown to this number of blocks.
    Extended(i64),
    /// The next blocks hold these.
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

    /// How long until the next step, if it continues the last one. Otherwise it waits until the worker wakes up.
    pub fn time_to_due(&self) -> Option<Duration> {
        self.is_unfinished.then(|| self.next_step.saturating_duration_since(Instant::now()))
    }

    /// Takes no step now, because a session keeps the worker from parking.
    pub fn postpone(&mut self) {
        self.next_step = Instant::now() + PARK_EVERY;
    }

    /// Takes a step, inside a transaction. Nothing has happened until `conclude`.
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
                if blocks > FEW {
                    CountProgress::Began(blocks)
                } else {
                    if has_counts {
                        statements.publish_counts(&HashMap::new())?;
                    }
                    CountProgress::Ended
                }
            }
            Count::Running { next_block, end, .. } if next_block < end => {
                CountProgress::Read(statements.count_parked(*next_block, next_block + COUNTED_AT_ONCE)?)
            }
            Count::Running { end, counted, .. } => {
                let (blocks, _) = statements.parked_size()?;
                if blocks > *end {
                    // What was parked meanwhile lies behind the end.
                    return Ok(Progress { count: CountProgress::Extended(blocks), ..parking });
                }
                let mut counts = counted.clone();
                // Says that there are counts, also to a tenant who has no delivery among them.
                counts.insert(Group::MARKER, Counted::default());
                statements.publish_counts(&counts)?;
                CountProgress::Ended
            }
        };
        Ok(Progress { count, ..parking })
    }

    /// The transaction of the step is committed.
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
                *next_block += COUNTED_AT_ONCE;
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
