//! The completer: gathers finished attempts, so that they are recorded in batches.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use uuid::Uuid;
use webhook_sender::{Attempt, DeliveryKey, RetryPolicy};

use super::outcome::Outcome;
use crate::postgres::worker_stats::Locked;

/// Finished attempts are gathered for this time before they are recorded: a commit for fifty costs
/// little more than one for a single attempt, and each commit competes with those of the users for
/// the disk.
pub const MAX_BATCH_AGE: Duration = Duration::from_millis(5);

/// A batch of this size is recorded at once, regardless of its age.
pub const MAX_BATCH: usize = 250;

/// How soon to try again to record attempts whose rows of the queue are locked.
const LOCKED_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Maximum number of attempts that wait to be recorded. Beyond it no request starts: this bounds
/// the memory, and the number of requests that are made again after a crash of the machine.
/// Together with the jobs that then wait for a thread they fit into the journal.
const MAX_UNRECORDED: usize = 16_384;

/// Maximum number of attempts of an auction that wait because a transaction has locked their rows
/// of the queue. Beyond it no request starts for the auction: an idle transaction stops the
/// deliveries of its own auction only.
const MAX_LOCKED: usize = 256;

/// Finished attempts that are not recorded yet.
pub struct Completer {
    /// The next batch.
    batch: Vec<Outcome>,
    /// When the first attempt of the batch ended; `None` while there is none.
    batch_began: Option<Instant>,
    /// Attempts whose rows of the queue another transaction has locked.
    locked: Vec<Outcome>,
    /// Their number by auction, and a transaction that has locked one of them.
    locked_by_auction: HashMap<Uuid, (usize, i64)>,
    next_try_of_locked: Instant,
}

impl Completer {
    pub fn new() -> Self {
        Self {
            batch: Vec::new(),
            batch_began: None,
            locked: Vec::new(),
            locked_by_auction: HashMap::new(),
            next_try_of_locked: Instant::now(),
        }
    }

    /// How long the batch may still grow, given the number of attempts that have ended and are not
    /// part of it yet.
    pub fn time_to_batch(&mut self, attempts: usize) -> Duration {
        let since = *self.batch_began.get_or_insert_with(Instant::now);
        if self.batch.len() + attempts >= MAX_BATCH {
            Duration::ZERO
        } else {
            MAX_BATCH_AGE.saturating_sub(since.elapsed())
        }
    }

    pub fn add_attempts(&mut self, attempts: Vec<Attempt>, policy: &RetryPolicy) {
        self.add(attempts.into_iter().map(|attempt| Outcome::of(attempt, policy)));
    }

    pub fn add(&mut self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.batch.extend(outcomes);
    }

    /// The number of attempts that are not recorded.
    pub fn len(&self) -> usize {
        self.batch.len() + self.locked.len()
    }

    /// Whether the maximum is reached and no request should start.
    pub fn is_full(&self) -> bool {
        self.batch.len() >= MAX_UNRECORDED
    }

    /// Whether rows of the batch may be locked, because rows of the same auction were at the last
    /// try.
    pub fn may_be_locked(&self) -> bool {
        self.batch.iter().any(|outcome| self.locked_by_auction.contains_key(&outcome.key.auction_id))
    }

    /// Auctions for which no request should start, because the maximum of their attempts cannot be
    /// recorded.
    pub fn blocked_auctions(&self) -> HashSet<Uuid> {
        let held = self.locked_by_auction.iter().filter(|(_, (attempts, _))| *attempts >= MAX_LOCKED);
        held.map(|(auction_id, _)| *auction_id).collect()
    }

    /// The attempts that wait for other transactions to end; `None` if there are none.
    pub fn locked(&self) -> Option<Locked> {
        let (auction_id, (_, by)) = self.locked_by_auction.iter().max_by_key(|(_, (attempts, _))| *attempts)?;
        let attempts = self.locked_by_auction.values().map(|(attempts, _)| attempts).sum();
        Some(Locked { attempts, auction_id: *auction_id, by: *by })
    }

    /// Adds the locked attempts to the batch.
    pub fn retry_locked(&mut self) {
        self.batch.append(&mut self.locked);
    }

    /// Whether a batch must be recorded now.
    pub fn is_due(&mut self) -> bool {
        if !self.locked.is_empty() && Instant::now() >= self.next_try_of_locked {
            self.retry_locked();
            return true;
        }
        if self.batch.is_empty() {
            self.batch_began = None;
            return false;
        }
        let since = *self.batch_began.get_or_insert_with(Instant::now);
        self.batch.len() >= MAX_BATCH || since.elapsed() >= MAX_BATCH_AGE
    }

    /// How long until a batch may be due.
    pub fn time_to_due(&self) -> Option<Duration> {
        let gathering = self.batch_began.map(|since| MAX_BATCH_AGE.saturating_sub(since.elapsed()));
        let looking = self.next_try_of_locked.saturating_duration_since(Instant::now());
        let looking = (!self.locked.is_empty()).then_some(looking);
        gathering.into_iter().chain(looking).min()
    }

    pub fn batch(&self) -> &[Outcome] {
        &self.batch
    }

    /// Call when the batch is recorded, except for these deliveries, each with the transaction that
    /// has locked its row. Returns the recorded outcomes.
    pub fn complete(&mut self, locked_by: &HashMap<Uuid, i64>) -> Vec<Outcome> {
        self.batch_began = None;
        let batch = std::mem::take(&mut self.batch);
        let (locked, recorded): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|outcome| locked_by.contains_key(&outcome.key.delivery_id));
        if !locked.is_empty() {
            self.next_try_of_locked = Instant::now() + LOCKED_RETRY_DELAY;
        }
        self.locked.extend(locked);
        // Attempts that were not tried now keep the transaction that was found before.
        let known = std::mem::take(&mut self.locked_by_auction);
        for DeliveryKey { auction_id, delivery_id, .. } in self.locked.iter().map(|outcome| &outcome.key) {
            let by = locked_by.get(delivery_id).copied().or_else(|| known.get(auction_id).map(|(_, by)| *by));
            let (attempts, last) = self.locked_by_auction.entry(*auction_id).or_default();
            (*attempts, *last) = (*attempts + 1, by.unwrap_or_default());
        }
        recorded
    }
}
