//! Foreign tables: they cannot be read during a commit.
//!
//! A foreign-data wrapper commits its remote transaction in a callback at the end of the
//! transaction. If an event's data is read from a foreign table, a remote transaction begins during
//! the same callbacks, and no callback commits it: postgres_fdw then raises an error after the
//! commit, which ends the whole server. Besides, a remote server that does not answer would end the
//! user's transaction.

use std::cell::Cell;

use pgrx::prelude::*;

use crate::postgres::errors::refuse;

thread_local! {
    static IS_COMMITTING: Cell<bool> = const { Cell::new(false) };
}

/// The hook before this one. Set once, while the server loads the library.
static mut PREVIOUS_HOOK: pg_sys::ExecutorStart_hook_type = None;

unsafe extern "C-unwind" {
    // Not pgrx's binding, which sets up a jump buffer for each query of every session.
    fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: i32);
}

/// Hooks into the start of queries; called while the server loads the library.
pub fn init() {
    // SAFETY: the postmaster has one thread; the library is never unloaded.
    unsafe {
        PREVIOUS_HOOK = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(start_query);
    }
}

/// While it lives, a query that reads a foreign table fails.
pub struct Refused;

impl Refused {
    pub fn begin() -> Self {
        IS_COMMITTING.set(true);
        Self
    }
}

impl Drop for Refused {
    fn drop(&mut self) {
        IS_COMMITTING.set(false);
    }
}

/// No value in this frame needs to be dropped: errors of the server jump over it.
unsafe extern "C-unwind" fn start_query(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: the server calls the hook with a query that has a plan; `PREVIOUS_HOOK` does not
    // change any more.
    unsafe {
        if IS_COMMITTING.get() {
            check_query(query);
        }
        match PREVIOUS_HOOK {
            Some(previous) => previous(query, flags),
            None => standard_ExecutorStart(query, flags),
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_query(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the caller passes a query that has a plan; a plan's range table is a list of its
    // entries.
    let reads_foreign_table = unsafe {
        let tables = (*(*query).plannedstmt).rtable.as_ref();
        let tables = tables.map_or(&[][..], |list| std::slice::from_raw_parts(list.elements, list.length as usize));
        tables.iter().map(|cell| cell.ptr_value.cast::<pg_sys::RangeTblEntry>()).any(|table| {
            (*table).rtekind == pg_sys::RTEKind::RTE_RELATION && (*table).relkind as u8 == pg_sys::RELKIND_FOREIGN_TABLE
        })
    };
    if reads_foreign_table {
        refuse(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "cannot read foreign tables during a commit",
            "webhook_delivery.recapture() can read them. Build the events from local tables, or from a materialized view.",
        );
    }
}
