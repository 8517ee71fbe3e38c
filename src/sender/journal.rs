//! Which requests had succeeded that nobody has recorded, when the process that made them was killed?
//!
//! Each thread notes a success in a file before anything else. A file survives its writer's death, so that the next process can
//! record what this one had no time to. It is never synced: after a power failure notes may be missing, and their requests
//! are made again.
//!
//! Two files take turns. What is in the older one is recorded when the newer one is full, and forgotten then.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use uuid::Uuid;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Attempt;

/// A file with so many bytes is full: most of a second at full speed, so that its notes are recorded long before it is
/// emptied, and read in a moment.
const FULL: u64 = 1 << 20;

/// An attempt that has succeeded, as it stands in the file. Numbers are as this machine has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Success {
    delivery_id: [u8; 16],
    /// The submitter's own, as in the job's key.
    pub due_at: i64,
    /// Microseconds since 1970.
    started_at: i64,
    /// Milliseconds.
    duration: u32,
    pub attempt: u16,
    /// Of the response.
    pub status: u16,
}

const NOTE: usize = size_of::<Success>();

impl Success {
    fn of(attempt: &Attempt) -> Option<Self> {
        let since_1970 = attempt.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(Self {
            delivery_id: attempt.key.delivery_id.into_bytes(),
            due_at: attempt.key.due_at,
            started_at: since_1970.as_micros() as i64,
            duration: attempt.duration.as_millis().try_into().unwrap_or(u32::MAX),
            attempt: attempt.key.attempt,
            status: *attempt.result.as_ref().ok()?,
        })
    }

    /// Nothing of it is missing: the status comes last, and a place that nobody has written to is full of zeros.
    fn is_whole(&self) -> bool {
        self.status > 0
    }

    pub fn delivery_id(&self) -> Uuid {
        Uuid::from_bytes(self.delivery_id)
    }

    pub fn started_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.started_at.max(0).unsigned_abs())
    }

    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration.into())
    }
}

#[derive(Debug)]
pub struct Journal {
    files: [File; 2],
    /// How often the files have taken turns, and, in the lower half, where in the file whose turn it is the next note goes.
    place: AtomicU64,
}

impl Journal {
    /// Opens or makes the files: this path with `.0` and `.1`. What they hold stays until the turns come to it, so that it is
    /// still there when this process is killed too before it has recorded it.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Success>)> {
        let open = |suffix| {
            let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
            options.open(path.with_added_extension(suffix))
        };
        let mut files = [open("0")?, open("1")?];
        let mut bytes = [Vec::new(), Vec::new()];
        for (file, bytes) in files.iter_mut().zip(&mut bytes) {
            file.read_to_end(bytes)?;
        }
        let notes = bytes.iter().flat_map(|bytes| bytes.chunks_exact(NOTE));
        let notes = notes.filter_map(|note| Success::read_from_bytes(note).ok()).filter(Success::is_whole).collect();
        let end = bytes[0].len().next_multiple_of(NOTE) as u64;
        Ok((Self { files, place: AtomicU64::new(end) }, notes))
    }

    /// Notes an attempt if it has succeeded. Where the disk is full nothing is noted, and nobody is to hear of it: the request
    /// may be made again, that is all.
    pub(crate) fn note(&self, attempt: &Attempt) {
        let Some(note) = Success::of(attempt) else { return };
        // A place of its own: a note that was written in part leaves the others readable.
        let place = self.place.fetch_add(NOTE as u64, Ordering::Relaxed);
        _ = self.file(place).write_all_at(note.as_bytes(), offset(place));
    }

    /// All that was taken from the pool is recorded. Begins anew where the file is full.
    pub fn all_is_recorded(&self) {
        let place = self.place.load(Ordering::Relaxed);
        if offset(place) >= FULL {
            let next = (turn(place) + 1) << 32;
            // Where that fails old notes stay: of deliveries that are recorded.
            _ = self.file(next).set_len(0);
            self.place.store(next, Ordering::Relaxed);
        }
    }

    fn file(&self, place: u64) -> &File {
        &self.files[(turn(place) % 2) as usize]
    }
}

fn turn(place: u64) -> u64 {
    place >> 32
}

fn offset(place: u64) -> u64 {
    place & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, testing};

    fn attempt(number: u128, result: Result<u16, Failure>) -> Attempt {
        let mut key = testing::job("").key;
        key.delivery_id = Uuid::from_u128(number);
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let duration = Duration::from_millis(7);
        Attempt { key, event_type: String::new(), started_at, duration, result, response_excerpt: None }
    }

    fn noted(journal: &Journal, numbers: impl IntoIterator<Item = u128>) {
        numbers.into_iter().for_each(|number| journal.note(&attempt(number, Ok(204))));
    }

    fn ids(notes: &[Success]) -> Vec<u128> {
        let mut ids: Vec<u128> = notes.iter().map(|note| note.delivery_id().as_u128()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn what_has_succeeded_is_known_to_the_next_and_what_has_failed_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (journal, before) = Journal::open(&path).unwrap();
        assert_eq!(before, []);
        journal.note(&attempt(1, Ok(204)));
        journal.note(&attempt(2, Err(Failure::Status(500))));
        let (_, notes) = Journal::open(&path).unwrap();
        let [note] = notes[..] else { panic!("{notes:?}") };
        let expected = attempt(1, Ok(204));
        assert_eq!((note.delivery_id(), note.due_at), (expected.key.delivery_id, expected.key.due_at));
        assert_eq!((note.attempt, note.status), (expected.key.attempt, 204));
        assert_eq!((note.started_at(), note.duration()), (expected.started_at, expected.duration));
    }

    #[test]
    fn one_that_is_killed_before_it_has_recorded_anything_leaves_both_what_it_found_and_what_it_did() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        noted(&Journal::open(&path).unwrap().0, [1, 2]);
        noted(&Journal::open(&path).unwrap().0, [3]);
        assert_eq!(ids(&Journal::open(&path).unwrap().1), [1, 2, 3]);
    }

    #[test]
    fn a_note_that_was_not_written_to_its_end_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        noted(&Journal::open(&path).unwrap().0, [1, 2]);
        let file = OpenOptions::new().write(true).open(path.with_added_extension("0")).unwrap();
        file.set_len(2 * NOTE as u64 - 3).unwrap();
        let (journal, notes) = Journal::open(&path).unwrap();
        assert_eq!(ids(&notes), [1]);
        noted(&journal, [3]);
        assert_eq!(ids(&Journal::open(&path).unwrap().1), [1, 3]);
    }

    #[test]
    fn it_does_not_grow_beyond_two_files_and_forgets_only_what_was_recorded_a_file_ago() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (journal, _) = Journal::open(&path).unwrap();
        let a_file = u128::from(FULL.div_ceil(NOTE as u64));
        for turn in 1..5 {
            noted(&journal, turn * a_file..(turn + 1) * a_file);
            journal.all_is_recorded();
            noted(&journal, [0]);
            let notes = Journal::open(&path).unwrap().1;
            assert!(notes.len() as u128 <= 2 * a_file);
            let last_of_turn = (turn + 1) * a_file - 1;
            assert!(ids(&notes).ends_with(&[last_of_turn - 1, last_of_turn]) && ids(&notes)[0] == 0);
        }
    }
}
