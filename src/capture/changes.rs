//! Which rows has this transaction changed, and what is to be told of each?

use std::cell::RefCell;
use std::ffi::{CStr, CString};

use indexmap::map::Entry;
use indexmap::{IndexMap, IndexSet};
use uuid::Uuid;

/// What is told of a row: a place among the names of events that the session has met. A number, because a million rows
/// would carry a million copies of the name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject(u16);

struct Name {
    /// As the trigger's argument has it, so that comparing costs no conversion.
    event_type: CString,
    unless: Option<Subject>,
}

thread_local! {
    /// Grows with the events that the session's triggers tell of.
    static NAMES: RefCell<Vec<Name>> = const { RefCell::new(Vec::new()) };
}

impl Subject {
    /// The event of this type, which is needless for a row that has the event `unless` in the same transaction: who
    /// creates, does not also update. Empty: never.
    pub fn of(event_type: &CStr, unless: &CStr) -> Self {
        NAMES.with_borrow_mut(|names| {
            let unless = (!unless.is_empty()).then(|| Self::known_or_new(names, unless));
            let subject = Self::known_or_new(names, event_type);
            names[usize::from(subject.0)].unless = unless;
            subject
        })
    }

    fn known_or_new(names: &mut Vec<Name>, event_type: &CStr) -> Self {
        let place = names.iter().position(|known| known.event_type.as_c_str() == event_type).unwrap_or_else(|| {
            names.push(Name { event_type: event_type.to_owned(), unless: None });
            names.len() - 1
        });
        Self(u16::try_from(place).expect("there are fewer triggers than 65,536"))
    }

    pub fn event_type(self) -> String {
        NAMES.with_borrow(|names| names[usize::from(self.0)].event_type.to_string_lossy().into_owned())
    }

    fn unless(self) -> Option<Self> {
        NAMES.with_borrow(|names| names[usize::from(self.0)].unless)
    }
}

/// The auction of a row that does not say which: the place after the last.
const UNKNOWN: u32 = u32::MAX;

/// Of one row, what is to be told of it is the key.
struct Note {
    /// Where it was noted: rolling back to a savepoint takes back what was noted since.
    subtransaction: u32,
    /// The place, among the auctions met, of the one that the row was last seen in.
    auction: u32,
}

/// A row that was seen in another auction than before.
struct Move {
    /// Its place among the notes.
    note: usize,
    from: u32,
    subtransaction: u32,
}

/// Rows of a trigger that cannot be noted.
pub struct Unreadable {
    pub subject: Subject,
    pub problem: String,
    subtransaction: u32,
}

/// What a transaction owes. A key and three numbers a row, so that a million rows of one statement fit into any session.
#[derive(Default)]
pub struct Changes {
    /// In the order in which the rows were first seen: what a subtransaction noted are the last ones when it is rolled back.
    notes: IndexMap<(Subject, Uuid), Note>,
    auctions: IndexSet<Uuid>,
    moves: Vec<Move>,
    unreadable: Vec<Unreadable>,
}

/// A row of which an event is to tell.
#[derive(Clone, Copy)]
pub struct Row {
    pub key: Uuid,
    /// The auction in which it was last seen; `None` where the changed table does not say. It is in this one at the commit.
    pub auction_id: Option<Uuid>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.unreadable.is_empty()
    }

    pub fn note(&mut self, subject: Subject, row: Row, subtransaction: u32) {
        let auction = match row.auction_id {
            Some(id) => self.auctions.insert_full(id).0 as u32,
            None => UNKNOWN,
        };
        // The event that is told instead moves to the row's auction like the row.
        let told = subject.unless().filter(|other| self.notes.contains_key(&(*other, row.key)));
        match self.notes.entry((told.unwrap_or(subject), row.key)) {
            Entry::Vacant(place) => _ = place.insert(Note { subtransaction, auction }),
            Entry::Occupied(mut known) if auction != UNKNOWN && known.get().auction != auction => {
                self.moves.push(Move { note: known.index(), from: known.get().auction, subtransaction });
                known.get_mut().auction = auction;
            }
            Entry::Occupied(_) => {}
        }
    }

    /// Once for each problem, however many rows have it.
    pub fn note_unreadable(&mut self, subject: Subject, problem: String, subtransaction: u32) {
        if !self.unreadable.iter().any(|known| known.subject == subject && known.problem == problem) {
            self.unreadable.push(Unreadable { subject, problem, subtransaction });
        }
    }

    /// Takes back what this subtransaction and those within it have noted. They were the current ones ever since the first
    /// of it, so it is the end of each list.
    pub fn forget_since(&mut self, subtransaction: u32) {
        while let Some(undone) = self.moves.pop_if(|last| last.subtransaction >= subtransaction) {
            if let Some((_, note)) = self.notes.get_index_mut(undone.note) {
                note.auction = undone.from;
            }
        }
        while self.notes.last().is_some_and(|(_, note)| note.subtransaction >= subtransaction) {
            self.notes.pop();
        }
        while self.unreadable.pop_if(|last| last.subtransaction >= subtransaction).is_some() {}
    }

    pub fn take_unreadable(&mut self) -> Vec<Unreadable> {
        std::mem::take(&mut self.unreadable)
    }

    /// What is to be told, in the order in which the first row of each was noted.
    pub fn subjects(&self) -> Vec<Subject> {
        self.notes.keys().map(|(subject, _)| *subject).collect::<IndexSet<_>>().into_iter().collect()
    }

    /// The rows of which this is to be told, in the order in which they were noted.
    pub fn rows(&self, subject: Subject) -> impl Iterator<Item = Row> {
        let unless = subject.unless();
        self.notes
            .iter()
            .filter(move |((of, key), _)| {
                *of == subject && !unless.is_some_and(|other| self.notes.contains_key(&(other, *key)))
            })
            .map(|((_, key), note)| Row {
                key: *key,
                auction_id: self.auctions.get_index(note.auction as usize).copied(),
            })
    }
}
