//! The trigger functions, in a module named like their schema: `#[pg_trigger]` takes no schema.

use pgrx::prelude::*;

#[pg_schema]
mod webhook_delivery {
    use std::convert::Infallible;

    use pgrx::prelude::*;

    use crate::capture::{self, fire};
    use crate::postgres::invalidation;

    type Nothing<'a> = Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, Infallible>;

    /// Captures a change of a built-in table. `install_triggers()` attaches it. Arguments, of which
    /// the last may be left out or empty: event type; key column; column of the auction (empty: the
    /// payload has it); column with the row that the event is about, if that is another row; the
    /// event about the same row that suppresses this one in the same transaction; the only column
    /// whose change makes the event; `previous`, if the payload needs the row as it was before.
    #[pg_trigger]
    fn capture_row_change<'a>(trigger: &'a PgTrigger<'a>) -> Nothing<'a> {
        fire(trigger, capture::capture_row_change);
        Ok(None)
    }

    /// Captures a change of any table: the event's data is the row, and for an update also the
    /// columns that were different before. Arguments: event type; column of the auction; columns to
    /// leave out. For AFTER ... FOR EACH ROW; a WHEN clause filters.
    #[pg_trigger]
    fn row_event<'a>(trigger: &'a PgTrigger<'a>) -> Nothing<'a> {
        fire(trigger, capture::row_event);
        Ok(None)
    }

    /// Sees rows that move to another partition. For AFTER INSERT OR DELETE, FOR EACH ROW, on a
    /// partitioned table.
    #[pg_trigger]
    fn capture_partition_move<'a>(trigger: &'a PgTrigger<'a>) -> Nothing<'a> {
        fire(trigger, |_| {});
        Ok(None)
    }

    /// Makes sessions reread the trigger's table: other sessions when this transaction commits,
    /// this session at once.
    #[pg_trigger]
    fn announce_change<'a>(trigger: &'a PgTrigger<'a>) -> Nothing<'a> {
        // SAFETY: the server keeps the relation while the trigger runs.
        unsafe { invalidation::announce(trigger.trigger_data().tg_relation) };
        Ok(None)
    }
}
