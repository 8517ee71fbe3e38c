//! At commit: the events of the transaction are built and written.

use std::ffi::c_void;

use pgrx::prelude::*;

use super::event_builder::EventBuilder;
use super::pending_changes::{PENDING, PendingChanges};
use super::{emit, event_key, foreign_tables, partition_moves};
use crate::postgres::security_context;
use crate::postgres::timeouts::TimeoutGuard;
use crate::timestamp::Timestamp;

/// Registers the callbacks for the end of transactions. Called while the server loads the library.
pub fn init() {
    // SAFETY: the callbacks live as long as the library, and the library is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_end_of_transaction), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_end_of_subtransaction), std::ptr::null_mut());
    }
    foreign_tables::init();
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end_of_transaction(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => {
            let changes = PENDING.take();
            if !changes.is_empty() {
                write_events(changes);
                end_user_code(event == XACT_EVENT_PRE_PREPARE);
            }
        }
        XACT_EVENT_ABORT | XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => {
            drop(PENDING.take());
            partition_moves::forget();
            event_key::forget_if_many();
        }
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end_of_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        PENDING.with_borrow_mut(|changes| changes.forget_since(subtransaction));
    }
}

/// Writes the events of the transaction.
fn write_events(mut changes: PendingChanges) {
    if !security_context::extension_exists() {
        // This transaction has dropped the extension.
        return;
    }
    let occurred_at = Timestamp::now();
    let _timeouts = TimeoutGuard::suspend();
    let _no_foreign_tables = foreign_tables::Refused::begin();
    with_writable_snapshot(|| {
        let mut builder = EventBuilder::new(occurred_at);
        emit::write_at_commit(std::mem::take(&mut changes.emitted).into_events(), &mut builder);
        let mut unreadable = changes.take_unreadable().into_iter().peekable();
        while let Some(first) = unreadable.next() {
            let (key, problem) = (first.event_key, first.problem.clone());
            let mut rows: Vec<_> = first.row.into_iter().collect();
            while let Some(next) = unreadable.next_if(|next| next.event_key == key && next.problem == problem) {
                rows.extend(next.row);
            }
            builder.fail_unreadable(&key.event(), &problem, &rows);
        }
        for (key, places) in changes.in_order() {
            builder.build(&key.event(), changes.rows(&places));
        }
        builder.finish();
    });
}

/// Runs deferred triggers and closes cursors. The server has done so right before it called us, but
/// writing the events can cause both again. A cursor that stays open outlives the transaction
/// without its snapshot: the session's next transaction fails, and FETCH crashes the server.
fn end_user_code(is_prepare: bool) {
    // SAFETY: the calls and their order are those of the server's CommitTransaction() and
    // PrepareTransaction(). An error in one ends the transaction.
    unsafe {
        loop {
            pg_sys::AfterTriggerFireDeferred();
            if !pg_sys::PreCommit_Portals(is_prepare) {
                break;
            }
        }
    }
}

/// Provides a snapshot that sees all writes of the transaction: between the last statement and the
/// commit there is none. A transaction that was made read-only after it wrote can still write its
/// events.
fn with_writable_snapshot(work: impl FnOnce()) {
    // SAFETY: inside a transaction. If `work` fails, the abort of the transaction removes the
    // snapshot and resets the flag.
    unsafe {
        let is_read_only = pg_sys::XactReadOnly;
        pg_sys::CommandCounterIncrement();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        pg_sys::XactReadOnly = false;
        work();
        pg_sys::XactReadOnly = is_read_only;
        pg_sys::PopActiveSnapshot();
    }
}
