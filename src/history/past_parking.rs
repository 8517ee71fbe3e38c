//! Changes of the queue that meet the worker while it parks the same deliveries.

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use crate::postgres::subtransaction::in_subtransaction;

/// So often a statement finds that the worker is just parking one of its rows. Each row is parked once.
const AT_MOST: usize = 10;

/// Runs a statement that changes rows of the queue.
///
/// A session that waits for a row which the worker moves to another partition gets an error (40001) where it would follow any other
/// update. The statement is then run again, with a new snapshot; where the transaction has one snapshot for all of its statements, the
/// error stands, as after any concurrent update.
pub fn past_parking<T>(mut statement: impl FnMut() -> SpiResult<T>) -> SpiResult<T> {
    for _ in 1..AT_MOST {
        match in_subtransaction(&mut statement) {
            Ok(result) => return result,
            Err(failure) if failure.code == "40001" && has_new_snapshots() => {}
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
