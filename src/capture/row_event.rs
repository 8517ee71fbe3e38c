//! Row events: the rows of any table as events.

use std::ffi::CStr;
use std::hash::{DefaultHasher, Hash, Hasher};

use pgrx::prelude::*;
use uuid::Uuid;

use super::event_key::{EventKey, RowTable};
use super::firing::{Firing, Row, wrongly_attached};
use super::pending_changes::PENDING;
use super::pending_changes::{PendingChanges, WholeRow};
use super::row_snapshot::{RowSnapshot, SavedRow, SnapshotOptions, numbers_of};

pub fn row_event(firing: &Firing) {
    let [event_type, auction_column, excluded_columns @ ..] = firing.arguments.as_slice() else {
        return wrongly_attached("row_event() requires an event type and the column of the auction");
    };
    let row = firing.latest();
    let before = (!firing.old.is_null() && !firing.new.is_null()).then_some(firing.old);
    // SAFETY: both are tuples of the trigger.
    if before.is_some_and(|before| unsafe { have_same_bytes(before, row.tuple) }) {
        return;
    }
    // SAFETY: the server keeps the relation while the trigger runs, and this session's state.
    let (class, subtransaction) = unsafe { (&*firing.relation.rd_rel, pg_sys::GetCurrentSubTransactionId()) };
    // For a partition the partition's own owner: this owner may have attached the trigger, and does
    // not have the rights of the other owners.
    let table = RowTable { oid: firing.relation.rd_id, owner: class.relowner };
    let event_key = EventKey::of_row(event_type, table, class.relnamespace);
    // SAFETY: the columns of the trigger's relation.
    let excluded_columns = unsafe { numbers_of(row.columns, excluded_columns) };
    let save = |excluded_columns: &[i32], auction_id: Option<&Uuid>| {
        let max_copied_bytes = PENDING.with_borrow(PendingChanges::max_copied_bytes);
        let is_unwanted = || auction_id.is_some_and(|auction_id| event_key.is_unwanted(auction_id));
        // SAFETY: tuples of the trigger's relation, whose columns these are.
        let image = |tuple, copied: usize| unsafe {
            let max_copied_bytes = || if is_unwanted() { 0 } else { max_copied_bytes - copied };
            RowSnapshot::of(
                tuple,
                row.columns,
                &SnapshotOptions { excluded_columns, max_copied_bytes: &max_copied_bytes },
            )
        };
        let now = image(row.tuple, 0);
        let before = before.map(|before| image(before, now.copied()));
        (SavedRow::Both { now, before }, identity(firing, &row))
    };
    match excluded_columns.and_then(|excluded_columns| Ok((row.uuid(auction_column)?, excluded_columns))) {
        Ok((Some(auction_id), excluded_columns)) => {
            let (saved, subject) = save(&excluded_columns, Some(&auction_id));
            PENDING.with_borrow_mut(|changes| {
                changes.note_whole_row(event_key, auction_id, subject, subtransaction, saved)
            });
        }
        // A row that belongs to no auction.
        Ok((None, _)) => {}
        Err(problem) => {
            // Save all columns: the trigger's arguments say which to leave out when it fits the
            // table again.
            let (saved, subject) = save(&[], None);
            let row = Some(WholeRow { subject, saved });
            PENDING.with_borrow_mut(|changes| changes.note_unreadable(event_key, problem, subtransaction, row));
        }
    }
}

/// # Safety
/// Both are heap tuples.
unsafe fn have_same_bytes(one: pg_sys::HeapTuple, other: pg_sys::HeapTuple) -> bool {
    // SAFETY: as the caller promises, `t_len` bytes are there; after the fixed part of the header
    // they are nulls and values.
    let values = |tuple: pg_sys::HeapTuple| unsafe {
        let fixed = std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_bits);
        let start = (*tuple).t_data.cast::<u8>();
        std::slice::from_raw_parts(start.add(fixed), ((*tuple).t_len as usize).saturating_sub(fixed))
    };
    values(one) == values(other)
}

/// Numbers of the columns of the primary key; empty if the table has none.
///
/// # Safety
/// The relation is open.
pub unsafe fn key_columns(relation: &pg_sys::RelationData) -> Vec<i32> {
    let mut columns = Vec::new();
    // SAFETY: as the caller promises. The list of columns is ours to read.
    unsafe {
        let relation = std::ptr::from_ref(relation).cast_mut();
        let key =
            pg_sys::RelationGetIndexAttrBitmap(relation, pg_sys::IndexAttrBitmapKind::INDEX_ATTR_BITMAP_PRIMARY_KEY);
        let mut member = -1;
        loop {
            member = pg_sys::bms_next_member(key, member);
            if member < 0 {
                return columns;
            }
            columns.push(member + pg_sys::FirstLowInvalidHeapAttributeNumber);
        }
    }
}

/// Identifies the row in its table: the primary key if that is a uuid, otherwise a hash of the
/// primary key; `None` if the table has none. Events with the same identity are sent one after the
/// other.
fn identity(firing: &Firing, row: &Row) -> Option<Uuid> {
    // SAFETY: the relation is the trigger's and the tuple has its columns.
    unsafe {
        let columns = key_columns(firing.relation);
        let (first, others) = columns.split_first()?;
        if others.is_empty() && pg_sys::SPI_gettypeid(row.columns, *first) == pg_sys::UUIDOID {
            return row.uuid_at(*first);
        }
        let mut hashers = [DefaultHasher::new(), DefaultHasher::new()];
        firing.table().to_u32().hash(&mut hashers[0]);
        for column in columns {
            let mut is_null = false;
            let value = pg_sys::SPI_getbinval(row.tuple, row.columns, column, &mut is_null);
            let (mut length, mut is_by_value) = (0, false);
            pg_sys::get_typlenbyval(pg_sys::SPI_gettypeid(row.columns, column), &mut length, &mut is_by_value);
            // The bytes and not the text, because the text needs the type's own code.
            let bytes = match length {
                _ if is_by_value => &value.value().to_ne_bytes(),
                -2 => CStr::from_ptr(value.cast_mut_ptr()).to_bytes(),
                -1 => pgrx::varlena_to_byte_slice(value.cast_mut_ptr()),
                fixed => std::slice::from_raw_parts(value.cast_mut_ptr(), fixed.unsigned_abs().into()),
            };
            hashers.iter_mut().for_each(|hasher| bytes.hash(hasher));
        }
        let [one, other] = hashers.map(|hasher| hasher.finish());
        Some(Uuid::from_u64_pair(one, other))
    }
}
