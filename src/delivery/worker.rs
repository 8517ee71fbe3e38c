//! What does the worker of a database do from its start to its end?
//!
//! It takes turns. In each it looks at what has come due, hands it to the pool's threads, and records what they have
//! finished; between two turns it sleeps until a commit, a finished request, or the next due time wakes it. It holds no
//! transaction while a request is under way, and each step of a turn has one of its own (`step.rs`): nothing that can fail
//! stands between sending and recording.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;
use pgrx::spi::SpiResult;
use uuid::Uuid;
use webhook_sender::Pool;

use super::completer::{Completer, MAX_BATCH_AGE};
use super::endpoint_health::EndpointHealth;
use super::fetcher::{FetchContext, Fetcher};
use super::next_due::NextDue;
use super::parking::Parking;
use super::queue_row::Bounds;
use super::recapture::Recapture;
use super::runtime::Runtime;
use super::statements::Standing;
use super::status_reporter::StatusReporter;
use super::task::{Task, Tasks, in_transaction};
use super::throughput::Throughput;
use crate::ids::{postgres_micros, uuid_floor};
use crate::postgres::security_context::RoleGuard;
use crate::postgres::wakeup::ClaimedSlot;
use crate::postgres::worker_stats::WorkerStats;
use crate::postgres::{background_worker, settings, worker_settings};

mod maintenance;

/// Turns begin at least so far apart. Under load one turn then serves several commits, and leaves the processor to those
/// who make them; after a quiet moment the first event goes out at once.
const PACE: Duration = Duration::from_millis(1);

/// A turn goes on reading for so long while there is more to read and room for it. Recording takes longer than the pool
/// needs for what one read brings.
const READ_AT_MOST: Duration = Duration::from_millis(2);

/// How long requests under way may still end when the worker has to go. A fast shutdown waits for it.
const GRACE: Duration = Duration::from_secs(1);

/// Somebody asked to look through everything that is due; this often it is done. To walk past a backlog takes a moment, and whoever
/// asks without end, as a tenant can who has one delivery after the other sent again, must not keep the reading at the start.
const LOOK_THROUGH_EVERY: Duration = Duration::from_millis(250);

/// Meanwhile what has just been committed is found all the same: rows that lie so far behind the place that the reading has got to,
/// in microseconds.
const JUST_COMMITTED: i64 = 100_000;

/// How soon to look again where somebody is just dropping or altering the extension.
const LOCKED_OUT: Duration = Duration::from_millis(50);

/// The worker's process; the argument is the index of its slot.
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn webhook_delivery_worker(argument: pg_sys::Datum) {
    if let Some(slot) = ClaimedSlot::claim(argument) {
        background_worker::attach_signal_handlers();
        BackgroundWorker::connect_worker_to_spi_by_oid(Some(slot.database()), None);
        background_worker::set_application_name(c"webhook_delivery worker");
        worker_settings::pin_settings();
        Worker::new(slot).run();
    }
    // SAFETY: ends the process, as Postgres has it. The launcher starts the next one where the database still exists.
    unsafe { pg_sys::proc_exit(0) };
}

/// What a reading has left.
struct Polled {
    /// It could go on at once.
    more: bool,
    /// The moment that it asked for, in Postgres microseconds.
    now: i64,
}

struct Worker {
    slot: ClaimedSlot,
    /// `None` while the extension does not exist in this database.
    runtime: Option<Runtime>,
    fetcher: Fetcher,
    completer: Completer,
    health: EndpointHealth,
    tasks: Tasks,
    throughput: Throughput,
    /// In Postgres microseconds.
    started_at: i64,
    /// Why nothing is sent at the moment, for whoever looks.
    idle_because: Option<&'static str>,
    /// What may be done beside reading, as the last reading has found it.
    duty: Duty,
    /// The earliest delivery that commits have announced and no reading has looked for yet.
    announced: Option<i64>,
    /// It is to look through everything that is due, once the time has come again.
    look_through: bool,
    next_look_through: Instant,
    /// When the next delivery will be due that is not due yet.
    next_due: NextDue,
    next_maintenance: Instant,
    next_expiry: Instant,
    next_recapture: Instant,
    recapture: Recapture,
    parking: Parking,
    next_database_check: Instant,
    reporter: StatusReporter,
}

