//! How does a commit in any backend wake the one worker that has to deliver what it queued?
//!
//! Each worker hangs a bell in shared memory: its latch, and the time of the earliest delivery that was queued since it
//! last looked. A commit rings it. No lock, no NOTIFY: a thousand commits a second disturb nobody but the worker.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU32, Ordering};

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, pg_shmem_init};

/// As many databases of one server can have a worker.
pub const MAX_DATABASES: usize = 64;

/// Nothing was queued.
const NEVER: i64 = i64::MAX;

struct Bell {
    /// Oid of the database, 0 while the bell is free.
    database: AtomicU32,
    /// The worker's latch. It lies in the server's array of processes, so setting it is safe even after the worker's end:
    /// at worst the process that has the place now looks once for nothing.
    latch: AtomicPtr<pg_sys::Latch>,
    /// Earliest `due_at` queued since the worker last looked, in Postgres microseconds. A transaction that took long
    /// commits rows behind the point the worker has read to; this leads it back to them.
    earliest_due: AtomicI64,
}

impl Default for Bell {
    fn default() -> Self {
        Self { database: AtomicU32::new(0), latch: AtomicPtr::default(), earliest_due: AtomicI64::new(NEVER) }
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
            let due = QUEUED.swap(NEVER, Ordering::Relaxed);
            if due != NEVER {
                // SAFETY: a plain integer that is set before any transaction can begin.
                ring(unsafe { pg_sys::MyDatabaseId }.to_u32(), due);
            }
        }
        // A prepared transaction commits in another session, perhaps: the worker's poll finds what it queued.
        XACT_EVENT_ABORT | XACT_EVENT_PREPARE => QUEUED.store(NEVER, Ordering::Relaxed),
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

/// Whether some process has hung a bell for this database.
pub fn has_worker(database: pg_sys::Oid) -> bool {
    BELLS.get().0.iter().any(|bell| bell.database.load(Ordering::Acquire) == database.to_u32())
}

/// The bell of this process; taken down when the process ends.
#[derive(Clone, Copy)]
pub struct MyBell(usize);

impl MyBell {
    /// Hangs a bell for the database this process is connected to; `None` where all places are taken.
    pub fn hang() -> Option<Self> {
        // SAFETY: both are set when a process connects, and stay.
        let (database, latch) = unsafe { (pg_sys::MyDatabaseId.to_u32(), pg_sys::MyLatch) };
        let place = BELLS.get().0.iter().position(|bell| {
            bell.database.compare_exchange(0, database, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })?;
        let bell = &BELLS.get().0[place];
        bell.earliest_due.store(NEVER, Ordering::Release);
        bell.latch.store(latch, Ordering::Release);
        // SAFETY: the callback takes the place's number by value and touches atomics only.
        unsafe { pg_sys::before_shmem_exit(Some(take_down), pg_sys::Datum::from(place)) };
        Some(Self(place))
    }

    /// The earliest delivery queued since the last call. Ask before taking a snapshot: what rings later is seen next time.
    pub fn earliest_due(self) -> Option<i64> {
        let due = BELLS.get().0[self.0].earliest_due.swap(NEVER, Ordering::AcqRel);
        (due != NEVER).then_some(due)
    }
}

unsafe extern "C-unwind" fn take_down(_code: i32, place: pg_sys::Datum) {
    let bell = &BELLS.get().0[place.value()];
    bell.latch.store(std::ptr::null_mut(), Ordering::Release);
    bell.database.store(0, Ordering::Release);
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
