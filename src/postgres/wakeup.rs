//! Worker slots in shared memory: a commit in any backend wakes the worker that delivers what it
//! queued.
//!
//! The launcher gives each database a slot. The worker claims it: it stores its latch there, and
//! commits store the time of the earliest delivery that they queued. There is no lock and no
//! NOTIFY, so a thousand commits a second disturb only the worker. Only one process can claim a
//! slot, so a database never has two workers.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, pg_shmem_init};
use webhook_sender::backoff;

use super::background_worker;
use crate::timestamp::{Timestamp, micros_of};

/// Maximum number of databases of one server that can have a worker.
pub const MAX_DATABASES: usize = 64;

/// Minimum time between the failure of a worker and the start of the next.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// The delay doubles each time that a worker fails soon after its start, up to this maximum, so
/// that the log does not fill with the same error every second.
const MAX_RESTART_DELAY: Duration = Duration::from_secs(60);

/// If a worker fails after running for this time, its failure counts as the first.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// What a commit wakes the worker for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wakeup {
    /// It has queued deliveries. The earliest is due at this time.
    DueAt(Timestamp),
    /// It has changed what may be sent: everything that is due must be reread.
    Rescan,
}

/// As numbers: of several wakeups the lowest covers all others.
impl Wakeup {
    const RESCAN: i64 = i64::MIN;
    const NONE: i64 = i64::MAX;

    fn to_number(self) -> i64 {
        match self {
            Self::DueAt(due_at) => due_at.micros().clamp(Self::RESCAN + 1, Self::NONE - 1),
            Self::Rescan => Self::RESCAN,
        }
    }

    fn from_number(number: i64) -> Option<Self> {
        match number {
            Self::NONE => None,
            Self::RESCAN => Some(Self::Rescan),
            due_at => Some(Self::DueAt(Timestamp::from_micros(due_at))),
        }
    }
}

struct WorkerSlot {
    /// Oid of the database, 0 while the slot is free. Only the launcher changes it.
    database: AtomicU32,
    /// The worker's latch; null if there is no worker. It is in the server's array of processes, so
    /// setting it is safe even after the worker's end: at worst another process wakes up once for
    /// nothing.
    latch: AtomicPtr<pg_sys::Latch>,
    /// The lowest [`Wakeup`] since the worker last took it. A long transaction commits rows behind
    /// the position that the worker has read to; this value leads the worker back to them.
    wakeup: AtomicI64,
    /// When the worker started, in microseconds of the monotonic clock.
    started_at: AtomicI64,
    /// Number of workers in a row that failed soon after their start. A requested shutdown is not a
    /// failure.
    failures: AtomicU32,
    /// When the last of them failed, in microseconds of the monotonic clock.
    failed_at: AtomicI64,
    /// The worker moves no rows of the queue between partitions until this time, in microseconds of
    /// the monotonic clock.
    parking_held_until: AtomicI64,
}

impl Default for WorkerSlot {
    fn default() -> Self {
        Self {
            database: AtomicU32::new(0),
            latch: AtomicPtr::default(),
            wakeup: AtomicI64::new(Wakeup::NONE),
            started_at: AtomicI64::new(0),
            failures: AtomicU32::new(0),
            failed_at: AtomicI64::new(0),
            parking_held_until: AtomicI64::new(0),
        }
    }
}

struct WorkerSlots([WorkerSlot; MAX_DATABASES]);

impl Default for WorkerSlots {
    fn default() -> Self {
        Self(std::array::from_fn(|_| WorkerSlot::default()))
    }
}

// SAFETY: atomics only, no pointer to memory of a single process: the latch is in shared memory.
unsafe impl PGRXSharedMemory for WorkerSlots {}

// SAFETY: the name is this library's own.
static SLOTS: PgAtomic<WorkerSlots> = unsafe { PgAtomic::new(c"webhook_delivery worker slots") };

/// The lowest [`Wakeup`] of the current transaction of this backend.
static QUEUED: AtomicI64 = AtomicI64::new(Wakeup::NONE);

/// The lowest [`Wakeup`] of the transactions that this backend has prepared since its last commit.
/// Its next commit may be COMMIT PREPARED, which is a transaction of its own and queues nothing
/// itself.
static PREPARED: AtomicI64 = AtomicI64::new(Wakeup::NONE);

