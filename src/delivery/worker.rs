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

use super::intake::Intake;
use super::queue::{Orphan, Statements, postgres_micros};
use super::record;
use crate::server::wake::MyBell;
use crate::server::{process, settings};

/// Finished attempts are gathered for so long before they are recorded: a commit for fifty costs little more than for one,
/// and each takes its share of the disk from the commits of the users.
const GATHER: Duration = Duration::from_millis(5);

/// Turns begin at least so far apart. Under load one turn then serves several commits, and leaves the processor to those
/// who make them; after a quiet moment the first event goes out at once.
const PACE: Duration = Duration::from_millis(1);

/// Gathered attempts that are recorded at once, whatever their age.
const GATHER_AT_MOST: usize = 500;

/// How long requests under way may still end when the worker has to go. A fast shutdown waits for it.
const GRACE: Duration = Duration::from_secs(1);

/// Deliveries of deleted endpoints that are ended in one turn.
const ORPHANS_AT_MOST: usize = 500;

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
        process::plan_for_small_reads();
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
    /// Endpoints may have been deleted: what waits for them is to be ended.
    sweep: bool,
    /// Why nothing is sent at the moment, for whoever looks.
    paused: Option<&'static str>,
    /// The earliest delivery that commits have announced and no reading has looked for yet.
    announced: Option<i64>,
    /// Attempts that ended and are not recorded yet.
    finished: Vec<Attempt>,
    /// When the first of them came in, or was heard of; `None` while there is none.
    gathering_since: Option<Instant>,
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
            sweep: true,
            paused: None,
            announced: None,
            finished: Vec::new(),
            gathering_since: None,
            next_maintenance: now,
            next_database_check: now,
        }
    }

    fn run(mut self) {
        while !process::shutdown_requested() {
            if process::reload_settings_if_asked() {
                self.next_database_check = Instant::now();
            }
            let began = Instant::now();
            process::report_busy();
            let turn = self.turn();
            process::report_statistics();
            self.report_activity();
            let Turn::Wait(at_most) = turn else { break };
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
        let listen_for = if self.gathering_since.is_some() { None } else { ended_request };
        if process::wait(listen_for, at_most) == process::Woken::Descriptor {
            self.gathering_since = Some(Instant::now());
            process::wait(None, at_most.min(GATHER));
        }
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
            self.paused = None;
            match process::extension() {
                process::Extension::Absent => {
                    self.forget_everything();
                    self.paused = Some("waiting for CREATE EXTENSION webhook_delivery");
                    Turn::Wait(settings::poll_interval())
                }
                process::Extension::BeingChanged => Turn::Wait(LOCKED_OUT),
                process::Extension::Present if process::is_read_only() => {
                    // What cannot be recorded must not be sent: it would be sent again and again.
                    self.paused = Some("paused, because default_transaction_read_only is on");
                    Turn::Wait(settings::poll_interval())
                }
                process::Extension::Present => {
                    if let Some(due_at) = self.announced.take() {
                        self.intake.go_back_to(due_at);
                        self.sweep |= due_at == i64::MIN;
                    }
                    self.deliver().unwrap_or_else(|problem| pgrx::error!("webhook_delivery worker: {problem}"))
                }
            }
        })
    }

    /// One turn's work: intake first, so that no request waits for the commit that records others.
    fn deliver(&mut self) -> SpiResult<Turn> {
        let equipment = match self.equipment.take() {
            Some(equipment) => equipment,
            None => Equipment { statements: Statements::prepare()?, pool: start_pool() },
        };
        let turn = self.deliver_with(&equipment);
        self.equipment = Some(equipment);
        turn
    }

    fn deliver_with(&mut self, Equipment { statements, pool }: &Equipment) -> SpiResult<Turn> {
        let now = postgres_micros(SystemTime::now());
        self.intake.start_over_if_time(settings::poll_interval());
        let more = self.intake.take_in(statements, pool, now, settings::request_timeout())?;

        let orphans = self.orphans(statements)?;
        self.finished.extend(pool.finished());
        if self.has_gathered() || !orphans.is_empty() {
            self.record(statements, orphans)?;
        }
        if Instant::now() >= self.next_maintenance {
            self.next_maintenance = Instant::now()
                + match statements.create_partitions()? {
                    Some(true) => MAINTENANCE_INTERVAL,
                    Some(false) => MAINTENANCE_RETRY,
                    None => Duration::ZERO,
                };
        }

        let mut wait = settings::poll_interval();
        if let Some(since) = self.gathering_since {
            wait = wait.min(GATHER.saturating_sub(since.elapsed()));
        }
        if more || self.sweep || self.intake.has_more(now) {
            // With deliveries at hand the threads have enough to do for a moment.
            wait = if pool.waiting_total() > 0 { wait.min(GATHER) } else { Duration::ZERO };
        } else if let Some(due_at) = statements.next_due(now)? {
            wait = wait.min(Duration::from_micros(due_at.saturating_sub(now).max(0).unsigned_abs()));
        }
        Ok(Turn::Wait(wait))
    }

    /// Whether enough attempts have ended, or the first of them long enough ago, to be recorded.
    fn has_gathered(&mut self) -> bool {
        if self.finished.is_empty() {
            self.gathering_since = None;
            return false;
        }
        let since = *self.gathering_since.get_or_insert_with(Instant::now);
        self.finished.len() >= GATHER_AT_MOST || since.elapsed() >= GATHER
    }

    /// Deliveries whose endpoint was deleted, some at a time. What is under way is left to end by itself.
    fn orphans(&mut self, statements: &Statements) -> SpiResult<Vec<Orphan>> {
        let mut orphans = self.intake.take_orphans();
        if self.sweep {
            let found = statements.orphans((ORPHANS_AT_MOST + self.intake.under_way()) as i32)?;
            let was_deleted = found.is_some();
            let before = orphans.len();
            for orphan in found.into_iter().flatten() {
                let known = orphans.iter().any(|other| other.key.delivery_id == orphan.key.delivery_id);
                if !known && !self.intake.is_under_way(&orphan.key.delivery_id) {
                    orphans.push(orphan);
                }
            }
            self.sweep = orphans.len() > before;
            if was_deleted && !self.sweep {
                statements.swept()?;
            }
        }
        Ok(orphans)
    }

    fn record(&mut self, statements: &Statements, orphans: Vec<Orphan>) -> SpiResult<()> {
        self.gathering_since = None;
        let attempts = std::mem::take(&mut self.finished);
        let mut outcomes = record::outcomes(attempts, &mut self.intake, &settings::retry_schedule());
        orphans.into_iter().for_each(|orphan| outcomes.add_orphan(orphan));
        if outcomes.is_empty() { Ok(()) } else { statements.record(outcomes) }
    }

    /// The extension is gone, and with it everything that was to be delivered. The pool's threads end.
    fn forget_everything(&mut self) {
        self.equipment = None;
        self.intake = Intake::new();
        self.finished.clear();
        self.gathering_since = None;
        self.sweep = true;
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
            if let Some(Equipment { statements, .. }) = self.equipment.take()
                && process::extension() == process::Extension::Present
                && !process::is_read_only()
                && let Err(problem) = self.record(&statements, Vec::new())
            {
                pgrx::error!("webhook_delivery worker: {problem}");
            }
        });
    }

    fn report_activity(&self) {
        let activity = match (self.paused, &self.equipment) {
            (Some(reason), _) => format!("webhook_delivery: {reason}"),
            (None, None) => "webhook_delivery: starting".to_owned(),
            (None, Some(Equipment { pool, .. })) => {
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
                "Check webhook_delivery.ca_file and webhook_delivery.pool_size; the worker tries again, at first after a second.",
            )
            .report(PgLogLevel::ERROR);
            unreachable!("an ERROR does not return")
        }
    }
}
