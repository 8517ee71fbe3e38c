//! Invalidation: when a session has to reread what it has cached of our tables.
//!
//! A change is announced with the server's relation cache invalidations, which every session
//! receives before its next transaction at the latest. They are sent after the change has become
//! visible, so a session that has received one reads the change.

use std::cell::Cell;

use pgrx::prelude::*;

/// Invalidates the cached rows of the table: in other sessions when this transaction commits, in
/// this session at once.
///
/// # Safety
/// The relation is open.
pub unsafe fn announce(relation: pg_sys::Relation) {
    // SAFETY: as the caller promises.
    unsafe { pg_sys::CacheInvalidateRelcache(relation) };
}

/// Tables that are cached together.
#[derive(Clone, Copy)]
pub enum Topic {
    /// `webhook_endpoints`: subscriptions.
    Subscriptions,
    /// `webhook_event_types`.
    EventTypes,
    /// `payload_queries` and `payload_functions`.
    Payloads,
}

/// How often the tables of a topic have changed.
struct News {
    tables: Cell<[pg_sys::Oid; 2]>,
    changes: Cell<u64>,
}

impl News {
    const fn none() -> Self {
        Self { tables: Cell::new([pg_sys::InvalidOid; 2]), changes: Cell::new(0) }
    }
}

thread_local! {
    /// How often any table has changed.
    static ALL_CHANGES: Cell<u64> = const { Cell::new(0) };
    static NEWS: [News; 3] = const { [const { News::none() }; 3] };
}

/// Registers for invalidations. Called while the server loads the library.
pub fn init() {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::null()) };
}

/// The server may call it at nearly any time, so it only counts.
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    ALL_CHANGES.set(ALL_CHANGES.get() + 1);
    NEWS.with(|topics| {
        let concerned = |news: &&News| relation == pg_sys::InvalidOid || news.tables.get().contains(&relation);
        topics.iter().filter(concerned).for_each(|news| news.changes.set(news.changes.get() + 1));
    });
}

/// The number of changes of any table that the session has processed: the server does so whenever
/// it locks a table, so before each statement.
pub fn changes_of_any_table() -> u64 {
    ALL_CHANGES.get()
}

impl Topic {
    /// The number of changes that the session has received. What was cached at another number may
    /// be outdated.
    pub fn changes(self) -> u64 {
        // SAFETY: processes the messages that have arrived, inside a transaction.
        unsafe { pg_sys::AcceptInvalidationMessages() };
        NEWS.with(|topics| topics[self as usize].changes.get())
    }

    /// Watches these tables; call it before they are read and cached.
    pub fn watch(self, tables: [Option<pg_sys::Oid>; 2]) {
        let tables = tables.map(Option::unwrap_or_default);
        NEWS.with(|topics| topics[self as usize].tables.set(tables));
    }
}

/// While it lives, statements that only read use the latest snapshot. Take it after
/// `Topic::changes` for everything that is cached: the snapshot of a running statement, or of a
/// REPEATABLE READ transaction, is older than the invalidations that the session has received.
pub struct LatestSnapshot;

impl LatestSnapshot {
    pub fn take() -> Self {
        // SAFETY: inside a transaction; `drop` or the abort of the (sub)transaction pops the
        // snapshot.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
        Self
    }
}

impl Drop for LatestSnapshot {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the snapshot that `take` has pushed.
            unsafe { pg_sys::PopActiveSnapshot() };
        }
    }
}
