//! Triggers of the built-in events: they note the key of the changed row.

use std::ffi::CStr;

use super::event_key::{EventKey, Location};
use super::firing::{Firing, Row, wrongly_attached};
use super::pending_changes::PENDING;
use super::pending_changes::{Change, PendingChanges};
use super::placement::placement_of;
use super::row_snapshot::{RowSnapshot, SavedRow, SnapshotOptions};
use pgrx::prelude::*;

// Not in pgrx: utils/datum.h. Compares bytes and raises no error.
unsafe extern "C-unwind" {
    fn datumIsEqual(one: pg_sys::Datum, other: pg_sys::Datum, is_by_value: bool, length: i32) -> bool;
}

/// The arguments of a trigger; the last ones may be left out.
struct Arguments<'a> {
    event_type: &'a CStr,
    key_column: &'a CStr,
    auction_column: &'a CStr,
    subject_column: &'a CStr,
    suppressed_by_event: &'a CStr,
    changed_column: &'a CStr,
    /// `previous` if the event needs the row as it was before.
    saved_version: &'a CStr,
}

pub fn capture_row_change(firing: &Firing) {
    let given = firing.arguments.len();
    if !(2..=7).contains(&given) {
        return wrongly_attached(
            "capture_row_change() requires an event type and a key column, and accepts up to five more arguments",
        );
    }
    let argument = |place| firing.arguments.get(place).copied().unwrap_or_default();
    let arguments = Arguments {
        event_type: argument(0),
        key_column: argument(1),
        auction_column: argument(2),
        subject_column: argument(3),
        suppressed_by_event: argument(4),
        changed_column: argument(5),
        saved_version: argument(6),
    };
    let columns = firing.columns();
    if !arguments.changed_column.is_empty() {
        // SAFETY: both are tuples of the trigger's relation, whose columns these are. A column that
        // does not exist counts as changed: the payload will report the problem.
        let is_same = unsafe {
            let column = pg_sys::SPI_fnumber(columns, arguments.changed_column.as_ptr());
            column > 0 && is_same(firing.old, &firing.latest(), column)
        };
        if is_same {
            return;
        }
    }
    let before = if arguments.saved_version == c"previous" { firing.old } else { std::ptr::null_mut() };
    // SAFETY: look-ups in the catalogue and in this session's state, inside a transaction.
    let (schema, subtransaction) =
        unsafe { (pg_sys::get_rel_namespace(firing.table()), pg_sys::GetCurrentSubTransactionId()) };
    let location = Location { schema, shard: placement_of(firing).shard };
    let noting = Noting { arguments, columns, before, location, subtransaction };
    // An entry that moves from one submission to another changes both. If both versions of a row
    // have the same key, the note of the new version takes precedence.
    for tuple in [firing.old, firing.new] {
        if !tuple.is_null() {
            noting.note(&Row { tuple, columns });
        }
    }
}

/// Whether the column certainly has the same value in both rows; without an old row the old value
/// is null. Compares the stored bytes, which runs no code of the application and cannot fail. A
/// value that is stored outside of the row and was written again counts as changed.
///
/// # Safety
/// Both have the columns of `new`, one of which has this number.
pub unsafe fn is_same(old: pg_sys::HeapTuple, new: &Row, column: i32) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        let value = |tuple: pg_sys::HeapTuple| {
            let mut is_null = true;
            let value = (!tuple.is_null()).then(|| pg_sys::SPI_getbinval(tuple, new.columns, column, &mut is_null));
            value.filter(|_| !is_null)
        };
        match (value(old), value(new.tuple)) {
            (Some(old), Some(new_value)) => {
                let (mut length, mut is_by_value) = (0, false);
                pg_sys::get_typlenbyval(pg_sys::SPI_gettypeid(new.columns, column), &mut length, &mut is_by_value);
                datumIsEqual(old, new_value, is_by_value, length.into())
            }
            (old, new_value) => old.is_none() == new_value.is_none(),
        }
    }
}

/// Notes the rows of a firing.
struct Noting<'a> {
    arguments: Arguments<'a>,
    columns: pg_sys::TupleDesc,
    /// The row before the change, if the event needs it; otherwise null.
    before: pg_sys::HeapTuple,
    location: Location,
    subtransaction: u32,
}

impl Noting<'_> {
    fn note(&self, row: &Row) {
        let Arguments { event_type, key_column, auction_column, subject_column, suppressed_by_event, .. } =
            self.arguments;
        let event_key = EventKey::of(event_type, suppressed_by_event, self.location);
        let subject = if subject_column.is_empty() { Ok(None) } else { row.uuid(subject_column) };
        match row.uuid(key_column).and_then(|key| Ok(key.zip(Some(subject?)))) {
            Ok(Some((key, subject))) => {
                let has_auction = !auction_column.is_empty();
                // If it cannot be read here, the payload will return it.
                let auction_id = if has_auction { row.uuid(auction_column).ok().flatten() } else { None };
                let change = Change { key, auction_id, subject };
                let previous = self.previous(event_key, &change);
                PENDING.with_borrow_mut(|changes| changes.note(event_key, change, self.subtransaction, previous));
            }
            // A row without a key, such as an entry without a submission, makes no event.
            Ok(None) => {}
            Err(problem) => {
                PENDING
                    .with_borrow_mut(|changes| changes.note_unreadable(event_key, problem, self.subtransaction, None));
            }
        }
    }

    fn previous(&self, event_key: EventKey, change: &Change) -> Option<SavedRow> {
        if self.before.is_null() || !PENDING.with_borrow(|changes| changes.is_new(event_key, change)) {
            return None;
        }
        let is_unwanted = || change.auction_id.is_some_and(|auction_id| event_key.is_unwanted(&auction_id));
        let max_copied_bytes = || if is_unwanted() { 0 } else { PENDING.with_borrow(PendingChanges::max_copied_bytes) };
        let options = SnapshotOptions { excluded_columns: &[], max_copied_bytes: &max_copied_bytes };
        // SAFETY: a tuple of the trigger, with the columns of its relation.
        Some(SavedRow::Previous(unsafe { RowSnapshot::of(self.before, self.columns, &options) }))
    }
}
