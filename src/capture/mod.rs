//! How does a row change become an event?
//!
//! | step | file |
//! |---|---|
//! | a trigger notes the key of the changed row, or the whole row | `firing.rs`, `trigger.rs`, `row_event.rs` |
//! | a row that moves to another partition is an update | `moves.rs` |
//! | unless the owner has switched that off | `switch.rs` |
//! | what the row said that is gone or changed is kept | `image.rs` |
//! | foreign tables are not read during a commit | `foreign_tables.rs` |
//! | which event that is | `subject.rs` |
//! | what a transaction has noted, and a savepoint takes back | `changes.rs` |
//! | code that emits an event has it kept as it is; events of rows that were there before | `emit.rs`, `emit_for.rs` |
//! | who may attach triggers and set payload functions | `own.rs` |
//! | who wants it, the session remembers | `subscriptions.rs` |
//! | before the commit the data of all noted rows is read, and fanned out to the endpoints | `build.rs`, `payload.rs`, `fan_out.rs` |
//! | what fails is kept, and can be captured again | `failures.rs`, `again.rs` |
//!
//! Built right before the commit, after every deferred trigger of the user has run, events show the rows as they are
//! committed, entries included that came after their submission; and a transaction that changed a thousand rows pays once
//! what can be paid once.

use std::cell::RefCell;
use std::ffi::c_void;

use pgrx::prelude::*;

use crate::ids::timestamp;
use crate::postgres::security_context;
use crate::postgres::timeouts::Patience;
use build::Capture;
use changes::Changes;

mod again;
mod build;
mod changes;
mod emit;
mod emit_for;
mod failures;
mod fan_out;
mod firing;
mod foreign_tables;
mod image;
mod moves;
mod own;
mod payload;
mod row_event;
mod subject;
mod subscriptions;
mod switch;
mod trigger;

thread_local! {
    /// Of the transaction that is running.
    static CHANGES: RefCell<Changes> = RefCell::default();
}

/// Hooks into the end of transactions; called while the server loads the library.
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
            let changes = CHANGES.take();
            if !changes.is_empty() {
                tell(changes);
                end_user_code(event == XACT_EVENT_PRE_PREPARE);
            }
        }
        XACT_EVENT_ABORT | XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => {
            drop(CHANGES.take());
            moves::forget();
            subject::forget_if_many();
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
        CHANGES.with_borrow_mut(|changes| changes.forget_since(subtransaction));
    }
}

/// Writes the events that the transaction owes.
fn tell(mut changes: Changes) {
    if !security_context::extension_exists() {
        // The extension was dropped in this very transaction: nobody is left to deliver to.
        return;
    }
    // SAFETY: a clock.
    let occurred_at = timestamp(unsafe { pg_sys::GetCurrentTimestamp() });
    let _patience = Patience::have();
    let _no_foreign_tables = foreign_tables::Refused::begin();
    able_to_write(|| {
        let mut capture = Capture::new(occurred_at);
        emit::write_or_keep(std::mem::take(&mut changes.emitted).into_events(), &mut capture);
        let mut unreadable = changes.take_unreadable().into_iter().peekable();
        while let Some(first) = unreadable.next() {
            let (subject, problem) = (first.subject, first.problem.clone());
            let mut rows: Vec<_> = first.row.into_iter().collect();
            while let Some(next) = unreadable.next_if(|next| next.subject == subject && next.problem == problem) {
                rows.extend(next.row);
            }
            capture.fail_unreadable(&subject.event(), &problem, &rows);
        }
        for (subject, places) in changes.in_order() {
            capture.build(&subject.event(), changes.rows(&places));
        }
        capture.finish();
    });
}

/// Does what the server has done for the last time before it called us: deferred triggers run and cursors are closed, also
/// those of triggers that others have put on our tables. A cursor that is left open would outlive the transaction without
/// its snapshot: the session's next transaction fails, and FETCH crashes the server.
fn end_user_code(is_prepare: bool) {
    // SAFETY: the calls and their order are those of the server's CommitTransaction() and PrepareTransaction(). Where one
    // fails, so does the transaction.
    unsafe {
        loop {
            pg_sys::AfterTriggerFireDeferred();
            if !pg_sys::PreCommit_Portals(is_prepare) {
                break;
            }
        }
    }
}

/// Between the last statement and the commit there is no snapshot, and SQL needs one that sees what was written last. And
/// where the user has made his transaction read-only after he wrote, what he wrote is still to be told.
fn able_to_write(work: impl FnOnce()) {
    // SAFETY: inside a transaction. Where `work` fails, the abort of the transaction takes the snapshot off and the flag
    // back.
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
