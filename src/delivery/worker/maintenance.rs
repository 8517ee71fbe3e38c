//! Maintenance: the worker's tasks apart from sending and recording.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Worker, oldest_event};
use crate::delivery::extension_lock::lock_extension;
use crate::delivery::idle::Duty;
use crate::delivery::runtime::Runtime;
use crate::delivery::statements::Expired;
use crate::delivery::task::in_transaction;
use crate::postgres::settings;
use crate::timestamp::Timestamp;

/// How often partitions are created ahead, and the state of deleted endpoints is removed.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(3600);

/// How soon to try again when a backup or a long transaction holds a lock.
const MAINTENANCE_RETRY: Duration = Duration::from_secs(10);

impl Worker {
    /// Runs the tasks that are due, each in a transaction of its own.
    pub(super) fn maintain(&mut self) {
        let duty = self.duty();
        if duty >= Duty::Fenced && Instant::now() >= self.next_maintenance && self.tasks.maintenance.may_run() {
            self.create_partitions();
        }
        if duty >= Duty::Fenced && Instant::now() >= self.next_recapture && self.tasks.recapture.may_run() {
            self.recapture();
        }
        if duty >= Duty::Housekeeping && self.parking.is_due() && self.tasks.parking.may_run() {
            if self.slot.is_parking_held() {
                self.parking.postpone();
            } else {
                self.park();
            }
        }
        if duty < Duty::Everything {
            return;
        }
        if self.tasks.slow_endpoints.may_run() {
            self.remember_slow();
        }
        if self.health.time_to_due() == Some(Duration::ZERO) && self.tasks.health.may_run() {
            self.record_endpoint_health();
        }
        if Instant::now() >= self.next_expiry && self.tasks.expiry.may_run() {
            self.expire();
        }
    }

    fn park(&mut self) {
        let Some(Runtime { statements, .. }) = &self.runtime else { return };
        let began = Instant::now();
        let step = in_transaction(|| {
            let _rights = lock_extension();
            self.parking.step(&statements.parking, Timestamp::now())
        });
        if let Some(progress) = self.tasks.parking.conclude(step) {
            self.parking.conclude(progress, began.elapsed());
        }
    }

    fn remember_slow(&mut self) {
        let Some(Runtime { statements, pool, recorded_slow, .. }) = &mut self.runtime else { return };
        let slow = pool.slow_endpoints();
        if Arc::ptr_eq(&slow, recorded_slow) {
            return;
        }
        let recorded = in_transaction(|| {
            let _rights = lock_extension();
            statements.remember_slow(slow.difference(recorded_slow), recorded_slow.difference(&slow))
        });
        if self.tasks.slow_endpoints.conclude(recorded).is_some() {
            *recorded_slow = slow;
        }
    }

    pub(super) fn record_endpoint_health(&mut self) {
        let Some(Runtime { statements, pool, .. }) = &self.runtime else { return };
        let (changes, failed) = self.health.changes();
        let policy = settings::disable_policy();
        let recorded = in_transaction(|| {
            let _rights = lock_extension();
            statements.record_endpoint_health(changes, failed, &policy)
        });
        if let Some(notices) = self.tasks.health.conclude(recorded) {
            self.health.written(&notices);
            let disabled = notices.iter().filter(|notice| notice.is_disabled());
            pool.give_back_waiting_of(disabled.map(|notice| (notice.auction_id, notice.endpoint_id)));
        }
    }

    fn create_partitions(&mut self) {
        let Some(Runtime { statements, .. }) = &self.runtime else { return };
        let maintained = in_transaction(|| {
            let _rights = lock_extension();
            Ok((statements.create_partitions()?, statements.failing_endpoints()?))
        });
        if let Some((made, failing)) = self.tasks.maintenance.conclude(maintained) {
            self.fetcher.retain(&failing);
            self.health.set_failing(failing);
            self.next_maintenance = Instant::now() + if made { MAINTENANCE_INTERVAL } else { MAINTENANCE_RETRY };
        }
    }

    /// Starts the recapture of events that became dead letters because of a lock. Tries from time
    /// to time until the lock is released.
    fn recapture(&mut self) {
        let Some(Runtime { statements, .. }) = &self.runtime else { return };
        self.next_recapture = Instant::now() + settings::poll_interval();
        if self.recapture.is_running() {
            return;
        }
        let found = in_transaction(|| {
            let _rights = lock_extension();
            statements.has_locked_errors()
        });
        let started = found.and_then(|found| if found { self.recapture.start(self.slot.database()) } else { Ok(()) });
        self.tasks.recapture.conclude(started);
    }

    /// Drops one partition at a time, so that no session waits for several.
    fn expire(&mut self) {
        let Some(Runtime { statements, .. }) = &self.runtime else { return };
        let expired = in_transaction(|| {
            let _rights = lock_extension();
            let expired = statements.drop_expired()?;
            Ok((expired == Expired::Nothing && statements.expire_waiting(&oldest_event())?, expired))
        });
        let Some((more_waits, expired)) = self.tasks.expiry.conclude(expired) else { return };
        if more_waits {
            self.schedule.request_rescan();
        }
        let pause = match expired {
            Expired::Dropped => Duration::ZERO,
            Expired::Nothing if more_waits => Duration::ZERO,
            Expired::Nothing => MAINTENANCE_INTERVAL,
            Expired::Locked => MAINTENANCE_RETRY,
        };
        self.next_expiry = Instant::now() + pause;
    }
}
