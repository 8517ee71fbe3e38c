//! Pending changes: the rows that this transaction has changed, with the event of each.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use indexmap::map::Entry;
use indexmap::{IndexMap, IndexSet};
use uuid::Uuid;

use super::emitted::EmittedEvents;
use super::event_key::EventKey;
use super::row_snapshot::{MAX_COPIED_BYTES, SavedRow};

/// How often the events of one row may alternate in one transaction. Beyond it they are built event
/// by event, because each change of the event is a subtransaction, and more than about 64
/// subtransactions slow the whole server.
const MAX_TURNS: u32 = 15;

/// Stands for no auction: no list has this index.
const UNKNOWN: u32 = u32::MAX;

/// A noted change of a row. In the map its key is the event key and the row.
struct Note {
    /// The subtransaction that noted it: a rollback to a savepoint removes it.
    subtransaction: u32,
    /// The auction that the row was last seen in: an index in the list of auctions.
    auction: u32,
    /// The row that the event is about if it is not the one that changed, such as the inspection of
    /// a changed defect.
    subject: Option<Uuid>,
    /// The content of the row when it was first noted. A box, because few events need it.
    saved: Option<Box<SavedRow>>,
    /// The row was not deleted but moved. Another note of the row makes this one valid again.
    is_withdrawn: bool,
}

/// A row that was seen in another auction than before.
struct Move {
    /// The index of the row's note.
    note: usize,
    from: u32,
    subtransaction: u32,
}

/// A row of a trigger that no longer fits its table.
pub struct Unreadable {
    pub event_key: EventKey,
    pub problem: String,
    /// The row, if the trigger saves whole rows; otherwise it is not known which rows were changed.
    pub row: Option<WholeRow>,
    subtransaction: u32,
}

pub struct WholeRow {
    /// Identifies the row, if its table has a primary key.
    pub subject: Option<Uuid>,
    pub saved: SavedRow,
}

thread_local! {
    /// The changes of the current transaction.
    pub static PENDING: RefCell<PendingChanges> = RefCell::default();
}

/// The changes of a transaction. A row usually takes two keys and three numbers, so that a million
/// rows of one statement fit into the memory of a session.
#[derive(Default)]
pub struct PendingChanges {
    /// In the order in which the rows were first seen: when a subtransaction is rolled back, its
    /// notes are the last ones.
    notes: IndexMap<(EventKey, Uuid), Note>,
    auctions: IndexSet<Uuid>,
    moves: Vec<Move>,
    unreadable: Vec<Unreadable>,
    /// Events of `emit()`, which need not be built.
    pub emitted: EmittedEvents,
    /// Number of whole rows noted so far.
    whole_rows: u128,
    /// Copied bytes of values stored outside of the saved rows.
    copied: usize,
    /// The session was warned that it may not switch capture off.
    has_refused: bool,
}

/// A row from which an event is built.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub key: Uuid,
    /// The row that the event is about, if it is not the row of the key. For a whole row: its own
    /// identity, if its table has a primary key.
    pub subject: Option<Uuid>,
    /// The auction in which the row was last seen, which is its auction at the commit; `None` if
    /// the changed table has no such column.
    pub auction_id: Option<Uuid>,
    /// The row before the transaction, if the event needs that; for an event of a row trigger, the
    /// row as the trigger saw it.
    pub saved: Option<&'a SavedRow>,
}

/// The keys of a changed row, as a trigger saw it.
pub struct Change {
    pub key: Uuid,
    pub auction_id: Option<Uuid>,
    pub subject: Option<Uuid>,
}

