//! What does a trigger note of a row that has changed?

use std::ffi::CStr;

use pgrx::prelude::*;

use super::CHANGES;
use super::changes::{Row, Subject};

/// The arguments that `install_triggers()` gives to each trigger.
struct Arguments<'a> {
    event_type: &'a CStr,
    key_column: &'a CStr,
    auction_column: &'a CStr,
    unless_event: &'a CStr,
}

/// A row as the trigger sees it.
struct Seen {
    tuple: pg_sys::HeapTuple,
    columns: pg_sys::TupleDesc,
}

impl Seen {
    /// The value of a uuid column, or why there is none to be had. Never an error: that would be the user's.
    fn uuid(&self, column: &CStr) -> Result<Option<uuid::Uuid>, String> {
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
            let mut is_null = false;
            let value = pg_sys::SPI_getbinval(self.tuple, self.columns, number, &mut is_null);
            Ok((!is_null).then(|| uuid::Uuid::from_bytes(*value.cast_mut_ptr::<[u8; 16]>())))
        }
    }
}

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Notes that the row's event is to be built when the transaction is complete. Arguments: event type; key column of
    /// the row that the event is about; column of its auction (or '', where another table has it); the event that makes
    /// this one needless for the same row in the same transaction (or ''). Attached by `install_triggers()`.
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
    if definition.tgnargs != 4 {
        pgrx::warning!("note_change() takes four arguments: attach it with webhook_delivery.install_triggers()");
        return;
    }
    // SAFETY: the server keeps all of these while the trigger runs; its four arguments are NUL-terminated texts.
    let (arguments, columns, subtransaction) = unsafe {
        let argument = |place| CStr::from_ptr(*definition.tgargs.add(place));
        let arguments = Arguments {
            event_type: argument(0),
            key_column: argument(1),
            auction_column: argument(2),
            unless_event: argument(3),
        };
        (arguments, (*data.tg_relation).rd_att, pg_sys::GetCurrentSubTransactionId())
    };
    // An entry that moves from one submission to another edits both. Of a row itself the new version is the last word.
    for tuple in [data.tg_trigtuple, data.tg_newtuple] {
        if !tuple.is_null() {
            note_row(&arguments, &Seen { tuple, columns }, subtransaction);
        }
    }
}

fn note_row(arguments: &Arguments, seen: &Seen, subtransaction: u32) {
    let subject = Subject::of(arguments.event_type, arguments.unless_event);
    CHANGES.with_borrow_mut(|changes| match seen.uuid(arguments.key_column) {
        Ok(Some(key)) => {
            let has_auction = !arguments.auction_column.is_empty();
            // Where it cannot be read here, the payload will tell it.
            let auction_id = if has_auction { seen.uuid(arguments.auction_column).ok().flatten() } else { None };
            changes.note(subject, Row { key, auction_id }, subtransaction);
        }
        // A row that belongs to none: an entry without a submission.
        Ok(None) => {}
        Err(problem) => changes.note_unreadable(subject, problem, subtransaction),
    });
}
