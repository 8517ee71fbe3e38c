//! The fetcher: decides which due deliveries go to the pool now, so that no endpoint's backlog
//! hides another's single row.
//!
//! The queue is read in order of due time, from where the last read ended. Each endpoint may have a
//! limited number of deliveries in memory (`prefetch.rs`). An endpoint beyond its limit, or one
//! that fills a whole batch, is *backlogged*: reads over all endpoints leave it out, and it is read
//! alone when most of its deliveries in memory have been sent. Thus a million rows of one endpoint
//! are passed over only once. Endpoints with strict order, a rate limit or an open circuit breaker
//! are *throttled* between their deliveries (`throttle.rs`), and are read alone in the same way.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::{Duration, Instant};

use pgrx::spi::SpiResult;
use uuid::Uuid;
use webhook_sender::{Attempt, Backlog, Breaker, DeliveryKey, Job};

use super::outcome::Outcome;
use super::prefetch;
use super::queue_row::{Action, Batch, Bounds, DueDelivery, MAX_BATCH_BYTES, Position};
use super::statements::Statements;
use super::throttle::Throttles;
use crate::timestamp::Timestamp;

/// Maximum number of rows of one read.
const MAX_BATCH: usize = 500;

/// Maximum number of backlogged endpoints that are read in one turn; the others follow in the next.
const MAX_CATCH_UPS: usize = 8;

/// Reading from the start may take this fraction of the time (1 in 100): with an old snapshot open
/// it walks over dead rows.
const REWIND_SHARE: u32 = 100;

/// If the clock is set back by no more than this, the waits of endpoints only become longer.
const SMALL_STEP: Duration = Duration::from_secs(1);

/// A backlogged endpoint: where its next read begins.
#[derive(Clone, Copy)]
struct Backlogged {
    auction_id: Uuid,
    /// The last row that was taken.
    position: Position,
}

pub struct Fetcher {
    /// Where the next read over all endpoints begins.
    position: Position,
    backlogged: BTreeMap<Uuid, Backlogged>,
    throttles: Throttles,
    breaker: Breaker,
    /// Endpoints whose breaker has just opened, each with its auction: the pool gives back their
    /// waiting jobs.
    newly_opened: Vec<(Uuid, Uuid)>,
    /// The backlogged endpoint that was read last: the next turn begins after it.
    last_served: Uuid,
    /// Endpoints that are disabled or paused: reads leave them out.
    disabled: HashSet<Uuid>,
    /// Auctions whose deliveries are not fetched, because their finished attempts cannot be
    /// recorded.
    blocked_auctions: HashSet<Uuid>,
    /// Deliveries that are fetched and not recorded yet. Their rows are still in the queue.
    in_flight: HashSet<Uuid>,
    /// Number of rows to ask for in the next read.
    batch: usize,
    /// Time spent reading since the last rewind.
    time_reading: Duration,
    next_rewind: Instant,
    /// The latest time of a read since the clock was last set back.
    latest: Timestamp,
}

/// The deliveries that one turn has fetched. They take effect with `Fetcher::accept`.
pub struct Fetched {
    pub jobs: Vec<Job>,
    /// Deliveries that can no longer be sent.
    pub ended: Vec<Outcome>,
    ids: HashSet<Uuid>,
    waiting: Backlog,
    /// Whether more could be fetched at once.
    pub more: bool,
}

/// What a fetch needs in addition to the queue.
pub struct FetchContext<'a> {
    pub statements: &'a Statements,
    /// Deliveries that are due at this time are fetched.
    pub now: Timestamp,
    /// The bounds of the fetched deliveries.
    pub bounds: Bounds,
}

impl Fetcher {
    pub fn new() -> Self {
        Self {
            position: Position::START,
            backlogged: BTreeMap::new(),
            throttles: Throttles::default(),
            breaker: Breaker::default(),
            newly_opened: Vec::new(),
            last_served: Uuid::nil(),
            disabled: HashSet::new(),
            blocked_auctions: HashSet::new(),
            in_flight: HashSet::new(),
            batch: MAX_BATCH / 8,
            time_reading: Duration::ZERO,
            next_rewind: Instant::now(),
            latest: Timestamp::MIN,
        }
    }

