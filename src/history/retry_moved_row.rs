//! Retry: runs a statement again if it fails because the worker has just moved a row of the queue
//! to another partition.

use std::time::Duration;

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use crate::postgres::subtransaction::in_subtransaction;
use crate::postgres::wakeup;

/// Maximum number of tries of a statement. After the first the worker stops parking for a while, so
/// the second succeeds, or the third if a parking step was just being committed.
const MAX_TRIES: usize = 5;

/// How long the worker stops parking after it has caused such a failure.
const HOLD: Duration = Duration::from_secs(60);

/// Runs a statement that changes rows of the queue.
///
/// A session that waits for a row usually continues with the updated row. If the worker moves the
/// row to another partition, the session gets an error (40001) instead. The statement is then run
/// again, with a new snapshot. If the transaction has one snapshot for all of its statements, the
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

/// Whether each statement of the transaction has a new snapshot.
fn has_new_snapshots() -> bool {
    // SAFETY: a plain variable of this process.
    unsafe { pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as i32 }
}
