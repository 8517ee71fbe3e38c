//! Row movement: an UPDATE moves a row to another partition of its table.
//!
//! The server deletes the row from one partition and inserts it into the other. It fires the
//! triggers for the deleted row and right after them those for the inserted row. The row counts as
//! deleted until it arrives, because a BEFORE trigger of the other partition may reject it. When it
//! arrives, the notes that it was deleted are withdrawn. The first of our triggers on the inserted
//! row then does the work of the triggers for an update, with their conditions; the others do
//! nothing.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::prelude::*;

use super::builtin_trigger::{capture_row_change, is_same};
use super::firing::{Firing, Row, ancestors_of, arguments};
use super::pending_changes::PENDING;
use super::row_event::{key_columns, row_event};

/// Maximum number of statements whose last move is kept. Between the two halves of a move, triggers
/// may move rows of the same table and of others.
const MAX_MOVES: usize = 32;

/// The kind of a firing.
pub enum FiringKind {
    Change,
    /// A row leaves a partition in order to arrive in another.
    Departure,
    /// The row arrives in another partition. The first trigger that sees it gets the old row.
    Arrival(Option<Departed>),
}

/// A row that has left its partition and arrived in another.
pub struct Departed {
    /// The old row, with the columns of the new partition.
    old: Row,
    /// Indexes of the notes that it was deleted.
    notes: Vec<usize>,
}

/// The last row that a statement deleted from a partition of a table in order to insert it into
/// another.
struct Moved {
    table: pg_sys::Oid,
    command: pg_sys::CommandId,
    from: Place,
    /// In the transaction's memory, like the description of its columns: the table may change in
    /// the meantime.
    old: Row,
    notes: Vec<usize>,
    /// Where it was inserted; `None` until a trigger has seen that.
    to: Option<Place>,
}

/// A partition, and the block and item number within it.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Place(pg_sys::Oid, (u16, u16, u16));

thread_local! {
    static MOVED: RefCell<Vec<Moved>> = const { RefCell::new(Vec::new()) };
}

/// Call at the end of the transaction, which frees the memory of the rows.
pub fn forget() {
    MOVED.take();
}

/// Whether the firing is one half of a move, and which.
///
/// # Safety
/// The firing's tuples are those of its relation.
pub unsafe fn classify(firing: &Firing) -> FiringKind {
    // SAFETY: as the caller promises.
    unsafe {
        match (firing.old.is_null(), firing.new.is_null()) {
            (false, true) if has_moved(firing.old) => {
                remember(firing);
                FiringKind::Departure
            }
            (true, false) if (*firing.relation.rd_rel).relispartition => {
                arrival(firing).map_or(FiringKind::Change, FiringKind::Arrival)
            }
            _ => FiringKind::Change,
        }
    }
}

/// Whether the tuple was deleted in order to be inserted into another partition:
/// `HeapTupleHeaderIndicatesMovedPartitions()`.
unsafe fn has_moved(tuple: pg_sys::HeapTuple) -> bool {
    // SAFETY: a heap tuple.
    item(unsafe { &(*(*tuple).t_data).t_ctid }) == (0xffff, 0xffff, 0xfffd)
}

fn item(pointer: &pg_sys::ItemPointerData) -> (u16, u16, u16) {
    (pointer.ip_blkid.bi_hi, pointer.ip_blkid.bi_lo, pointer.ip_posid)
}

impl Place {
    /// # Safety
    /// A heap tuple of the firing's relation.
    unsafe fn of(firing: &Firing, tuple: pg_sys::HeapTuple) -> Self {
        // SAFETY: as the caller promises.
        Self(firing.relation.rd_id, item(unsafe { &(*tuple).t_self }))
    }
}

unsafe fn remember(firing: &Firing) {
    // SAFETY: the tuple is one that this transaction has deleted, and has the columns of the
    // relation.
    let (table, command, from) = unsafe {
        let command = pg_sys::HeapTupleHeaderGetCmax((*firing.old).t_data);
        (firing.table(), command, Place::of(firing, firing.old))
    };
    MOVED.with_borrow_mut(|moved| {
        let known = moved.iter().position(|known| known.table == table && known.command == command);
        // Several triggers see the same row; the first has saved it.
        if known.is_some_and(|known| moved[known].from == from) {
            return;
        }
        // A statement may move millions of rows: free the row before this one.
        if let Some(before) = known.or((moved.len() >= MAX_MOVES).then_some(0)) {
            let Moved { old, .. } = moved.remove(before);
            // SAFETY: both were made below, in this transaction, and there is no other pointer to
            // them.
            unsafe {
                pg_sys::heap_freetuple(old.tuple);
                pg_sys::FreeTupleDesc(old.columns);
            }
        }
        // SAFETY: as above.
        let old = unsafe {
            let before = pg_sys::MemoryContextSwitchTo(pg_sys::TopTransactionContext);
            let tuple = pg_sys::heap_copytuple(firing.old);
            let columns = pg_sys::CreateTupleDescCopyConstr(firing.columns());
            pg_sys::MemoryContextSwitchTo(before);
            Row { tuple, columns }
        };
        moved.push(Moved { table, command, from, old, notes: Vec::new(), to: None });
    });
}

