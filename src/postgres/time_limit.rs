//! Time limits: work of the server that is ended after some milliseconds.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::prelude::*;

use super::subtransaction::{SqlError, in_rolled_back_subtransaction};
use super::timeouts;

// Not in pgrx: utils/timeout.h.
unsafe extern "C-unwind" {
    fn RegisterTimeout(id: u32, handler: unsafe extern "C-unwind" fn()) -> u32;
    fn enable_timeout_after(id: u32, milliseconds: i32);
    fn disable_timeout(id: u32, keep_indicator: bool);
}

/// Any number from `USER_TIMEOUT` on makes the server choose a free timer.
const ANY_FREE_TIMER: u32 = 1000;

thread_local! {
    /// This process's timer for time limits.
    static TIMER: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Whether the time limit has requested the cancellation that is pending or was raised.
static HAS_EXPIRED: AtomicBool = AtomicBool::new(false);

/// Called by the server's handler of SIGALRM. Requests what a user's cancellation requests, because
/// the server's functions check for nothing else.
unsafe extern "C-unwind" fn expire() {
    // SAFETY: flags of this process that signal handlers may write.
    unsafe {
        if pg_sys::QueryCancelPending == 0 {
            HAS_EXPIRED.store(true, Ordering::Relaxed);
            pg_sys::QueryCancelPending = 1;
            pg_sys::InterruptPending = 1;
        }
    }
}

/// Whether the cancellation that was raised is that of a time limit.
pub fn has_expired() -> bool {
    HAS_EXPIRED.load(Ordering::Relaxed)
}

/// The armed timer. Disarms it at the end, even if `work` ends with an error.
struct Armed(u32);

impl Armed {
    fn for_at_most(limit: Duration) -> Self {
        // SAFETY: the handler lives as long as the library, and the timer is ours.
        unsafe {
            let timer = TIMER.get().unwrap_or_else(|| RegisterTimeout(ANY_FREE_TIMER, expire));
            TIMER.set(Some(timer));
            HAS_EXPIRED.store(false, Ordering::Relaxed);
            enable_timeout_after(timer, i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).max(1));
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
            if HAS_EXPIRED.swap(false, Ordering::Relaxed) {
                pg_sys::QueryCancelPending = 0;
            }
        }
    }
}

/// Runs `work` in a subtransaction that is rolled back, for at most this time: then it fails with
/// `query_canceled`. The work has to check for interrupts, as all loops of the server do. The
/// user can still cancel; only a cancellation in the microseconds between the end of the time and
/// the server's next check is lost.
pub fn within<T>(limit: Duration, work: impl FnOnce() -> T) -> Result<T, SqlError> {
    let of_the_user = timeouts::active();
    let _armed = Armed::for_at_most(limit);
    let outcome = in_rolled_back_subtransaction(work);
    match outcome {
        // The user's own timeout fired at the same moment.
        Err(failure) if has_expired() && timeouts::active() != of_the_user => failure.raise(),
        outcome => outcome,
    }
}
