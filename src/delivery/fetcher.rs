//! The fetcher: decides which due deliveries go to the pool now, so that no endpoint's backlog
//! hides another's single row.
//!
//! The queue is read in order of due time, from where the last read ended. Each endpoint may have a
//! limited number of deliveries in memory (`prefetch.rs`). An endpoint beyond its limit, or one
//! that fills a whole batch, is *backlogged*: reads over all endpoints leave it out, and it is read
//! alone when most of its deliveries in memory have been sent. Thus a million rows of one endpoint
//! are passed over only once. Endpoints with strict order, a rate limit or an open circuit breaker
//! are *throttled* between their deliveries (`throttle.rs`), and are read alone in the same way.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgrx::spi::SpiResult;
use uuid::Uuid;
use webhook_sender::{Attempt, Backlog, Breaker, DeliveryKey, Job};

use super::endpoint_states::{Backlogged, EndpointStates};
use super::outcome::Outcome;
use super::prefetch;
use super::queue_row::{Action, Batch, Bounds, DueDelivery, MAX_BATCH_BYTES, Position};
use super::statements::Statements;
use crate::timestamp::Timestamp;

/// Maximum number of rows of one read.
const MAX_BATCH: usize = 500;

/// Maximum number of backlogged endpoints that are read in one turn; the others follow in the next.
const MAX_CATCH_UPS: usize = 8;

/// Reading from the start may take this fraction of the time (1 in 100): with an old snapshot open
/// it walks over dead rows.
const REWIND_SHARE: u32 = 100;

/// Maximum time between two rewinds to the start, whatever they cost.
const MAX_REWIND_INTERVAL: Duration = Duration::from_secs(60);

/// If the clock is set back by no more than this, the waits of endpoints only become longer.
const SMALL_STEP: Duration = Duration::from_secs(1);