/// Asks for the shared memory and hooks into the end of transactions; called while the server loads
/// the library.
pub fn init() {
    pg_shmem_init!(SLOTS);
    // SAFETY: the callback lives as long as the library, and the library is never unloaded.
    unsafe { pg_sys::RegisterXactCallback(Some(at_end_of_transaction), std::ptr::null_mut()) };
}

/// Runs after the commit became visible. It must neither fail nor allocate: an error here takes
/// down the whole server.
unsafe extern "C-unwind" fn at_end_of_transaction(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_COMMIT => {
            let wakeup =
                QUEUED.swap(Wakeup::NONE, Ordering::Relaxed).min(PREPARED.swap(Wakeup::NONE, Ordering::Relaxed));
            if wakeup != Wakeup::NONE {
                // SAFETY: a plain integer that is set before any transaction can begin.
                notify(unsafe { pg_sys::MyDatabaseId }.to_u32(), wakeup);
            }
        }
        // The next commit of this session wakes the worker, even if it is not COMMIT PREPARED: an
        // unnecessary wakeup costs the worker one read. If another commit comes first, or another
        // session runs COMMIT PREPARED, the worker's poll finds the rows.
        XACT_EVENT_PREPARE => {
            PREPARED.fetch_min(QUEUED.swap(Wakeup::NONE, Ordering::Relaxed), Ordering::Relaxed);
        }
        // PREPARED stays: a statement may fail between PREPARE TRANSACTION and COMMIT PREPARED.
        XACT_EVENT_ABORT => QUEUED.store(Wakeup::NONE, Ordering::Relaxed),
        _ => {}
    }
}

fn notify(database: u32, wakeup: i64) {
    for slot in SLOTS.get().0.iter().filter(|slot| slot.database.load(Ordering::Acquire) == database) {
        slot.wakeup.fetch_min(wakeup, Ordering::AcqRel);
        let latch = slot.latch.load(Ordering::Acquire);
        if !latch.is_null() {
            // SAFETY: points into the server's array of processes, which lives as long as the
            // server.
            unsafe { pg_sys::SetLatch(latch) };
        }
    }
}

/// Wakes the worker when this transaction commits.
pub fn at_commit(wakeup: Wakeup) {
    QUEUED.fetch_min(wakeup.to_number(), Ordering::Relaxed);
}

/// Stops the worker of this database from parking for this time, because a session changes rows
/// that the worker would move.
pub fn hold_parking(time: Duration) {
    // SAFETY: a plain integer that is set before any statement can run.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    for slot in SLOTS.get().0.iter().filter(|slot| slot.database.load(Ordering::Acquire) == database) {
        slot.parking_held_until.fetch_max(now() + micros_of(time), Ordering::AcqRel);
    }
}

/// The slot of a database, as the launcher sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotIndex(usize);

impl SlotIndex {
    /// The slots of these databases, up to `MAX_DATABASES`. Slots of other databases become free
    /// when their workers have ended. Only the launcher calls it, and there is one launcher.
    pub fn of_databases(databases: &[pg_sys::Oid]) -> Vec<SlotIndex> {
        let slots = &SLOTS.get().0;
        for slot in slots.iter().filter(|slot| !slot.has_worker()) {
            let database = slot.database.load(Ordering::Relaxed);
            if !databases.iter().any(|wanted| wanted.to_u32() == database) {
                slot.failures.store(0, Ordering::Relaxed);
                slot.database.store(0, Ordering::Release);
            }
        }
        let slot_of = |database: u32| slots.iter().position(|slot| slot.database.load(Ordering::Relaxed) == database);
        let reserve = |database: &pg_sys::Oid| {
            slot_of(database.to_u32()).or_else(|| {
                let free = slot_of(0)?;
                slots[free].database.store(database.to_u32(), Ordering::Release);
                Some(free)
            })
        };
        databases.iter().filter_map(reserve).map(SlotIndex).collect()
    }

