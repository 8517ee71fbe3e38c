//! Worker statistics: what a worker publishes about itself, for SQL.
//!
//! They are in shared memory and not in a table, so that a worker that cannot write can still
//! report this.

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgLwLock, pg_shmem_init};
use uuid::Uuid;

use super::wakeup::{ClaimedSlot, MAX_DATABASES, SlotIndex};
use crate::timestamp::Timestamp;

/// Maximum number of bytes of a text; a longer one is cut.
const TEXT_BYTES: usize = 1000;

/// A text in shared memory.
#[derive(Clone, Copy)]
struct Text {
    length: usize,
    bytes: [u8; TEXT_BYTES],
}

impl Default for Text {
    fn default() -> Self {
        Self { length: 0, bytes: [0; TEXT_BYTES] }
    }
}

impl Text {
    fn set(&mut self, text: &str) {
        self.length = text.floor_char_boundary(TEXT_BYTES);
        self.bytes[..self.length].copy_from_slice(&text.as_bytes()[..self.length]);
    }

    /// `None` if it is empty.
    fn get(&self) -> Option<String> {
        (self.length > 0).then(|| String::from_utf8_lossy(&self.bytes[..self.length]).into_owned())
    }
}

/// Counts of recorded outcomes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Deliveries that have succeeded.
    pub delivered: u64,
    /// Deliveries that have failed after their last attempt.
    pub failed: u64,
    /// Requests that have failed, including those of deliveries that succeeded later.
    pub failed_attempts: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.failed_attempts += other.failed_attempts;
    }
}

/// Attempts that cannot be recorded, because a transaction has locked their rows of the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Locked {
    /// The number of attempts, of all auctions.
    pub attempts: usize,
    /// The auction with the most of these attempts.
    pub auction_id: Uuid,
    /// A transaction that has locked one of the rows.
    pub by: i64,
}

/// The published state of a worker.
#[derive(Clone, Copy, Default)]
struct Entry {
    pid: i32,
    requests_in_flight: i32,
    deliveries_in_memory: i32,
    attempts_to_record: i32,
    locked_attempts: i32,
    locked_auction: [u8; 16],
    locked_by: i64,
    started_at: Timestamp,
    totals: Totals,
    last_minute: Totals,
    last_failure: Text,
    last_failure_at: Timestamp,
    idle_reason: Text,
    problem: Text,
    problem_since: Timestamp,
}

#[derive(Clone, Copy)]
struct Entries([Entry; MAX_DATABASES]);

impl Default for Entries {
    fn default() -> Self {
        Self([Entry::default(); MAX_DATABASES])
    }
}

// SAFETY: plain numbers and bytes, no pointers.
unsafe impl PGRXSharedMemory for Entries {}

// SAFETY: the name is this library's own.
static ENTRIES: PgLwLock<Entries> = unsafe { PgLwLock::new(c"webhook_delivery reports") };

/// Asks for the shared memory; called while the server loads the library.
pub fn init() {
    pg_shmem_init!(ENTRIES);
}

/// The values that a worker publishes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct WorkerStats {
    pub requests_in_flight: usize,
    /// Taken from the queue, not started yet.
    pub deliveries_in_memory: usize,
    pub attempts_to_record: usize,
    /// The attempts whose rows a transaction has locked.
    pub locked: Option<Locked>,
    /// When the worker started.
    pub started_at: Timestamp,
    /// Counts since then, and of the last minute.
    pub totals: Totals,
    pub last_minute: Totals,
    /// Time and error of the last failed request.
    pub last_failure: Option<(Timestamp, String)>,
    /// Why nothing is sent.
    pub idle_reason: Option<&'static str>,
    /// The failing tasks, and since when the first of them fails.
    pub problem: Option<(Timestamp, String)>,
}

impl WorkerStats {
    pub fn publish(&self, slot: ClaimedSlot) {
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let mut entries = ENTRIES.exclusive();
        let entry = &mut entries.0[slot.slot().index()];
        // SAFETY: set when the process started.
        entry.pid = unsafe { pg_sys::MyProcPid };
        entry.requests_in_flight = count(self.requests_in_flight);
        entry.deliveries_in_memory = count(self.deliveries_in_memory);
        entry.attempts_to_record = count(self.attempts_to_record);
        entry.locked_attempts = self.locked.map_or(0, |locked| count(locked.attempts));
        entry.locked_auction = self.locked.map_or([0; 16], |locked| locked.auction_id.into_bytes());
        entry.locked_by = self.locked.map_or(0, |locked| locked.by);
        (entry.started_at, entry.totals, entry.last_minute) = (self.started_at, self.totals, self.last_minute);
        let (at, failure) =
            self.last_failure.as_ref().map_or((Timestamp::default(), ""), |(at, failure)| (*at, failure));
        entry.last_failure.set(failure);
        entry.last_failure_at = at;
        entry.idle_reason.set(self.idle_reason.unwrap_or_default());
        let (since, problem) =
            self.problem.as_ref().map_or((Timestamp::default(), ""), |(since, problem)| (*since, problem));
        entry.problem.set(problem);
        entry.problem_since = since;
    }
}

/// The state of this database's worker; `None` if there is no worker.
fn of_this_database() -> Option<Entry> {
    // SAFETY: set when the session began.
    let slot = SlotIndex::of_worker_in(unsafe { pg_sys::MyDatabaseId })?;
    Some(ENTRIES.share().0[slot.index()])
}

/// The published state of this database's worker; no row if there is none. New columns are only
/// added at the end, so that the declaration in an older version of the extension's objects stays
/// valid until they are updated.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
#[allow(clippy::type_complexity)]
fn worker_report() -> TableIterator<
    'static,
    (
        name!(pid, i32),
        name!(requests_in_flight, i32),
        name!(deliveries_in_memory, i32),
        name!(attempts_to_record, i32),
        name!(idle_reason, Option<String>),
        name!(problem, Option<String>),
        name!(problem_since, Option<TimestampWithTimeZone>),
        name!(started_at, TimestampWithTimeZone),
        name!(delivered, i64),
        name!(failed, i64),
        name!(failed_attempts, i64),
        name!(delivered_in_last_minute, i64),
        name!(failed_attempts_in_last_minute, i64),
        name!(last_failure, Option<String>),
        name!(last_failure_at, Option<TimestampWithTimeZone>),
        name!(locked_attempts, i32),
        name!(locked_auction_id, Option<pgrx::Uuid>),
        name!(locked_by, Option<i64>),
    ),
> {
    TableIterator::new(of_this_database().map(|entry| {
        let problem = entry.problem.get();
        let since = problem.is_some().then(|| entry.problem_since.into());
        let last_failure = entry.last_failure.get();
        let failed_at = last_failure.is_some().then(|| entry.last_failure_at.into());
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        (
            entry.pid,
            entry.requests_in_flight,
            entry.deliveries_in_memory,
            entry.attempts_to_record,
            entry.idle_reason.get(),
            problem,
            since,
            entry.started_at.into(),
            count(entry.totals.delivered),
            count(entry.totals.failed),
            count(entry.totals.failed_attempts),
            count(entry.last_minute.delivered),
            count(entry.last_minute.failed_attempts),
            last_failure,
            failed_at,
            entry.locked_attempts,
            (entry.locked_attempts > 0).then(|| pgrx::Uuid::from_bytes(entry.locked_auction)),
            (entry.locked_attempts > 0).then_some(entry.locked_by),
        )
    }))
}
