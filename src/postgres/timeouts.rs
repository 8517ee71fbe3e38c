//! Timeouts: which apply during our part of a user's commit.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::security_context::{SettingsLevel, set_locally};

// Not in pgrx: utils/timeout.h.
unsafe extern "C-unwind" {
    fn get_timeout_active(id: u32) -> bool;
    fn get_timeout_finish_time(id: u32) -> pg_sys::TimestampTz;
    fn disable_timeout(id: u32, keep_indicator: bool);
    fn enable_timeout_at(id: u32, finish: pg_sys::TimestampTz);
}

/// `STATEMENT_TIMEOUT`, and from PostgreSQL 17 on `TRANSACTION_TIMEOUT`: values of the enumeration
/// `TimeoutId`.
#[cfg(any(feature = "pg15", feature = "pg16"))]
const LIMITS: &[u32] = &[3];
#[cfg(any(feature = "pg17", feature = "pg18"))]
const LIMITS: &[u32] = &[3, 8];

/// How long a transaction waits for a lock that capture needs, regardless of the user's
/// `lock_timeout`. Events that cannot be captured by then become dead letters, and are recaptured
/// when the lock is released.
const LOCK_TIMEOUT: &CStr = c"1s";

/// While it lives, `lock_timeout` has our value.
pub struct LockWait(SettingsLevel);

impl LockWait {
    pub fn bounded() -> Self {
        Self::of(LOCK_TIMEOUT)
    }

    /// Waits without limit, for locks without which the user's transaction would end.
    pub fn unbounded() -> Self {
        Self::of(c"0")
    }

    fn of(timeout: &CStr) -> Self {
        let level = SettingsLevel::begin();
        set_locally(c"lock_timeout", timeout);
        Self(level)
    }
}

impl Drop for LockWait {
    fn drop(&mut self) {
        // An error that ends the transaction also resets its settings.
        if !std::thread::panicking() {
            self.0.end();
        }
    }
}

/// While it lives, the user's `statement_timeout` and `transaction_timeout` are suspended, and
/// `lock_timeout` has our value. The user's timeouts are meant for the user's own work. Here they
/// would end the transaction, or lose the event, because of other sessions' locks on our tables.
/// The user can still cancel.
pub struct TimeoutGuard {
    _lock_wait: LockWait,
    /// Timeouts that were active, and when each would have fired.
    running: Vec<(u32, pg_sys::TimestampTz)>,
}

/// The timeouts of the user that are running.
pub fn active() -> Vec<u32> {
    // SAFETY: reads timers of this process; the numbers are the server's own.
    LIMITS.iter().filter(|id| unsafe { get_timeout_active(**id) }).copied().collect()
}

impl TimeoutGuard {
    pub fn suspend() -> Self {
        let suspend = |id| {
            // SAFETY: reads and disarms a timer of this process.
            unsafe {
                let finish = get_timeout_finish_time(id);
                disable_timeout(id, false);
                (id, finish)
            }
        };
        let running = active().into_iter().map(suspend).collect();
        Self { _lock_wait: LockWait::bounded(), running }
    }
}

impl Drop for TimeoutGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // An error ends the transaction and disarms all timers.
            return;
        }
        // SAFETY: arms timers that were armed before. A timer whose time has passed in the meantime
        // is left out: it would end a transaction that is complete.
        unsafe {
            let now = pg_sys::GetCurrentTimestamp();
            for (id, finish) in self.running.drain(..).filter(|(_, finish)| *finish > now) {
                enable_timeout_at(id, finish);
            }
        }
    }
}
