//! Polling: whether the worker has anything to do in its database, and the fetch of what is due.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgrx::prelude::*;
use pgrx::spi::SpiResult;
use uuid::Uuid;

use super::{Worker, oldest_event};
use crate::delivery::fetcher::FetchContext;
use crate::delivery::idle::Idle;
use crate::delivery::queue_row::Bounds;
use crate::delivery::runtime::Runtime;
use crate::postgres::security_context::RoleGuard;
use crate::postgres::{background_worker, settings};
use crate::timestamp::Timestamp;

/// A turn continues to fetch for this time while there is more to fetch: recording takes longer
/// than the pool needs for the deliveries of one read.
const MAX_FETCH_TIME: Duration = Duration::from_millis(2);

/// How soon to try again while the extension is being dropped or altered.
const LOCKED_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Whether a fetch has left work, and its time.
pub(super) struct Polled {
    /// More could be fetched at once.
    pub more: bool,
    /// The time that the fetch used as now.
    pub now: Timestamp,
}

/// The result of a poll.
pub(super) enum PollResult {
    /// Due deliveries are handed to the pool, within the prefetch limits.
    Polled(Polled),
    /// There is nothing to do for this time.
    Idle(Duration),
    /// The worker must leave: the database is about to be dropped or copied, or the settings no
    /// longer name it.
    ShutDown,
}

impl Worker {
    /// Checks whether the worker has anything to do in this database, and fetches due deliveries.
    pub(super) fn poll(&mut self, now: Timestamp) -> SpiResult<PollResult> {
        if self.has_to_shut_down() {
            return Ok(PollResult::ShutDown);
        }
        if let Some(pause) = self.check_extension()? {
            return Ok(PollResult::Idle(pause));
        }
        let _role = RoleGuard::of_worker();
        if !self.may_send()? || self.completer.is_full() {
            return Ok(PollResult::Idle(settings::poll_interval()));
        }
        let rewind_to = self.schedule.begin(now);
        rewind_to.into_iter().for_each(|due_at| self.fetcher.rewind_to(due_at));
        if self.runtime.as_ref().is_some_and(|runtime| runtime.statements.unreadable_secrets.is_to_look_again()) {
            self.schedule.request_rescan();
        }
        if self.schedule.is_rescan_due() {
            self.rescan()?;
        }
        self.fetch(now)
    }

    /// Whether the database is about to be dropped or copied, or the settings no longer name it.
    /// Checked from time to time.
    fn has_to_shut_down(&mut self) -> bool {
        if Instant::now() < self.next_database_check {
            return false;
        }
        self.next_database_check = Instant::now() + settings::poll_interval();
        !background_worker::database_is_at_rest(self.slot.database())
            || !settings::databases().contains(&background_worker::database_name())
    }

    /// Makes sure that there is a runtime for the present extension. Returns how long to wait if
    /// there can be none.
    fn check_extension(&mut self) -> SpiResult<Option<Duration>> {
        let extension = match background_worker::extension() {
            background_worker::Extension::Absent => {
                self.reset();
                self.idle = Some(Idle::NoExtension);
                return Ok(Some(settings::poll_interval()));
            }
            background_worker::Extension::BeingChanged => {
                self.recapture.end();
                return Ok(Some(LOCKED_RETRY_DELAY));
            }
            background_worker::Extension::Present(extension) => extension,
        };
        if self.runtime.as_ref().is_some_and(|runtime| runtime.extension != extension) {
            // One transaction has dropped the extension and created it again, with other types and
            // empty tables.
            self.reset();
        }
        if self.runtime.is_none() {
            if !background_worker::extension_is_current()? {
                self.idle = Some(Idle::UpdateNeeded);
                return Ok(Some(settings::poll_interval()));
            }
            let _role = RoleGuard::of_worker();
            self.runtime = Some(self.start_runtime(extension)?);
        }
        Ok(None)
    }

    /// Whether anything may be sent from this database. If not, the pool gives back the waiting
    /// jobs.
    fn may_send(&mut self) -> SpiResult<bool> {
        let Some(Runtime { statements, pool, .. }) = &self.runtime else { return Ok(false) };
        self.fetcher.release(pool.given_back());
        self.idle = if background_worker::is_read_only() { Some(Idle::ReadOnly) } else { statements.send_state()? };
        self.reporter.log_change(self.idle);
        let may_send = self.idle.is_none() && !self.tasks.recording.is_broken();
        if !may_send {
            pool.give_back_waiting();
        }
        Ok(may_send)
    }

    /// Rereads from the start with the present endpoints: one may have been paused, disabled or
    /// limited.
    fn rescan(&mut self) -> SpiResult<()> {
        let Some(Runtime { statements, pool, .. }) = &self.runtime else { return Ok(()) };
        self.fetcher.rewind_to_start();
        statements.unreadable_secrets.forget();
        let waiting: HashSet<Uuid> = pool.waiting().endpoints().copied().chain(self.fetcher.rate_limited()).collect();
        let targets = statements.targets_now(waiting)?;
        for (endpoint_id, target) in &targets {
            self.fetcher.set_rate_limit(endpoint_id, target.terms.spacing);
        }
        let not_receiving = targets.iter().filter(|(_, target)| !target.receives());
        pool.give_back_waiting_of(not_receiving.map(|(id, target)| (target.auction_id, *id)));
        self.fetcher.release(pool.given_back());
        self.schedule.rescanned();
        Ok(())
    }

    /// Hands due deliveries to the pool, within the prefetch limits.
    fn fetch(&mut self, now: Timestamp) -> SpiResult<PollResult> {
        let Some(Runtime { statements, pool, .. }) = &self.runtime else {
            return Ok(PollResult::Idle(settings::poll_interval()));
        };
        let has_rewound = self.fetcher.rewind_if_time(settings::poll_interval());
        let needs_next_due = self.schedule.needs_next_due(now, has_rewound);
        let bounds =
            Bounds { timeout: settings::request_timeout(), payload: settings::max_payload(), oldest: oldest_event() };
        let context = FetchContext { statements, now, bounds };
        let began = Instant::now();
        loop {
            let fetched = self.fetcher.fetch(&context, pool.waiting())?;
            let more = fetched.more;
            self.fetcher.accept(&fetched);
            pool.submit(fetched.jobs);
            self.completer.add(fetched.ended);
            if more && began.elapsed() < MAX_FETCH_TIME {
                continue;
            }
            if !more && needs_next_due {
                self.schedule.set_next_due(statements.next_due(now)?);
            }
            self.schedule.fetched();
            return Ok(PollResult::Polled(Polled { more, now }));
        }
    }

    /// Prepares statements and threads. Attempts that an earlier worker has made and not recorded
    /// are recorded before anything is read.
    fn start_runtime(&mut self, extension: pg_sys::Oid) -> SpiResult<Runtime> {
        let (runtime, unrecorded) = Runtime::start(extension)?;
        self.health.set_failing(runtime.statements.failing_endpoints()?);
        self.fetcher.mark_in_flight(&unrecorded);
        self.completer.add_attempts(unrecorded, &settings::retry_policy());
        Ok(runtime)
    }
}
