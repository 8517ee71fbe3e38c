//! How does a commit in any backend wake the one worker that has to deliver what it queued?
//!
//! The launcher gives each database a place in shared memory. The worker hangs its bell there: its latch, and the time of
//! the earliest delivery that was queued since it last looked. A commit rings it. No lock, no NOTIFY: a thousand commits a
//! second disturb nobody but the worker. Only one process can hang a bell in a place, so a database never has two workers.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, pg_shmem_init};

use super::background_worker;

/// As many databases of one server can have a worker.
pub const MAX_DATABASES: usize = 64;

/// A worker that failed is followed by another after this time at the earliest.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// With each that fails soon after its start the delay doubles, up to this: a server whose log fills with the same error
/// every second helps nobody to find it.
const MAX_RESTART_DELAY: Duration = Duration::from_secs(60);

/// A worker that has lived so long counts as the first to fail.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Nothing was queued.
const NEVER: i64 = i64::MAX;

struct Bell {
    /// Oid of the database, 0 while the place is free. Only the launcher changes it.
    database: AtomicU32,
    /// The worker's latch, null where there is none. It lies in the server's array of processes, so setting it is safe even
    /// after the worker's end: at worst the process that has the place now looks once for nothing.
    latch: AtomicPtr<pg_sys::Latch>,
    /// Earliest `due_at` queued since the worker last looked, in Postgres microseconds. A transaction that took long
    /// commits rows behind the point the worker has read to; this leads it back to them.
    earliest_due: AtomicI64,
    /// When the worker came, in microseconds of the monotonic clock.
    started_at: AtomicI64,
    /// Workers that failed one after the other, each soon after its start. Being told to go is no failure.
    failures: AtomicU32,
    /// When the last of them did, in microseconds of the monotonic clock.
    failed_at: AtomicI64,
}

impl Default for Bell {
    fn default() -> Self {
        Self {
            database: AtomicU32::new(0),
            latch: AtomicPtr::default(),
            earliest_due: AtomicI64::new(NEVER),
            started_at: AtomicI64::new(0),
            failures: AtomicU32::new(0),
            failed_at: AtomicI64::new(0),
        }
    }
}

struct Bells([Bell; MAX_DATABASES]);

impl Default for Bells {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Bell::default()))
    }
}

// SAFETY: atomics only, no pointer to memory of a single process: the latch lies in shared memory.
unsafe impl PGRXSharedMemory for Bells {}

// SAFETY: the name is this library's own.
static BELLS: PgAtomic<Bells> = unsafe { PgAtomic::new(c"webhook_delivery bells") };

/// Earliest `due_at` that the current transaction of this backend has queued.
static QUEUED: AtomicI64 = AtomicI64::new(NEVER);

/// Earliest `due_at` that this backend has prepared since its last commit. Its next commit may be that of COMMIT PREPARED,
/// which is a transaction of its own and queues nothing itself.
static PREPARED: AtomicI64 = AtomicI64::new(NEVER);

/// Asks for the shared memory and hooks into the end of transactions; called while the server loads the library.
pub fn init() {
    pg_shmem_init!(BELLS);
    // SAFETY: the callback lives as long as the library, and the library is never unloaded.
    unsafe { pg_sys::RegisterXactCallback(Some(at_end_of_transaction), std::ptr::null_mut()) };
}

/// Runs after the commit became visible. It must neither fail nor allocate: an error here takes down the whole server.
unsafe extern "C-unwind" fn at_end_of_transaction(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_COMMIT => {
            let due = QUEUED.swap(NEVER, Ordering::Relaxed).min(PREPARED.swap(NEVER, Ordering::Relaxed));
            if due != NEVER {
                // SAFETY: a plain integer that is set before any transaction can begin.
                ring(unsafe { pg_sys::MyDatabaseId }.to_u32(), due);
            }
        }
        // The next commit rings, whatever it commits: a wake-up too many costs the worker one read. Where the session commits
        // something else first, or another session runs COMMIT PREPARED, the worker's poll finds the rows.
        XACT_EVENT_PREPARE => {
            PREPARED.fetch_min(QUEUED.swap(NEVER, Ordering::Relaxed), Ordering::Relaxed);
        }
        // PREPARED stays: a statement may fail between PREPARE TRANSACTION and COMMIT PREPARED.
        XACT_EVENT_ABORT => QUEUED.store(NEVER, Ordering::Relaxed),
        _ => {}
    }
}

fn ring(database: u32, due: i64) {
    for bell in BELLS.get().0.iter().filter(|bell| bell.database.load(Ordering::Acquire) == database) {
        bell.earliest_due.fetch_min(due, Ordering::AcqRel);
        let latch = bell.latch.load(Ordering::Acquire);
        if !latch.is_null() {
            // SAFETY: points into the server's array of processes, which lives as long as the server.
            unsafe { pg_sys::SetLatch(latch) };
        }
    }
}

/// Wakes the worker when this transaction commits; `due_at`, in Postgres microseconds, is the earliest delivery it queued.
pub fn at_commit(due_at: i64) {
    QUEUED.fetch_min(due_at, Ordering::Relaxed);
}

/// The place of a database, as the launcher sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(usize);

