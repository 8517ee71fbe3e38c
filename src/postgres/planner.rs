//! Planner: lower bounds for the sizes of the extension's tables, which do not depend on what
//! VACUUM and ANALYZE have last seen in them.
//!
//! The queue is empty one moment and holds millions of rows the next. A plan that is right for one
//! row compares every row with every other. It stays in use when the rows come, in the worker and
//! in every session that has prepared it. Therefore the choice between an index and a sequential
//! scan must not depend on the last statistics, neither in our own statements nor in those that
//! users write against the views.

use std::ffi::CStr;

use pgrx::prelude::*;

/// Minimum density that is assumed for every table, in rows per page: VACUUM may have run when
/// nearly all rows were deleted.
const MIN_ROWS_PER_PAGE: f64 = 20.0;

/// Minimum size that is assumed for each partition of the queue, in rows. With this size an index
/// is the cheaper way to every key, and a scan is still too cheap for parallel workers or JIT
/// compilation.
const MIN_QUEUE_ROWS: f64 = 20_000.0;

/// The same minimum size in pages.
const MIN_QUEUE_PAGES: u32 = 600;

/// Minimum size that is assumed for their indexes, in pages.
const MIN_QUEUE_INDEX_PAGES: u32 = 100;

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
    // SAFETY: the planner has just filled in `info`, and holds no other reference to it during the
    // call.
    unsafe {
        if let Some(next) = NEXT_HOOK {
            next(root, relation, is_parent, info);
        }
        // The partitions of a partitioned table are corrected one by one.
        if is_parent {
            return;
        }
        let (rows, pages, index_pages) = match table(relation) {
            Table::Queue => (MIN_QUEUE_ROWS, MIN_QUEUE_PAGES, MIN_QUEUE_INDEX_PAGES),
            Table::Ours => (0.0, 0, 0),
            Table::Others => return,
        };
        let info = &mut *info;
        info.tuples = info.tuples.max(rows).max(f64::from(info.pages) * MIN_ROWS_PER_PAGE);
        info.pages = info.pages.max(pages);
        let indexes = info.indexlist.as_ref();
        for cell in indexes.map_or(&[][..], |list| std::slice::from_raw_parts(list.elements, list.length as usize)) {
            let index = &mut *cell.ptr_value.cast::<pg_sys::IndexOptInfo>();
            // The size of a partial index does not follow from the table's size.
            if index.indpred.is_null() {
                index.tuples = index.tuples.max(info.tuples);
                index.pages = index.pages.max(index_pages);
            }
        }
    }
}

/// The owner of a table, as far as the planner hook distinguishes it.
enum Table {
    /// A partition of the queue.
    Queue,
    /// Another table of the extension.
    Ours,
    Others,
}

/// Looked up in the server's own caches every time, because a cached result could belong to an
/// extension that was dropped.
fn table(relation: pg_sys::Oid) -> Table {
    if relation.to_u32() < pg_sys::FirstNormalObjectId {
        return Table::Others;
    }
    // SAFETY: look-ups by oids and by NUL-terminated names, inside a transaction; a look-up without
    // a result returns the invalid oid.
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
