//! What does the worker of a database do from its start to its end?
//!
//! It takes turns. In each it looks at what has come due, hands it to the pool's threads, and records what they have
//! finished; between two turns it sleeps until a commit, a finished request, or the next due time wakes it. It holds no
//! transaction while a request is under way, and each step of a turn has one of its own (`step.rs`): nothing that can fail
//! stands between sending and recording.

use std::collections::HashSet;
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;
use pgrx::spi::SpiResult;
use uuid::Uuid;
use webhook_sender::{Pool, PoolConfig};

use super::intake::{Intake, Reading};
use super::queue::{Standing, Statements, postgres_micros};
use super::record::{GATHER, Ledger};
use super::step::{Step, attempt};
use crate::server::report::Report;
use crate::server::wake::MyBell;
use crate::server::{process, settings};

/// Turns begin at least so far apart. Under load one turn then serves several commits, and leaves the processor to those
/// who make them; after a quiet moment the first event goes out at once.
const PACE: Duration = Duration::from_millis(1);

/// How long requests under way may still end when the worker has to go. A fast shutdown waits for it.
const GRACE: Duration = Duration::from_secs(1);

/// How often partitions are made ahead.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(3600);

/// How soon that is tried again where a backup or a long transaction was in the way.
const MAINTENANCE_RETRY: Duration = Duration::from_secs(10);

/// How soon to look again where somebody is just dropping or altering the extension.
const LOCKED_OUT: Duration = Duration::from_millis(50);

/// The worker's process; the argument is the place of its bell.
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn webhook_delivery_worker(place: pg_sys::Datum) {
    if let Some(bell) = MyBell::hang(place) {
        process::attach_signal_handlers();
        BackgroundWorker::connect_worker_to_spi_by_oid(Some(bell.database()), None);
        process::set_application_name(c"webhook_delivery worker");
        process::pin_settings();
        Worker::new(bell).run();
    }
    // SAFETY: ends the process, as Postgres has it. The launcher starts the next one where the database still exists.
    unsafe { pg_sys::proc_exit(0) };
}

/// What the extension's presence makes possible.
struct Equipment {
    statements: Statements,
    pool: Pool,
    /// The slow endpoints that the next worker will know of.
    remembered_slow: Arc<HashSet<Uuid>>,
}

/// The parts of a turn that can fail, each for itself.
struct Steps {
    reading: Step,
    recording: Step,
    remembering: Step,
    maintenance: Step,
}

impl Equipment {
    fn get() -> SpiResult<Self> {
        let statements = Statements::prepare()?;
        let pool = start_pool(statements.slow_endpoints()?);
        let remembered_slow = pool.slow_endpoints();
        Ok(Self { statements, pool, remembered_slow })
    }
}

struct Worker {
    bell: MyBell,
    /// `None` while the extension does not exist in this database.
    equipment: Option<Equipment>,
    intake: Intake,
    ledger: Ledger,
    steps: Steps,
    /// Why nothing is sent at the moment, for whoever looks.
    idle_because: Option<&'static str>,
    /// What the database said of itself when it was last asked.
    standing: Standing,
    /// The earliest delivery that commits have announced and no reading has looked for yet.
    announced: Option<i64>,
    /// When the next delivery will be due that is not due yet, as far as is known.
    next_due: Option<i64>,
    next_maintenance: Instant,
    next_database_check: Instant,
    reported: Report,
}

/// What the reading step ends with.
enum Looked {
    /// Deliveries that are due, as far as there is room, are on their way. Whether there is more.
    Took { more: bool },
    /// There is nothing to be done, for so long.
    Rest(Duration),
    /// Somebody wants the database for himself, or it is no longer one of those to work in.
    Leave,
}

