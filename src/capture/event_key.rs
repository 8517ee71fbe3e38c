//! Event keys: small numbers that stand for an event and the tables that it comes from.

use std::cell::RefCell;
use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use uuid::Uuid;

use super::subscriptions;

/// An index in the session's list of events. A number, because a million rows would otherwise have
/// a million copies of the name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKey(u32);

/// A table whose rows are events.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowTable {
    pub oid: pg_sys::Oid,
    /// The owner when the row changed: the table may be dropped before the commit.
    pub owner: pg_sys::Oid,
}

impl RowTable {
    /// Stands for no table: the data of the event is known.
    pub const NONE: Self = Self { oid: pg_sys::InvalidOid, owner: pg_sys::InvalidOid };
}

/// Where the rows of an event are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Location {
    pub schema: pg_sys::Oid,
    /// With Citus: the shard that stands for all that are co-located with the changed one.
    pub shard: Option<pg_sys::Oid>,
}

impl Location {
    pub fn schema(schema: pg_sys::Oid) -> Self {
        Self { schema, shard: None }
    }
}

struct Name {
    /// The table whose rows are the events, if a row trigger makes them.
    row_table: Option<RowTable>,
    /// As in the trigger's argument, so that a comparison needs no conversion.
    event_type: CString,
    location: Location,
    suppressed_by: Option<EventKey>,
}

/// The event that an `EventKey` stands for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Event {
    pub event_type: String,
    /// The rows change in these tables, and are read there.
    pub location: Location,
    /// The table whose rows are the events, if a row trigger makes them: the data is the row
    /// itself.
    pub row_table: Option<RowTable>,
}

impl Event {
    pub fn emitted(event_type: String) -> Self {
        Self { event_type, location: Location::schema(pg_sys::InvalidOid), row_table: Some(RowTable::NONE) }
    }
}

/// A session with more names removes them at the end of the transaction, because the number of
/// triggers is not bounded.
const MAX_NAMES: usize = 1024;

thread_local! {
    /// Grows with the number of events that the session's triggers make.
    static NAMES: RefCell<Vec<Name>> = const { RefCell::new(Vec::new()) };
}

/// Call at the end of the transaction, when no key is in use any more.
pub fn forget_if_many() {
    NAMES.with_borrow_mut(|names| {
        if names.len() > MAX_NAMES {
            names.clear();
        }
    });
}

impl EventKey {
    /// The event of this type. It is not sent for a row that has the event `suppressed_by` in the
    /// same transaction: a row that is created is not also updated. If `suppressed_by` is empty,
    /// the event is always sent. Triggers that differ in this have different keys.
    pub fn of(event_type: &CStr, suppressed_by: &CStr, location: Location) -> Self {
        NAMES.with_borrow_mut(|names| {
            let suppressed_by =
                (!suppressed_by.is_empty()).then(|| Self::known_or_new(names, suppressed_by, None, location, None));
            Self::known_or_new(names, event_type, suppressed_by, location, None)
        })
    }

    /// The event of this type that is made of the rows of this table.
    pub fn of_row(event_type: &CStr, table: RowTable, schema: pg_sys::Oid) -> Self {
        NAMES
            .with_borrow_mut(|names| Self::known_or_new(names, event_type, None, Location::schema(schema), Some(table)))
    }

    /// An event of `emit()`: its data is known and comes from no table.
    pub fn of_emitted(event_type: &str) -> Self {
        // A name with a zero byte is in no catalogue.
        let event_type = CString::new(event_type).unwrap_or_default();
        Self::of_row(&event_type, RowTable::NONE, pg_sys::InvalidOid)
    }

    fn known_or_new(
        names: &mut Vec<Name>,
        event_type: &CStr,
        suppressed_by: Option<Self>,
        location: Location,
        row_table: Option<RowTable>,
    ) -> Self {
        let is_known = |known: &Name| {
            known.row_table == row_table
                && known.location == location
                && known.suppressed_by == suppressed_by
                && known.event_type.as_c_str() == event_type
        };
        let place = names.iter().position(is_known).unwrap_or_else(|| {
            names.push(Name { row_table, event_type: event_type.to_owned(), location, suppressed_by });
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
                location: name.location,
                row_table: name.row_table,
            }
        })
    }

    /// Whether it is cached that no endpoint of the auction wants it, and that it is not recorded.
    pub fn is_unwanted(self, auction_id: &Uuid) -> bool {
        NAMES.with_borrow(|names| {
            // No event type has a name that is not UTF-8.
            let event_type = names[self.0 as usize].event_type.to_str().ok();
            let wanting = event_type.and_then(|event_type| subscriptions::cached(auction_id, event_type));
            wanting.is_some_and(|wanting| !subscriptions::is_recorded(&wanting))
        })
    }

    /// The event that is sent instead of this one.
    pub fn suppressed_by(self) -> Option<Self> {
        NAMES.with_borrow(|names| names[self.0 as usize].suppressed_by)
    }
}
