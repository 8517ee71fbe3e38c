//! Time limits: work of the server that is ended after some milliseconds of processor time.
//!
//! Not of elapsed time: a process that waits for a processor has done nothing wrong.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgrx::prelude::*;

use super::subtransaction::{IS_CANCELLED_BY_US, SqlError, in_rolled_back_subtransaction};
use super::timeouts;

// Not in pgrx: utils/timeout.h.
unsafe extern "C-unwind" {
    fn RegisterTimeout(id: u32, handler: unsafe extern "C-unwind" fn()) -> u32;
    fn enable_timeout_every(id: u32, first: pg_sys::TimestampTz, milliseconds: i32);
    fn disable_timeout(id: u32, keep_indicator: bool);
}

/// How often the timer fires, to compare the processor time with the limit.
const TICK_MS: i32 = 5;

/// Any number from `USER_TIMEOUT` on makes the server choose a free timer.
const ANY_FREE_TIMER: u32 = 1000;

thread_local! {
    /// This process's timer for time limits.
    static TIMER: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The processor time of this thread, in nanoseconds, at which the limit is reached.
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// Called by the server's handler of SIGALRM. Requests what a user's cancellation requests, because
/// the server's functions check for nothing else.
unsafe extern "C-unwind" fn expire() {
    // SAFETY: flags of this process that signal handlers may write.
    unsafe {
        if pg_sys::QueryCancelPending == 0 && processor_time().as_nanos() >= LIMIT.load(Ordering::Relaxed).into() {
            IS_CANCELLED_BY_US.store(true, Ordering::Relaxed);
            pg_sys::QueryCancelPending = 1;
            pg_sys::InterruptPending = 1;
        }
    }
}

/// The processor time that this thread has used.
pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the value, and may be called in a signal handler.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The armed timer. Disarms it at the end, even if `work` ends with an error.
struct Armed(u32);

impl Armed {
    fn for_at_most(limit: Duration) -> Self {
        // SAFETY: the handler lives as long as the library, and the timer is ours.
        unsafe {
            let timer = TIMER.get().unwrap_or_else(|| RegisterTimeout(ANY_FREE_TIMER, expire));
            TIMER.set(Some(timer));
            let limit = (processor_time() + limit).as_nanos();
            LIMIT.store(u64::try_from(limit).unwrap_or(u64::MAX), Ordering::Relaxed);
            let first = pg_sys::GetCurrentTimestamp() + i64::from(TICK_MS) * 1000;
            enable_timeout_every(timer, first, TICK_MS);
            Self(timer)
        }
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // SAFETY: our timer, and a flag of this process. If the work ended right when its time was
        // over, the request is still pending and would cancel what comes next.
        unsafe {
            disable_timeout(self.0, false);
            if IS_CANCELLED_BY_US.load(Ordering::Relaxed) {
                pg_sys::QueryCancelPending = 0;
            }
        }
    }
}

/// Runs `work` in a subtransaction that is rolled back, for at most this processor time: then it
/// fails with `query_canceled` at the server's next check for interrupts, so the work must not
/// contain anything that takes long between two checks. The user can still cancel; only a
/// cancellation between the end of the time and that check is lost.
pub fn within<T>(limit: Duration, work: impl FnOnce() -> T) -> Result<T, SqlError> {
    let of_the_user = timeouts::active();
    IS_CANCELLED_BY_US.store(false, Ordering::Relaxed);
    let outcome = in_rolled_back_subtransaction(|| {
        // Not around the subtransaction: nothing would catch the error if the time were over at
        // its end.
        let _armed = Armed::for_at_most(limit);
        work()
    });
    if IS_CANCELLED_BY_US.swap(false, Ordering::Relaxed) && timeouts::active() != of_the_user {
        // The user's own timeout fired meanwhile, too.
        match outcome {
            Err(failure) => failure.raise(),
            // SAFETY: flags of this process, which the server checks next.
            Ok(_) => unsafe {
                pg_sys::QueryCancelPending = 1;
                pg_sys::InterruptPending = 1;
            },
        }
    }
    outcome
}