/// What a worker does beside reading and recording.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    Nothing,
    /// It sends nothing, and makes partitions, parks and captures again all the same: rows come in, by the application or by
    /// logical replication.
    House,
    Everything,
}

/// What the reading step ends with.
enum PollResult {
    /// Deliveries that are due, as far as there is room, are on their way.
    Polled(Polled),
    /// There is nothing to be done, for so long.
    Idle(Duration),
    /// Somebody wants the database for himself, or it is no longer one of those to work in.
    ShutDown,
}

impl Worker {
    fn new(slot: ClaimedSlot) -> Self {
        let now = Instant::now();
        Self {
            slot,
            runtime: None,
            fetcher: Fetcher::new(),
            completer: Completer::new(),
            health: EndpointHealth::new(),
            tasks: Tasks::new(),
            throughput: Throughput::new(),
            started_at: postgres_micros(SystemTime::now()),
            idle_because: None,
            duty: Duty::Nothing,
            announced: None,
            look_through: false,
            next_look_through: now,
            next_due: NextDue::Unknown,
            next_maintenance: now,
            next_expiry: now,
            next_recapture: now,
            recapture: Recapture::default(),
            parking: Parking::new(),
            next_database_check: now,
            reporter: StatusReporter::new(slot),
        }
    }

    fn run(mut self) {
        while !background_worker::was_told_to_go() {
            if background_worker::reload_settings_if_asked() {
                self.next_database_check = Instant::now();
                (self.next_maintenance, self.next_expiry) = (Instant::now(), Instant::now());
                if let Some(Runtime { pool, .. }) = &self.runtime {
                    pool.set_rules(settings::rules());
                }
            }
            let began = Instant::now();
            background_worker::report_busy();
            let Some(at_most) = self.turn() else { break };
            background_worker::report_statistics();
            let stats = self.stats();
            self.reporter.publish(stats);
            self.sleep(at_most);
            if let Some(rest) = PACE.checked_sub(began.elapsed()) {
                background_worker::pause(rest);
            }
        }
        self.shut_down();
    }

    /// Sleeps until there is something to do. That a request has ended is no reason for a turn: others will, and are gathered.
    fn sleep(&mut self, at_most: Duration) {
        let Some(Runtime { pool, .. }) = &self.runtime else {
            background_worker::wait(None, at_most);
            return;
        };
        let (began, mut at_most) = (Instant::now(), at_most);
        while background_worker::wait(Some(pool.wake_fd()), at_most.saturating_sub(began.elapsed()))
            == background_worker::Woken::Descriptor
        {
            let patience = self.completer.time_to_batch(pool.finished_total());
            if patience.is_zero() {
                break;
            }
            at_most = at_most.min(began.elapsed() + patience);
        }
    }

    /// One turn: the fetcher first, so that no request waits for the commit that records others. Gives back how long there
    /// will be nothing to do, `None` where the worker has to leave.
    fn turn(&mut self) -> Option<Duration> {
        // Before the bell: what is committed after an announcement that this turn does not hear of is then not due yet, and
        // is not sent before what was announced.
        let now = postgres_micros(SystemTime::now());
        // Before the snapshot: what rings after this is announced again.
        self.announced = self.announced.into_iter().chain(self.slot.earliest_due()).min();
        // What the reading does not know of by itself is found again then.
        let mut wait = settings::poll_interval();
        let mut took = None;
        if self.tasks.reading.may_run() {
            let looked = in_transaction(|| self.poll(now));
            match self.tasks.reading.conclude(looked) {
                Some(PollResult::Polled(now)) => took = Some(now),
                Some(PollResult::Idle(time)) => wait = wait.min(time),
                Some(PollResult::ShutDown) => return None,
                // What was read and not taken is found again from the start.
                None => {
                    self.fetcher.rewind_to(i64::MIN);
                    if self.tasks.reading.is_broken() {
                        // Whether it still is so, is not known.
                        self.idle_because = None;
                    }
                }
            }
        }
        self.gather();
        if self.completer.is_due() && self.tasks.recording.may_run() {
            self.record();
        }
        self.maintain();
        wait = wait.min(self.time_to_next_step());
        Some(took.map_or(wait, |took| wait.min(self.time_to_next_reading(took))))
    }

