//! The health of endpoints: successes and failures, gathered for `record_endpoint_health()` in `sql/install/health.sql`, which records them and
//! disables endpoints.
//!
//! What was recorded is gathered here by endpoint, and noted now and then by a step of its own: it writes to rows that customers
//! have locks on, and nothing that can wait may stand between sending and recording. What a killed worker had not noted yet, of
//! the last quarter of a second, is not counted.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::outcome::{EndReason, Outcome};
use crate::timestamp::Timestamp;

/// How often it is noted at most.
const INTERVAL: Duration = Duration::from_millis(250);

/// Deliveries that failed for good and are to be told of: with more, while it cannot be told, only their number is kept.
const UNTOLD_AT_MOST: usize = 10_000;

/// What has happened to an endpoint since it was last noted.
#[derive(Clone, Default)]
pub struct HealthChange {
    pub succeeded: bool,
    /// Since the last success: when the first attempt failed, ...
    pub failing_since: Option<Timestamp>,
    /// ... how many deliveries have used up all attempts, ...
    pub failed_deliveries: i32,
    /// ... whether the receiver has said that it wants no more, ...
    pub is_gone: bool,
    /// ... and what went wrong last.
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

/// What the database has told, and to whom.
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
    /// Endpoints that have failed since their last success, as recorded: their next success is recorded too.
    failing: HashSet<Uuid>,
    notes: HashMap<Uuid, HealthChange>,
    failed: Vec<FailedDelivery>,
    /// Failed deliveries beyond those.
    left_out: usize,
    next: Instant,
}

impl EndpointHealth {
    pub fn new() -> Self {
        Self { failing: HashSet::new(), notes: HashMap::new(), failed: Vec::new(), left_out: 0, next: Instant::now() }
    }

    /// Sets the failing endpoints to those that are recorded: when the worker starts, and again now and then, to remove deleted ones.
    pub fn remember(&mut self, failing: HashSet<Uuid>) {
        self.failing = failing;
    }

    /// The outcome is recorded. Tests do not count, nor does what was never sent.
    pub fn recorded(&mut self, outcome: &Outcome) {
        if outcome.key.is_test {
            return;
        }
        let endpoint_id = outcome.key.endpoint_id;
        let was_sent = outcome.response_time_ms.is_some();
        let Some(error_message) = &outcome.error_message else {
            if self.failing.contains(&endpoint_id) || self.notes.contains_key(&endpoint_id) {
                self.notes.insert(endpoint_id, HealthChange { succeeded: true, ..HealthChange::default() });
            }
            return;
        };
        if outcome.end_reason.is_some_and(EndReason::is_wanted) {
            return;
        }
        let has_failed = outcome.next_attempt_at.is_none();
        if was_sent {
            let note = self.notes.entry(endpoint_id).or_default();
            note.failing_since = note.failing_since.or(Some(outcome.attempted_at));
            note.failed_deliveries += i32::from(has_failed);
            note.is_gone |= outcome.response_status_code == Some(410);
            note.error_message.clone_from(error_message);
        }
        if has_failed {
            self.fail(outcome, error_message);
        }
    }

    fn fail(&mut self, outcome: &Outcome, error_message: &str) {
        if self.failed.len() >= UNTOLD_AT_MOST {
            self.left_out += 1;
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

    /// How long until there is something to record; `None` if there is nothing.
    pub fn time_to_due(&self) -> Option<Duration> {
        let is_any = !self.notes.is_empty() || !self.failed.is_empty();
        is_any.then(|| self.next.saturating_duration_since(Instant::now()))
    }

    /// What is to be noted.
    pub fn notes(&self) -> (&HashMap<Uuid, HealthChange>, &[FailedDelivery]) {
        (&self.notes, &self.failed)
    }

    /// It is noted, and the database has told this.
    pub fn noted(&mut self, told: &[HealthNotice]) {
        self.next = Instant::now() + INTERVAL;
        for (endpoint_id, note) in self.notes.drain() {
            if note.failing_since.is_some() {
                self.failing.insert(endpoint_id);
            } else {
                self.failing.remove(&endpoint_id);
            }
        }
        log_failed(&std::mem::take(&mut self.failed), std::mem::take(&mut self.left_out));
        told.iter().for_each(log);
    }
}

/// A line for each endpoint.
fn log_failed(failed: &[FailedDelivery], left_out: usize) {
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
    if left_out > 0 {
        pgrx::warning!(
            "webhook_delivery: {left_out} more deliveries have failed, of which no webhook.delivery_failed was sent"
        );
    }
}

fn log(HealthNotice { endpoint_id, auction_id, event_type, reason }: &HealthNotice) {
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    pgrx::log!("webhook_delivery: {event_type}: endpoint {endpoint_id} of auction {auction_id}{reason}");
}