    /// Reads again from this time, because rows were queued before the current position.
    pub fn rewind_to(&mut self, due_at: Timestamp) {
        self.rewind(Position::at(due_at));
    }

    /// Reads again from the start.
    pub fn rewind_to_start(&mut self) {
        self.rewind(Position::START);
        // An endpoint may have been enabled.
        self.disabled.clear();
    }

    fn rewind(&mut self, position: Position) {
        self.position = self.position.min(position);
        for backlogged in self.backlogged.values_mut() {
            backlogged.position = position.min(backlogged.position);
        }
        self.throttles.rewind_to(position);
    }

    /// Rewinds to the start from time to time. This finds rows that no commit has announced, such
    /// as after a COMMIT PREPARED in another session. Returns whether it has rewound.
    pub fn rewind_if_time(&mut self, every: Duration) -> bool {
        if Instant::now() < self.next_rewind {
            return false;
        }
        self.next_rewind = Instant::now() + every.max(self.time_reading * REWIND_SHARE);
        self.time_reading = Duration::ZERO;
        self.rewind_to_start();
        true
    }

    /// Adds attempts that an earlier worker has made and this worker will record.
    pub fn mark_in_flight(&mut self, attempts: &[Attempt]) {
        self.in_flight.extend(attempts.iter().map(|attempt| attempt.key.delivery_id));
    }

    /// Call when the outcome is recorded.
    pub fn recorded(&mut self, outcome: &Outcome) {
        self.in_flight.remove(&outcome.key.delivery_id);
        if let Some(next_attempt_at) = outcome.next_attempt_at {
            if outcome.keeps_position {
                self.throttles.retried(&outcome.key.endpoint_id, &outcome.key.delivery_id, next_attempt_at);
            }
            // The time of the next attempt may have passed before it was recorded.
            self.rewind_to(next_attempt_at);
        }
        // Tests do not count.
        if !outcome.key.is_test && outcome.response_time_ms.is_some() {
            self.update_breaker(outcome);
        }
    }

    fn update_breaker(&mut self, outcome: &Outcome) {
        let DeliveryKey { endpoint_id, auction_id, delivery_id, .. } = outcome.key;
        if !outcome.is_unreachable {
            self.breaker.reached(&endpoint_id);
            return;
        }
        let was_open = self.breaker.is_open(&endpoint_id);
        if was_open && self.throttles.is_because_of_another(&endpoint_id, &delivery_id) {
            // The delivery was in flight when the breaker opened.
            return;
        }
        if let Some(pause) = self.breaker.failed(endpoint_id) {
            let position = self.backlogged.remove(&endpoint_id).map_or(self.position, |backlogged| backlogged.position);
            let until = Timestamp::now() + pause;
            self.throttles.pause(outcome, position, until);
            if !was_open {
                self.newly_opened.push((auction_id, endpoint_id));
            }
        }
    }

    /// Removes the breakers of all other endpoints.
    pub fn retain(&mut self, failing: &HashSet<Uuid>) {
        self.breaker.retain(failing);
    }

    /// Endpoints whose breaker has opened since the last call, each with its auction.
    pub fn newly_opened(&mut self) -> Vec<(Uuid, Uuid)> {
        std::mem::take(&mut self.newly_opened)
    }

    /// Call for jobs that the pool has given back without starting them. They are reread when it is
    /// their endpoints' turn.
    pub fn release(&mut self, keys: Vec<DeliveryKey>) {
        for key in keys {
            self.in_flight.remove(&key.delivery_id);
            let position = Position::at(Timestamp::from_micros(key.due_at));
            if !self.throttles.include(&key.endpoint_id, position) {
                self.mark_backlogged(key.endpoint_id, key.auction_id, position);
            }
        }
    }

    fn mark_backlogged(&mut self, endpoint_id: Uuid, auction_id: Uuid, position: Position) {
        let backlogged = self.backlogged.entry(endpoint_id).or_insert(Backlogged { auction_id, position });
        backlogged.position = backlogged.position.min(position);
    }

    /// When the next throttle ends.
    pub fn next_end_of_throttle(&self) -> Option<Timestamp> {
        self.throttles.next_end(|delivery| self.in_flight.contains(delivery))
    }