    fn gather(&mut self) {
        if let Some(Runtime { pool, .. }) = &self.runtime {
            self.completer.add_attempts(pool.finished(), &settings::retry_policy());
        }
    }

    /// Looks whether there is anything to do here, and takes in what is due.
    fn poll(&mut self, now: i64) -> SpiResult<PollResult> {
        if Instant::now() >= self.next_database_check {
            self.next_database_check = Instant::now() + settings::poll_interval();
            let at_rest = background_worker::database_is_at_rest(self.slot.database());
            if !at_rest || !settings::databases().contains(&background_worker::database_name()) {
                return Ok(PollResult::ShutDown);
            }
        }
        let extension = match background_worker::extension() {
            background_worker::Extension::Absent => {
                self.duty = Duty::Nothing;
                self.reset();
                self.idle_because = Some("waiting for CREATE EXTENSION webhook_delivery");
                return Ok(PollResult::Idle(settings::poll_interval()));
            }
            background_worker::Extension::BeingChanged => {
                self.recapture.end();
                return Ok(PollResult::Idle(LOCKED_OUT));
            }
            background_worker::Extension::Present(extension) => extension,
        };
        if self.runtime.as_ref().is_some_and(|runtime| runtime.extension != extension) {
            // One transaction has dropped it and created another, with other types and empty tables.
            self.reset();
        }
        if self.runtime.is_none() && !background_worker::extension_is_current()? {
            self.idle_because = Some("waiting for: alter extension webhook_delivery update");
            return Ok(PollResult::Idle(settings::poll_interval()));
        }
        let _rights = RoleGuard::of_worker();
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => self.equip(extension)?,
        };
        let Runtime { statements, pool, .. } = self.runtime.insert(runtime);
        self.fetcher.release(pool.given_back());

        let standing = statements.standing()?;
        self.idle_because = match standing {
            // What cannot be recorded must not be sent: it would be sent again and again.
            _ if background_worker::is_read_only() => Some("paused, because default_transaction_read_only is on"),
            Standing::Sending => None,
            Standing::Paused => Some("paused, by webhook_delivery.pause()"),
            Standing::Copied => Some("paused, because this is a copy of another database"),
            Standing::Unused => Some("waiting for the first endpoint"),
        };
        self.duty = match standing {
            _ if background_worker::is_read_only() => Duty::Nothing,
            Standing::Sending => Duty::Everything,
            Standing::Paused | Standing::Copied => Duty::House,
            Standing::Unused => Duty::Nothing,
        };
        self.reporter.report_standing(standing);
        if self.idle_because.is_some() || self.tasks.recording.is_broken() {
            pool.give_back_waiting();
            return Ok(PollResult::Idle(settings::poll_interval()));
        }
        if self.completer.is_full() {
            return Ok(PollResult::Idle(settings::poll_interval()));
        }