impl PendingChanges {
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.unreadable.is_empty() && self.emitted.is_empty()
    }

    /// Whether a change would be the first note of its row for this event.
    pub fn is_new(&self, event_key: EventKey, change: &Change) -> bool {
        let suppressor = event_key.suppressed_by().map(|other| (other, change.subject.unwrap_or(change.key)));
        !suppressor.is_some_and(|other| self.is_noted(&other)) && !self.notes.contains_key(&(event_key, change.key))
    }

    /// Bytes of values stored outside of their rows that the transaction may still copy.
    pub fn max_copied_bytes(&self) -> usize {
        MAX_COPIED_BYTES - self.copied
    }

    /// `saved`: the content of the row, if the event needs that and `is_new` returned true.
    pub fn note(&mut self, event_key: EventKey, change: Change, subtransaction: u32, saved: Option<SavedRow>) {
        let auction = match change.auction_id {
            Some(id) => self.auctions.insert_full(id).0 as u32,
            None => UNKNOWN,
        };
        // The event that is sent instead follows the row to its auction.
        let suppressor = event_key.suppressed_by().map(|other| (other, change.subject.unwrap_or(change.key)));
        let suppressor = suppressor.filter(|other| self.is_noted(other));
        match self.notes.entry(suppressor.unwrap_or((event_key, change.key))) {
            Entry::Vacant(place) => {
                let saved = saved.map(Box::new);
                self.copied += saved.as_ref().map_or(0, |saved| saved.copied());
                place.insert(Note { subtransaction, auction, subject: change.subject, saved, is_withdrawn: false });
            }
            Entry::Occupied(mut known) => {
                known.get_mut().is_withdrawn = false;
                if auction != UNKNOWN && known.get().auction != auction {
                    self.moves.push(Move { note: known.index(), from: known.get().auction, subtransaction });
                    known.get_mut().auction = auction;
                }
            }
        }
    }

    /// The number of notes, which is the index of the next one.
    pub fn number_of_notes(&self) -> usize {
        self.notes.len()
    }

    /// Marks the notes at these indexes as withdrawn.
    pub fn withdraw(&mut self, notes: impl IntoIterator<Item = usize>) {
        for note in notes {
            if let Some((_, note)) = self.notes.get_index_mut(note) {
                note.is_withdrawn = true;
            }
        }
    }

    fn is_noted(&self, key: &(EventKey, Uuid)) -> bool {
        self.notes.get(key).is_some_and(|note| !note.is_withdrawn)
    }

    /// Notes a whole row, which is an event of its own. `subject` identifies the row, if its table
    /// has a primary key.
    pub fn note_whole_row(
        &mut self,
        event_key: EventKey,
        auction_id: Uuid,
        subject: Option<Uuid>,
        subtransaction: u32,
        row: SavedRow,
    ) {
        self.whole_rows += 1;
        let change = Change { key: Uuid::from_u128(self.whole_rows), auction_id: Some(auction_id), subject };
        self.note(event_key, change, subtransaction, Some(row));
    }

    /// Notes each saved row. Without a saved row, each problem is noted once for all its rows.
    pub fn note_unreadable(
        &mut self,
        event_key: EventKey,
        problem: String,
        subtransaction: u32,
        row: Option<WholeRow>,
    ) {
        let is_known = |known: &Unreadable| known.event_key == event_key && known.problem == problem;
        if row.is_some() || !self.unreadable.iter().any(is_known) {
            self.copied += row.as_ref().map_or(0, |row| row.saved.copied());
            self.unreadable.push(Unreadable { event_key, problem, row, subtransaction });
        }
    }

    /// Removes the notes of this subtransaction and those within it. No other subtransaction has
    /// noted anything since it began, so its notes are the end of each list.
    pub fn forget_since(&mut self, subtransaction: u32) {
        while let Some(undone) = self.moves.pop_if(|last| last.subtransaction >= subtransaction) {
            if let Some((_, note)) = self.notes.get_index_mut(undone.note) {
                note.auction = undone.from;
            }
        }
        while self.notes.last().is_some_and(|(_, note)| note.subtransaction >= subtransaction) {
            let undone = self.notes.pop();
            self.copied -= undone.and_then(|(_, note)| note.saved).map_or(0, |saved| saved.copied());
        }
        self.emitted.forget_since(subtransaction);
        while let Some(undone) = self.unreadable.pop_if(|last| last.subtransaction >= subtransaction) {
            self.copied -= undone.row.map_or(0, |row| row.saved.copied());
        }
    }

    /// Whether the transaction is refused to switch capture off for the first time: the warning is
    /// sent once.
    pub fn is_first_refusal(&mut self) -> bool {
        !std::mem::replace(&mut self.has_refused, true)
    }

    pub fn take_unreadable(&mut self) -> Vec<Unreadable> {
        std::mem::take(&mut self.unreadable)
    }

    /// The events to build. The events of one row keep their order; apart from that they are
    /// grouped by event, so that many rows are built at once.
    pub fn in_order(&self) -> Vec<(EventKey, Vec<usize>)> {
        // The last event of each row, and how often the row's event has changed so far.
        let mut last_seen: HashMap<Uuid, (EventKey, u32)> = HashMap::new();
        let mut groups: BTreeMap<u32, IndexMap<EventKey, Vec<usize>>> = BTreeMap::new();
        let mut keys = self.notes.keys().map(|(event_key, _)| event_key);
        let first = keys.next();
        let has_one_key = keys.all(|event_key| Some(event_key) == first);
        for (place, ((event_key, key), note)) in self.notes.iter().enumerate() {
            let row = note.subject.unwrap_or(*key);
            if note.is_withdrawn || event_key.suppressed_by().is_some_and(|other| self.is_noted(&(other, row))) {
                continue;
            }
            let mut turn = 0;
            if !has_one_key {
                let (last, last_turn) = last_seen.entry(row).or_insert((*event_key, 0));
                if *last != *event_key {
                    (*last, *last_turn) = (*event_key, *last_turn + 1);
                }
                turn = (*last_turn).min(MAX_TURNS);
            }
            groups.entry(turn).or_default().entry(*event_key).or_default().push(place);
        }
        groups.into_values().flatten().collect()
    }

    /// The rows at these indexes.
    pub fn rows(&self, places: &[usize]) -> impl Iterator<Item = Row<'_>> {
        places.iter().filter_map(|place| self.notes.get_index(*place)).map(|((_, key), note)| Row {
            key: *key,
            subject: note.subject,
            auction_id: self.auctions.get_index(note.auction as usize).copied(),
            saved: note.saved.as_deref(),
        })
    }
}
