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
use webhook_sender::{Attempt, Breaker, DeliveryKey, Job, Waiting};

use super::due::{BATCH_BYTES, Batch, Bounds, DueRow, Position, Task};
use super::queue::Statements;
use super::record::Outcome;
use super::rest::Resting;
use super::room;
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
struct Behind {
    auction_id: Uuid,
    /// The last row that was taken.
    position: Position,
}

pub struct Intake {
    /// Where the next read over all endpoints begins.
    position: Position,
    /// Endpoints that are behind.
    behind: BTreeMap<Uuid, Behind>,
    /// Endpoints that have to wait before they get more.
    resting: Resting,
    /// Which endpoints are tried with one delivery only.
    breaker: Breaker,
    /// Those that have just become so, each with its auction: what waits for them is to be given back.
    opened: Vec<(Uuid, Uuid)>,
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

/// What one turn's reading has found. Nothing of it has happened until `Intake::accept` has it.
pub struct Found {
    pub jobs: Vec<Job>,
    /// Deliveries that can no longer be sent.
    pub ended: Vec<Outcome>,
    ids: HashSet<Uuid>,
    waiting: Waiting,
    /// Whether more could be read at once.
    pub more: bool,
}

/// With which clock and which time limit is read.
pub struct Reading<'a> {
    pub statements: &'a Statements,
    /// Postgres microseconds.
    pub now: i64,
    /// Of the requests that follow.
    pub bounds: Bounds,
}

