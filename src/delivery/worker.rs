//! The worker of a database, from its start to its end.
//!
//! It works in turns: it fetches due deliveries, hands them to the pool's threads, and records
//! finished attempts. Between two turns it sleeps until a commit, a finished request or the next
//! due time wakes it. It holds no transaction while a request is in flight. Each task of a turn has
//! a transaction of its own (`task.rs`), so that no other failure prevents the recording of
//! attempts.

use std::time::{Duration, Instant};

use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;
use uuid::Uuid;
use webhook_sender::Pool;

use super::completer::{Completer, MAX_BATCH_AGE};
use super::endpoint_health::EndpointHealth;
use super::extension_lock::lock_extension;
use super::fetch_schedule::FetchSchedule;
use super::fetcher::Fetcher;
use super::idle::{Duty, Idle};
use super::parking::Parking;
use super::recapture::Recapture;
use super::runtime::Runtime;
use super::status_reporter::StatusReporter;
use super::task::{Task, Tasks, in_transaction};
use super::throughput::Throughput;
use crate::ids::uuid_floor;
use crate::postgres::wakeup::ClaimedSlot;
use crate::postgres::worker_stats::WorkerStats;
use crate::postgres::{background_worker, settings, worker_settings};
use crate::timestamp::Timestamp;

mod maintenance;
mod polling;

use polling::{PollResult, Polled};

/// Minimum time from the beginning of one turn to the next. Under load one turn then serves several
/// commits and leaves the processor to the sessions that make them; after a quiet moment the first
/// event is sent at once.
const MIN_TURN: Duration = Duration::from_millis(1);