pub struct Fetcher {
    /// Where the next read over all endpoints begins.
    position: Position,
    endpoints: EndpointStates,
    breaker: Breaker,
    /// Endpoints whose breaker has just opened, each with its auction: the pool gives back their
    /// waiting jobs.
    newly_opened: Vec<(Uuid, Uuid)>,
    /// Auctions whose deliveries are not fetched, because their finished attempts cannot be
    /// recorded.
    blocked_auctions: HashSet<Uuid>,
    /// Deliveries that are fetched and not recorded yet. Their rows are still in the queue.
    in_flight: HashSet<Uuid>,
    /// Those of them that are to end without another attempt, such as cancelled ones.
    ending: HashSet<Uuid>,
    /// Number of rows to ask for in the next read.
    batch: usize,
    /// The read from the start has not reached the present yet.
    is_rereading: bool,
    /// Time spent on that read.
    time_rereading: Duration,
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
            endpoints: EndpointStates::default(),
            breaker: Breaker::default(),
            newly_opened: Vec::new(),
            blocked_auctions: HashSet::new(),
            in_flight: HashSet::new(),
            ending: HashSet::new(),
            batch: MAX_BATCH / 8,
            is_rereading: true,
            time_rereading: Duration::ZERO,
            next_rewind: Instant::now(),
            latest: Timestamp::MIN,
        }
    }

    /// Reads again from this time, because rows were queued before the current position.
    pub fn rewind_to(&mut self, due_at: Timestamp) {
        let position = Position::at(due_at);
        self.position = self.position.min(position);
        self.endpoints.rewind(position);
    }

    /// Reads again from the start.
    pub fn rewind_to_start(&mut self) {
        self.position = Position::START;
        self.is_rereading = true;
        self.endpoints.rewind_to_start();
    }

    /// Rewinds to the start from time to time. This finds rows that no commit has announced, such
    /// as after a COMMIT PREPARED in another session. Returns whether it has rewound.
    pub fn rewind_if_time(&mut self, every: Duration) -> bool {
        if Instant::now() < self.next_rewind {
            return false;
        }
        let pause = (self.time_rereading * REWIND_SHARE).min(MAX_REWIND_INTERVAL);
        self.next_rewind = Instant::now() + every.max(pause);
        self.time_rereading = Duration::ZERO;
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
        let ends = self.ending.remove(&outcome.key.delivery_id);
        if ends {
            // Its row has kept its due time, and is to be read again now.
            self.rewind_to(Timestamp::from_micros(outcome.key.due_at));
        }
        if let Some(next_attempt_at) = outcome.next_attempt_at {
            if outcome.keeps_position && !ends {
                self.endpoints.retried(&outcome.key.endpoint_id, &outcome.key.delivery_id, next_attempt_at);
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
        if was_open && self.endpoints.waits_for_another(&endpoint_id, &delivery_id) {
            // The delivery was in flight when the breaker opened.
            return;
        }
        if let Some(pause) = self.breaker.failed(endpoint_id) {
            self.endpoints.pause(endpoint_id, auction_id, self.position, Timestamp::now() + pause);
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
            self.ending.remove(&key.delivery_id);
            let position = Position::at(Timestamp::from_micros(key.due_at));
            self.endpoints.mark_backlogged(key.endpoint_id, key.auction_id, position);
        }
    }

    /// When the next throttle ends.
    pub fn next_end_of_throttle(&self) -> Option<Timestamp> {
        self.endpoints.next_end_of_throttle(|delivery| self.in_flight.contains(delivery))
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
        self.endpoints.rate_limited().collect()
    }

    /// Changes an endpoint's rate limit: the time from one delivery to the next, zero for none.
    pub fn set_rate_limit(&mut self, endpoint_id: &Uuid, spacing: Duration) {
        self.endpoints.set_rate_limit(endpoint_id, spacing);
    }

    /// Reads due deliveries, within the prefetch limits.
    pub fn fetch(&mut self, reading: &FetchContext<'_>, waiting: Backlog) -> SpiResult<Fetched> {
        let began = Instant::now();
        self.follow_clock(reading.now);
        let mut found = Fetched { jobs: Vec::new(), ended: Vec::new(), ids: HashSet::new(), waiting, more: false };
        self.endpoints.end_throttles(reading.now, |delivery| self.in_flight.contains(delivery));
        let is_rereading = self.is_rereading;
        self.catch_up(reading, &mut found)?;
        self.read_on(reading, &mut found)?;
        if is_rereading {
            self.time_rereading += began.elapsed();
        }
        Ok(found)
    }

    /// Removes times that were set before the clock was set back: they are too far ahead.
    fn follow_clock(&mut self, now: Timestamp) {
        if self.latest.since(now) > SMALL_STEP {
            self.endpoints.forget_times();
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
        let batch = statements.read_due(self.position, *now, self.endpoints.endpoints(), None, limit, *bounds)?;
        let backlog = batch.endpoint_that_fills(MAX_BATCH);
        let Batch { rows, more } = batch;
        self.adapt_batch(&rows);
        for row in rows {
            let before = self.position;
            self.position = row.position;
            if self.blocked_auctions.contains(&row.auction_id) {
                self.endpoints.mark_backlogged(row.endpoint_id, row.auction_id, before);
                continue;
            }
            let ends = matches!(row.action, Action::End(_));
            if self.is_known(&row, found) {
                if ends {
                    self.ending.insert(row.position.delivery_id);
                }
                continue;
            }
            if self.endpoints.contains(&row.endpoint_id) && !row.skips_throttle && !ends {
                continue;
            }
            if row.skips_throttle || prefetch::limit(&found.waiting, &row.auction_id, &row.endpoint_id) > 0 {
                self.take(row, found, *now);
            } else {
                self.endpoints.mark_backlogged(row.endpoint_id, row.auction_id, before);
            }
        }
        if let Some((endpoint_id, auction_id)) = backlog.filter(|(id, _)| !self.endpoints.contains(id)) {
            // Other endpoints need not wait until all of the backlog is read, no matter how fast it
            // is sent.
            self.endpoints.mark_backlogged(endpoint_id, auction_id, self.position);
        }
        if !more {
            // All due rows are read, except those of endpoints that were left out.
            self.position = self.position.max(Position::at(*now));
            self.is_rereading = false;
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
        let ready: Vec<Backlogged> = self
            .endpoints
            .backlogged()
            .filter(|backlogged| !self.blocked_auctions.contains(&backlogged.auction_id))
            .filter(|backlogged| prefetch::wants_more(&found.waiting, &backlogged.auction_id, &backlogged.endpoint_id))
            .take(MAX_CATCH_UPS)
            .collect();
        found.more |= ready.len() == MAX_CATCH_UPS;
        for Backlogged { endpoint_id, auction_id, position } in ready {
            self.endpoints.serve(endpoint_id);
            let limit = self.batch.min(prefetch::limit(&found.waiting, &auction_id, &endpoint_id));
            if limit == 0 {
                // Other endpoints of its auction have reached the limit in this turn.
                continue;
            }
            let Batch { rows, mut more } =
                statements.read_due(position, *now, Vec::new(), Some(endpoint_id), limit, *bounds)?;
            self.adapt_batch(&rows);
            for row in rows {
                if self.endpoints.has_enough(&endpoint_id, *now) {
                    break;
                }
                if prefetch::limit(&found.waiting, &auction_id, &endpoint_id) == 0 {
                    // The endpoint's deliveries are large: the others follow when these are sent.
                    more = true;
                    break;
                }
                self.endpoints.advance(&endpoint_id, row.position);
                if !self.is_known(&row, found) {
                    self.take(row, found, *now);
                }
            }
            if !more {
                self.endpoints.end_backlog(&endpoint_id);
            }
            found.more |= self.endpoints.is_backlogged(&endpoint_id)
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
            self.endpoints.disable(&row);
            return;
        }
        if !row.skips_throttle {
            if let Some(retry_at) = row.not_before.filter(|at| row.terms.ordered && *at > now) {
                self.endpoints.wait_for_retry(&row, retry_at);
                return;
            }
            self.endpoints.sent(&row, self.breaker.is_open(&row.endpoint_id), now);
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
