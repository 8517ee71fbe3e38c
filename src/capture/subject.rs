//! What is told of a row: which event, and of which tables?

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::rc::Rc;

use pgrx::pg_sys;

/// What is told of a row: a place among the names of events that the session has met. A number, because a million rows
/// would carry a million copies of the name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject(u16);

struct Name {
    /// The trigger that makes events of whole rows, or none.
    row_trigger: Option<Rc<RowTrigger>>,
    /// As the trigger's argument has it, so that comparing costs no conversion.
    event_type: CString,
    /// The schema of the changed table.
    schema: pg_sys::Oid,
    unless: Option<Subject>,
}

/// A trigger of `row_event()`: the data of its events is the row.
#[derive(PartialEq, Eq, Hash, Clone)]
pub struct RowTrigger {
    pub table: pg_sys::Oid,
    pub auction_column: CString,
    pub left_out: Vec<CString>,
}

/// What a subject stands for.
pub struct Event {
    pub event_type: String,
    /// The schema of the tables in which its rows change; they are read there.
    pub schema: pg_sys::Oid,
    /// Where the data is the row itself.
    pub row_trigger: Option<Rc<RowTrigger>>,
}

thread_local! {
    /// Grows with the events that the session's triggers tell of.
    static NAMES: RefCell<Vec<Name>> = const { RefCell::new(Vec::new()) };
}

impl Subject {
    /// The event of this type, which is needless for a row that has the event `unless` in the same transaction: who
    /// creates, does not also update. Empty: never. Triggers that say different things of it are different subjects.
    pub fn of(event_type: &CStr, unless: &CStr, schema: pg_sys::Oid) -> Self {
        NAMES.with_borrow_mut(|names| {
            let unless = (!unless.is_empty()).then(|| Self::known_or_new(names, unless, None, schema));
            Self::known_or_new(names, event_type, unless, schema)
        })
    }

    /// The event of this type that is made of whole rows.
    pub fn of_row(event_type: &CStr, trigger: &RowTrigger, schema: pg_sys::Oid) -> Self {
        NAMES.with_borrow_mut(|names| {
            let is_known = |known: &Name| {
                known.row_trigger.as_deref() == Some(trigger)
                    && known.event_type.as_c_str() == event_type
                    && known.schema == schema
            };
            let place = names.iter().position(is_known).unwrap_or_else(|| {
                let row_trigger = Some(Rc::new(trigger.clone()));
                names.push(Name { row_trigger, event_type: event_type.to_owned(), schema, unless: None });
                names.len() - 1
            });
            Self::at(place)
        })
    }

    fn known_or_new(names: &mut Vec<Name>, event_type: &CStr, unless: Option<Self>, schema: pg_sys::Oid) -> Self {
        let is_known = |known: &Name| {
            known.row_trigger.is_none()
                && known.schema == schema
                && known.unless == unless
                && known.event_type.as_c_str() == event_type
        };
        let place = names.iter().position(is_known).unwrap_or_else(|| {
            names.push(Name { row_trigger: None, event_type: event_type.to_owned(), schema, unless });
            names.len() - 1
        });
        Self::at(place)
    }

    fn at(place: usize) -> Self {
        Self(u16::try_from(place).expect("there are fewer triggers than 65,536"))
    }

    pub fn event(self) -> Event {
        NAMES.with_borrow(|names| {
            let name = &names[usize::from(self.0)];
            Event {
                event_type: name.event_type.to_string_lossy().into_owned(),
                schema: name.schema,
                row_trigger: name.row_trigger.clone(),
            }
        })
    }

    /// The event that makes this one needless.
    pub fn unless(self) -> Option<Self> {
        NAMES.with_borrow(|names| names[usize::from(self.0)].unless)
    }
}
