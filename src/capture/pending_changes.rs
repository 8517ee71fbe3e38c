//! Pending changes: the rows that this transaction has changed, with the event that each makes.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use indexmap::map::Entry;
use indexmap::{IndexMap, IndexSet};
use uuid::Uuid;

use super::emitted::EmittedEvents;
use super::event_key::EventKey;
use super::row_snapshot::{COPIED_BYTES_AT_MOST, Kept};

/// How often the events of one row may alternate in one transaction. Beyond it they are built event by event: each change of the event is
/// a subtransaction, and more than about 64 of these slow the whole server.
const TURNS_AT_MOST: u32 = 15;

/// The auction of a row that does not have one: the index after the last.
const UNKNOWN: u32 = u32::MAX;

/// A noted change of a row. Its event key and the row are its key in the map.
struct Note {
    /// The subtransaction that noted it: a rollback to a savepoint takes it back.
    subtransaction: u32,
    /// The index, in the list of auctions, of the one that the row was last seen in.
    auction: u32,
    /// The row that the event is about if it is not the one that changed: the inspection of a defect.
    about: Option<Uuid>,
    /// The row as it was when it was first noted. A box, because few events need it.
    kept: Option<Box<Kept>>,
    /// The row turned out not to have been deleted. Noting it again makes the note valid again.
    is_withdrawn: bool,
}

/// A row that was seen in another auction than before.
struct Move {
    /// The index of its note.
    note: usize,
    from: u32,
    subtransaction: u32,
}

/// Rows of a trigger that does not fit its table any more.
pub struct Unreadable {
    pub event_key: EventKey,
    pub problem: String,
    /// The row, where the trigger keeps whole rows; otherwise it is not known which rows these are.
    pub row: Option<WholeRow>,
    subtransaction: u32,
}

pub struct WholeRow {
    /// Which row of its table it is, where that has a primary key.
    pub about: Option<Uuid>,
    pub kept: Kept,
}

thread_local! {
    /// The changes of the current transaction.
    pub static PENDING: RefCell<PendingChanges> = RefCell::default();
}

/// The changes of a transaction. Usually two keys and three numbers for a row, so that a million rows of one statement fit into the memory
/// of a session.
#[derive(Default)]
pub struct PendingChanges {
    /// In the order in which the rows were first seen: the notes of a subtransaction are the last ones when it is rolled back.
    notes: IndexMap<(EventKey, Uuid), Note>,
    auctions: IndexSet<Uuid>,
    moves: Vec<Move>,
    unreadable: Vec<Unreadable>,
    /// Events that need not be built.
    pub emitted: EmittedEvents,
    /// Whole rows noted so far.
    whole_rows: u128,
    /// Bytes of values stored outside of the rows that are kept as they were.
    copied: usize,
    /// A session without the right to switch capture off was told so.
    has_refused: bool,
}

/// A row that is to become an event.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub key: Uuid,
    /// The row that the event is about, where it is not the one of the key; of a whole row the one that it is, if it has a key.
    pub about: Option<Uuid>,
    /// The auction in which it was last seen; `None` if the changed table has no such column. It is in this one at the commit.
    pub auction_id: Option<Uuid>,
    /// As it was before the transaction, where the event needs that; of an event of a row trigger, what the trigger saw.
    pub kept: Option<&'a Kept>,
}

/// What a trigger saw of a row.
pub struct Change {
    pub key: Uuid,
    pub auction_id: Option<Uuid>,
    pub about: Option<Uuid>,
}

