//! New ids: tells the id that the database gives a new endpoint from one that the caller chose.

use std::cell::RefCell;
use std::collections::HashSet;

use pgrx::prelude::*;

use crate::ids::uuid_v7;

/// Maximum number of ids that a session remembers: more than an INSERT of endpoints has rows.
const MAX_IDS: usize = 10_000;

thread_local! {
    static NEW_IDS: RefCell<HashSet<[u8; 16]>> = RefCell::default();
}

/// A new id, which this session remembers until an endpoint has it.
#[pg_extern(volatile, schema = "webhook_delivery")]
fn new_endpoint_id() -> pgrx::Uuid {
    let id = uuid_v7();
    NEW_IDS.with_borrow_mut(|ids| {
        if ids.len() >= MAX_IDS {
            ids.clear();
        }
        ids.insert(*id.as_bytes());
    });
    id
}

/// Whether `new_endpoint_id()` made this id in this session, for the first endpoint that has it.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn take_new_endpoint_id(id: pgrx::Uuid) -> bool {
    NEW_IDS.with_borrow_mut(|ids| ids.remove(id.as_bytes()))
}