impl Place {
    /// The place of each of these databases; those of all others become free, once their workers have gone. As many as there
    /// are places get one. For the launcher alone: there is only one of it.
    pub fn of_databases(databases: &[pg_sys::Oid]) -> Vec<Place> {
        let bells = &BELLS.get().0;
        for bell in bells.iter().filter(|bell| !bell.has_worker()) {
            let database = bell.database.load(Ordering::Relaxed);
            if !databases.iter().any(|wanted| wanted.to_u32() == database) {
                bell.failures.store(0, Ordering::Relaxed);
                bell.database.store(0, Ordering::Release);
            }
        }
        let place_of = |database: u32| bells.iter().position(|bell| bell.database.load(Ordering::Relaxed) == database);
        let reserve = |database: &pg_sys::Oid| {
            place_of(database.to_u32()).or_else(|| {
                let free = place_of(0)?;
                bells[free].database.store(database.to_u32(), Ordering::Release);
                Some(free)
            })
        };
        databases.iter().filter_map(reserve).map(Place).collect()
    }

    /// Whether a worker may be started: there is none, and if the last ones failed, the time to wait is over.
    pub fn is_vacant(self) -> bool {
        let bell = &BELLS.get().0[self.0];
        let rest = match bell.failures.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            failures => (RESTART_DELAY * 2_u32.pow((failures - 1).min(16))).min(MAX_RESTART_DELAY),
        };
        !bell.has_worker() && now() - bell.failed_at.load(Ordering::Relaxed) >= rest.as_micros() as i64
    }

    /// The place of the worker of this database; `None` where there is none.
    pub fn of_worker_in(database: pg_sys::Oid) -> Option<Place> {
        let is_it = |bell: &Bell| bell.database.load(Ordering::Acquire) == database.to_u32() && bell.has_worker();
        BELLS.get().0.iter().position(is_it).map(Place)
    }

    /// Its number, less than `MAX_DATABASES`.
    pub fn index(self) -> usize {
        self.0
    }

    /// What the worker that is started for it gets as its argument.
    pub fn as_argument(self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.0)
    }
}

impl Bell {
    fn has_worker(&self) -> bool {
        !self.latch.load(Ordering::Acquire).is_null()
    }

    /// Keeps for the launcher how the worker ended.
    fn note_end(&self, failed: bool) {
        let now = now();
        let lived = now - self.started_at.load(Ordering::Relaxed);
        let before = if lived >= HEALTHY_AFTER.as_micros() as i64 { 0 } else { self.failures.load(Ordering::Relaxed) };
        self.failures.store(if failed { before.saturating_add(1) } else { 0 }, Ordering::Relaxed);
        self.failed_at.store(now, Ordering::Relaxed);
    }
}

/// Microseconds of the monotonic clock, which all processes of a machine share. By the time of day no worker would be started
/// after the clock was set back, until it had caught up.
fn now() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to `now`. Every Linux has this clock, so it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// The bell of this process; taken down when the process ends.
#[derive(Clone, Copy)]
pub struct ClaimedSlot(usize);

impl ClaimedSlot {
    /// Hangs the bell in the place that the launcher has given, before anything that can fail: it also keeps how the process
    /// ended. `None` where another worker has the place.
    pub fn hang(argument: pg_sys::Datum) -> Option<Self> {
        let place = argument.value();
        let bell = BELLS.get().0.get(place)?;
        // SAFETY: set before the process calls anything of ours.
        let latch = unsafe { pg_sys::MyLatch };
        bell.latch.compare_exchange(std::ptr::null_mut(), latch, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        bell.earliest_due.store(NEVER, Ordering::Release);
        bell.started_at.store(now(), Ordering::Relaxed);
        // SAFETY: the callback takes the place's number by value and touches atomics only.
        unsafe { pg_sys::before_shmem_exit(Some(take_down), pg_sys::Datum::from(place)) };
        Some(Self(place))
    }

    pub fn place(self) -> Place {
        Place(self.0)
    }

    /// The database to work in.
    pub fn database(self) -> pg_sys::Oid {
        BELLS.get().0[self.0].database.load(Ordering::Acquire).into()
    }

    /// The earliest delivery queued since the last call. Ask before taking a snapshot: what rings later is seen next time.
    pub fn earliest_due(self) -> Option<i64> {
        let due = BELLS.get().0[self.0].earliest_due.swap(NEVER, Ordering::AcqRel);
        (due != NEVER).then_some(due)
    }
}

unsafe extern "C-unwind" fn take_down(code: i32, place: pg_sys::Datum) {
    let bell = &BELLS.get().0[place.value()];
    bell.note_end(code != 0 && !background_worker::was_told_to_go());
    bell.latch.store(std::ptr::null_mut(), Ordering::Release);
}

#[pg_schema]
mod webhook_delivery {
    use pgrx::datum::TimestampWithTimeZone;
    use pgrx::prelude::*;

    /// Wakes the worker when this transaction commits; `due_at` is the earliest delivery it queued.
    #[pg_extern(volatile, strict)]
    fn wake(due_at: TimestampWithTimeZone) {
        super::at_commit(due_at.into());
    }
}