impl Worker {
    fn new(bell: MyBell) -> Self {
        let now = Instant::now();
        Self {
            bell,
            equipment: None,
            intake: Intake::new(),
            ledger: Ledger::new(),
            steps: Steps {
                reading: Step::new("reading the queue"),
                recording: Step::new("recording what was sent"),
                remembering: Step::new("remembering slow endpoints"),
                maintenance: Step::new("making partitions"),
            },
            idle_because: None,
            standing: Standing::Sending,
            announced: None,
            next_due: None,
            next_maintenance: now,
            next_database_check: now,
            reported: Report::default(),
        }
    }

    fn run(mut self) {
        while !process::was_told_to_go() {
            if process::reload_settings_if_asked() {
                self.next_database_check = Instant::now();
            }
            let began = Instant::now();
            process::report_busy();
            let Some(at_most) = self.turn() else { break };
            process::report_statistics();
            self.report();
            self.sleep(at_most);
            if let Some(rest) = PACE.checked_sub(began.elapsed()) {
                process::pause(rest);
            }
        }
        self.leave();
    }

    /// Sleeps until there is something to do. That a request has ended is no reason for a turn: others will, and are gathered.
    fn sleep(&mut self, at_most: Duration) {
        let ended_request = self.equipment.as_ref().map(|equipment| equipment.pool.wake_fd());
        let listen_for = if self.ledger.is_expecting() { None } else { ended_request };
        if process::wait(listen_for, at_most) == process::Woken::Descriptor {
            self.ledger.expect();
            process::wait(None, at_most.min(GATHER));
        }
    }

    /// One turn: the intake first, so that no request waits for the commit that records others. Gives back how long there
    /// will be nothing to do, `None` where the worker has to leave.
    fn turn(&mut self) -> Option<Duration> {
        // Before the snapshot: what rings after this is announced again.
        self.announced = self.announced.into_iter().chain(self.bell.earliest_due()).min();
        let mut wait = settings::poll_interval();
        let mut more = false;
        if self.steps.reading.may_run() {
            let looked = attempt(|| self.look());
            match self.steps.reading.conclude(looked) {
                Some(Looked::Took { more: is_more }) => more = is_more,
                Some(Looked::Rest(time)) => wait = wait.min(time),
                Some(Looked::Leave) => return None,
                // What was read and not taken is found again from the start.
                None => self.intake.go_back_to(i64::MIN),
            }
        }
        if let Some(Equipment { pool, .. }) = &self.equipment {
            self.ledger.add_attempts(pool.finished(), &settings::retry_schedule());
        }
        if self.ledger.is_due() && self.steps.recording.may_run() {
            self.record();
        }
        if self.idle_because.is_none() {
            if self.steps.remembering.may_run() {
                self.remember_slow();
            }
            if Instant::now() >= self.next_maintenance && self.steps.maintenance.may_run() {
                self.maintain();
            }
        }
        Some(self.time_to_next_turn(more).min(wait))
    }

    /// Looks whether there is anything to do here, and takes in what is due.
    fn look(&mut self) -> SpiResult<Looked> {
        if Instant::now() >= self.next_database_check {
            self.next_database_check = Instant::now() + settings::poll_interval();
            let at_rest = process::database_is_at_rest(self.bell.database());
            if !at_rest || !settings::databases().contains(&process::database_name()) {
                return Ok(Looked::Leave);
            }
        }
        match process::extension() {
            process::Extension::Absent => {
                self.forget_everything();
                self.idle_because = Some("waiting for CREATE EXTENSION webhook_delivery");
                return Ok(Looked::Rest(settings::poll_interval()));
            }
            process::Extension::BeingChanged => return Ok(Looked::Rest(LOCKED_OUT)),
            process::Extension::Present => {}
        }
        let equipment = match self.equipment.take() {
            Some(equipment) => equipment,
            None => Equipment::get()?,
        };
        let Equipment { statements, pool, .. } = self.equipment.insert(equipment);
        self.intake.take_back(pool.given_back());

        let standing = statements.standing()?;
        self.idle_because = match standing {
            // What cannot be recorded must not be sent: it would be sent again and again.
            _ if process::is_read_only() => Some("paused, because default_transaction_read_only is on"),
            Standing::Sending => None,
            Standing::Paused => Some("paused, by webhook_delivery.pause()"),
            Standing::Copied => Some("paused, because this is a copy of another database"),
            Standing::Unused => Some("waiting for the first endpoint"),
        };
        if standing != std::mem::replace(&mut self.standing, standing) {
            tell(standing);
        }
        if self.idle_because.is_some() || self.steps.recording.is_broken() {
            pool.give_back_waiting();
            return Ok(Looked::Rest(settings::poll_interval()));
        }
        if self.ledger.is_full() {
            return Ok(Looked::Took { more: false });
        }

        if let Some(due_at) = self.announced {
            self.intake.go_back_to(due_at);
        }
        self.intake.start_over_if_time(settings::poll_interval());
        let now = postgres_micros(SystemTime::now());
        let found =
            self.intake.find(&Reading { statements, now, timeout: settings::request_timeout() }, pool.waiting())?;
        self.next_due = if found.more { None } else { statements.next_due(now)? };
        // From here on nothing fails.
        self.announced = None;
        self.intake.accept(&found);
        pool.submit(found.jobs);
        self.ledger.add(found.ended);
        Ok(Looked::Took { more: found.more })
    }

