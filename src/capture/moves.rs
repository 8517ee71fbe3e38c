//! Moves: a row that an UPDATE brings into another partition of its table.
//!
//! The server deletes it from the one and inserts it into the other, and fires the triggers for that: first those for the
//! deleted row, right after them those for the inserted one. The first of our triggers on the inserted row does what the
//! triggers for an update would have done, with their WHEN clauses, and the others do nothing.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::prelude::*;

use super::firing::{Firing, Row, arguments, root_of};
use super::row_event::row_event;
use super::trigger::{is_same, note_change};

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Sees rows that move to another partition. For AFTER INSERT OR DELETE, FOR EACH ROW, on a partitioned table.
    #[pg_trigger]
    fn note_move<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, std::convert::Infallible> {
        crate::capture::firing::fire(trigger, |_| {});
        Ok(None)
    }
}

/// What a firing is about.
pub enum Seen {
    Change,
    /// One half of a move.
    Move,
}

/// The row that was deleted from a partition last, in order to be inserted into another.
struct Moved {
    table: pg_sys::Oid,
    /// The statement.
    transaction: pg_sys::TransactionId,
    command: pg_sys::CommandId,
    /// In the transaction's memory, like its columns: the table they are of may be changed meanwhile.
    old: Row,
    /// The partition, and the place in it, where the row was inserted, once that has been seen.
    new: Option<(pg_sys::Oid, Place)>,
}

/// Block and number within it.
type Place = (u16, u16, u16);

thread_local! {
    static MOVED: RefCell<Option<Moved>> = const { RefCell::new(None) };
}

/// At the end of the transaction, in whose memory the row lies.
pub fn forget() {
    MOVED.take();
}

/// Whether it is a move. The first firing for the inserted row of one has the triggers for an update do their work.
///
/// # Safety
/// The firing's tuples are those of its relation.
pub unsafe fn look_at(firing: &Firing) -> Seen {
    // SAFETY: as the caller promises.
    unsafe {
        match (firing.old.is_null(), firing.new.is_null()) {
            (false, true) if has_moved(firing.old) => {
                remember(firing);
                Seen::Move
            }
            (true, false) if (*firing.relation.rd_rel).relispartition => match arrival(firing) {
                Some(Arrival::First(old)) => {
                    fire_for_update(firing, &old);
                    Seen::Move
                }
                Some(Arrival::Again) => Seen::Move,
                None => Seen::Change,
            },
            _ => Seen::Change,
        }
    }
}

/// Whether the tuple was deleted in order to be inserted into another partition: `HeapTupleHeaderIndicatesMovedPartitions()`.
unsafe fn has_moved(tuple: pg_sys::HeapTuple) -> bool {
    // SAFETY: a heap tuple.
    let next = unsafe { &(*(*tuple).t_data).t_ctid };
    place(next) == (0xffff, 0xffff, 0xfffd)
}

fn place(pointer: &pg_sys::ItemPointerData) -> Place {
    (pointer.ip_blkid.bi_hi, pointer.ip_blkid.bi_lo, pointer.ip_posid)
}

unsafe fn remember(firing: &Firing) {
    // SAFETY: the tuple is one that this transaction has deleted, and has the columns of the relation.
    let moved = unsafe {
        let before = pg_sys::MemoryContextSwitchTo(pg_sys::TopTransactionContext);
        let old = Row {
            tuple: pg_sys::heap_copytuple(firing.old),
            columns: pg_sys::CreateTupleDescCopyConstr(firing.columns()),
        };
        pg_sys::MemoryContextSwitchTo(before);
        Moved {
            table: firing.table(),
            transaction: pg_sys::GetTopTransactionId(),
            command: pg_sys::HeapTupleHeaderGetCmax((*firing.old).t_data),
            old,
            new: None,
        }
    };
    // Several triggers see the same row, and each statement may move millions.
    if let Some(Moved { old, .. }) = MOVED.replace(Some(moved)) {
        // SAFETY: both were made above, in this transaction, and are used no more.
        unsafe {
            pg_sys::heap_freetuple(old.tuple);
            pg_sys::FreeTupleDesc(old.columns);
        }
    }
}

enum Arrival {
    /// The row as it was, with the columns of the new partition.
    First(Row),
    Again,
}

/// Whether the inserted row is the one that was deleted last by the same statement.
unsafe fn arrival(firing: &Firing) -> Option<Arrival> {
    let here = (firing.relation.rd_id, place(unsafe { &(*firing.new).t_self }));
    MOVED.with_borrow_mut(|moved| {
        let moved = moved.as_mut()?;
        // SAFETY: the tuple is one that this transaction has inserted, as its trigger fires.
        let is_same_statement = unsafe {
            moved.transaction == pg_sys::GetTopTransactionIdIfAny()
                && moved.command == pg_sys::HeapTupleHeaderGetCmin((*firing.new).t_data)
        };
        if !is_same_statement || moved.table != root_of(firing.relation) {
            return None;
        }
        match moved.new {
            Some(new) => (new == here).then_some(Arrival::Again),
            None => {
                moved.new = Some(here);
                // SAFETY: both descriptions are of partitions of one table; the copy lives in this trigger's memory.
                let tuple = unsafe {
                    let map = pg_sys::convert_tuples_by_name(moved.old.columns, firing.columns());
                    if map.is_null() { moved.old.tuple } else { pg_sys::execute_attr_map_tuple(moved.old.tuple, map) }
                };
                Some(Arrival::First(Row { tuple, columns: firing.columns() }))
            }
        }
    })
}

