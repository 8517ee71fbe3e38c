//! What became of a delivery by an attempt, and what of that is not written down yet?

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;
use webhook_sender::{Attempt, Course, DeliveryKey, Failure, RetryPolicy};

use crate::ids::postgres_micros;

/// Finished attempts are gathered for so long before they are recorded: a commit for fifty costs little more than for one,
/// and each takes its share of the disk from the commits of the users.
pub const GATHER: Duration = Duration::from_millis(5);

/// Gathered attempts that are recorded at once, whatever their age.
pub const GATHER_AT_MOST: usize = 250;

/// How often it is looked whether rows that somebody has locked are free.
const LOOK_AT_LOCKED: Duration = Duration::from_millis(500);

/// Attempts that may wait to be recorded. With so many no further request is made: memory is bounded, and so is what
/// would be sent again after a crash of the machine. With all that then waits for a thread they are fewer than the journal keeps.
const UNRECORDED_AT_MOST: usize = 16_384;

/// Attempts of an auction that may wait because a transaction has locked their rows of the queue. With so many no further request
/// is made for it: whoever keeps a transaction open stops the deliveries of that auction and nobody else's.
const LOCKED_AT_MOST: usize = 256;

/// Why a delivery ended that nobody is to be told of: there is nobody any more.
pub const ENDPOINT_DELETED: &str = "the endpoint was deleted";

/// Or the data was to be deleted.
pub const EVENT_DELETED: &str = "the event was deleted";

/// Or was to be kept no longer.
pub const EXPIRED: &str = "expired";

/// Or that its operator or its customer wanted.
pub const CANCELLED: &str = "cancelled";

/// A row of the log, and what becomes of the queue's row. Times in Postgres microseconds.
pub struct Outcome {
    pub key: DeliveryKey,
    pub event_type: String,
    /// success, retrying or failed.
    pub delivery_status: &'static str,
    pub response_status_code: Option<i16>,
    /// `None` where no request was made.
    pub response_time_ms: Option<i32>,
    pub error_message: Option<String>,
    pub response_excerpt: Option<String>,
    pub attempted_at: i64,
    /// `Some` where the delivery is to be tried again.
    pub next_attempt_at: Option<i64>,
    /// Until then it stays where it is in the queue, before all that follows.
    pub keeps_place: bool,
    /// Not even a connection came about.
    pub is_unreachable: bool,
    pub course: Course,
}

impl Outcome {
    fn of(attempt: Attempt, policy: &RetryPolicy) -> Self {
        let key = attempt.key;
        let attempted_at = postgres_micros(attempt.started_at);
        let (status, failure) = match attempt.result {
            Ok(status) => (Some(status), None),
            Err(failure) => (failure.status(), Some(failure)),
        };
        let delay = match failure {
            Some(_) if !key.is_test => {
                let own = attempt.destination.retry_schedule.as_ref();
                policy.delay_after(
                    key.attempt.saturating_sub(key.earlier_attempts),
                    own,
                    attempt.retry_after,
                    fastrand::f64(),
                )
            }
            _ => None,
        };
        Self {
            key,
            event_type: attempt.event_type,
            delivery_status: match (&failure, delay) {
                (None, _) => "success",
                (Some(_), Some(_)) => "retrying",
                (Some(_), None) => "failed",
            },
            response_status_code: status.map(|status| status as i16),
            response_time_ms: Some(milliseconds(attempt.duration)),
            is_unreachable: failure.as_ref().is_some_and(Failure::is_unreachable),
            error_message: failure.map(|failure| failure.to_string()),
            response_excerpt: attempt.response_excerpt,
            attempted_at,
            next_attempt_at: delay.map(|delay| attempted_at + (attempt.duration + delay).as_micros() as i64),
            keeps_place: attempt.destination.ordered,
            course: attempt.course,
        }
    }

    /// The end of a delivery for which no request can be made.
    pub fn without_request(key: DeliveryKey, event_type: String, reason: &str) -> Self {
        Self {
            key,
            event_type,
            delivery_status: "failed",
            response_status_code: None,
            response_time_ms: None,
            error_message: Some(reason.to_owned()),
            response_excerpt: None,
            attempted_at: postgres_micros(SystemTime::now()),
            next_attempt_at: None,
            keeps_place: false,
            is_unreachable: false,
            course: Course::default(),
        }
    }
}

/// As the log has times.
pub fn milliseconds(time: Duration) -> i32 {
    time.as_millis().try_into().unwrap_or(i32::MAX)
}

/// What has ended and is not recorded yet.
pub struct Ledger {
    gathered: Vec<Outcome>,
    /// When the first of them came in, or was heard of; `None` while there is none.
    gathering_since: Option<Instant>,
    /// Outcomes of deliveries whose rows in the queue somebody else has locked.
    locked: Vec<Outcome>,
    /// How many these are of each auction, and the transaction that has locked one of them.
    locked_by_auction: HashMap<Uuid, (usize, i64)>,
    next_look_at_locked: Instant,
}

