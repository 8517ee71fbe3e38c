//! Tasks: the parts of the worker's work, which can fail independently.
//!
//! Each task has a transaction of its own. A failure is logged, shown in `webhook_delivery.status`
//! and retried with backoff; the other tasks continue. Thus a partition that cannot be created
//! never prevents the recording of attempts.

use std::time::{Duration, Instant, SystemTime};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::SpiResult;
use webhook_sender::backoff;

use crate::postgres::background_worker;
use crate::postgres::subtransaction::SqlError;
use crate::timestamp::Timestamp;

/// How soon a failed task is tried again; the time doubles with each failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Maximum of that time.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// How soon a task is tried again that failed because of a lock. It has already waited for the
/// lock.
const PASSING_DELAY: Duration = Duration::from_millis(50);

/// The tasks of a worker.
pub struct Tasks {
    pub reading: Task,
    pub recording: Task,
    pub slow_endpoints: Task,
    pub health: Task,
    pub maintenance: Task,
    pub expiry: Task,
    pub recapture: Task,
    pub parking: Task,
}

impl Tasks {
    pub fn new() -> Self {
        Self {
            reading: Task::new("reading the queue"),
            recording: Task::new("recording finished attempts"),
            slow_endpoints: Task::new("recording slow endpoints"),
            health: Task::new("recording the health of endpoints"),
            maintenance: Task::new("creating partitions"),
            expiry: Task::new("dropping events older than the retention"),
            recapture: Task::new("recapturing dead letters"),
            parking: Task::new("parking deliveries"),
        }
    }

    /// Failed tasks are tried again at once.
    pub fn retry_now(&mut self) {
        let Self { reading, recording, slow_endpoints, health, maintenance, expiry, recapture, parking } = self;
        for task in [reading, recording, slow_endpoints, health, maintenance, expiry, recapture, parking] {
            if let Some(failing) = &mut task.failing {
                failing.next_try = Instant::now();
            }
        }
    }

    /// The failing tasks, and since when the first of them fails.
    pub fn problem(&self) -> Option<(Timestamp, String)> {
        let Self { reading, recording, slow_endpoints, health, maintenance, expiry, recapture, parking } = self;
        let all = [recording, reading, slow_endpoints, health, maintenance, expiry, recapture, parking];
        let problems: Vec<_> = all.into_iter().filter_map(Task::problem).collect();
        let since = problems.iter().map(|(since, _)| Timestamp::from(*since)).min()?;
        Some((since, problems.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>().join("; ")))
    }
}

/// A task, and its failure if it has failed.
pub struct Task {
    /// Completes the sentence "... fails".
    name: &'static str,
    failing: Option<Failing>,
}

struct Failing {
    failure: SqlError,
    since: SystemTime,
    /// Number of failures in a row for reasons that do not pass by themselves.
    failures: u32,
    next_try: Instant,
}

impl Failing {
    /// Whether the cause passes by itself: a lock or a `pg_cancel_backend()`.
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

    /// Whether the task may run now: it does not wait for its next try.
    pub fn may_run(&self) -> bool {
        self.time_to_next_try().is_none_or(|time| time.is_zero())
    }

    /// How long until the task is tried again; `None` if it has not failed.
    pub fn time_to_next_try(&self) -> Option<Duration> {
        self.failing.as_ref().map(|failing| failing.next_try.saturating_duration_since(Instant::now()))
    }

    /// Whether the task fails for a reason that does not pass by itself.
    pub fn is_broken(&self) -> bool {
        self.failing.as_ref().is_some_and(|failing| !failing.is_passing())
    }

    /// The failure of the task, and since when it fails; `None` if it does not fail.
    fn problem(&self) -> Option<(SystemTime, String)> {
        let failing = self.failing.as_ref()?;
        Some((failing.since, format!("{} fails: {}", self.name, failing.failure.message)))
    }

    /// Takes the result of a try, and logs a failure. Returns `None` for a failure.
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
            // Cancelled by the shutdown.
            Err(_) if background_worker::shutdown_requested() => None,
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
        let mut failing = Failing { failure, since, failures: 0, next_try: Instant::now() };
        failing.next_try += if failing.is_passing() {
            PASSING_DELAY
        } else {
            failing.failures = before.map_or(0, |before| before.failures).saturating_add(1);
            backoff(RETRY_DELAY, MAX_RETRY_DELAY, failing.failures)
        };
        // A long lock is logged once, not several times a second.
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
        "The worker tries again within a minute, and goes on with the rest of its work. See webhook_delivery.status.";
    report = report.set_hint(match &failure.hint {
        Some(hint) => format!("{hint} {again}"),
        None => again.to_owned(),
    });
    report.report(PgLogLevel::WARNING);
}

/// Runs a part of the work in a transaction of its own. An SPI error rolls it back like an SQL
/// error.
pub fn in_transaction<T>(work: impl FnOnce() -> SpiResult<T>) -> Result<T, SqlError> {
    background_worker::try_transaction(|| work().unwrap_or_else(|problem| pgrx::error!("{problem}")))
}
