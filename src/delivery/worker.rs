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

use super::due::Bounds;
use super::equipment::Equipment;
use super::health::Health;
use super::intake::{Intake, Reading};
use super::next_due::NextDue;
use super::parking::Parking;
use super::pulse::Pulse;
use super::queue::Standing;
use super::recapture::Recapture;
use super::record::{GATHER, Ledger};
use super::step::{Step, Steps, in_transaction};
use super::telling::Telling;
use crate::ids::{postgres_micros, uuid_floor};
use crate::postgres::security_context::RoleGuard;
use crate::postgres::wakeup::ClaimedSlot;
use crate::postgres::worker_stats::Report;
use crate::postgres::{background_worker, settings, worker_settings};

mod upkeep;

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

/// The worker's process; the argument is the place of its bell.
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn webhook_delivery_worker(place: pg_sys::Datum) {
    if let Some(bell) = ClaimedSlot::hang(place) {
        background_worker::attach_signal_handlers();
        BackgroundWorker::connect_worker_to_spi_by_oid(Some(bell.database()), None);
        background_worker::set_application_name(c"webhook_delivery worker");
        worker_settings::pin_settings();
        Worker::new(bell).run();
    }
    // SAFETY: ends the process, as Postgres has it. The launcher starts the next one where the database still exists.
    unsafe { pg_sys::proc_exit(0) };
}

/// What a reading has left.
struct Took {
    /// It could go on at once.
    more: bool,
    /// The moment that it asked for, in Postgres microseconds.
    now: i64,
}

struct Worker {
    bell: ClaimedSlot,
    /// `None` while the extension does not exist in this database.
    equipment: Option<Equipment>,
    intake: Intake,
    ledger: Ledger,
    health: Health,
    steps: Steps,
    pulse: Pulse,
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
    telling: Telling,
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
enum Looked {
    /// Deliveries that are due, as far as there is room, are on their way.
    Took(Took),
    /// There is nothing to be done, for so long.
    Rest(Duration),
    /// Somebody wants the database for himself, or it is no longer one of those to work in.
    Leave,
}

impl Worker {
    fn new(bell: ClaimedSlot) -> Self {
        let now = Instant::now();
        Self {
            bell,
            equipment: None,
            intake: Intake::new(),
            ledger: Ledger::new(),
            health: Health::new(),
            steps: Steps::new(),
            pulse: Pulse::new(),
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
            telling: Telling::begin(bell),
        }
    }

    fn run(mut self) {
        while !background_worker::was_told_to_go() {
            if background_worker::reload_settings_if_asked() {
                self.next_database_check = Instant::now();
                (self.next_maintenance, self.next_expiry) = (Instant::now(), Instant::now());
                if let Some(Equipment { pool, .. }) = &self.equipment {
                    pool.set_rules(settings::rules());
                }
            }
            let began = Instant::now();
            background_worker::report_busy();
            let Some(at_most) = self.turn() else { break };
            background_worker::report_statistics();
            let report = self.report();
            self.telling.show(report);
            self.sleep(at_most);
            if let Some(rest) = PACE.checked_sub(began.elapsed()) {
                background_worker::pause(rest);
            }
        }
        self.leave();
    }

    /// Sleeps until there is something to do. That a request has ended is no reason for a turn: others will, and are gathered.
    fn sleep(&mut self, at_most: Duration) {
        let Some(Equipment { pool, .. }) = &self.equipment else {
            background_worker::wait(None, at_most);
            return;
        };
        let (began, mut at_most) = (Instant::now(), at_most);
        while background_worker::wait(Some(pool.wake_fd()), at_most.saturating_sub(began.elapsed()))
            == background_worker::Woken::Descriptor
        {
            let patience = self.ledger.expect(pool.finished_total());
            if patience.is_zero() {
                break;
            }
            at_most = at_most.min(began.elapsed() + patience);
        }
    }

    /// One turn: the intake first, so that no request waits for the commit that records others. Gives back how long there
    /// will be nothing to do, `None` where the worker has to leave.
    fn turn(&mut self) -> Option<Duration> {
        // Before the bell: what is committed after an announcement that this turn does not hear of is then not due yet, and
        // is not sent before what was announced.
        let now = postgres_micros(SystemTime::now());
        // Before the snapshot: what rings after this is announced again.
        self.announced = self.announced.into_iter().chain(self.bell.earliest_due()).min();
        // What the reading does not know of by itself is found again then.
        let mut wait = settings::poll_interval();
        let mut took = None;
        if self.steps.reading.may_run() {
            let looked = in_transaction(|| self.look(now));
            match self.steps.reading.conclude(looked) {
                Some(Looked::Took(now)) => took = Some(now),
                Some(Looked::Rest(time)) => wait = wait.min(time),
                Some(Looked::Leave) => return None,
                // What was read and not taken is found again from the start.
                None => {
                    self.intake.go_back_to(i64::MIN);
                    if self.steps.reading.is_broken() {
                        // Whether it still is so, is not known.
                        self.idle_because = None;
                    }
                }
            }
        }
        self.gather();
        if self.ledger.is_due() && self.steps.recording.may_run() {
            self.record();
        }
        self.look_after();
        wait = wait.min(self.time_to_next_step());
        Some(took.map_or(wait, |took| wait.min(self.time_to_next_reading(took))))
    }