    /// Whether due rows may follow the current position.
    pub fn has_more(&self, now: Timestamp) -> bool {
        self.position < Position::at(now)
    }

    /// Stops fetching for these auctions until the next call. Returns those that are new. Their
    /// endpoints become backlogged.
    pub fn block_auctions(&mut self, auction_ids: HashSet<Uuid>) -> HashSet<Uuid> {
        let new = auction_ids.difference(&self.blocked_auctions).copied().collect();
        self.blocked_auctions = auction_ids;
        new
    }

    /// Endpoints that wait because of their rate limit.
    pub fn rate_limited(&self) -> HashSet<Uuid> {
        self.throttles.rate_limited().copied().collect()
    }

    /// Changes an endpoint's rate limit: the time from one delivery to the next, zero for none.
    pub fn set_rate_limit(&mut self, endpoint_id: &Uuid, spacing: Duration) {
        self.throttles.set_rate_limit(endpoint_id, spacing);
    }

    /// Reads due deliveries, within the prefetch limits.
    pub fn fetch(&mut self, reading: &FetchContext<'_>, waiting: Backlog) -> SpiResult<Fetched> {
        let began = Instant::now();
        self.follow_clock(reading.now);
        let mut found = Fetched { jobs: Vec::new(), ended: Vec::new(), ids: HashSet::new(), waiting, more: false };
        for (endpoint_id, throttle) in
            self.throttles.take_ended(reading.now, |delivery| self.in_flight.contains(delivery))
        {
            self.mark_backlogged(endpoint_id, throttle.auction_id, throttle.position);
        }
        self.catch_up(reading, &mut found)?;
        self.read_on(reading, &mut found)?;
        self.time_reading += began.elapsed();
        Ok(found)
    }

    /// Removes times that were set before the clock was set back: they are too far ahead.
    fn follow_clock(&mut self, now: Timestamp) {
        if self.latest.since(now) > SMALL_STEP {
            self.throttles.forget_times();
            self.latest = now;
        }
        self.latest = self.latest.max(now);
    }

    /// Marks the deliveries as in flight: they are not fetched again until they are recorded.
    pub fn accept(&mut self, found: &Fetched) {
        self.in_flight.extend(&found.ids);
    }

    /// Continues the read over all endpoints that need not wait.
    fn read_on(
        &mut self,
        FetchContext { statements, now, bounds }: &FetchContext<'_>,
        found: &mut Fetched,
    ) -> SpiResult<()> {
        let limit = self.batch.min(prefetch::remaining(&found.waiting));
        if limit == 0 {
            return Ok(());
        }
        let leave_out =
            self.backlogged.keys().chain(&self.disabled).chain(self.throttles.endpoints()).copied().collect();
        let batch = statements.read_due(self.position, *now, leave_out, None, limit, *bounds)?;
        let backlog = batch.endpoint_that_fills(MAX_BATCH);
        let Batch { rows, more } = batch;
        self.adapt_batch(&rows);
        for row in rows {
            let before = self.position;
            self.position = row.position;
            if self.blocked_auctions.contains(&row.auction_id) {
                self.mark_backlogged(row.endpoint_id, row.auction_id, before);
                continue;
            }
            let has_to_wait =
                self.backlogged.contains_key(&row.endpoint_id) || self.throttles.contains(&row.endpoint_id);
            if has_to_wait && !row.skips_throttle || self.is_known(&row, found) {
                continue;
            }
            if row.skips_throttle || prefetch::limit(&found.waiting, &row.auction_id, &row.endpoint_id) > 0 {
                self.take(row, found, *now);
            } else {
                self.backlogged.insert(row.endpoint_id, Backlogged { auction_id: row.auction_id, position: before });
            }
        }
        if let Some((endpoint_id, auction_id)) = backlog
            && !self.throttles.contains(&endpoint_id)
            && !self.disabled.contains(&endpoint_id)
        {
            // Other endpoints need not wait until all of the backlog is read, no matter how fast it
            // is sent.
            self.backlogged.entry(endpoint_id).or_insert(Backlogged { auction_id, position: self.position });
        }
        if !more {
            // All due rows are read, except those of endpoints that were left out.
            self.position = self.position.max(Position::at(*now));
        }
        found.more |= more;
        Ok(())
    }