/// Attempts that cannot be recorded, because a transaction has locked their rows of the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Locked {
    /// How many, of all auctions.
    pub attempts: usize,
    /// The auction with most of them.
    pub auction_id: Uuid,
    /// The transaction that has locked one of them.
    pub by: i64,
}

impl Ledger {
    pub fn new() -> Self {
        Self {
            gathered: Vec::new(),
            gathering_since: None,
            locked: Vec::new(),
            locked_by_auction: HashMap::new(),
            next_look_at_locked: Instant::now(),
        }
    }

    /// So many attempts have ended, and what came of them follows. How long that may wait.
    pub fn expect(&mut self, attempts: usize) -> Duration {
        let since = *self.gathering_since.get_or_insert_with(Instant::now);
        if self.gathered.len() + attempts >= GATHER_AT_MOST {
            Duration::ZERO
        } else {
            GATHER.saturating_sub(since.elapsed())
        }
    }

    pub fn add_attempts(&mut self, attempts: Vec<Attempt>, policy: &RetryPolicy) {
        self.add(attempts.into_iter().map(|attempt| Outcome::of(attempt, policy)));
    }

    pub fn add(&mut self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.gathered.extend(outcomes);
    }

    /// How many are not recorded.
    pub fn len(&self) -> usize {
        self.gathered.len() + self.locked.len()
    }

    /// Whether so many are not recorded that no more should come, whosever they are.
    pub fn is_full(&self) -> bool {
        self.gathered.len() >= UNRECORDED_AT_MOST
    }

    /// Whether rows of what is to be recorded may be locked, as they or others of their auction were when it was last looked.
    pub fn may_be_locked(&self) -> bool {
        self.gathered.iter().any(|outcome| self.locked_by_auction.contains_key(&outcome.key.auction_id))
    }

    /// Auctions for which no further request should be made, because so many of theirs cannot be recorded.
    pub fn held_auctions(&self) -> HashSet<Uuid> {
        let held = self.locked_by_auction.iter().filter(|(_, (attempts, _))| *attempts >= LOCKED_AT_MOST);
        held.map(|(auction_id, _)| *auction_id).collect()
    }

    /// What waits for a transaction to end.
    pub fn locked(&self) -> Option<Locked> {
        let (auction_id, (_, by)) = self.locked_by_auction.iter().max_by_key(|(_, (attempts, _))| *attempts)?;
        let attempts = self.locked_by_auction.values().map(|(attempts, _)| attempts).sum();
        Some(Locked { attempts, auction_id: *auction_id, by: *by })
    }

    /// Whatever is not recorded is to be recorded now.
    pub fn gather_locked(&mut self) {
        self.gathered.append(&mut self.locked);
    }

    /// Whether enough has ended, or the first of it long enough ago, to be recorded.
    pub fn is_due(&mut self) -> bool {
        if !self.locked.is_empty() && Instant::now() >= self.next_look_at_locked {
            self.gather_locked();
            return true;
        }
        if self.gathered.is_empty() {
            self.gathering_since = None;
            return false;
        }
        let since = *self.gathering_since.get_or_insert_with(Instant::now);
        self.gathered.len() >= GATHER_AT_MOST || since.elapsed() >= GATHER
    }

    /// How long until there may be something to record.
    pub fn time_to_due(&self) -> Option<Duration> {
        let gathering = self.gathering_since.map(|since| GATHER.saturating_sub(since.elapsed()));
        let looking = self.next_look_at_locked.saturating_duration_since(Instant::now());
        let looking = (!self.locked.is_empty()).then_some(looking);
        gathering.into_iter().chain(looking).min()
    }

    /// What is to be recorded now.
    pub fn gathered(&self) -> &[Outcome] {
        &self.gathered
    }

    /// It is recorded, but for these deliveries, whose rows a transaction has locked. Gives back what is.
    pub fn recorded(&mut self, but: &HashMap<Uuid, i64>) -> Vec<Outcome> {
        self.gathering_since = None;
        let gathered = std::mem::take(&mut self.gathered);
        let (locked, recorded): (Vec<_>, Vec<_>) =
            gathered.into_iter().partition(|outcome| but.contains_key(&outcome.key.delivery_id));
        if !locked.is_empty() {
            self.next_look_at_locked = Instant::now() + LOOK_AT_LOCKED;
        }
        self.locked.extend(locked);
        // Those of before that were not looked at now keep what is known of them.
        let known = std::mem::take(&mut self.locked_by_auction);
        for DeliveryKey { auction_id, delivery_id, .. } in self.locked.iter().map(|outcome| &outcome.key) {
            let by = but.get(delivery_id).copied().or_else(|| known.get(auction_id).map(|(_, by)| *by));
            let (attempts, last) = self.locked_by_auction.entry(*auction_id).or_default();
            (*attempts, *last) = (*attempts + 1, by.unwrap_or_default());
        }
        recorded
    }
}