    fn gather(&mut self) {
        if let Some(Equipment { pool, .. }) = &self.equipment {
            self.ledger.add_attempts(pool.finished(), &settings::retry_policy());
        }
    }

    /// Looks whether there is anything to do here, and takes in what is due.
    fn look(&mut self, now: i64) -> SpiResult<Looked> {
        if Instant::now() >= self.next_database_check {
            self.next_database_check = Instant::now() + settings::poll_interval();
            let at_rest = background_worker::database_is_at_rest(self.bell.database());
            if !at_rest || !settings::databases().contains(&background_worker::database_name()) {
                return Ok(Looked::Leave);
            }
        }
        let extension = match background_worker::extension() {
            background_worker::Extension::Absent => {
                self.duty = Duty::Nothing;
                self.forget_everything();
                self.idle_because = Some("waiting for CREATE EXTENSION webhook_delivery");
                return Ok(Looked::Rest(settings::poll_interval()));
            }
            background_worker::Extension::BeingChanged => {
                self.recapture.end();
                return Ok(Looked::Rest(LOCKED_OUT));
            }
            background_worker::Extension::Present(extension) => extension,
        };
        if self.equipment.as_ref().is_some_and(|equipment| equipment.extension != extension) {
            // One transaction has dropped it and created another, with other types and empty tables.
            self.forget_everything();
        }
        if self.equipment.is_none() && !background_worker::extension_is_current()? {
            self.idle_because = Some("waiting for: alter extension webhook_delivery update");
            return Ok(Looked::Rest(settings::poll_interval()));
        }
        let _rights = RoleGuard::of_worker();
        let equipment = match self.equipment.take() {
            Some(equipment) => equipment,
            None => self.equip(extension)?,
        };
        let Equipment { statements, pool, .. } = self.equipment.insert(equipment);
        self.intake.take_back(pool.given_back());

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
        self.telling.note_standing(standing);
        if self.idle_because.is_some() || self.steps.recording.is_broken() {
            pool.give_back_waiting();
            return Ok(Looked::Rest(settings::poll_interval()));
        }
        if self.ledger.is_full() {
            return Ok(Looked::Rest(settings::poll_interval()));
        }

        if self.announced == Some(i64::MIN) {
            self.look_through = true;
            self.announced = Some(now - JUST_COMMITTED);
        }
        if let Some(due_at) = self.announced {
            self.intake.go_back_to(due_at);
            self.next_due.include((due_at > now).then_some(due_at));
        }
        let looks_through = self.look_through && Instant::now() >= self.next_look_through;
        if looks_through {
            self.intake.go_back_to(i64::MIN);
            // An endpoint may have been paused, disabled or limited.
            let waiting: HashSet<Uuid> = pool.waiting().endpoints().copied().chain(self.intake.limited()).collect();
            let targets = statements.targets_now(waiting)?;
            for (endpoint_id, target) in &targets {
                self.intake.change_limit(endpoint_id, target.terms.spacing);
            }
            let not_receiving = targets.iter().filter(|(_, target)| !target.receives());
            pool.give_back_waiting_of(not_receiving.map(|(id, target)| (target.auction_id, *id)));
            self.intake.take_back(pool.given_back());
            self.look_through = false;
            self.next_look_through = Instant::now() + LOOK_THROUGH_EVERY;
        }
        let starts_over = self.intake.start_over_if_time(settings::poll_interval());
        if starts_over || looks_through || !self.next_due.is_ahead_of(now) {
            self.next_due = NextDue::Unknown;
        }
        let bounds =
            Bounds { timeout: settings::request_timeout(), payload: settings::max_payload(), oldest: oldest_event() };
        let reading = Reading { statements, now, bounds };
        let began = Instant::now();
        loop {
            let found = self.intake.find(&reading, pool.waiting())?;
            let more = found.more;
            self.intake.accept(&found);
            pool.submit(found.jobs);
            self.ledger.add(found.ended);
            if more && began.elapsed() < READ_AT_MOST {
                continue;
            }
            if !more && matches!(self.next_due, NextDue::Unknown) {
                self.next_due = NextDue::Known(statements.next_due(now)?);
            }
            self.announced = None;
            return Ok(Looked::Took(Took { more, now }));
        }
    }

    /// What an earlier worker has sent and not recorded is recorded before anything is read.
    fn equip(&mut self, extension: pg_sys::Oid) -> SpiResult<Equipment> {
        let (equipment, unrecorded) = Equipment::get(extension)?;
        self.health.remember(equipment.statements.failing_endpoints()?);
        self.intake.expect(&unrecorded);
        self.ledger.add_attempts(unrecorded, &settings::retry_policy());
        Ok(equipment)
    }

