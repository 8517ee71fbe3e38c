//! The planner takes no table of the extension for a small one, whatever VACUUM and ANALYZE have last seen in it.
//!
//! The queue is empty one moment and holds millions of rows the next. A plan that is right for one row compares every row with every
//! other; it stays in use, in the worker and in whatever session has prepared it, when the rows come. So the choice between an index
//! and a scan of everything does not depend on what was counted last: not in our own statements, and not in those that users write
//! against the views.

use pgrx::prelude::*;

/// A table counts as having at least so many rows: with these, reading by index is the better plan for every key that is looked up.
const ROWS_AT_LEAST: f64 = 20_000.0;

/// And so many pages. With many more of them the planner would start other processes for a scan, which takes longer than to read a
/// queue that is nearly empty.
const PAGES_AT_LEAST: u32 = 600;

/// Pages of an index with so many rows.
const INDEX_PAGES_AT_LEAST: u32 = 100;

/// So many rows are in each page that a table has, whatever VACUUM has found in it: it may have come when nearly all were deleted.
const ROWS_OF_A_PAGE: f64 = 20.0;

static mut NEXT_HOOK: pg_sys::get_relation_info_hook_type = None;

/// Called while the server loads the library.
pub fn init() {
    // SAFETY: the server loads libraries in one thread, before anything is planned.
    unsafe {
        NEXT_HOOK = pg_sys::get_relation_info_hook;
        pg_sys::get_relation_info_hook = Some(take_no_table_of_ours_for_small);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn take_no_table_of_ours_for_small(
    root: *mut pg_sys::PlannerInfo,
    relation: pg_sys::Oid,
    is_parent: bool,
    info: *mut pg_sys::RelOptInfo,
) {
    // SAFETY: the planner calls with what it has just filled in, and nobody else has it yet.
    unsafe {
        if let Some(next) = NEXT_HOOK {
            next(root, relation, is_parent, info);
        }
        // Of a partitioned table each partition counts for itself.
        if is_parent || !is_ours(relation) {
            return;
        }
        let info = &mut *info;
        // Of partitions there are many, most of them small: all taken for large would be read by several processes. Nothing is
        // deleted from one but by sending again, so that their pages are a measure of what is in them.
        let is_partition = pg_sys::get_rel_relispartition(relation);
        let (rows, pages, index_pages) =
            if is_partition { (0.0, 0, 0) } else { (ROWS_AT_LEAST, PAGES_AT_LEAST, INDEX_PAGES_AT_LEAST) };
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

/// Whether a relation is one of the extension's tables. Looked up in the server's own caches, every time: what is remembered could be
/// of an extension that was dropped.
fn is_ours(relation: pg_sys::Oid) -> bool {
    if relation.to_u32() < pg_sys::FirstNormalObjectId {
        return false;
    }
    // SAFETY: look-ups by an oid and by NUL-terminated names, inside a transaction; what is not there gives the invalid oid.
    unsafe {
        let ours = pg_sys::get_namespace_oid(c"webhook_delivery".as_ptr(), true);
        if ours == pg_sys::InvalidOid {
            return false;
        }
        let endpoints_in = |schema| pg_sys::get_relname_relid(c"webhook_endpoints".as_ptr(), schema);
        pg_sys::get_rel_namespace(relation) == ours
            || relation == endpoints_in(pg_sys::get_namespace_oid(c"public".as_ptr(), true))
    }
}