/// Notes that the row is deleted. The note is withdrawn when the row arrives.
pub fn note_departure(firing: &Firing, handle: fn(&Firing)) {
    let before = PENDING.with_borrow(|changes| changes.number_of_notes());
    handle(firing);
    let after = PENDING.with_borrow(|changes| changes.number_of_notes());
    // SAFETY: a tuple of the firing's relation.
    let from = unsafe { Place::of(firing, firing.old) };
    MOVED.with_borrow_mut(|moved| {
        if let Some(moved) = moved.iter_mut().rfind(|moved| moved.from == from) {
            moved.notes.extend(before..after);
        }
    });
}

/// Whether the inserted row is the one that the same statement deleted last. The first trigger that
/// sees this gets the deleted row.
unsafe fn arrival(firing: &Firing) -> Option<Option<Departed>> {
    // SAFETY: the tuple is one that this transaction has inserted, as its trigger fires.
    let (command, to) =
        unsafe { (pg_sys::HeapTupleHeaderGetCmin((*firing.new).t_data), Place::of(firing, firing.new)) };
    let table = firing.table();
    MOVED.with_borrow_mut(|moved| {
        let moved = moved.iter_mut().find(|moved| moved.table == table && moved.command == command)?;
        if let Some(place) = moved.to {
            return (place == to).then_some(None);
        }
        // SAFETY: both descriptions are of partitions of one table. The copy lives in this
        // trigger's memory: code that runs until it is used may move other rows.
        let old = unsafe {
            let map = pg_sys::convert_tuples_by_name(moved.old.columns, firing.columns());
            let tuple = if map.is_null() {
                pg_sys::heap_copytuple(moved.old.tuple)
            } else {
                pg_sys::execute_attr_map_tuple(moved.old.tuple, map)
            };
            Row { tuple, columns: firing.columns() }
        };
        // SAFETY: both rows have the columns of the firing's relation.
        if !unsafe { is_same_row(firing, &old) } {
            return None;
        }
        moved.to = Some(to);
        Some(Some(Departed { old, notes: std::mem::take(&mut moved.notes) }))
    })
}

/// Whether both rows have the same primary key, apart from the columns by which the table is
/// partitioned. The same statement may insert other rows, and a row that has left may never arrive.
unsafe fn is_same_row(firing: &Firing, old: &Row) -> bool {
    let partitioned_by = partition_columns(firing);
    // SAFETY: as the caller promises.
    unsafe {
        let mut columns = key_columns(firing.relation).into_iter().filter(|column| !partitioned_by.contains(column));
        columns.all(|column| is_same(old.tuple, &firing.latest(), column))
    }
}

/// The partition columns of all partitioned tables above the firing's relation, as column numbers
/// of that relation.
fn partition_columns(firing: &Firing) -> Vec<i32> {
    /// `Anum_pg_partitioned_table_partattrs` of catalog/pg_partitioned_table.h.
    const PARTATTRS: i16 = 5;
    let mut columns = Vec::new();
    for table in ancestors_of(firing.relation) {
        // SAFETY: a look-up in the catalogue, inside a transaction; the found tuple is released
        // after the copy. The attribute is never null, and is an int2vector with `dim1` values,
        // which is not toasted.
        unsafe {
            let cache = pg_sys::SysCacheIdentifier::PARTRELID as i32;
            let found = pg_sys::SearchSysCache1(cache, table.into());
            if found.is_null() {
                continue;
            }
            let mut is_null = false;
            let numbers = pg_sys::SysCacheGetAttr(cache, found, PARTATTRS, &mut is_null);
            let numbers = &*numbers.cast_mut_ptr::<pg_sys::int2vector>();
            let numbers = numbers.values.as_slice(numbers.dim1.unsigned_abs() as usize).to_vec();
            pg_sys::ReleaseSysCache(found);
            // 0 stands for an expression.
            for number in numbers.into_iter().filter(|number| *number > 0) {
                let name = pg_sys::get_attname(table, number, true);
                if !name.is_null() {
                    columns.push(pg_sys::SPI_fnumber(firing.columns(), name));
                }
            }
        }
    }
    columns
}

/// Runs our triggers for an update, and withdraws the notes of those for a deleted row.
///
/// # Safety
/// `classify` has returned `departed` for this firing.
pub unsafe fn fire_for_update(insert: &Firing, Departed { old, notes }: Departed) {
    PENDING.with_borrow_mut(|changes| changes.withdraw(notes));
    // SAFETY: the server keeps the relation while one of its triggers runs. We copy the triggers,
    // as the server does before it fires them: an invalidation of the relation, received during a
    // look-up in the catalogue, frees the description.
    let triggers = unsafe {
        let triggers = &*pg_sys::CopyTriggerDesc(insert.relation.trigdesc);
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
    // SAFETY: look-ups in the catalogue, inside a transaction; a name is a NUL-terminated text, or
    // null.
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
        b"capture_row_change" => Some(capture_row_change),
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

/// Whether one of the columns of UPDATE OF has changed; true for a trigger without such columns.
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
    // SAFETY: the steps of TriggerEnabled() in the server's trigger.c. The condition of a
    // partition's trigger has the numbers of the partition's columns. An error in it ends the
    // user's statement, as in an update without a move.
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
