//! The health of endpoints: successes and failures for `record_endpoint_health()` in
//! `sql/install/health.sql`, which records them and disables endpoints.
//!
//! Recorded outcomes are gathered here by endpoint, and a separate task writes them from time to
//! time: it writes to rows that customers may have locked, and the recording of attempts must not
//! wait for a lock. If the worker is killed, the outcomes of the last quarter of a second are not
//! counted.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::outcome::{EndReason, Outcome};
use crate::error_kind::ErrorKind;
use crate::timestamp::Timestamp;

/// Minimum time between two writes.
const INTERVAL: Duration = Duration::from_millis(250);

/// Maximum number of failed deliveries that wait to be reported. Beyond it, while they cannot be
/// reported, only their number is kept.
const MAX_UNREPORTED: usize = 10_000;

/// Changes of an endpoint's health since the last write.
#[derive(Clone, Default)]
pub struct HealthChange {
    pub succeeded: bool,
    /// Since the last success: when the first attempt failed, ...
    pub failing_since: Option<Timestamp>,
    /// ... how many deliveries have used up all attempts, ...
    pub failed_deliveries: i32,
    /// ... whether the receiver has answered 410 (Gone), ...
    pub is_gone: bool,
    /// ... and the last error.
    pub error_message: String,
}

/// A delivery that has used up all attempts.
pub struct FailedDelivery {
    pub delivery_id: Uuid,
    pub auction_id: Uuid,
    pub endpoint_id: Uuid,
    pub event_type: String,
    pub attempt: i16,
    pub response_status_code: Option<i16>,
    pub error_message: String,
    pub attempted_at: Timestamp,
}

/// A notice about an endpoint's health that the database has sent.
pub struct HealthNotice {
    pub endpoint_id: Uuid,
    pub auction_id: Uuid,
    pub event_type: String,
    pub reason: Option<String>,
}

impl HealthNotice {
    pub fn is_disabled(&self) -> bool {
        self.event_type == "webhook.endpoint_disabled"
    }
}

pub struct EndpointHealth {
    /// Endpoints that have failed since their last success, as recorded: their next success is
    /// recorded too.
    failing: HashSet<Uuid>,
    changes: HashMap<Uuid, HealthChange>,
    failed: Vec<FailedDelivery>,
    /// Number of failed deliveries beyond the maximum.
    unreported: usize,
    next: Instant,
}

impl EndpointHealth {
    pub fn new() -> Self {
        Self {
            failing: HashSet::new(),
            changes: HashMap::new(),
            failed: Vec::new(),
            unreported: 0,
            next: Instant::now(),
        }
    }

    /// Sets the failing endpoints to the recorded ones: when the worker starts, and from time to
    /// time to remove deleted endpoints.
    pub fn set_failing(&mut self, failing: HashSet<Uuid>) {
        self.failing = failing;
    }

    /// Call when the outcome is recorded. Tests do not count. Deliveries that were never sent, or
    /// that our proxy has kept from the receiver, do not count as failures of their endpoint.
    pub fn recorded(&mut self, outcome: &Outcome) {
        if outcome.key.is_test {
            return;
        }
        let endpoint_id = outcome.key.endpoint_id;
        let was_sent = outcome.response_time_ms.is_some() && outcome.error_kind != Some(ErrorKind::Proxy);
        let Some(error_message) = &outcome.error_message else {
            if self.failing.contains(&endpoint_id) || self.changes.contains_key(&endpoint_id) {
                self.changes.insert(endpoint_id, HealthChange { succeeded: true, ..HealthChange::default() });
            }
            return;
        };
        if outcome.end_reason.is_some_and(EndReason::is_wanted) {
            return;
        }
        let has_failed = outcome.next_attempt_at.is_none();
        if was_sent {
            let change = self.changes.entry(endpoint_id).or_default();
            change.failing_since = change.failing_since.or(Some(outcome.attempted_at));
            change.failed_deliveries += i32::from(has_failed);
            change.is_gone |= outcome.response_status_code == Some(410);
            change.error_message.clone_from(error_message);
        }
        if has_failed {
            self.fail(outcome, error_message);
        }
    }

    fn fail(&mut self, outcome: &Outcome, error_message: &str) {
        if self.failed.len() >= MAX_UNREPORTED {
            self.unreported += 1;
            return;
        }
        self.failed.push(FailedDelivery {
            delivery_id: outcome.key.delivery_id,
            auction_id: outcome.key.auction_id,
            endpoint_id: outcome.key.endpoint_id,
            event_type: outcome.event_type.clone(),
            attempt: outcome.key.attempt as i16,
            response_status_code: outcome.response_status_code,
            error_message: error_message.to_owned(),
            attempted_at: outcome.attempted_at,
        });
    }

    /// How long until the next write; `None` if there is nothing to write.
    pub fn time_to_due(&self) -> Option<Duration> {
        let is_any = !self.changes.is_empty() || !self.failed.is_empty();
        is_any.then(|| self.next.saturating_duration_since(Instant::now()))
    }

    /// The changes and failed deliveries to write.
    pub fn changes(&self) -> (&HashMap<Uuid, HealthChange>, &[FailedDelivery]) {
        (&self.changes, &self.failed)
    }

    /// Call when they are written, with the notices that the database has sent.
    pub fn written(&mut self, notices: &[HealthNotice]) {
        self.next = Instant::now() + INTERVAL;
        for (endpoint_id, change) in self.changes.drain() {
            if change.failing_since.is_some() {
                self.failing.insert(endpoint_id);
            } else {
                self.failing.remove(&endpoint_id);
            }
        }
        log_failed(&std::mem::take(&mut self.failed), std::mem::take(&mut self.unreported));
        notices.iter().for_each(log);
    }
}

/// Logs one line for each endpoint.
fn log_failed(failed: &[FailedDelivery], unreported: usize) {
    let mut last: HashMap<Uuid, (&FailedDelivery, usize)> = HashMap::new();
    for failed in failed {
        let (latest, count) = last.entry(failed.endpoint_id).or_insert((failed, 0));
        (*latest, *count) = (failed, *count + 1);
    }
    for (FailedDelivery { endpoint_id, auction_id, error_message, .. }, count) in last.into_values() {
        pgrx::log!(
            "webhook_delivery: webhook.delivery_failed: {count} of endpoint {endpoint_id} of auction {auction_id}; the last: \
             {error_message}"
        );
    }
    if unreported > 0 {
        pgrx::warning!(
            "webhook_delivery: {unreported} more deliveries have failed, for which no webhook.delivery_failed was sent"
        );
    }
}

fn log(HealthNotice { endpoint_id, auction_id, event_type, reason }: &HealthNotice) {
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    pgrx::log!("webhook_delivery: {event_type}: endpoint {endpoint_id} of auction {auction_id}{reason}");
}
