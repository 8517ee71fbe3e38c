//! Runs a statement again that fails because the worker has just moved a row of the queue to the other partition.

use std::time::Duration;

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use crate::postgres::subtransaction::in_subtransaction;
use crate::postgres::wakeup;

/// Tries of a statement. After the first the worker parks nothing for a while, so the second succeeds, or the third if a step was just
/// being committed.
const MAX_TRIES: usize = 5;

/// How long the worker parks nothing after a statement has met it.
const HOLD: Duration = Duration::from_secs(60);

/// Runs a statement that changes rows of the queue.
///
/// A session that waits for a row which the worker moves to another partition gets an error (40001) where it would follow any other
/// update. The statement is then run again, with a new snapshot; where the transaction has one snapshot for all of its statements, the
/// error stands, as after any concurrent update.
pub fn retry_moved_row<T>(mut statement: impl FnMut() -> SpiResult<T>) -> SpiResult<T> {
    for _ in 1..MAX_TRIES {
        match in_subtransaction(&mut statement) {
            Ok(result) => return result,
            Err(failure) if failure.code == "40001" && has_new_snapshots() => wakeup::hold_parking(HOLD),
            Err(failure) => failure.raise(),
        }
    }
    statement()
}

/// Whether each statement of the transaction sees what has been committed before it.
fn has_new_snapshots() -> bool {
    // SAFETY: a plain variable of this process.
    unsafe { pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as i32 }
}