    fn record(&mut self) {
        let Some(Equipment { statements, .. }) = &self.equipment else { return };
        let outcomes = self.ledger.gathered();
        let recorded = attempt(|| {
            hold_extension();
            statements.record(outcomes)
        });
        if let Some(locked) = self.steps.recording.conclude(recorded) {
            for outcome in self.ledger.recorded(&locked) {
                self.intake.recorded(&outcome);
                self.next_due = self.next_due.into_iter().chain(outcome.next_attempt_at).min();
            }
        }
    }

    fn remember_slow(&mut self) {
        let Some(Equipment { statements, pool, remembered_slow }) = &mut self.equipment else { return };
        let slow = pool.slow_endpoints();
        if Arc::ptr_eq(&slow, remembered_slow) {
            return;
        }
        let remembered = attempt(|| {
            hold_extension();
            statements.remember_slow(slow.difference(remembered_slow), remembered_slow.difference(&slow))
        });
        if self.steps.remembering.conclude(remembered).is_some() {
            *remembered_slow = slow;
        }
    }

    fn maintain(&mut self) {
        let Some(Equipment { statements, .. }) = &self.equipment else { return };
        let made = attempt(|| {
            hold_extension();
            statements.create_partitions()
        });
        if let Some(made) = self.steps.maintenance.conclude(made) {
            self.next_maintenance = Instant::now() + if made { MAINTENANCE_INTERVAL } else { MAINTENANCE_RETRY };
        }
    }

    fn time_to_next_turn(&self, more: bool) -> Duration {
        let now = postgres_micros(SystemTime::now());
        let Steps { reading, recording, remembering, maintenance } = &self.steps;
        let mut wait = [reading, recording]
            .into_iter()
            .chain(self.idle_because.is_none().then_some([remembering, maintenance]).into_iter().flatten())
            .filter_map(Step::time_to_next_try)
            .chain(if recording.may_run() { self.ledger.time_to_due() } else { None })
            .chain(self.next_due.map(|due_at| Duration::from_micros(due_at.saturating_sub(now).max(0).unsigned_abs())))
            .min()
            .unwrap_or(Duration::MAX);
        let may_read = self.idle_because.is_none() && reading.may_run() && !self.ledger.is_full();
        if may_read && (more || self.intake.has_more(now)) {
            // With deliveries at hand the threads have enough to do for a moment.
            let is_busy = self.equipment.as_ref().is_some_and(|equipment| equipment.pool.waiting_total() > 0);
            wait = if is_busy { wait.min(GATHER) } else { Duration::ZERO };
        }
        wait
    }

    /// The extension is gone, and with it everything that was to be delivered. The pool's threads end.
    fn forget_everything(&mut self) {
        *self =
            Self { announced: self.announced, next_database_check: self.next_database_check, ..Self::new(self.bell) };
    }

