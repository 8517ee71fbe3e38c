//! Event keys: which event a change makes, and from which tables.

use std::cell::RefCell;
use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use uuid::Uuid;

use super::subscriptions;

/// An index in the session's list of events. A number, because a million rows would carry a million copies of the name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKey(u32);

/// A table whose rows are events.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowTable {
    pub oid: pg_sys::Oid,
    /// When the row changed: the table may be dropped before the commit.
    pub owner: pg_sys::Oid,
}

impl RowTable {
    /// For events whose data comes from no table.
    pub const NONE: Self = Self { oid: pg_sys::InvalidOid, owner: pg_sys::InvalidOid };
}

struct Name {
    /// The table whose rows are the events, where a row trigger makes them.
    row_table: Option<RowTable>,
    /// As the trigger's argument has it, so that comparing costs no conversion.
    event_type: CString,
    /// The schema of the changed table.
    schema: pg_sys::Oid,
    unless: Option<EventKey>,
}

/// What an `EventKey` stands for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Event {
    pub event_type: String,
    /// The schema of the tables in which its rows change; they are read there.
    pub schema: pg_sys::Oid,
    /// The table whose rows are the events, where a row trigger makes them: the data is the row itself.
    pub row_table: Option<RowTable>,
}

impl Event {
    pub fn emitted(event_type: String) -> Self {
        Self { event_type, schema: pg_sys::InvalidOid, row_table: Some(RowTable::NONE) }
    }
}

/// A session with more names forgets them at the end of the transaction: the number of triggers is not bounded.
const REMEMBERED_AT_MOST: usize = 1024;

thread_local! {
    /// Grows with the number of events that the session's triggers make.
    static NAMES: RefCell<Vec<Name>> = const { RefCell::new(Vec::new()) };
}

/// At the end of the transaction, when no key is in use any more.
pub fn forget_if_many() {
    NAMES.with_borrow_mut(|names| {
        if names.len() > REMEMBERED_AT_MOST {
            names.clear();
        }
    });
}

impl EventKey {
    /// The event of this type, which is not sent for a row that has the event `unless` in the same transaction: a
    /// row that is created is not also updated. Empty: always sent. Triggers that differ in this have different keys.
    pub fn of(event_type: &CStr, unless: &CStr, schema: pg_sys::Oid) -> Self {
        NAMES.with_borrow_mut(|names| {
            let unless = (!unless.is_empty()).then(|| Self::known_or_new(names, unless, None, schema, None));
            Self::known_or_new(names, event_type, unless, schema, None)
        })
    }

    /// The event of this type that is made of the rows of this table.
    pub fn of_row(event_type: &CStr, table: RowTable, schema: pg_sys::Oid) -> Self {
        NAMES.with_borrow_mut(|names| Self::known_or_new(names, event_type, None, schema, Some(table)))
    }

    /// An event of `emit()`: no table has its rows, and its data is known.
    pub fn of_emitted(event_type: &str) -> Self {
        // A name with a zero byte is in no catalogue.
        let event_type = CString::new(event_type).unwrap_or_default();
        Self::of_row(&event_type, RowTable::NONE, pg_sys::InvalidOid)
    }

    fn known_or_new(
        names: &mut Vec<Name>,
        event_type: &CStr,
        unless: Option<Self>,
        schema: pg_sys::Oid,
        row_table: Option<RowTable>,
    ) -> Self {
        let is_known = |known: &Name| {
            known.row_table == row_table
                && known.schema == schema
                && known.unless == unless
                && known.event_type.as_c_str() == event_type
        };
        let place = names.iter().position(is_known).unwrap_or_else(|| {
            names.push(Name { row_table, event_type: event_type.to_owned(), schema, unless });
            names.len() - 1
        });
        Self::at(place)
    }

    fn at(place: usize) -> Self {
        Self(u32::try_from(place).unwrap_or(u32::MAX))
    }

    pub fn event(self) -> Event {
        NAMES.with_borrow(|names| {
            let name = &names[self.0 as usize];
            Event {
                event_type: name.event_type.to_string_lossy().into_owned(),
                schema: name.schema,
                row_table: name.row_table,
            }
        })
    }

    /// Whether it is cached that no endpoint of the auction wants it.
    pub fn is_unwanted(self, auction_id: &Uuid) -> bool {
        NAMES.with_borrow(|names| {
            // A name that is not UTF-8 is no event type's.
            let event_type = names[self.0 as usize].event_type.to_str().ok();
            let wanting = event_type.and_then(|event_type| subscriptions::remembered(auction_id, event_type));
            wanting.is_some_and(|wanting| wanting.is_empty())
        })
    }

    /// The event that replaces this one.
    pub fn unless(self) -> Option<Self> {
        NAMES.with_borrow(|names| names[self.0 as usize].unless)
    }
}
