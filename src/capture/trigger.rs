//! What does a trigger note of a row that has changed?

use std::ffi::CStr;

use pgrx::prelude::*;

use super::CHANGES;
use super::changes::Change;
use super::image::{Image, Kept};
use super::subject::Subject;
use super::switch::is_switched_off;

// Not in pgrx: utils/datum.h. Compares bytes and raises no error.
unsafe extern "C-unwind" {
    fn datumIsEqual(one: pg_sys::Datum, other: pg_sys::Datum, is_by_value: bool, length: i32) -> bool;
}

/// The arguments of a trigger; the last ones may be left out.
struct Arguments<'a> {
    event_type: &'a CStr,
    key_column: &'a CStr,
    auction_column: &'a CStr,
    about_column: &'a CStr,
    unless_event: &'a CStr,
    changed_column: &'a CStr,
    /// `previous` where the row is to be kept as it was before.
    keeps: &'a CStr,
}

/// A row as the trigger sees it.
pub struct Seen {
    pub tuple: pg_sys::HeapTuple,
    pub columns: pg_sys::TupleDesc,
}

impl Seen {
    /// The value of a uuid column, or why there is none to be had. Never an error: that would be the user's.
    pub fn uuid(&self, column: &CStr) -> Result<Option<uuid::Uuid>, String> {
        // SAFETY: the tuple is one of the trigger's, and the columns are those of its relation; the value of a uuid that is
        // not null is a pointer to sixteen bytes.
        unsafe {
            let number = pg_sys::SPI_fnumber(self.columns, column.as_ptr());
            if number <= 0 {
                return Err(format!("there is no column {}", column.to_string_lossy()));
            }
            let declared = pg_sys::SPI_gettypeid(self.columns, number);
            if declared != pg_sys::UUIDOID && pg_sys::getBaseType(declared) != pg_sys::UUIDOID {
                return Err(format!("column {} is no uuid", column.to_string_lossy()));
            }
            Ok(self.uuid_at(number))
        }
    }

    /// The value of the column with this number.
    ///
    /// # Safety
    /// There is such a column, and it is a uuid.
    pub unsafe fn uuid_at(&self, number: i32) -> Option<uuid::Uuid> {
        // SAFETY: as the caller promises.
        unsafe {
            let mut is_null = false;
            let value = pg_sys::SPI_getbinval(self.tuple, self.columns, number, &mut is_null);
            (!is_null).then(|| uuid::Uuid::from_bytes(*value.cast_mut_ptr::<[u8; 16]>()))
        }
    }
}

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Notes that the row's event is to be built when the transaction is complete. Arguments, of which the last may be left
    /// out or empty: event type; key column; column of the auction (empty: the payload says it); column of the row that the
    /// event is about, where it is another one; the event about the same row that makes this one needless in the same
    /// transaction; the only column whose change makes the event; `previous`, where the payload needs the row as it was. Attached by `install_triggers()`.
    #[pg_trigger]
    fn note_change<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, std::convert::Infallible> {
        super::note_change(trigger);
        Ok(None)
    }
}