    /// Reads backlogged endpoints that have sent most of what they may have in memory, each in its
    /// turn.
    fn catch_up(
        &mut self,
        FetchContext { statements, now, bounds }: &FetchContext<'_>,
        found: &mut Fetched,
    ) -> SpiResult<()> {
        let after_the_last = (Excluded(self.last_served), Unbounded);
        let in_turn = self.backlogged.range(after_the_last).chain(self.backlogged.range(..=self.last_served));
        let ready: Vec<(Uuid, Backlogged)> = in_turn
            .filter(|(_, backlogged)| !self.blocked_auctions.contains(&backlogged.auction_id))
            .filter(|(endpoint_id, backlogged)| {
                prefetch::wants_more(&found.waiting, &backlogged.auction_id, endpoint_id)
            })
            .map(|(endpoint_id, backlogged)| (*endpoint_id, *backlogged))
            .take(MAX_CATCH_UPS)
            .collect();
        found.more |= ready.len() == MAX_CATCH_UPS;
        for (endpoint_id, Backlogged { auction_id, position }) in ready {
            self.last_served = endpoint_id;
            let limit = self.batch.min(prefetch::limit(&found.waiting, &auction_id, &endpoint_id));
            if limit == 0 {
                // Other endpoints of its auction have reached the limit in this turn.
                continue;
            }
            let Batch { rows, more } =
                statements.read_due(position, *now, Vec::new(), Some(endpoint_id), limit, *bounds)?;
            self.adapt_batch(&rows);
            if !more {
                self.backlogged.remove(&endpoint_id);
            }
            let mut before = position;
            for row in rows {
                if self.throttles.has_enough(&endpoint_id, *now) {
                    break;
                }
                if prefetch::limit(&found.waiting, &auction_id, &endpoint_id) == 0 {
                    // The endpoint's deliveries are large: the others follow when these are sent.
                    self.backlogged.insert(endpoint_id, Backlogged { auction_id, position: before });
                    break;
                }
                before = row.position;
                self.backlogged.entry(endpoint_id).and_modify(|backlogged| backlogged.position = before);
                if !self.is_known(&row, found) {
                    self.take(row, found, *now);
                }
            }
            if self.throttles.contains(&endpoint_id) {
                self.backlogged.remove(&endpoint_id);
            }
            found.more |= self.backlogged.contains_key(&endpoint_id)
                && prefetch::wants_more(&found.waiting, &auction_id, &endpoint_id);
        }
        Ok(())
    }

    /// Requests fewer rows when events are large; otherwise most would be read in vain.
    fn adapt_batch(&mut self, rows: &[DueDelivery]) {
        let bytes: usize = rows.iter().map(DueDelivery::bytes).sum();
        let fitting = (rows.len() * MAX_BATCH_BYTES).checked_div(bytes).unwrap_or(MAX_BATCH);
        self.batch = fitting.clamp(1, (self.batch * 2).min(MAX_BATCH));
    }

    fn is_known(&self, row: &DueDelivery, found: &Fetched) -> bool {
        let id = &row.position.delivery_id;
        self.in_flight.contains(id) || found.ids.contains(id)
    }

    fn take(&mut self, row: DueDelivery, found: &mut Fetched, now: Timestamp) {
        if let Action::Wait = row.action {
            // All rows of the endpoint wait until it is enabled.
            self.backlogged.remove(&row.endpoint_id);
            self.throttles.end(&row.endpoint_id);
            self.disabled.insert(row.endpoint_id);
            return;
        }
        if !row.skips_throttle {
            if let Some(retry_at) = row.not_before.filter(|at| row.terms.ordered && *at > now) {
                self.throttles.until_retry(&row, retry_at);
                return;
            }
            self.throttles.after(&row, self.breaker.is_open(&row.endpoint_id), now);
        }
        found.ids.insert(row.position.delivery_id);
        match row.action {
            Action::Send(job) => {
                found.waiting.add(&job);
                found.jobs.push(job);
            }
            Action::End(outcome) => found.ended.push(outcome),
            Action::Wait => unreachable!("handled above"),
        }
    }
}