    /// Whether a worker may be started: there is none, and after failures the delay is over.
    pub fn is_vacant(self) -> bool {
        let slot = &SLOTS.get().0[self.0];
        let pause = backoff(RESTART_DELAY, MAX_RESTART_DELAY, slot.failures.load(Ordering::Relaxed));
        !slot.has_worker() && now() - slot.failed_at.load(Ordering::Relaxed) >= micros_of(pause)
    }

    /// The slot of the worker of this database; `None` if there is none.
    pub fn of_worker_in(database: pg_sys::Oid) -> Option<SlotIndex> {
        let is_it = |slot: &WorkerSlot| slot.database.load(Ordering::Acquire) == database.to_u32() && slot.has_worker();
        SLOTS.get().0.iter().position(is_it).map(SlotIndex)
    }

    /// The number of the slot, less than `MAX_DATABASES`.
    pub fn index(self) -> usize {
        self.0
    }

    /// The argument of the worker that is started for this slot.
    pub fn as_argument(self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.0)
    }
}

impl WorkerSlot {
    fn has_worker(&self) -> bool {
        !self.latch.load(Ordering::Acquire).is_null()
    }

    /// Stores how the worker ended, for the launcher.
    fn note_end(&self, failed: bool) {
        let now = now();
        let lived = now - self.started_at.load(Ordering::Relaxed);
        let before = if lived >= micros_of(HEALTHY_AFTER) { 0 } else { self.failures.load(Ordering::Relaxed) };
        self.failures.store(if failed { before.saturating_add(1) } else { 0 }, Ordering::Relaxed);
        self.failed_at.store(now, Ordering::Relaxed);
    }
}

/// Microseconds of the monotonic clock, which all processes of a machine share. With the time of
/// day no worker would start after the clock was set back, until the clock reached the old time
/// again.
fn now() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to `now`. Every Linux has this clock, so it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// The slot that this process has claimed; released when the process ends.
#[derive(Clone, Copy)]
pub struct ClaimedSlot(usize);

impl ClaimedSlot {
    /// Claims the slot that the launcher has assigned. Call it before anything that can fail: the
    /// slot also stores how the process ended. `None` if another worker has claimed it.
    pub fn claim(argument: pg_sys::Datum) -> Option<Self> {
        let index = argument.value();
        let slot = SLOTS.get().0.get(index)?;
        // SAFETY: set before the process calls any of our code.
        let latch = unsafe { pg_sys::MyLatch };
        slot.latch.compare_exchange(std::ptr::null_mut(), latch, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        slot.wakeup.store(Wakeup::NONE, Ordering::Release);
        slot.started_at.store(now(), Ordering::Relaxed);
        // SAFETY: the callback takes the index's number by value and touches atomics only.
        unsafe { pg_sys::before_shmem_exit(Some(release), pg_sys::Datum::from(index)) };
        Some(Self(index))
    }

    /// Whether a session has stopped the worker from parking.
    pub fn is_parking_held(self) -> bool {
        SLOTS.get().0[self.0].parking_held_until.load(Ordering::Acquire) > now()
    }

    pub fn slot(self) -> SlotIndex {
        SlotIndex(self.0)
    }

    /// The database of the slot.
    pub fn database(self) -> pg_sys::Oid {
        SLOTS.get().0[self.0].database.load(Ordering::Acquire).into()
    }

    /// The wakeup of all commits since the last call. Call it before taking a snapshot: rows that
    /// are queued later cause another wakeup.
    pub fn take_wakeup(self) -> Option<Wakeup> {
        Wakeup::from_number(SLOTS.get().0[self.0].wakeup.swap(Wakeup::NONE, Ordering::AcqRel))
    }
}

unsafe extern "C-unwind" fn release(code: i32, index: pg_sys::Datum) {
    let slot = &SLOTS.get().0[index.value()];
    slot.note_end(code != 0 && !background_worker::shutdown_requested());
    slot.latch.store(std::ptr::null_mut(), Ordering::Release);
}

/// Wakes the worker when this transaction commits; `due_at` is the earliest delivery it queued.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn wake(due_at: TimestampWithTimeZone) {
    at_commit(Wakeup::DueAt(due_at.into()));
}

/// Makes the worker reread everything that is due when this transaction commits, because the
/// transaction has changed what may be sent.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn wake_to_rescan() {
    at_commit(Wakeup::Rescan);
}