        if self.announced == Some(i64::MIN) {
            self.look_through = true;
            self.announced = Some(now - JUST_COMMITTED);
        }
        if let Some(due_at) = self.announced {
            self.fetcher.rewind_to(due_at);
            self.next_due.include((due_at > now).then_some(due_at));
        }
        let looks_through = self.look_through && Instant::now() >= self.next_look_through;
        if looks_through {
            self.fetcher.rewind_to(i64::MIN);
            // An endpoint may have been paused, disabled or limited.
            let waiting: HashSet<Uuid> =
                pool.waiting().endpoints().copied().chain(self.fetcher.rate_limited()).collect();
            let targets = statements.targets_now(waiting)?;
            for (endpoint_id, target) in &targets {
                self.fetcher.set_rate_limit(endpoint_id, target.terms.spacing);
            }
            let not_receiving = targets.iter().filter(|(_, target)| !target.receives());
            pool.give_back_waiting_of(not_receiving.map(|(id, target)| (target.auction_id, *id)));
            self.fetcher.release(pool.given_back());
            self.look_through = false;
            self.next_look_through = Instant::now() + LOOK_THROUGH_EVERY;
        }
        let starts_over = self.fetcher.rewind_if_time(settings::poll_interval());
        if starts_over || looks_through || !self.next_due.is_ahead_of(now) {
            self.next_due = NextDue::Unknown;
        }
        let bounds =
            Bounds { timeout: settings::request_timeout(), payload: settings::max_payload(), oldest: oldest_event() };
        let reading = FetchContext { statements, now, bounds };
        let began = Instant::now();
        loop {
            let found = self.fetcher.find(&reading, pool.waiting())?;
            let more = found.more;
            self.fetcher.accept(&found);
            pool.submit(found.jobs);
            self.completer.add(found.ended);
            if more && began.elapsed() < READ_AT_MOST {
                continue;
            }
            if !more && matches!(self.next_due, NextDue::Unknown) {
                self.next_due = NextDue::Known(statements.next_due(now)?);
            }
            self.announced = None;
            return Ok(PollResult::Polled(Polled { more, now }));
        }
    }

    /// What an earlier worker has sent and not recorded is recorded before anything is read.
    fn equip(&mut self, extension: pg_sys::Oid) -> SpiResult<Runtime> {
        let (runtime, unrecorded) = Runtime::get(extension)?;
        self.health.remember(runtime.statements.failing_endpoints()?);
        self.fetcher.expect(&unrecorded);
        self.completer.add_attempts(unrecorded, &settings::retry_policy());
        Ok(runtime)
    }

    fn record(&mut self) {
        let Some(Runtime { statements, pool, .. }) = &self.runtime else { return };
        let outcomes = self.completer.batch();
        let record = |carefully| {
            in_transaction(|| {
                let _rights = lock_extension();
                statements.record(outcomes, carefully)
            })
        };
        let recorded =
            if self.completer.may_be_locked() { record(true) } else { record(false).or_else(|_| record(true)) };
        if let Some(locked) = self.tasks.recording.conclude(recorded) {
            for outcome in self.completer.complete(&locked) {
                self.fetcher.recorded(&outcome);
                self.health.recorded(&outcome);
                self.throughput.recorded(&outcome);
                self.next_due.include(outcome.next_attempt_at);
            }
            pool.give_back_waiting_of(self.fetcher.newly_opened().into_iter());
            let held = self.fetcher.hold(self.completer.blocked_auctions());
            if !held.is_empty() {
                pool.give_back_waiting_of_auctions(&held);
            }
        }
    }

    /// How long until a step other than the reading has something to do, or one that failed is tried again.
    fn time_to_next_step(&self) -> Duration {
        let Tasks { reading, recording, remembering, noting, maintenance, expiry, recapture, parking } = &self.tasks;
        let of_duty: &[&Task] = match self.duty {
            Duty::Nothing => &[],
            Duty::House => &[maintenance, recapture, parking],
            Duty::Everything => &[remembering, noting, maintenance, expiry, recapture, parking],
        };
        let tries = [reading, recording].into_iter().chain(of_duty.iter().copied());
        let to_record = if recording.may_run() { self.completer.time_to_due() } else { None };
        let to_note = if self.duty == Duty::Everything && noting.may_run() { self.health.time_to_due() } else { None };
        let to_park = if self.duty != Duty::Nothing && parking.may_run() { self.parking.time_to_due() } else { None };
        let times = tries.filter_map(Task::time_to_next_try).chain(to_record).chain(to_note).chain(to_park);
        times.min().unwrap_or(Duration::MAX)
    }

    /// How long until there is more to read.
    fn time_to_next_reading(&self, Polled { more, now }: Polled) -> Duration {
        if more || self.fetcher.has_more(now) {
            // With deliveries at hand the threads have enough to do for a moment.
            let is_busy = self.runtime.as_ref().is_some_and(|runtime| runtime.pool.waiting_total() > 0);
            return if is_busy { MAX_BATCH_AGE } else { Duration::ZERO };
        }
        let now = postgres_micros(SystemTime::now());
        let until = |due_at: i64| Duration::from_micros(due_at.saturating_sub(now).max(0).unsigned_abs());
        let to_look_through =
            self.look_through.then(|| self.next_look_through.saturating_duration_since(Instant::now()));
        match self.next_due {
            NextDue::Known(at) => {
                let due = at.into_iter().chain(self.fetcher.next_end_of_rest()).min().map(until);
                due.into_iter().chain(to_look_through).min().unwrap_or(Duration::MAX)
            }
            NextDue::Unknown => Duration::ZERO,
        }
    }

    /// The extension is gone, and with it everything that was to be delivered. The pool's threads end.
    fn reset(&mut self) {
        self.runtime = None;
        self.fetcher = Fetcher::new();
        self.completer = Completer::new();
        self.health = EndpointHealth::new();
        self.tasks = Tasks::new();
        self.next_due = NextDue::Unknown;
        self.parking = Parking::new();
        (self.next_maintenance, self.next_expiry) = (Instant::now(), Instant::now());
    }

    /// Lets requests under way end for a moment and records them: whatever is not recorded is sent again after the restart.
    fn shut_down(mut self) {
        self.recapture.end();
        let deadline = Instant::now() + GRACE;
        if let Some(Runtime { pool, .. }) = &self.runtime {
            pool.give_back_waiting();
            let mut finished = pool.finished();
            while pool.in_flight() > 0 {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                background_worker::wait(Some(pool.wake_fd()), left);
                finished.extend(pool.finished());
            }
            finished.extend(pool.finished());
            self.completer.add_attempts(finished, &settings::retry_policy());
        }
        self.completer.retry_locked();
        // Twice: to be told to go breaks a statement off, whichever is the first.
        for _ in 0..2 {
            if !self.completer.batch().is_empty() {
                self.record();
            }
            if self.health.time_to_due().is_some() {
                self.note_health();
            }
        }
    }

    /// What the worker is at.
    fn stats(&self) -> WorkerStats {
        let pool = self.runtime.as_ref().map(|runtime| &runtime.pool);
        WorkerStats {
            requests_in_flight: pool.map_or(0, Pool::in_flight),
            deliveries_in_memory: pool.map_or(0, Pool::waiting_total),
            attempts_to_record: self.completer.len(),
            locked: self.completer.locked(),
            started_at: self.started_at,
            totals: self.throughput.totals(),
            last_minute: self.throughput.last_minute(),
            last_failure: self.throughput.last_failure().cloned(),
            idle_because: self.idle_because,
            problem: self.tasks.problem(),
        }
    }
}

/// No id of an event that is still to be kept is lower.
fn oldest_event() -> Uuid {
    let kept = settings::retention().and_then(|retention| SystemTime::now().checked_sub(retention));
    kept.map_or(Uuid::nil(), uuid_floor)
}

/// Takes the extension's lock until the transaction ends, and acts as the worker's role as long as what it gives lives. Whoever is
/// just dropping the extension must not be waited for: he waits for us.
pub fn lock_extension() -> RoleGuard {
    if !matches!(background_worker::extension(), background_worker::Extension::Present(_)) {
        ereport!(ERROR, PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, "somebody is dropping or altering the extension");
    }
    RoleGuard::of_worker()
}