/// How long requests in flight may take when the worker shuts down. A fast shutdown waits for it.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

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
    // SAFETY: ends the process as PostgreSQL requires. The launcher starts the next one if the
    // database still exists.
    unsafe { pg_sys::proc_exit(0) };
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
    started_at: Timestamp,
    /// Why nothing is sent, as the last poll has found.
    idle: Option<Idle>,
    schedule: FetchSchedule,
    next_maintenance: Instant,
    next_expiry: Instant,
    next_recapture: Instant,
    recapture: Recapture,
    parking: Parking,
    next_database_check: Instant,
    reporter: StatusReporter,
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
            started_at: Timestamp::now(),
            idle: Some(Idle::NoExtension),
            schedule: FetchSchedule::new(),
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
        while !background_worker::shutdown_requested() {
            if background_worker::reload_settings_if_requested() {
                self.next_database_check = Instant::now();
                (self.next_maintenance, self.next_expiry) = (Instant::now(), Instant::now());
                self.tasks.retry_now();
                self.schedule.request_rescan();
                if let Some(Runtime { pool, .. }) = &self.runtime {
                    pool.set_rules(settings::rules());
                }
            }
            let began = Instant::now();
            background_worker::report_busy();
            let Some(max_time) = self.turn() else { break };
            background_worker::report_statistics();
            let stats = self.stats();
            self.reporter.publish(stats);
            self.sleep(max_time);
            if let Some(rest) = MIN_TURN.checked_sub(began.elapsed()) {
                background_worker::pause(rest);
            }
        }
        self.shut_down();
    }

    /// Sleeps until there is something to do. A single finished request does not start a turn: it
    /// is recorded with others.
    fn sleep(&mut self, max_time: Duration) {
        let Some(Runtime { pool, .. }) = &self.runtime else {
            background_worker::wait(None, max_time);
            return;
        };
        let (began, mut max_time) = (Instant::now(), max_time);
        while background_worker::wait(Some(pool.wake_fd()), max_time.saturating_sub(began.elapsed()))
            == background_worker::Woken::Descriptor
        {
            let patience = self.completer.time_to_batch(pool.finished_total());
            if patience.is_zero() {
                break;
            }
            max_time = max_time.min(began.elapsed() + patience);
        }
    }

    /// Runs one turn. It fetches first, so that no request waits for the commit that records
    /// others. Returns how long there will be nothing to do; `None` if the worker must shut down.
    fn turn(&mut self) -> Option<Duration> {
        // Read the clock before the slot: rows that are committed later than the announced ones are
        // then not due yet, and are not sent before them.
        let now = Timestamp::now();
        // Read the slot before the snapshot is taken: rows that are committed later are announced
        // again.
        self.schedule.announce(self.slot.take_wakeup(), now);
        // Finds rows that no commit has announced.
        let mut wait = settings::poll_interval();
        let mut fetched = None;
        if self.tasks.reading.may_run() {
            let polled = in_transaction(|| self.poll(now));
            match self.tasks.reading.conclude(polled) {
                Some(PollResult::Polled(now)) => fetched = Some(now),
                Some(PollResult::Idle(time)) => wait = wait.min(time),
                Some(PollResult::ShutDown) => return None,
                // Deliveries that were read and not handed to the pool are reread.
                None => self.fetcher.rewind_to_start(),
            }
        }
        self.gather();
        if self.completer.is_due() && self.tasks.recording.may_run() {
            self.record();
        }
        self.maintain();
        wait = wait.min(self.time_to_next_task());
        Some(fetched.map_or(wait, |fetched| wait.min(self.time_to_next_fetch(fetched))))
    }

    fn gather(&mut self) {
        if let Some(Runtime { pool, .. }) = &self.runtime {
            self.completer.add_attempts(pool.finished(), &settings::retry_policy());
        }
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
                self.schedule.include(outcome.next_attempt_at);
            }
            pool.give_back_waiting_of(self.fetcher.newly_opened().into_iter());
            let held = self.fetcher.block_auctions(self.completer.blocked_auctions());
            if !held.is_empty() {
                pool.give_back_waiting_of_auctions(&held);
            }
        }
    }

    fn duty(&self) -> Duty {
        Duty::while_idle(self.idle)
    }

    /// How long until another task has something to do, or a failed one is tried again.
    fn time_to_next_task(&self) -> Duration {
        let Tasks { reading, recording, slow_endpoints, health, maintenance, expiry, recapture, parking } = &self.tasks;
        let of_duty: &[&Task] = match self.duty() {
            Duty::Nothing => &[],
            Duty::Fenced => &[maintenance, recapture],
            Duty::Housekeeping => &[maintenance, recapture, parking],
            Duty::Everything => &[slow_endpoints, health, maintenance, expiry, recapture, parking],
        };
        let tries = [reading, recording].into_iter().chain(of_duty.iter().copied());
        let to_record = if recording.may_run() { self.completer.time_to_due() } else { None };
        let to_note =
            if self.duty() == Duty::Everything && health.may_run() { self.health.time_to_due() } else { None };
        let to_park =
            if self.duty() >= Duty::Housekeeping && parking.may_run() { self.parking.time_to_due() } else { None };
        let times = tries.filter_map(Task::time_to_next_try).chain(to_record).chain(to_note).chain(to_park);
        times.min().unwrap_or(Duration::MAX)
    }

    /// How long until there is more to fetch.
    fn time_to_next_fetch(&self, Polled { more, now }: Polled) -> Duration {
        if more || self.fetcher.has_more(now) {
            // The threads have enough to do for a moment.
            let is_busy = self.runtime.as_ref().is_some_and(|runtime| runtime.pool.waiting_total() > 0);
            return if is_busy { MAX_BATCH_AGE } else { Duration::ZERO };
        }
        self.schedule.time_to_next(self.fetcher.next_end_of_throttle())
    }

    /// Ends the threads when the extension was dropped, and the queue with it.
    fn reset(&mut self) {
        self.runtime = None;
        self.fetcher = Fetcher::new();
        self.completer = Completer::new();
        self.health = EndpointHealth::new();
        self.tasks = Tasks::new();
        self.schedule.forget_next_due();
        self.parking = Parking::new();
        (self.next_maintenance, self.next_expiry) = (Instant::now(), Instant::now());
    }

    /// Waits a moment for requests in flight and records them: requests that are not recorded are
    /// made again after the restart.
    fn shut_down(mut self) {
        self.recapture.end();
        let deadline = Instant::now() + SHUTDOWN_GRACE;
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
        // Twice: the shutdown request cancels the first statement that runs.
        for _ in 0..2 {
            if !self.completer.batch().is_empty() {
                self.record();
            }
            if self.health.time_to_due().is_some() {
                self.record_endpoint_health();
            }
        }
    }

    /// The worker's state, for `webhook_delivery.status`.
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
            idle_reason: self.idle.map(Idle::reason),
            problem: self.tasks.problem().or_else(|| self.runtime.as_ref()?.statements.unreadable_secrets.problem()),
        }
    }
}

/// The lowest id that an event within the retention can have.
fn oldest_event() -> Uuid {
    settings::retention().map_or(Uuid::nil(), |retention| uuid_floor(Timestamp::now() - retention))
}
