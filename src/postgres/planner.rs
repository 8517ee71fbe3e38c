//! The planner does not take the extension's tables for smaller than they may be, whatever VACUUM and ANALYZE have last seen in them.
//!
//! The queue is empty one moment and holds millions of rows the next. A plan that is right for one row compares every row with every
//! other; it stays in use, in the worker and in whatever session has prepared it, when the rows come. So the choice between an index
//! and a scan of everything does not depend on what was counted last: not in our own statements, and not in those that users write
//! against the views.

use std::ffi::CStr;

use pgrx::prelude::*;

/// Minimum density that is assumed of every table, in rows per page: VACUUM may have run when nearly all rows were deleted.
const ROWS_OF_A_PAGE: f64 = 20.0;

/// Minimum size that is assumed of each part of the queue, in rows. An index is then the cheaper way to every key, and a scan is still too cheap
/// for parallel workers or JIT compilation.
const QUEUE_ROWS_AT_LEAST: f64 = 20_000.0;

/// The same in pages.
const QUEUE_PAGES_AT_LEAST: u32 = 600;

/// Minimum size that is assumed of their indexes, in pages.
const QUEUE_INDEX_PAGES_AT_LEAST: u32 = 100;

static mut NEXT_HOOK: pg_sys::get_relation_info_hook_type = None;

/// Called while the server loads the library.
pub fn init() {
    // SAFETY: the server loads libraries in one thread, before anything is planned.
    unsafe {
        NEXT_HOOK = pg_sys::get_relation_info_hook;
        pg_sys::get_relation_info_hook = Some(correct_size);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn correct_size(
    root: *mut pg_sys::PlannerInfo,
    relation: pg_sys::Oid,
    is_parent: bool,
    info: *mut pg_sys::RelOptInfo,
) {
    // SAFETY: the planner has just filled in `info`, and holds no other reference to it during the call.
    unsafe {
        if let Some(next) = NEXT_HOOK {
            next(root, relation, is_parent, info);
        }
        // Of a partitioned table each partition counts for itself.
        if is_parent {
            return;
        }
        let (rows, pages, index_pages) = match table(relation) {
            Table::Queue => (QUEUE_ROWS_AT_LEAST, QUEUE_PAGES_AT_LEAST, QUEUE_INDEX_PAGES_AT_LEAST),
            Table::Ours => (0.0, 0, 0),
            Table::Others => return,
        };
        let info = &mut *info;
        info.tuples = info.tuples.max(rows).max(f64::from(info.pages) * ROWS_OF_A_PAGE);
        info.pages = info.pages.max(pages);
        let indexes = info.indexlist.as_ref();
        for cell in indexes.map_or(&[][..], |list| std::slice::from_raw_parts(list.elements, list.length as usize)) {
            let index = &mut *cell.ptr_value.cast::<pg_sys::IndexOptInfo>();
            // What is in a partial one is no matter of the table's size.
            if index.indpred.is_null() {
                index.tuples = index.tuples.max(info.tuples);
                index.pages = index.pages.max(index_pages);
            }
        }
    }
}

/// Whose a table is.
enum Table {
    /// A partition of the queue.
    Queue,
    /// Another one of the extension's.
    Ours,
    Others,
}

/// Looked up in the server's own caches, every time: what is remembered could be of an extension that was dropped.
fn table(relation: pg_sys::Oid) -> Table {
    if relation.to_u32() < pg_sys::FirstNormalObjectId {
        return Table::Others;
    }
    // SAFETY: look-ups by oids and by NUL-terminated names, inside a transaction; what is not there gives the invalid oid.
    unsafe {
        let ours = pg_sys::get_namespace_oid(c"webhook_delivery".as_ptr(), true);
        if ours == pg_sys::InvalidOid {
            return Table::Others;
        }
        let endpoints_in = |schema| pg_sys::get_relname_relid(c"webhook_endpoints".as_ptr(), schema);
        let is = |name: &CStr| relation == pg_sys::get_relname_relid(name.as_ptr(), ours);
        if is(c"queue_recent") || is(c"queue_parked") {
            Table::Queue
        } else if pg_sys::get_rel_namespace(relation) == ours
            || relation == endpoints_in(pg_sys::get_namespace_oid(c"public".as_ptr(), true))
        {
            Table::Ours
        } else {
            Table::Others
        }
    }
}