fn note_change(trigger: &PgTrigger) {
    let (data, definition) = (trigger.trigger_data(), trigger.trigger());
    let given = usize::from(definition.tgnargs.unsigned_abs());
    if !(2..=7).contains(&given) {
        pgrx::warning!("note_change() takes an event type, a key column and up to five more arguments");
        return;
    }
    // SAFETY: the server keeps the relation while the trigger runs.
    if is_switched_off(unsafe { &*data.tg_relation }) {
        return;
    }
    // SAFETY: the server keeps all of these while the trigger runs; its arguments are NUL-terminated texts.
    let (arguments, columns, schema, subtransaction) = unsafe {
        let argument = |place| if place < given { CStr::from_ptr(*definition.tgargs.add(place)) } else { c"" };
        let arguments = Arguments {
            event_type: argument(0),
            key_column: argument(1),
            auction_column: argument(2),
            about_column: argument(3),
            unless_event: argument(4),
            changed_column: argument(5),
            keeps: argument(6),
        };
        let relation = &*data.tg_relation;
        (arguments, relation.rd_att, (*relation.rd_rel).relnamespace, pg_sys::GetCurrentSubTransactionId())
    };
    let operation = data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK;
    let old = if operation == pg_sys::TRIGGER_EVENT_INSERT { std::ptr::null_mut() } else { data.tg_trigtuple };
    if !arguments.changed_column.is_empty() {
        let new = if operation == pg_sys::TRIGGER_EVENT_UPDATE { data.tg_newtuple } else { data.tg_trigtuple };
        if is_same(old, &Seen { tuple: new, columns }, arguments.changed_column) {
            return;
        }
    }
    let before = if arguments.keeps == c"previous" { old } else { std::ptr::null_mut() };
    let noting = Noting { arguments, columns, before, schema, subtransaction };
    // An entry that moves from one submission to another edits both. Of a row itself the new version is the last word.
    for tuple in [data.tg_trigtuple, data.tg_newtuple] {
        if !tuple.is_null() {
            noting.note(&Seen { tuple, columns });
        }
    }
}

/// Whether the column is certainly the same in both; null where there is no old row. Compares the bytes as they are stored,
/// which runs nobody's code and cannot fail; what is stored outside of the row and was written anew seems to have changed.
/// So does a column that there is not: the payload will say what is wrong.
fn is_same(old: pg_sys::HeapTuple, new: &Seen, column: &CStr) -> bool {
    // SAFETY: both are tuples of the trigger's relation, whose columns these are.
    unsafe {
        let number = pg_sys::SPI_fnumber(new.columns, column.as_ptr());
        if number <= 0 {
            return false;
        }
        let value = |tuple: pg_sys::HeapTuple| {
            let mut is_null = true;
            let value = (!tuple.is_null()).then(|| pg_sys::SPI_getbinval(tuple, new.columns, number, &mut is_null));
            value.filter(|_| !is_null)
        };
        match (value(old), value(new.tuple)) {
            (Some(old), Some(new_value)) => {
                let (mut length, mut is_by_value) = (0, false);
                pg_sys::get_typlenbyval(pg_sys::SPI_gettypeid(new.columns, number), &mut length, &mut is_by_value);
                datumIsEqual(old, new_value, is_by_value, length.into())
            }
            (old, new_value) => old.is_none() == new_value.is_none(),
        }
    }
}

/// One firing of a trigger.
struct Noting<'a> {
    arguments: Arguments<'a>,
    columns: pg_sys::TupleDesc,
    /// The row before the change, where it is to be kept; or null.
    before: pg_sys::HeapTuple,
    schema: pg_sys::Oid,
    subtransaction: u32,
}

impl Noting<'_> {
    fn note(&self, seen: &Seen) {
        let Arguments { event_type, key_column, auction_column, about_column, unless_event, .. } = self.arguments;
        let subject = Subject::of(event_type, unless_event, self.schema);
        let about = if about_column.is_empty() { Ok(None) } else { seen.uuid(about_column) };
        CHANGES.with_borrow_mut(|changes| match seen.uuid(key_column).and_then(|key| Ok(key.zip(Some(about?)))) {
            Ok(Some((key, about))) => {
                let has_auction = !auction_column.is_empty();
                // Where it cannot be read here, the payload will tell it.
                let auction_id = if has_auction { seen.uuid(auction_column).ok().flatten() } else { None };
                changes.note(subject, Change { key, auction_id, about }, self.subtransaction, || self.previous());
            }
            // A row that belongs to none: an entry without a submission.
            Ok(None) => {}
            Err(problem) => changes.note_unreadable(subject, problem, self.subtransaction),
        });
    }

    fn previous(&self) -> Option<Kept> {
        // SAFETY: a tuple of the trigger's, with the columns of its relation.
        (!self.before.is_null()).then(|| Kept::Image(unsafe { Image::of(self.before, self.columns) }))
    }
}