impl PendingChanges {
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.unreadable.is_empty() && self.emitted.is_empty()
    }

    /// Whether a change would be the first of its row that is noted for this event.
    pub fn is_new(&self, event_key: EventKey, change: &Change) -> bool {
        let told = event_key.unless().map(|other| (other, change.about.unwrap_or(change.key)));
        !told.is_some_and(|other| self.is_noted(&other)) && !self.notes.contains_key(&(event_key, change.key))
    }

    /// Bytes of values stored outside of their rows that may still be copied.
    pub fn copy_at_most(&self) -> usize {
        COPIED_BYTES_AT_MOST - self.copied
    }

    /// `kept`: the row as it was, where the event needs that and `is_new` has said so.
    pub fn note(&mut self, event_key: EventKey, change: Change, subtransaction: u32, kept: Option<Kept>) {
        let auction = match change.auction_id {
            Some(id) => self.auctions.insert_full(id).0 as u32,
            None => UNKNOWN,
        };
        // The event that is sent instead moves to the row's auction like the row.
        let told = event_key.unless().map(|other| (other, change.about.unwrap_or(change.key)));
        let told = told.filter(|other| self.is_noted(other));
        match self.notes.entry(told.unwrap_or((event_key, change.key))) {
            Entry::Vacant(place) => {
                let kept = kept.map(Box::new);
                self.copied += kept.as_ref().map_or(0, |kept| kept.copied());
                place.insert(Note { subtransaction, auction, about: change.about, kept, is_withdrawn: false });
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

    /// Makes the notes at these indexes invalid.
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

    /// Notes a whole row, which is an event of its own. `about`: which row of its table it is, where that has a primary key.
    pub fn note_whole_row(
        &mut self,
        event_key: EventKey,
        auction_id: Uuid,
        about: Option<Uuid>,
        subtransaction: u32,
        row: Kept,
    ) {
        self.whole_rows += 1;
        let change = Change { key: Uuid::from_u128(self.whole_rows), auction_id: Some(auction_id), about };
        self.note(event_key, change, subtransaction, Some(row));
    }

    /// Each row that is kept; otherwise once for each problem, however many rows have it.
    pub fn note_unreadable(
        &mut self,
        event_key: EventKey,
        problem: String,
        subtransaction: u32,
        row: Option<WholeRow>,
    ) {
        let is_known = |known: &Unreadable| known.event_key == event_key && known.problem == problem;
        if row.is_some() || !self.unreadable.iter().any(is_known) {
            self.copied += row.as_ref().map_or(0, |row| row.kept.copied());
            self.unreadable.push(Unreadable { event_key, problem, row, subtransaction });
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
            let undone = self.notes.pop();
            self.copied -= undone.and_then(|(_, note)| note.kept).map_or(0, |kept| kept.copied());
        }
        self.emitted.forget_since(subtransaction);
        while let Some(undone) = self.unreadable.pop_if(|last| last.subtransaction >= subtransaction) {
            self.copied -= undone.row.map_or(0, |row| row.kept.copied());
        }
    }

    /// Whether this is the first time in the transaction that switching capture off is refused: the warning is sent once.
    pub fn is_first_refusal(&mut self) -> bool {
        !std::mem::replace(&mut self.has_refused, true)
    }

    pub fn take_unreadable(&mut self) -> Vec<Unreadable> {
        std::mem::take(&mut self.unreadable)
    }

    /// The events to build, for each row in the order in which they happened: grouped by event as far as that allows, so that many rows
    /// are built at once.
    pub fn in_order(&self) -> Vec<(EventKey, Vec<usize>)> {
        // For each row its last event, and how often its event has changed by then.
        let mut last_seen: HashMap<Uuid, (EventKey, u32)> = HashMap::new();
        let mut groups: BTreeMap<u32, IndexMap<EventKey, Vec<usize>>> = BTreeMap::new();
        let mut keys = self.notes.keys().map(|(event_key, _)| event_key);
        let first = keys.next();
        let has_one_key = keys.all(|event_key| Some(event_key) == first);
        for (place, ((event_key, key), note)) in self.notes.iter().enumerate() {
            let row = note.about.unwrap_or(*key);
            if note.is_withdrawn || event_key.unless().is_some_and(|other| self.is_noted(&(other, row))) {
                continue;
            }
            let mut turn = 0;
            if !has_one_key {
                let (last, last_turn) = last_seen.entry(row).or_insert((*event_key, 0));
                if *last != *event_key {
                    (*last, *last_turn) = (*event_key, *last_turn + 1);
                }
                turn = (*last_turn).min(TURNS_AT_MOST);
            }
            groups.entry(turn).or_default().entry(*event_key).or_default().push(place);
        }
        groups.into_values().flatten().collect()
    }

    /// The rows at these indexes.
    pub fn rows(&self, places: &[usize]) -> impl Iterator<Item = Row<'_>> {
        places.iter().filter_map(|place| self.notes.get_index(*place)).map(|((_, key), note)| Row {
            key: *key,
            about: note.about,
            auction_id: self.auctions.get_index(note.auction as usize).copied(),
            kept: note.kept.as_deref(),
        })
    }
}