impl Intake {
    pub fn new() -> Self {
        Self {
            position: Position::START,
            behind: BTreeMap::new(),
            resting: Resting::default(),
            breaker: Breaker::default(),
            opened: Vec::new(),
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
    pub fn go_back_to(&mut self, due_at: i64) {
        let place = Position::at(due_at);
        self.position = self.position.min(place);
        for behind in self.behind.values_mut() {
            behind.position = place.min(behind.position);
        }
        self.resting.go_back_to(place);
        if place == Position::START {
            // This is how the enabling of an endpoint is announced.
            self.disabled.clear();
        }
    }

    /// Reads from the start again now and then, which finds what no commit has announced: COMMIT PREPARED later or elsewhere.
    /// Whether it does now.
    pub fn start_over_if_time(&mut self, every: Duration) -> bool {
        if Instant::now() < self.next_start_over {
            return false;
        }
        self.next_start_over = Instant::now() + every.max(self.reading * START_OVER_SHARE);
        self.reading = Duration::ZERO;
        self.go_back_to(i64::MIN);
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
            if outcome.keeps_place {
                self.resting.retried(&outcome.key.endpoint_id, &outcome.key.delivery_id, next_attempt_at);
            }
            // With a short wait and a slow disk the time may have passed before it is written down.
            self.go_back_to(next_attempt_at);
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
        if was_open && self.resting.is_because_of_another(&endpoint_id, &delivery_id) {
            // It was under way when the others had failed.
            return;
        }
        if let Some(pause) = self.breaker.failed(endpoint_id) {
            let position = self.behind.remove(&endpoint_id).map_or(self.position, |behind| behind.position);
            let until = postgres_micros(SystemTime::now() + pause);
            self.resting.leave_alone(outcome, position, until);
            if !was_open {
                self.opened.push((auction_id, endpoint_id));
            }
        }
    }

    /// Endpoints that fail, of those that there are: of others nothing is remembered.
    pub fn forget_all_but(&mut self, failing: &HashSet<Uuid>) {
        self.breaker.retain(failing);
    }

    /// Endpoints that have become unreachable since the last call, each with its auction.
    pub fn opened(&mut self) -> Vec<(Uuid, Uuid)> {
        std::mem::take(&mut self.opened)
    }

    /// The pool has not started these and will not: they are read again when it is their endpoints' turn.
    pub fn take_back(&mut self, keys: Vec<DeliveryKey>) {
        for key in keys {
            self.under_way.remove(&key.delivery_id);
            let position = Position::at(key.due_at);
            if !self.resting.include(&key.endpoint_id, position) {
                self.fall_behind(key.endpoint_id, key.auction_id, position);
            }
        }
    }

    fn fall_behind(&mut self, endpoint_id: Uuid, auction_id: Uuid, position: Position) {
        let behind = self.behind.entry(endpoint_id).or_insert(Behind { auction_id, position });
        behind.position = behind.position.min(position);
    }

    /// When an endpoint that rests may get more, in Postgres microseconds.
    pub fn next_end_of_rest(&self) -> Option<i64> {
        self.resting.next_end(|delivery| self.under_way.contains(delivery))
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
    pub fn limited(&self) -> HashSet<Uuid> {
        self.resting.limited().copied().collect()
    }

    /// What an endpoint's limit is now: microseconds from one delivery to the next, 0 where it has none.
    pub fn change_limit(&mut self, endpoint_id: &Uuid, spacing: i64) {
        self.resting.change_limit(endpoint_id, spacing);
    }

    /// Reads what is due as far as there is room beside what waits.
    pub fn find(&mut self, reading: &Reading<'_>, waiting: Waiting) -> SpiResult<Found> {
        let began = Instant::now();
        self.follow_clock(reading.now);
        let mut found = Found { jobs: Vec::new(), ended: Vec::new(), ids: HashSet::new(), waiting, more: false };
        // Those of auctions that are held fall behind as well.
        for (endpoint_id, rest) in self.resting.rested(reading.now, |delivery| self.under_way.contains(delivery)) {
            self.fall_behind(endpoint_id, rest.auction_id, rest.position);
        }
        self.catch_up(reading, &mut found)?;
        self.read_on(reading, &mut found)?;
        self.reading += began.elapsed();
        Ok(found)
    }

    /// What waits until a time of before the clock was set back would wait for as long as it was ahead.
    fn follow_clock(&mut self, now: i64) {
        if self.latest.saturating_sub(now) > SMALL_STEP {
            self.resting.forget_times();
            self.latest = now;
        }
        self.latest = self.latest.max(now);
    }

    /// What was found is on its way: it is not to be found again until it is recorded.
    pub fn accept(&mut self, found: &Found) {
        self.under_way.extend(&found.ids);
    }

    /// Reads on over all endpoints but those that are behind.
    fn read_on(&mut self, Reading { statements, now, bounds }: &Reading<'_>, found: &mut Found) -> SpiResult<()> {
        let limit = self.batch.min(room::left(&found.waiting));
        if limit == 0 {
            return Ok(());
        }
        let leave_out = self.behind.keys().chain(&self.disabled).chain(self.resting.endpoints()).copied().collect();
        let Batch { rows, more } = statements.read_due(self.position, *now, leave_out, None, limit, *bounds)?;
        self.adapt_batch(&rows);
        let backlog = backlog_in(&rows).filter(|_| more);
        for row in rows {
            let before = self.position;
            self.position = row.position;
            if self.held_auctions.contains(&row.auction_id) {
                self.fall_behind(row.endpoint_id, row.auction_id, before);
                continue;
            }
            let has_to_wait = self.behind.contains_key(&row.endpoint_id) || self.resting.contains(&row.endpoint_id);
            if has_to_wait && !row.passes_by || self.is_known(&row, found) {
                continue;
            }
            if row.passes_by || room::share(&found.waiting, &row.auction_id, &row.endpoint_id) > 0 {
                self.take(row, found, *now);
            } else {
                self.behind.insert(row.endpoint_id, Behind { auction_id: row.auction_id, position: before });
            }
        }
        if let Some((endpoint_id, auction_id)) = backlog
            && !self.resting.contains(&endpoint_id)
            && !self.disabled.contains(&endpoint_id)
        {
            // However fast it is sent: others are not to wait until all of it is read.
            self.behind.entry(endpoint_id).or_insert(Behind { auction_id, position: self.position });
        }
        if !more {
            // Nothing up to now is left but what was left out: that need not be walked again.
            self.position = self.position.max(Position::at(*now));
        }
        found.more |= more;
        Ok(())
    }

    /// Reads on for endpoints that are behind and have sent half of what they may have waiting, each in its turn.
    fn catch_up(&mut self, Reading { statements, now, bounds }: &Reading<'_>, found: &mut Found) -> SpiResult<()> {
        let after_the_last = (Excluded(self.last_served), Unbounded);
        let in_turn = self.behind.range(after_the_last).chain(self.behind.range(..=self.last_served));
        let ready: Vec<(Uuid, Behind)> = in_turn
            .filter(|(_, behind)| !self.held_auctions.contains(&behind.auction_id))
            .filter(|(endpoint_id, behind)| room::is_hungry(&found.waiting, &behind.auction_id, endpoint_id))
            .map(|(endpoint_id, behind)| (*endpoint_id, *behind))
            .take(CATCH_UPS)
            .collect();
        found.more |= ready.len() == CATCH_UPS;
        for (endpoint_id, Behind { auction_id, position }) in ready {
            self.last_served = endpoint_id;
            let limit = self.batch.min(room::share(&found.waiting, &auction_id, &endpoint_id));
            if limit == 0 {
                // Others of its auction have taken the room in this very turn.
                continue;
            }
            let Batch { rows, more } =
                statements.read_due(position, *now, Vec::new(), Some(endpoint_id), limit, *bounds)?;
            self.adapt_batch(&rows);
            if !more {
                self.behind.remove(&endpoint_id);
            }
            let mut before = position;
            for row in rows {
                if self.resting.has_enough(&endpoint_id, *now) {
                    break;
                }
                if room::share(&found.waiting, &auction_id, &endpoint_id) == 0 {
                    // Its deliveries are large: the rest when these are sent.
                    self.behind.insert(endpoint_id, Behind { auction_id, position: before });
                    break;
                }
                before = row.position;
                self.behind.entry(endpoint_id).and_modify(|behind| behind.position = before);
                if !self.is_known(&row, found) {
                    self.take(row, found, *now);
                }
            }
            if self.resting.contains(&endpoint_id) {
                self.behind.remove(&endpoint_id);
            }
            found.more |=
                self.behind.contains_key(&endpoint_id) && room::is_hungry(&found.waiting, &auction_id, &endpoint_id);
        }
        Ok(())
    }

    /// Of large events few are asked for, or most would be read for nothing.
    fn adapt_batch(&mut self, rows: &[DueRow]) {
        let bytes: usize = rows.iter().map(DueRow::bytes).sum();
        let fitting = (rows.len() * BATCH_BYTES).checked_div(bytes).unwrap_or(MAX_BATCH);
        self.batch = fitting.clamp(1, (self.batch * 2).min(MAX_BATCH));
    }

    fn is_known(&self, row: &DueRow, found: &Found) -> bool {
        let id = &row.position.delivery_id;
        self.under_way.contains(id) || found.ids.contains(id)
    }

    fn take(&mut self, row: DueRow, found: &mut Found, now: i64) {
        if let Task::Wait = row.task {
            // With all others of its endpoint, until that is enabled.
            self.behind.remove(&row.endpoint_id);
            self.resting.end(&row.endpoint_id);
            self.disabled.insert(row.endpoint_id);
            return;
        }
        if !row.passes_by {
            if let Some(retry_at) = row.not_before.filter(|at| row.terms.ordered && *at > now) {
                self.resting.until_retry(&row, retry_at);
                return;
            }
            self.resting.after(&row, self.breaker.is_open(&row.endpoint_id), now);
        }
        found.ids.insert(row.position.delivery_id);
        match row.task {
            Task::Send(job) => {
                found.waiting.add(&job);
                found.jobs.push(job);
            }
            Task::End(outcome) => found.ended.push(outcome),
            Task::Wait => unreachable!("handled above"),
        }
    }
}

/// The endpoint, and its auction, of which a whole batch is full.
fn backlog_in(rows: &[DueRow]) -> Option<(Uuid, Uuid)> {
    let first = rows.first().filter(|_| rows.len() >= MAX_BATCH)?;
    let is_of_first = |row: &DueRow| row.endpoint_id == first.endpoint_id && !row.passes_by;
    rows.iter().all(is_of_first).then_some((first.endpoint_id, first.auction_id))
}