    /// Lets requests under way end for a moment and records them: whatever is not recorded is sent again after the restart.
    fn leave(mut self) {
        let deadline = Instant::now() + GRACE;
        if let Some(Equipment { pool, .. }) = &self.equipment {
            pool.give_back_waiting();
            let mut finished = pool.finished();
            while pool.in_flight() > 0 {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                process::wait(Some(pool.wake_fd()), left);
                finished.extend(pool.finished());
            }
            finished.extend(pool.finished());
            self.ledger.add_attempts(finished, &settings::retry_schedule());
        }
        self.ledger.gather_locked();
        // Twice: to be told to go breaks a statement off.
        for _ in 0..2 {
            if !self.ledger.gathered().is_empty() {
                self.record();
            }
        }
    }

    /// Shows what the worker is at, in `pg_stat_activity` and in `webhook_delivery.status`.
    fn report(&mut self) {
        let (in_flight, waiting) = match &self.equipment {
            Some(Equipment { pool, .. }) => (pool.in_flight(), pool.waiting_total()),
            None => (0, 0),
        };
        let Steps { reading, recording, remembering, maintenance } = &self.steps;
        let problems: Vec<_> =
            [recording, reading, remembering, maintenance].into_iter().filter_map(Step::problem).collect();
        let report = Report {
            requests_in_flight: in_flight,
            deliveries_in_memory: waiting,
            attempts_to_record: self.ledger.len(),
            idle_because: self.idle_because,
            problem: problems.iter().map(|(since, _)| postgres_micros(*since)).min().map(|since| {
                (since, problems.iter().map(|(_, problem)| problem.as_str()).collect::<Vec<_>>().join("; "))
            }),
        };
        let activity = match (self.idle_because, &report.problem) {
            (Some(reason), _) => format!("webhook_delivery: {reason}"),
            (None, Some((_, problem))) => format!("webhook_delivery: {problem}"),
            (None, None) => format!("webhook_delivery: {in_flight} requests in flight, {waiting} waiting"),
        };
        if let Ok(activity) = CString::new(activity) {
            process::report_idle(&activity);
        }
        if report != self.reported {
            report.publish(self.bell);
            self.reported = report;
        }
    }
}

/// Takes the extension's lock until the transaction ends. Whoever is just dropping it must not be waited for: he waits for us.
fn hold_extension() {
    if process::extension() != process::Extension::Present {
        ereport!(ERROR, PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, "somebody is dropping or altering the extension");
    }
}

/// Tells the log that sending has stopped, or goes on.
fn tell(standing: Standing) {
    let (level, message, hint) = match standing {
        Standing::Copied => (
            PgLogLevel::WARNING,
            "webhook_delivery sends nothing from this database, because it is a copy of another one",
            "If it takes the other one's place: select webhook_delivery.resume().",
        ),
        Standing::Paused => (
            PgLogLevel::LOG,
            "webhook_delivery is paused in this database",
            "To send again: select webhook_delivery.resume().",
        ),
        Standing::Sending => (PgLogLevel::LOG, "webhook_delivery sends from this database", ""),
        Standing::Unused => return,
    };
    let mut report =
        pg_sys::panic::ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, pgrx::function_name!());
    if !hint.is_empty() {
        report = report.set_hint(hint);
    }
    report.report(level);
}

fn start_pool(slow_endpoints: HashSet<Uuid>) -> Pool {
    let config = PoolConfig { threads: settings::pool_size(), ca_file: settings::ca_file(), slow_endpoints };
    match process::with_signals_blocked(|| Pool::start(config)) {
        Ok(pool) => pool,
        Err(problem) => {
            pg_sys::panic::ErrorReport::new(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                format!("webhook_delivery cannot start sending: {problem}"),
                pgrx::function_name!(),
            )
            .set_hint(
                "Check webhook_delivery.ca_file and webhook_delivery.pool_size; the worker tries again, at first after a second.",
            )
            .report(PgLogLevel::ERROR);
            unreachable!("an ERROR does not return")
        }
    }
}
