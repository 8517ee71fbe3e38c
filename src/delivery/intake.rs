//! Which of the deliveries that are due go to the pool now, so that no endpoint's backlog hides another's single row?
//!
//! The queue is read in the order of time, and read on from where the last read ended. Each endpoint may have as many
//! deliveries waiting in memory as there is room left; past that it is *behind*: the reading leaves it out, and catches
//! up with it alone once it has sent what it has. A million rows of one endpoint are thus passed over once.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use pgrx::spi::SpiResult;
use uuid::Uuid;
use webhook_sender::{Job, Pool, Waiting};

use super::queue::{DueRow, Orphan, Position, Statements, Task};

/// Deliveries waiting in memory at most, over all endpoints.
const CAPACITY: usize = 4096;

/// So much of it is kept for endpoints of which nothing waits. Without it a dozen that hang, coming one after the other,
/// would take half, a quarter, an eighth … until nothing is left.
const FOR_NEWCOMERS: usize = CAPACITY / 4;

/// Their data at most, in bytes; one read may go beyond it by its own rows.
const CAPACITY_BYTES: usize = 64 << 20;

/// So much of that is kept for endpoints of which nothing waits.
const BYTES_FOR_NEWCOMERS: usize = CAPACITY_BYTES / 4;

/// Rows of one read at most.
const MAX_BATCH: usize = 500;

/// Bytes of data that one read should not exceed: the next one asks for fewer rows, or again for more.
const BATCH_BYTES: usize = 4 << 20;

/// Endpoints to catch up with in one turn; the others have theirs in the next.
const CATCH_UPS: usize = 8;

/// Reading from the start again may take one part in so many of the time: with an old snapshot open it walks dead rows.
const START_OVER_SHARE: u32 = 100;

pub struct Intake {
    /// Where the next read over all endpoints begins.
    position: Position,
    /// Endpoints that are behind, and after which row each goes on.
    behind: HashMap<Uuid, Position>,
    /// Endpoints whose rows wait until they are enabled; left out as well.
    disabled: HashSet<Uuid>,
    /// Deliveries handed to the pool and not recorded yet, with their event. Their rows are still in the queue.
    under_way: HashMap<Uuid, Uuid>,
    /// Deliveries that came due after their endpoint was deleted, to be ended.
    orphans: Vec<Orphan>,
    /// Rows to ask for in the next read.
    batch: usize,
    /// Time spent reading since the last start.
    reading: Duration,
    next_start_over: Instant,
}

impl Intake {
    pub fn new() -> Self {
        Self {
            position: Position::START,
            behind: HashMap::new(),
            disabled: HashSet::new(),
            under_way: HashMap::new(),
            orphans: Vec::new(),
            batch: MAX_BATCH / 8,
            reading: Duration::ZERO,
            next_start_over: Instant::now(),
        }
    }

    /// Reads again from this time: rows have come behind the place that the reading has got to.
    pub fn go_back_to(&mut self, due_at: i64) {
        let place = Position::at(due_at);
        self.position = self.position.min(place);
        for position in self.behind.values_mut() {
            *position = place.min(*position);
        }
        if place == Position::START {
            // This is how the enabling of an endpoint is announced.
            self.disabled.clear();
        }
    }

    /// Reads from the start again now and then, which finds whatever no commit has announced: prepared transactions.
    pub fn start_over_if_time(&mut self, every: Duration) {
        if Instant::now() < self.next_start_over {
            return;
        }
        self.next_start_over = Instant::now() + every.max(self.reading * START_OVER_SHARE);
        self.reading = Duration::ZERO;
        self.go_back_to(i64::MIN);
    }

    /// The delivery's attempt is over; gives back its event, `None` for one that was forgotten.
    pub fn ended(&mut self, delivery_id: &Uuid) -> Option<Uuid> {
        self.under_way.remove(delivery_id)
    }

    /// Whether the pool has the delivery, or what became of it is not recorded yet.
    pub fn is_under_way(&self, delivery_id: &Uuid) -> bool {
        self.under_way.contains_key(delivery_id)
    }

    /// How many deliveries those are.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// What was read and cannot be sent any more, its endpoint being deleted.
    pub fn take_orphans(&mut self) -> Vec<Orphan> {
        std::mem::take(&mut self.orphans)
    }

    /// Whether rows that are due may lie ahead of the place that the reading has got to.
    pub fn has_more(&self, now: i64) -> bool {
        self.position < Position::at(now)
    }

    /// Hands due deliveries to the pool as far as there is room. True where more could be read at once.
    pub fn take_in(&mut self, statements: &Statements, pool: &Pool, now: i64, timeout: Duration) -> SpiResult<bool> {
        let began = Instant::now();
        let mut waiting = pool.waiting();
        let mut jobs = Vec::new();
        let catching_up = self.catch_up(statements, &mut waiting, &mut jobs, now, timeout)?;
        let more = self.read_on(statements, &mut waiting, &mut jobs, now, timeout)?;
        pool.submit(jobs);
        self.reading += began.elapsed();
        Ok(catching_up || more)
    }

