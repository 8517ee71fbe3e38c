//! What does the worker of a database do from its start to its end?
//!
//! It takes turns. In each it looks at what has come due, hands it to the pool's threads, and records what they have
//! finished; between two turns it sleeps until a commit, a finished request, or the next due time wakes it. It holds no
//! transaction while a request is under way.

use std::ffi::CString;
use std::time::{Duration, Instant, SystemTime};

use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;
use pgrx::spi::SpiResult;
use webhook_sender::{Attempt, Pool, PoolConfig};

use crate::intake::Intake;
use crate::queue::{Statements, postgres_micros};
use crate::wake::MyBell;
use crate::{process, record, settings};

/// Finished attempts are gathered for so long before they are recorded: a commit for fifty costs little more than for one,
/// and each takes its share of the disk from the commits of the users.
const GATHER: Duration = Duration::from_millis(5);

/// Gathered attempts that are recorded at once, whatever their age.
const GATHER_AT_MOST: usize = 500;

/// How long requests under way may still end when the worker has to go. A fast shutdown waits for it.
const GRACE: Duration = Duration::from_secs(1);

/// How often partitions are made ahead.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(3600);

/// How soon to look again where somebody is just dropping or altering the extension.
const LOCKED_OUT: Duration = Duration::from_millis(50);

/// The worker's process; the argument is the oid of its database.
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn webhook_delivery_worker(database: pg_sys::Datum) {
    process::attach_signal_handlers();
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(pg_sys::Oid::from(database.value() as u32)), None);
    process::set_application_name(c"webhook_delivery worker");
    process::plan_for_small_reads();
    if process::transaction(process::lock_queue)
        && let Some(bell) = MyBell::hang()
    {
        Worker::new(bell).run();
    }
    // SAFETY: ends the process, as Postgres has it. The launcher starts the next one where the database still exists.
    unsafe { pg_sys::proc_exit(0) };
}

/// What the extension's presence makes possible.
struct Equipment {
    statements: Statements,
    pool: Pool,
}

struct Worker {
    bell: MyBell,
    /// `None` while the extension does not exist in this database.
    equipment: Option<Equipment>,
    intake: Intake,
    /// The earliest delivery that commits have announced and no reading has looked for yet.
    announced: Option<i64>,
    /// Attempts that ended and are not recorded yet.
    finished: Vec<Attempt>,
    /// When the first of them came in.
    gathering_since: Instant,
    next_maintenance: Instant,
    next_database_check: Instant,
}

