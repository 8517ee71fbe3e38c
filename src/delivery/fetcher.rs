//! Which of the deliveries that are due go to the pool now, so that no endpoint's backlog hides another's single row?
//!
//! The queue is read in the order of time, and read on from where the last read ended. Each endpoint may have as many
//! deliveries waiting in memory as there is room left for it (`room.rs`); past that, or where a whole batch is of it, it is *behind*:
//! the reading leaves it out, and catches up with it alone once it has sent what it has. A million rows of one endpoint are thus passed over once.
//! Endpoints that want their deliveries one at a time, or so many a second, or cannot be reached, *rest* in between (`rest.rs`),
//! and are caught up with in the same way.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::{Duration, Instant, SystemTime};

use pgrx::spi::SpiResult;
use uuid::Uuid;
use webhook_sender::{Attempt, Backlog, Breaker, DeliveryKey, Job};

use super::outcome::Outcome;
use super::prefetch;
use super::queue_row::{Action, BATCH_BYTES, Batch, Bounds, DueDelivery, Position};
use super::statements::Statements;
use super::throttle::Throttles;
use crate::ids::postgres_micros;

/// Rows of one read at most.
const MAX_BATCH: usize = 500;

/// Endpoints to catch up with in one turn; the others have theirs in the next.
const CATCH_UPS: usize = 8;

/// Reading from the start again may take one part in so many of the time: with an old snapshot open it walks dead rows.
const START_OVER_SHARE: u32 = 100;

/// A step back of the clock up to this, in microseconds, lengthens the waits of endpoints and no more.
const SMALL_STEP: i64 = 1_000_000;

/// Where the reading of an endpoint that is behind goes on.
#[derive(Clone, Copy)]
struct Backlogged {
    auction_id: Uuid,
    /// The last row that was taken.
    position: Position,
}

pub struct Fetcher {
    /// Where the next read over all endpoints begins.
    position: Position,
    /// Endpoints that are behind.
    backlogged: BTreeMap<Uuid, Backlogged>,
    /// Endpoints that have to wait before they get more.
    throttles: Throttles,
    /// Which endpoints are tried with one delivery only.
    breaker: Breaker,
    /// Those that have just become so, each with its auction: what waits for them is to be given back.
    newly_opened: Vec<(Uuid, Uuid)>,
    /// The last of those behind that was caught up with: the next turn is that of those after it.
    last_served: Uuid,
    /// Endpoints whose rows wait until they are enabled; left out as well.
    disabled: HashSet<Uuid>,
    /// Auctions whose deliveries stay where they are, because those that were made cannot be recorded.
    held_auctions: HashSet<Uuid>,
    /// Deliveries taken in and not recorded yet. Their rows are still in the queue.
    under_way: HashSet<Uuid>,
    /// Rows to ask for in the next read.
    batch: usize,
    /// Time spent reading since the last start.
    reading: Duration,
    next_start_over: Instant,
    /// The latest time that was read at since the clock was last set back, in Postgres microseconds.
    latest: i64,
}

/// What one turn's reading has found. Nothing of it has happened until `Fetcher::accept` has it.
pub struct Fetched {
    pub jobs: Vec<Job>,
    /// Deliveries that can no longer be sent.
    pub ended: Vec<Outcome>,
    ids: HashSet<Uuid>,
    waiting: Backlog,
    /// Whether more could be read at once.
    pub more: bool,
}