    fn record(&mut self) {
        let Some(Equipment { statements, pool, .. }) = &self.equipment else { return };
        let outcomes = self.ledger.gathered();
        let record = |carefully| {
            in_transaction(|| {
                let _rights = hold_extension();
                statements.record(outcomes, carefully)
            })
        };
        let recorded = if self.ledger.may_be_locked() { record(true) } else { record(false).or_else(|_| record(true)) };
        if let Some(locked) = self.steps.recording.conclude(recorded) {
            for outcome in self.ledger.recorded(&locked) {
                self.intake.recorded(&outcome);
                self.health.recorded(&outcome);
                self.pulse.recorded(&outcome);
                self.next_due.include(outcome.next_attempt_at);
            }
            pool.give_back_waiting_of(self.intake.opened().into_iter());
            let held = self.intake.hold(self.ledger.held_auctions());
            if !held.is_empty() {
                pool.give_back_waiting_of_auctions(&held);
            }
        }
    }

    /// How long until a step other than the reading has something to do, or one that failed is tried again.
    fn time_to_next_step(&self) -> Duration {
        let Steps { reading, recording, remembering, noting, maintenance, expiry, recapture, parking } = &self.steps;
        let of_duty: &[&Step] = match self.duty {
            Duty::Nothing => &[],
            Duty::House => &[maintenance, recapture, parking],
            Duty::Everything => &[remembering, noting, maintenance, expiry, recapture, parking],
        };
        let tries = [reading, recording].into_iter().chain(of_duty.iter().copied());
        let to_record = if recording.may_run() { self.ledger.time_to_due() } else { None };
        let to_note = if self.duty == Duty::Everything && noting.may_run() { self.health.time_to_due() } else { None };
        let to_park = if self.duty != Duty::Nothing && parking.may_run() { self.parking.time_to_due() } else { None };
        let times = tries.filter_map(Step::time_to_next_try).chain(to_record).chain(to_note).chain(to_park);
        times.min().unwrap_or(Duration::MAX)
    }

    /// How long until there is more to read.
    fn time_to_next_reading(&self, Took { more, now }: Took) -> Duration {
        if more || self.intake.has_more(now) {
            // With deliveries at hand the threads have enough to do for a moment.
            let is_busy = self.equipment.as_ref().is_some_and(|equipment| equipment.pool.waiting_total() > 0);
            return if is_busy { GATHER } else { Duration::ZERO };
        }
        let now = postgres_micros(SystemTime::now());
        let until = |due_at: i64| Duration::from_micros(due_at.saturating_sub(now).max(0).unsigned_abs());
        let to_look_through =
            self.look_through.then(|| self.next_look_through.saturating_duration_since(Instant::now()));
        match self.next_due {
            NextDue::Known(at) => {
                let due = at.into_iter().chain(self.intake.next_end_of_rest()).min().map(until);
                due.into_iter().chain(to_look_through).min().unwrap_or(Duration::MAX)
            }
            NextDue::Unknown => Duration::ZERO,
        }
    }

    /// The extension is gone, and with it everything that was to be delivered. The pool's threads end.
    fn forget_everything(&mut self) {
        self.equipment = None;
        self.intake = Intake::new();
        self.ledger = Ledger::new();
        self.health = Health::new();
        self.steps = Steps::new();
        self.next_due = NextDue::Unknown;
        self.parking = Parking::new();
        (self.next_maintenance, self.next_expiry) = (Instant::now(), Instant::now());
    }

    /// Lets requests under way end for a moment and records them: whatever is not recorded is sent again after the restart.
    fn leave(mut self) {
        self.recapture.end();
        let deadline = Instant::now() + GRACE;
        if let Some(Equipment { pool, .. }) = &self.equipment {
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
            self.ledger.add_attempts(finished, &settings::retry_policy());
        }
        self.ledger.gather_locked();
        // Twice: to be told to go breaks a statement off, whichever is the first.
        for _ in 0..2 {
            if !self.ledger.gathered().is_empty() {
                self.record();
            }
            if self.health.time_to_due().is_some() {
                self.note_health();
            }
        }
    }

    /// What the worker is at.
    fn report(&self) -> Report {
        let pool = self.equipment.as_ref().map(|equipment| &equipment.pool);
        Report {
            requests_in_flight: pool.map_or(0, Pool::in_flight),
            deliveries_in_memory: pool.map_or(0, Pool::waiting_total),
            attempts_to_record: self.ledger.len(),
            locked: self.ledger.locked(),
            started_at: self.started_at,
            totals: self.pulse.totals(),
            last_minute: self.pulse.last_minute(),
            last_failure: self.pulse.last_failure().cloned(),
            idle_because: self.idle_because,
            problem: self.steps.problem(),
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
pub fn hold_extension() -> RoleGuard {
    if !matches!(background_worker::extension(), background_worker::Extension::Present(_)) {
        ereport!(ERROR, PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, "somebody is dropping or altering the extension");
    }
    RoleGuard::of_worker()
}