/// What a turn ends with.
enum Turn {
    /// Sleep until something wakes the worker, at most so long.
    Wait(Duration),
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
            announced: None,
            finished: Vec::new(),
            gathering_since: now,
            next_maintenance: now,
            next_database_check: now,
        }
    }

    fn run(mut self) {
        while !process::shutdown_requested() {
            process::reload_settings_if_asked();
            process::report_busy();
            let turn = self.turn();
            process::report_statistics();
            self.report_activity();
            let Turn::Wait(at_most) = turn else { break };
            // With finished attempts at hand, further ones need not wake us: they are gathered.
            let ended_request =
                self.equipment.as_ref().filter(|_| self.finished.is_empty()).map(|it| it.pool.wake_fd());
            process::wait(ended_request, at_most);
        }
        self.leave();
    }

    fn turn(&mut self) -> Turn {
        // Before the snapshot: what rings after this is announced again.
        self.announced = self.announced.into_iter().chain(self.bell.earliest_due()).min();
        process::transaction(|| {
            if Instant::now() >= self.next_database_check {
                self.next_database_check = Instant::now() + settings::poll_interval();
                // SAFETY: set when the process connected.
                let at_rest = process::database_is_at_rest(unsafe { pg_sys::MyDatabaseId });
                if !at_rest || !settings::databases().contains(&process::database_name()) {
                    return Turn::Leave;
                }
            }
            match process::extension() {
                process::Extension::Absent => {
                    self.forget_everything();
                    Turn::Wait(settings::poll_interval())
                }
                process::Extension::BeingChanged => Turn::Wait(LOCKED_OUT),
                process::Extension::Present => {
                    if let Some(due_at) = self.announced.take() {
                        self.intake.go_back_to(due_at);
                    }
                    self.deliver().unwrap_or_else(|problem| pgrx::error!("webhook_delivery worker: {problem}"))
                }
            }
        })
    }

    /// One turn's work: intake first, so that no request waits for the commit that records others.
    fn deliver(&mut self) -> SpiResult<Turn> {
        if self.equipment.is_none() {
            self.equipment = Some(Equipment { statements: Statements::prepare()?, pool: start_pool() });
        }
        let Some(Equipment { statements, pool }) = &self.equipment else {
            return Ok(Turn::Wait(settings::poll_interval()));
        };
        let now = postgres_micros(SystemTime::now());
        self.intake.start_over_if_time(settings::poll_interval());
        let more = self.intake.take_in(statements, pool, now, settings::request_timeout())?;

        let ended = pool.finished();
        if self.finished.is_empty() {
            self.gathering_since = Instant::now();
        }
        self.finished.extend(ended);
        let gathered = self.finished.len() >= GATHER_AT_MOST || self.gathering_since.elapsed() >= GATHER;
        if gathered && !self.finished.is_empty() {
            self.record()?;
        }
        let Some(Equipment { statements, pool }) = &self.equipment else {
            return Ok(Turn::Wait(settings::poll_interval()));
        };
        if Instant::now() >= self.next_maintenance {
            self.next_maintenance = Instant::now() + MAINTENANCE_INTERVAL;
            statements.maintain()?;
        }

        let mut wait = settings::poll_interval();
        if !self.finished.is_empty() {
            wait = wait.min(GATHER.saturating_sub(self.gathering_since.elapsed()));
        }
        if more {
            let full = pool.waiting_total() > 0;
            wait = if full { wait.min(GATHER) } else { Duration::ZERO };
        } else if let Some(due_at) = statements.next_due(now)? {
            wait = wait.min(Duration::from_micros(due_at.saturating_sub(now).max(0).unsigned_abs()));
        }
        Ok(Turn::Wait(wait))
    }

    fn record(&mut self) -> SpiResult<()> {
        let Some(Equipment { statements, .. }) = &self.equipment else { return Ok(()) };
        let attempts = std::mem::take(&mut self.finished);
        let outcomes = record::outcomes(attempts, &mut self.intake, &settings::retry_schedule());
        if !outcomes.is_empty() {
            statements.record(outcomes)?;
        }
        Ok(())
    }

    /// The extension is gone, and with it everything that was to be delivered. The pool's threads end.
    fn forget_everything(&mut self) {
        self.equipment = None;
        self.intake = Intake::new();
        self.finished.clear();
        self.next_maintenance = Instant::now();
    }

    /// Lets requests under way end for a moment and records them: whatever is not recorded is sent again after the restart.
    fn leave(mut self) {
        process::hear_shutdown_request();
        let deadline = Instant::now() + GRACE;
        if let Some(Equipment { pool, .. }) = &self.equipment {
            pool.clear_waiting();
            self.finished.extend(pool.finished());
            while pool.in_flight() > 0 && !process::shutdown_requested() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                process::wait(Some(pool.wake_fd()), left);
                self.finished.extend(pool.finished());
            }
            self.finished.extend(pool.finished());
        }
        if self.finished.is_empty() || process::shutdown_requested() {
            return;
        }
        process::transaction(|| {
            if process::extension() == process::Extension::Present
                && let Err(problem) = self.record()
            {
                pgrx::error!("webhook_delivery worker: {problem}");
            }
        });
    }

    fn report_activity(&self) {
        let activity = match &self.equipment {
            None => "webhook_delivery: waiting for CREATE EXTENSION webhook_delivery".to_owned(),
            Some(Equipment { pool, .. }) => {
                format!("webhook_delivery: {} requests in flight, {} waiting", pool.in_flight(), pool.waiting_total())
            }
        };
        if let Ok(activity) = CString::new(activity) {
            process::report_idle(&activity);
        }
    }
}

fn start_pool() -> Pool {
    let config = PoolConfig { threads: settings::pool_size(), ca_file: settings::ca_file() };
    match process::with_signals_blocked(|| Pool::start(config)) {
        Ok(pool) => pool,
        Err(problem) => {
            pg_sys::panic::ErrorReport::new(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                format!("webhook_delivery cannot start sending: {problem}"),
                pgrx::function_name!(),
            )
            .set_hint(
                "Check webhook_delivery.ca_file and webhook_delivery.pool_size; the worker tries again every second.",
            )
            .report(PgLogLevel::ERROR);
            unreachable!("an ERROR does not return")
        }
    }
}