/// With which clock and which time limit is read.
pub struct FetchContext<'a> {
    pub statements: &'a Statements,
    /// Postgres microseconds.
    pub now: i64,
    /// Of the requests that follow.
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
            held_auctions: HashSet::new(),
            under_way: HashSet::new(),
            batch: MAX_BATCH / 8,
            reading: Duration::ZERO,
            next_start_over: Instant::now(),
            latest: i64::MIN,
        }
    }

    /// Reads again from this time: rows have come behind the place that the reading has got to.
    pub fn rewind_to(&mut self, due_at: i64) {
        let place = Position::at(due_at);
        self.position = self.position.min(place);
        for behind in self.backlogged.values_mut() {
            behind.position = place.min(behind.position);
        }
        self.throttles.rewind_to(place);
        if place == Position::START {
            // This is how the enabling of an endpoint is announced.
            self.disabled.clear();
        }
    }

    /// Reads from the start again now and then, which finds what no commit has announced: COMMIT PREPARED later or elsewhere.
    /// Whether it does now.
    pub fn rewind_if_time(&mut self, every: Duration) -> bool {
        if Instant::now() < self.next_start_over {
            return false;
        }
        self.next_start_over = Instant::now() + every.max(self.reading * START_OVER_SHARE);
        self.reading = Duration::ZERO;
        self.rewind_to(i64::MIN);
        true
    }

    /// These attempts were made before the worker began, and will be recorded.
    pub fn expect(&mut self, attempts: &[Attempt]) {
        self.under_way.extend(attempts.iter().map(|attempt| attempt.key.delivery_id));
    }

    /// What became of the delivery is recorded.
    pub fn recorded(&mut self, outcome: &Outcome) {
        self.under_way.remove(&outcome.key.delivery_id);
        if let Some(next_attempt_at) = outcome.next_attempt_at {
            if outcome.keeps_position {
                self.throttles.retried(&outcome.key.endpoint_id, &outcome.key.delivery_id, next_attempt_at);
            }
            // With a short wait and a slow disk the time may have passed before it is written down.
            self.rewind_to(next_attempt_at);
        }
        // Tests are few, and say nothing of what was sent before.
        if !outcome.key.is_test && outcome.response_time_ms.is_some() {
            self.note_reach(outcome);
        }
    }

    fn note_reach(&mut self, outcome: &Outcome) {
        let DeliveryKey { endpoint_id, auction_id, delivery_id, .. } = outcome.key;
        if !outcome.is_unreachable {
            self.breaker.reached(&endpoint_id);
            return;
        }
        let was_open = self.breaker.is_open(&endpoint_id);
        if was_open && self.throttles.is_because_of_another(&endpoint_id, &delivery_id) {
            // It was under way when the others had failed.
            return;
        }
        if let Some(pause) = self.breaker.failed(endpoint_id) {
            let position = self.backlogged.remove(&endpoint_id).map_or(self.position, |behind| behind.position);
            let until = postgres_micros(SystemTime::now() + pause);
            self.throttles.leave_alone(outcome, position, until);
            if !was_open {
                self.newly_opened.push((auction_id, endpoint_id));
            }
        }
    }

    /// Endpoints that fail, of those that there are: of others nothing is remembered.
    pub fn forget_all_but(&mut self, failing: &HashSet<Uuid>) {
        self.breaker.retain(failing);
    }

    /// Endpoints that have become unreachable since the last call, each with its auction.
    pub fn newly_opened(&mut self) -> Vec<(Uuid, Uuid)> {
        std::mem::take(&mut self.newly_opened)
    }

    /// The pool has not started these and will not: they are read again when it is their endpoints' turn.
    pub fn release(&mut self, keys: Vec<DeliveryKey>) {
        for key in keys {
            self.under_way.remove(&key.delivery_id);
            let position = Position::at(key.due_at);
            if !self.throttles.include(&key.endpoint_id, position) {
                self.mark_backlogged(key.endpoint_id, key.auction_id, position);
            }
        }
    }

    fn mark_backlogged(&mut self, endpoint_id: Uuid, auction_id: Uuid, position: Position) {
        let behind = self.backlogged.entry(endpoint_id).or_insert(Backlogged { auction_id, position });
        behind.position = behind.position.min(position);
    }

    /// When an endpoint that rests may get more, in Postgres microseconds.
    pub fn next_end_of_rest(&self) -> Option<i64> {
        self.throttles.next_end(|delivery| self.under_way.contains(delivery))
    }

    /// Whether rows that are due may lie ahead of the place that the reading has got to.
    pub fn has_more(&self, now: i64) -> bool {
        self.position < Position::at(now)
    }

    /// From now on nothing of these auctions is taken; gives back those of which that is new. Their endpoints fall behind, and are
    /// caught up with when they are held no longer.
    pub fn hold(&mut self, auction_ids: HashSet<Uuid>) -> HashSet<Uuid> {
        let new = auction_ids.difference(&self.held_auctions).copied().collect();
        self.held_auctions = auction_ids;
        new
    }

    /// Endpoints that wait because of their limit.
    pub fn rate_limited(&self) -> HashSet<Uuid> {
        self.throttles.rate_limited().copied().collect()
    }

    /// What an endpoint's limit is now: microseconds from one delivery to the next, 0 where it has none.
    pub fn set_rate_limit(&mut self, endpoint_id: &Uuid, spacing: i64) {
        self.throttles.set_rate_limit(endpoint_id, spacing);
    }

    /// Reads what is due as far as there is room beside what waits.
    pub fn find(&mut self, reading: &FetchContext<'_>, waiting: Backlog) -> SpiResult<Fetched> {
        let began = Instant::now();
        self.follow_clock(reading.now);
        let mut found = Fetched { jobs: Vec::new(), ended: Vec::new(), ids: HashSet::new(), waiting, more: false };
        // Those of auctions that are held fall behind as well.
        for (endpoint_id, rest) in self.throttles.rested(reading.now, |delivery| self.under_way.contains(delivery)) {
            self.mark_backlogged(endpoint_id, rest.auction_id, rest.position);
        }
        self.catch_up(reading, &mut found)?;
        self.read_on(reading, &mut found)?;
        self.reading += began.elapsed();
        Ok(found)
    }

    /// What waits until a time of before the clock was set back would wait for as long as it was ahead.
    fn follow_clock(&mut self, now: i64) {
        if self.latest.saturating_sub(now) > SMALL_STEP {
            self.throttles.forget_times();
            self.latest = now;
        }
        self.latest = self.latest.max(now);
    }

    /// What was found is on its way: it is not to be found again until it is recorded.
    pub fn accept(&mut self, found: &Fetched) {
        self.under_way.extend(&found.ids);
    }

    /// Reads on over all endpoints but those that are behind.
    fn read_on(
        &mut self,
        FetchContext { statements, now, bounds }: &FetchContext<'_>,
        found: &mut Fetched,
    ) -> SpiResult<()> {
        let limit = self.batch.min(prefetch::left(&found.waiting));
        if limit == 0 {
            return Ok(());
        }
        let leave_out =
            self.backlogged.keys().chain(&self.disabled).chain(self.throttles.endpoints()).copied().collect();
        let Batch { rows, more } = statements.read_due(self.position, *now, leave_out, None, limit, *bounds)?;
        self.adapt_batch(&rows);
        let backlog = backlog_in(&rows).filter(|_| more);
        for row in rows {
            let before = self.position;
            self.position = row.position;
            if self.held_auctions.contains(&row.auction_id) {
                self.mark_backlogged(row.endpoint_id, row.auction_id, before);
                continue;
            }
            let has_to_wait =
                self.backlogged.contains_key(&row.endpoint_id) || self.throttles.contains(&row.endpoint_id);
            if has_to_wait && !row.skips_throttle || self.is_known(&row, found) {
                continue;
            }
            if row.skips_throttle || prefetch::share(&found.waiting, &row.auction_id, &row.endpoint_id) > 0 {
                self.take(row, found, *now);
            } else {
                self.backlogged.insert(row.endpoint_id, Backlogged { auction_id: row.auction_id, position: before });
            }
        }
        if let Some((endpoint_id, auction_id)) = backlog
            && !self.throttles.contains(&endpoint_id)
            && !self.disabled.contains(&endpoint_id)
        {
            // However fast it is sent: others are not to wait until all of it is read.
            self.backlogged.entry(endpoint_id).or_insert(Backlogged { auction_id, position: self.position });
        }
        if !more {
            // Nothing up to now is left but what was left out: that need not be walked again.
            self.position = self.position.max(Position::at(*now));
        }
        found.more |= more;
        Ok(())
    }

    /// Reads on for endpoints that are behind and have sent half of what they may have waiting, each in its turn.
    fn catch_up(
        &mut self,
        FetchContext { statements, now, bounds }: &FetchContext<'_>,
        found: &mut Fetched,
    ) -> SpiResult<()> {
        let after_the_last = (Excluded(self.last_served), Unbounded);
        let in_turn = self.backlogged.range(after_the_last).chain(self.backlogged.range(..=self.last_served));
        let ready: Vec<(Uuid, Backlogged)> = in_turn
            .filter(|(_, behind)| !self.held_auctions.contains(&behind.auction_id))
            .filter(|(endpoint_id, behind)| prefetch::wants_more(&found.waiting, &behind.auction_id, endpoint_id))
            .map(|(endpoint_id, behind)| (*endpoint_id, *behind))
            .take(CATCH_UPS)
            .collect();
        found.more |= ready.len() == CATCH_UPS;
        for (endpoint_id, Backlogged { auction_id, position }) in ready {
            self.last_served = endpoint_id;
            let limit = self.batch.min(prefetch::share(&found.waiting, &auction_id, &endpoint_id));
            if limit == 0 {
                // Others of its auction have taken the room in this very turn.
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
                if prefetch::share(&found.waiting, &auction_id, &endpoint_id) == 0 {
                    // Its deliveries are large: the rest when these are sent.
                    self.backlogged.insert(endpoint_id, Backlogged { auction_id, position: before });
                    break;
                }
                before = row.position;
                self.backlogged.entry(endpoint_id).and_modify(|behind| behind.position = before);
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

    /// Of large events few are asked for, or most would be read for nothing.
    fn adapt_batch(&mut self, rows: &[DueDelivery]) {
        let bytes: usize = rows.iter().map(DueDelivery::bytes).sum();
        let fitting = (rows.len() * BATCH_BYTES).checked_div(bytes).unwrap_or(MAX_BATCH);
        self.batch = fitting.clamp(1, (self.batch * 2).min(MAX_BATCH));
    }

    fn is_known(&self, row: &DueDelivery, found: &Fetched) -> bool {
        let id = &row.position.delivery_id;
        self.under_way.contains(id) || found.ids.contains(id)
    }

    fn take(&mut self, row: DueDelivery, found: &mut Fetched, now: i64) {
        if let Action::Wait = row.task {
            // With all others of its endpoint, until that is enabled.
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
        match row.task {
            Action::Send(job) => {
                found.waiting.add(&job);
                found.jobs.push(job);
            }
            Action::End(outcome) => found.ended.push(outcome),
            Action::Wait => unreachable!("handled above"),
        }
    }
}

/// The endpoint, and its auction, of which a whole batch is full.
fn backlog_in(rows: &[DueDelivery]) -> Option<(Uuid, Uuid)> {
    let first = rows.first().filter(|_| rows.len() >= MAX_BATCH)?;
    let is_of_first = |row: &DueDelivery| row.endpoint_id == first.endpoint_id && !row.skips_throttle;
    rows.iter().all(is_of_first).then_some((first.endpoint_id, first.auction_id))
}