    /// Reads on over all endpoints but those that are behind.
    fn read_on(
        &mut self,
        statements: &Statements,
        waiting: &mut Waiting,
        jobs: &mut Vec<Job>,
        now: i64,
        timeout: Duration,
    ) -> SpiResult<bool> {
        let limit = self.batch.min(room(waiting));
        if limit == 0 {
            return Ok(false);
        }
        let leave_out = self.behind.keys().chain(&self.disabled).copied().collect();
        let rows = statements.read_due(self.position, now, leave_out, limit as i32, timeout)?;
        self.adapt_batch(&rows);
        let more = rows.len() == limit;
        for row in rows {
            let (before, endpoint_id) = (self.position, row.endpoint_id);
            self.position = row.position;
            if self.behind.contains_key(&endpoint_id) || self.under_way.contains_key(&row.position.delivery_id) {
                continue;
            }
            if share(waiting, &endpoint_id) > 0 {
                self.take(row, waiting, jobs);
            } else {
                self.behind.insert(endpoint_id, before);
            }
        }
        if !more {
            // Nothing up to now is left but what was left out: that need not be walked again.
            self.position = self.position.max(Position::at(now));
        }
        Ok(more)
    }

    /// Reads on for endpoints that are behind and have sent half of what they may have waiting.
    fn catch_up(
        &mut self,
        statements: &Statements,
        waiting: &mut Waiting,
        jobs: &mut Vec<Job>,
        now: i64,
        timeout: Duration,
    ) -> SpiResult<bool> {
        let ready: Vec<(Uuid, Position)> = self
            .behind
            .iter()
            .filter(|(endpoint_id, _)| is_hungry(waiting, endpoint_id))
            .map(|(endpoint_id, position)| (*endpoint_id, *position))
            .take(CATCH_UPS)
            .collect();
        let mut more = ready.len() == CATCH_UPS;
        for (endpoint_id, position) in ready {
            let limit = self.batch.min(share(waiting, &endpoint_id));
            let rows = statements.read_due_of_endpoint(position, now, endpoint_id, limit as i32, timeout)?;
            self.adapt_batch(&rows);
            if rows.len() < limit {
                self.behind.remove(&endpoint_id);
            }
            let mut before = position;
            for row in rows {
                if share(waiting, &endpoint_id) == 0 {
                    // Its deliveries are large: the rest when these are sent.
                    self.behind.insert(endpoint_id, before);
                    break;
                }
                before = row.position;
                self.behind.entry(endpoint_id).and_modify(|position| *position = before);
                if !self.under_way.contains_key(&before.delivery_id) {
                    self.take(row, waiting, jobs);
                }
            }
            more |= self.behind.contains_key(&endpoint_id) && is_hungry(waiting, &endpoint_id);
        }
        Ok(more)
    }

    /// Large events are read few at a time: memory stays bounded, and nobody waits for half a second of reading.
    fn adapt_batch(&mut self, rows: &[DueRow]) {
        let bytes: usize = rows.iter().map(DueRow::bytes).sum();
        let fitting = (rows.len() * BATCH_BYTES).checked_div(bytes).unwrap_or(MAX_BATCH);
        self.batch = fitting.clamp(1, (self.batch * 2).min(MAX_BATCH));
    }

    fn take(&mut self, row: DueRow, waiting: &mut Waiting, jobs: &mut Vec<Job>) {
        match row.task {
            Task::Send(job) => {
                self.under_way.insert(row.position.delivery_id, row.event_id);
                waiting.add(&job);
                jobs.push(job);
            }
            // With all others of its endpoint, until that is enabled.
            Task::Wait => {
                self.behind.remove(&row.endpoint_id);
                self.disabled.insert(row.endpoint_id);
            }
            Task::End(orphan) => self.orphans.push(orphan),
        }
    }
}

/// How many more deliveries may wait in memory.
fn room(waiting: &Waiting) -> usize {
    if waiting.bytes >= CAPACITY_BYTES { 0 } else { CAPACITY.saturating_sub(waiting.total) }
}

/// How many more of this endpoint may wait: as many as leave more room than it then takes, not counting what is kept for
/// newcomers; one at least, where none waits and there is any room. The same holds for their bytes.
fn share(waiting: &Waiting, endpoint_id: &Uuid) -> usize {
    let (room, of_endpoint) = (room(waiting), waiting.of(endpoint_id));
    let room_bytes = CAPACITY_BYTES.saturating_sub(waiting.bytes);
    let share = room.saturating_sub(FOR_NEWCOMERS).saturating_sub(of_endpoint).div_ceil(2);
    match of_endpoint {
        0 => share.max(room.min(1)),
        _ if waiting.bytes_of(endpoint_id) >= room_bytes.saturating_sub(BYTES_FOR_NEWCOMERS) => 0,
        _ => share,
    }
}

/// Whether an endpoint that is behind has sent most of what it may have waiting.
fn is_hungry(waiting: &Waiting, endpoint_id: &Uuid) -> bool {
    share(waiting, endpoint_id) > waiting.of(endpoint_id) / 2
}
