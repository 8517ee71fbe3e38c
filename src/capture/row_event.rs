//! How does a row of any table become an event?

use std::ffi::CStr;
use std::hash::{DefaultHasher, Hash, Hasher};

use pgrx::prelude::*;
use uuid::Uuid;

use super::CHANGES;
use super::image::{Image, Kept};
use super::subject::{RowTrigger, Subject};
use super::switch::is_switched_off;
use super::trigger::Seen;

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Notes the row as an event: its data is the row, and of an update what it was before where that is something else.
    /// Arguments: event type; column of the auction; columns to leave out. For AFTER ... FOR EACH ROW; a WHEN clause filters.
    #[pg_trigger]
    fn row_event<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, std::convert::Infallible> {
        super::row_event(trigger);
        Ok(None)
    }
}

fn row_event(trigger: &PgTrigger) {
    let (data, definition) = (trigger.trigger_data(), trigger.trigger());
    let is_of_statement = data.tg_event & pg_sys::TRIGGER_EVENT_ROW == 0;
    if definition.tgnargs < 2 || is_of_statement {
        pgrx::warning!("row_event() takes an event type and the column of the auction, and is for each row");
        return;
    }
    // SAFETY: the server keeps the relation while the trigger runs.
    let relation = unsafe { &*data.tg_relation };
    if is_switched_off(relation) {
        return;
    }
    // SAFETY: the trigger's arguments are NUL-terminated texts.
    let argument = |place| unsafe { CStr::from_ptr(*definition.tgargs.add(place)) };
    let left_out = (2..definition.tgnargs.unsigned_abs().into()).map(|place| argument(place).to_owned()).collect();
    let trigger = RowTrigger { table: relation.rd_id, auction_column: argument(1).to_owned(), left_out };
    // SAFETY: as above.
    let (schema, subtransaction) = unsafe { ((*relation.rd_rel).relnamespace, pg_sys::GetCurrentSubTransactionId()) };
    let subject = Subject::of_row(argument(0), &trigger, schema);
    let is_update = data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_UPDATE;
    let tuple = if is_update { data.tg_newtuple } else { data.tg_trigtuple };
    let before = is_update.then_some(data.tg_trigtuple);
    // SAFETY: both are tuples of the trigger's.
    if before.is_some_and(|before| unsafe { have_same_bytes(before, tuple) }) {
        return;
    }
    let seen = Seen { tuple, columns: relation.rd_att };
    CHANGES.with_borrow_mut(|changes| match seen.uuid(&trigger.auction_column) {
        Ok(Some(auction_id)) => {
            // SAFETY: tuples of the trigger's relation, whose columns these are.
            let image = |tuple| unsafe { Image::of(tuple, seen.columns) };
            let row = Kept::Both { now: image(tuple), before: before.map(image) };
            changes.note_whole_row(subject, auction_id, identity(data.tg_relation, &seen), row, subtransaction);
        }
        // A row that belongs to no auction.
        Ok(None) => {}
        Err(problem) => changes.note_unreadable(subject, problem, subtransaction),
    });
}

/// # Safety
/// Both are heap tuples.
unsafe fn have_same_bytes(one: pg_sys::HeapTuple, other: pg_sys::HeapTuple) -> bool {
    // SAFETY: as the caller promises, `t_len` bytes are there; after the fixed part of the header they are nulls and values.
    let values = |tuple: pg_sys::HeapTuple| unsafe {
        let fixed = std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_bits);
        let start = (*tuple).t_data.cast::<u8>();
        std::slice::from_raw_parts(start.add(fixed), ((*tuple).t_len as usize).saturating_sub(fixed))
    };
    values(one) == values(other)
}

/// Which row of its table it is: the primary key, if that is a uuid, or else a number made of it; `None` where there is none.
/// The events of one row are sent one after the other by it.
fn identity(relation: pg_sys::Relation, seen: &Seen) -> Option<Uuid> {
    // SAFETY: the relation is the trigger's and the tuple has its columns. The list of columns is ours to read.
    unsafe {
        let key =
            pg_sys::RelationGetIndexAttrBitmap(relation, pg_sys::IndexAttrBitmapKind::INDEX_ATTR_BITMAP_PRIMARY_KEY);
        let mut columns = Vec::new();
        let mut member = -1;
        loop {
            member = pg_sys::bms_next_member(key, member);
            if member < 0 {
                break;
            }
            columns.push(member + pg_sys::FirstLowInvalidHeapAttributeNumber);
        }
        let (first, others) = columns.split_first()?;
        if others.is_empty() && pg_sys::SPI_gettypeid(seen.columns, *first) == pg_sys::UUIDOID {
            return seen.uuid_at(*first);
        }
        let mut hashers = [DefaultHasher::new(), DefaultHasher::new()];
        (*relation).rd_id.to_u32().hash(&mut hashers[0]);
        for column in columns {
            let mut is_null = false;
            let value = pg_sys::SPI_getbinval(seen.tuple, seen.columns, column, &mut is_null);
            let (mut length, mut is_by_value) = (0, false);
            pg_sys::get_typlenbyval(pg_sys::SPI_gettypeid(seen.columns, column), &mut length, &mut is_by_value);
            // The bytes and not the text, which would be the work of the type's own code.
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
