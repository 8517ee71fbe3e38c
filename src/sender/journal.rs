//! The journal: keeps successes that were not recorded when the process was killed.
//!
//! Each thread notes a success in a file before anything else. The file survives the process, so
//! that the next process can record successes that this one had no time to record. It is never
//! synced: after a power failure notes may be missing, and their requests are made again.
//!
//! There are two files: when one is full the other is overwritten. Thus the files always have more
//! of the latest notes than attempts can wait to be recorded. They do not grow, even if a lock
//! prevents recording for a long time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use uuid::Uuid;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Attempt;

/// A successful attempt, as the file contains it. Numbers have this machine's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Success {
    delivery_id: [u8; 16],
    /// The due time in the job's key, which belongs to the submitter.
    pub due_at: i64,
    /// Microseconds since 1970.
    started_at: i64,
    /// Milliseconds.
    duration: u32,
    /// The number of the attempt, from 1.
    pub attempt: u16,
    /// The status of the response.
    pub status: u16,
}

const NOTE: usize = size_of::<Success>();

/// Bytes of a full file. It has 32,768 notes, more than a submitter may leave unrecorded.
const FULL: u64 = 32_768 * NOTE as u64;

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

    /// Whether the note was written completely: the status comes last, and bytes that were not
    /// written are zero.
    fn is_whole(&self) -> bool {
        self.status > 0
    }

    /// The delivery that succeeded.
    pub fn delivery_id(&self) -> Uuid {
        Uuid::from_bytes(self.delivery_id)
    }

    /// When the request started.
    pub fn started_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.started_at.max(0).unsigned_abs())
    }

    /// How long the request took.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration.into())
    }
}

/// The two files, and the place of the next note.
#[derive(Debug)]
pub struct Journal {
    files: [File; 2],
    next: Mutex<Place>,
}

/// The place of a note.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The index of the file.
    file: usize,
    offset: u64,
}

impl Journal {
    /// Opens or creates the files: this path with `.0` and `.1`. Their notes stay until a file is
    /// overwritten, so that they still exist if this process is killed before it has recorded them.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Success>)> {
        let open = |suffix| {
            let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
            options.open(path.with_added_extension(suffix))
        };
        let mut files = [open("0")?, open("1")?];
        let [first, second] = &mut files;
        let [(first, first_end), (second, second_end)] = [read(first)?, read(second)?];
        // The file with the latest note was written to last.
        let latest = |notes: &[Success]| notes.iter().map(|note| note.started_at).max();
        let next = if latest(&first) >= latest(&second) {
            Place { file: 0, offset: first_end }
        } else {
            Place { file: 1, offset: second_end }
        };
        Ok((Self { files, next: Mutex::new(next) }, [first, second].concat()))
    }

    /// Notes an attempt if it has succeeded. An error such as a full disk is ignored: its only
    /// consequence is that the request may be made again.
    pub(crate) fn note(&self, attempt: &Attempt) {
        let Some(note) = Success::of(attempt) else { return };
        // Each note has its own position, so that an incomplete note leaves the others readable.
        let Place { file, offset } = self.take_place();
        _ = self.files[file].write_all_at(note.as_bytes(), offset);
    }

    fn take_place(&self) -> Place {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.offset >= FULL {
            *next = Place { file: 1 - next.file, offset: 0 };
            // If that fails, old notes stay, but their deliveries are recorded.
            _ = self.files[next.file].set_len(0);
        }
        let place = *next;
        next.offset += NOTE as u64;
        place
    }
}

/// A file's notes, and the offset of the next one.
fn read(file: &mut File) -> io::Result<(Vec<Success>, u64)> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let notes = bytes.chunks_exact(NOTE).filter_map(|note| Success::read_from_bytes(note).ok());
    Ok((notes.filter(Success::is_whole).collect(), bytes.len().next_multiple_of(NOTE) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, testing};

    fn attempt(number: u128, result: Result<u16, Failure>) -> Attempt {
        let mut key = testing::job("").key;
        key.delivery_id = Uuid::from_u128(number);
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456 + number as u64);
        let duration = Duration::from_millis(7);
        Attempt {
            key,
            event_type: String::new(),
            started_at,
            duration,
            result,
            response_excerpt: None,
            retry_after: None,
            timing: Default::default(),
            destination: Default::default(),
        }
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
    fn next_process_reads_successes_and_no_failures() {
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
    fn killed_process_leaves_its_own_and_earlier_notes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        noted(&Journal::open(&path).unwrap().0, [1, 2]);
        noted(&Journal::open(&path).unwrap().0, [3]);
        assert_eq!(ids(&Journal::open(&path).unwrap().1), [1, 2, 3]);
    }

    #[test]
    fn incomplete_note_hides_no_other() {
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
    fn journal_has_one_to_two_files_of_notes_even_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let a_file = u128::from(FULL / NOTE as u64);
        for half in 1..10 {
            // Each time a new process opens the files.
            let (journal, _) = Journal::open(&path).unwrap();
            noted(&journal, half * a_file / 2..(half + 1) * a_file / 2);
            let noted = (half + 1) * a_file / 2;
            let kept = ids(&Journal::open(&path).unwrap().1);
            let last: Vec<u128> = (noted - a_file.min(half * a_file / 2)..noted).collect();
            assert!(kept.ends_with(&last) && kept.len() as u128 <= 2 * a_file, "{half}: {} are kept", kept.len());
        }
    }
}
