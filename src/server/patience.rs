//! Whose time limits hold while we do our part of a user's commit?

use pgrx::prelude::*;

use super::rights::{SettingsLevel, set_locally};

// Not in pgrx: utils/timeout.h.
unsafe extern "C-unwind" {
    fn get_timeout_active(id: u32) -> bool;
    fn get_timeout_finish_time(id: u32) -> pg_sys::TimestampTz;
    fn disable_timeout(id: u32, keep_indicator: bool);
    fn enable_timeout_at(id: u32, finish: pg_sys::TimestampTz);
}

/// `STATEMENT_TIMEOUT`, and from PostgreSQL 17 on `TRANSACTION_TIMEOUT`: places in the enumeration `TimeoutId`.
#[cfg(any(feature = "pg15", feature = "pg16"))]
const LIMITS: &[u32] = &[3];
#[cfg(any(feature = "pg17", feature = "pg18"))]
const LIMITS: &[u32] = &[3, 8];

/// While it lives, the user's `statement_timeout`, `transaction_timeout` and `lock_timeout` do not hold: they are meant for
/// what he does, and would end his transaction, or lose the event, for what somebody else does to our tables. He can still
/// cancel.
pub struct Patience {
    /// Where he has a `lock_timeout`: ours is none.
    lock_timeout: Option<SettingsLevel>,
    /// Limits that were running, and when each would have been reached.
    running: Vec<(u32, pg_sys::TimestampTz)>,
}

impl Patience {
    pub fn have() -> Self {
        // SAFETY: reads and disarms timers of this process; the numbers are the server's own.
        let running = unsafe {
            let running: Vec<_> = LIMITS.iter().filter(|id| get_timeout_active(**id)).copied().collect();
            running
                .into_iter()
                .map(|id| {
                    let finish = get_timeout_finish_time(id);
                    disable_timeout(id, false);
                    (id, finish)
                })
                .collect()
        };
        // SAFETY: a plain integer of this session.
        let lock_timeout = (unsafe { pg_sys::LockTimeout } > 0).then(|| {
            let level = SettingsLevel::begin();
            set_locally(c"lock_timeout", c"0");
            level
        });
        Self { lock_timeout, running }
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The transaction is ended by an error, and that disarms all timers.
            return;
        }
        if let Some(level) = &self.lock_timeout {
            level.end();
        }
        // SAFETY: arms timers that were armed. One whose time has passed meanwhile would end a transaction that is complete.
        unsafe {
            let now = pg_sys::GetCurrentTimestamp();
            for (id, finish) in self.running.drain(..).filter(|(_, finish)| *finish > now) {
                enable_timeout_at(id, finish);
            }
        }
    }
}