/// What the triggers of ours that are for an update do.
unsafe fn fire_for_update(insert: &Firing, old: &Row) {
    // SAFETY: the server keeps the relation and its triggers while one of them runs.
    let triggers = unsafe {
        let triggers = &*insert.relation.trigdesc;
        std::slice::from_raw_parts(triggers.triggers, triggers.numtriggers.unsigned_abs() as usize)
    };
    for trigger in triggers.iter().filter(|trigger| is_for_update(trigger)) {
        let Some(handle) = handler(trigger.tgfoid) else { continue };
        // SAFETY: as above; both rows have the columns of the relation.
        unsafe {
            let update =
                Firing { relation: insert.relation, old: old.tuple, new: insert.new, arguments: arguments(trigger) };
            if names_a_changed_column(trigger, &update) && meets_condition(trigger, &update) {
                handle(&update);
            }
        }
    }
}

fn handler(function: pg_sys::Oid) -> Option<fn(&Firing)> {
    // SAFETY: look-ups in the catalogue, inside a transaction; a name is a NUL-terminated text, or null.
    let name = unsafe {
        if pg_sys::get_func_namespace(function) != pg_sys::get_namespace_oid(c"webhook_delivery".as_ptr(), true) {
            return None;
        }
        let name = pg_sys::get_func_name(function);
        if name.is_null() {
            return None;
        }
        CStr::from_ptr(name)
    };
    match name.to_bytes() {
        b"note_change" => Some(note_change),
        b"row_event" => Some(row_event),
        _ => None,
    }
}

/// `SESSION_REPLICATION_ROLE_REPLICA` of commands/trigger.h.
const REPLICA: i32 = 1;

/// Whether the trigger is AFTER UPDATE FOR EACH ROW, and enabled in this session.
fn is_for_update(trigger: &pg_sys::Trigger) -> bool {
    let kind = u32::from(trigger.tgtype.unsigned_abs());
    let is_for = pg_sys::TRIGGER_TYPE_ROW | pg_sys::TRIGGER_TYPE_UPDATE;
    let is_not = pg_sys::TRIGGER_TYPE_BEFORE | pg_sys::TRIGGER_TYPE_INSTEAD;
    // SAFETY: a plain integer of this session.
    let is_replica = unsafe { pg_sys::SessionReplicationRole } == REPLICA;
    let is_enabled = match trigger.tgenabled as u8 {
        b'A' => true,
        b'O' => !is_replica,
        b'R' => is_replica,
        _ => false,
    };
    kind & is_for == is_for && kind & is_not == 0 && is_enabled
}

/// Of a trigger for UPDATE OF columns, whether one of them has changed.
unsafe fn names_a_changed_column(trigger: &pg_sys::Trigger, update: &Firing) -> bool {
    let number = usize::from(trigger.tgnattr.unsigned_abs());
    // SAFETY: as many numbers of columns as the trigger has.
    let mut columns = (0..number).map(|place| unsafe { i32::from(*trigger.tgattr.add(place)) });
    // SAFETY: both rows have these columns.
    number == 0 || columns.any(|column| unsafe { !is_same(update.old, &update.latest(), column) })
}

/// Whether the trigger's WHEN condition holds, as the server evaluates it.
unsafe fn meets_condition(trigger: &pg_sys::Trigger, update: &Firing) -> bool {
    if trigger.tgqual.is_null() {
        return true;
    }
    // SAFETY: the steps of TriggerEnabled() in the server's trigger.c. The condition of a partition's trigger has the numbers
    // of the partition's columns. An error in it is the user's, as it is in an update without a move.
    unsafe {
        let condition = pg_sys::stringToNode(trigger.tgqual).cast::<pg_sys::Node>();
        let (old, new) = (pg_sys::PRS2_OLD_VARNO as i32, pg_sys::PRS2_NEW_VARNO as i32);
        #[cfg(feature = "pg18")]
        let condition = {
            let relation = std::ptr::from_ref(update.relation).cast_mut();
            let condition = pg_sys::expand_generated_columns_in_expr(condition, relation, old);
            pg_sys::expand_generated_columns_in_expr(condition, relation, new)
        };
        pg_sys::ChangeVarNodes(condition, old, pg_sys::INNER_VAR, 0);
        pg_sys::ChangeVarNodes(condition, new, pg_sys::OUTER_VAR, 0);
        let state = pg_sys::CreateExecutorState();
        let before = pg_sys::MemoryContextSwitchTo((*state).es_query_cxt);
        let condition = pg_sys::ExecPrepareQual(pg_sys::make_ands_implicit(condition.cast()), state);
        let context = pg_sys::MakePerTupleExprContext(state);
        let slot = |tuple| {
            let slot = pg_sys::MakeSingleTupleTableSlot(update.columns(), &raw const pg_sys::TTSOpsHeapTuple);
            pg_sys::ExecStoreHeapTuple(tuple, slot, false)
        };
        let slots = [slot(update.old), slot(update.new)];
        (*context).ecxt_innertuple = slots[0];
        (*context).ecxt_outertuple = slots[1];
        let holds = condition.is_null() || {
            let evaluate = (*condition).evalfunc.expect("a prepared expression can be evaluated");
            let mut is_null = false;
            // The server's own function, which may raise an error.
            pg_sys::ffi::pg_guard_ffi_boundary(|| evaluate(condition, context, &mut is_null)).value() != 0
        };
        slots.into_iter().for_each(|slot| pg_sys::ExecDropSingleTupleTableSlot(slot));
        pg_sys::MemoryContextSwitchTo(before);
        pg_sys::FreeExecutorState(state);
        holds
    }
}
