//! What if a part of the worker's work fails?
//!
//! Each part is a step with a transaction of its own. What fails in one is told in the log and in
//! `webhook_delivery.status`, and is tried again ever less often; the others go on. So a partition that cannot be made never
//! stands between sending and recording.

use std::time::{Duration, Instant, SystemTime};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use crate::ids::postgres_micros;
use crate::postgres::background_worker;
use crate::postgres::subtransaction::SqlError;

/// How soon a step that failed is tried again; the time doubles with each failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// But not beyond this.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// How soon a step is tried again that found somebody in its way. It has waited for his lock before.
const PASSING_DELAY: Duration = Duration::from_millis(50);

/// The parts of a turn that can fail, each for itself.
pub struct Tasks {
    pub reading: Task,
    pub recording: Task,
    pub remembering: Task,
    pub noting: Task,
    pub maintenance: Task,
    pub expiry: Task,
    pub recapture: Task,
    pub parking: Task,
}

impl Tasks {
    pub fn new() -> Self {
        Self {
            reading: Task::new("reading the queue"),
            recording: Task::new("recording what was sent"),
            remembering: Task::new("remembering slow endpoints"),
            noting: Task::new("noting how endpoints do"),
            maintenance: Task::new("making partitions"),
            expiry: Task::new("dropping what is older than the retention"),
            recapture: Task::new("capturing again what a lock has kept from being captured"),
            parking: Task::new("parking deliveries that wait"),
        }
    }

    /// What fails, and since when: in Postgres microseconds.
    pub fn problem(&self) -> Option<(i64, String)> {
        let Self { reading, recording, remembering, noting, maintenance, expiry, recapture, parking } = self;
        let all = [recording, reading, remembering, noting, maintenance, expiry, recapture, parking];
        let problems: Vec<_> = all.into_iter().filter_map(Task::problem).collect();
        let since = problems.iter().map(|(since, _)| postgres_micros(*since)).min()?;
        Some((since, problems.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>().join("; ")))
    }
}

/// A part of the worker's work, and what is wrong with it.
pub struct Task {
    /// Completes the sentence "... fails".
    name: &'static str,
    failing: Option<Failing>,
}

struct Failing {
    failure: SqlError,
    since: SystemTime,
    delay: Duration,
    next_try: Instant,
}

impl Failing {
    /// Whether somebody's doing is in the way, which passes: a lock, a pg_cancel_backend.
    fn is_passing(&self) -> bool {
        matches!(
            self.failure.known_code(),
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE | PgSqlErrorCode::ERRCODE_QUERY_CANCELED
        )
    }
}

impl Task {
    fn new(name: &'static str) -> Self {
        Self { name, failing: None }
    }

    /// Whether it is not waiting for its next try.
    pub fn may_run(&self) -> bool {
        self.time_to_next_try().is_none_or(|time| time.is_zero())
    }

    /// How long until it is tried again; `None` where it has not failed.
    pub fn time_to_next_try(&self) -> Option<Duration> {
        self.failing.as_ref().map(|failing| failing.next_try.saturating_duration_since(Instant::now()))
    }

    /// Whether it fails for another reason than that somebody is in its way for a while.
    pub fn is_broken(&self) -> bool {
        self.failing.as_ref().is_some_and(|failing| !failing.is_passing())
    }

    /// What is wrong with it since when; `None` where nothing is.
    fn problem(&self) -> Option<(SystemTime, String)> {
        let failing = self.failing.as_ref()?;
        Some((failing.since, format!("{} fails: {}", self.name, failing.failure.message)))
    }

    /// Takes what became of a try. `None` is a failure, which is told.
    pub fn conclude<T>(&mut self, outcome: Result<T, SqlError>) -> Option<T> {
        match outcome {
            Ok(result) => {
                if let Some(failing) = self.failing.take() {
                    let sort = if failing.is_passing() { PgLogLevel::DEBUG1 } else { PgLogLevel::LOG };
                    ereport!(
                        sort,
                        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
                        format!("webhook_delivery: {} works again", self.name)
                    );
                }
                Some(result)
            }
            // Broken off by ourselves, because the process has to go.
            Err(_) if background_worker::was_told_to_go() => None,
            Err(failure) => {
                self.fail(failure);
                None
            }
        }
    }

    fn fail(&mut self, failure: SqlError) {
        let (since, before) = match &self.failing {
            Some(before) => (before.since, Some(before)),
            None => (SystemTime::now(), None),
        };
        let was_passing = before.is_some_and(Failing::is_passing);
        let mut failing = Failing { failure, since, delay: PASSING_DELAY, next_try: Instant::now() };
        if !failing.is_passing() {
            failing.delay = match before {
                Some(before) if !was_passing => (before.delay * 2).min(MAX_RETRY_DELAY),
                _ => RETRY_DELAY,
            };
        }
        failing.next_try += failing.delay;
        // A lock that lasts is told once, not several times a second.
        if !(was_passing && failing.is_passing()) {
            warn(self.name, &failing.failure);
        }
        self.failing = Some(failing);
    }
}

fn warn(name: &str, failure: &SqlError) {
    let mut report = ErrorReport::new(
        failure.known_code(),
        format!("webhook_delivery: {name} fails: {}", failure.message),
        pgrx::function_name!(),
    );
    if let Some(detail) = &failure.detail {
        report = report.set_detail(detail);
    }
    let again =
        "It is tried again within a minute, and the rest of the work goes on. webhook_delivery.status shows it.";
    report = report.set_hint(match &failure.hint {
        Some(hint) => format!("{hint} {again}"),
        None => again.to_owned(),
    });
    report.report(PgLogLevel::WARNING);
}

/// Runs a part of the work in a transaction of its own; an SPI error undoes it as an SQL error does.
pub fn in_transaction<T>(work: impl FnOnce() -> SpiResult<T>) -> Result<T, SqlError> {
    background_worker::try_transaction(|| work().unwrap_or_else(|problem| pgrx::error!("{problem}")))
}
