//! What becomes of a delivery after an attempt?

use std::time::SystemTime;

use uuid::Uuid;
use webhook_sender::{Attempt, DeliveryKey, RetrySchedule};

use super::intake::Intake;
use super::queue::{Orphan, Outcomes, id_datum, postgres_micros};
use crate::ids::timestamp;

/// Turns finished attempts into what is recorded of them, and leads the reading back to those that are to be tried again.
/// What belongs to no known delivery is left out: the extension was dropped while its request was under way.
pub fn outcomes(attempts: Vec<Attempt>, intake: &mut Intake, schedule: &RetrySchedule) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for attempt in attempts {
        if let Some(event_id) = intake.ended(&attempt.key.delivery_id) {
            outcomes.add(attempt, event_id, schedule);
            if let Some(Some(next_attempt_at)) = outcomes.next_attempt_at.last() {
                // With a short wait and a slow disk the time may have passed before it is written down.
                intake.go_back_to((*next_attempt_at).into());
            }
        }
    }
    outcomes
}

impl Outcomes {
    pub fn is_empty(&self) -> bool {
        self.delivery_id.is_empty()
    }

    fn add(&mut self, attempt: Attempt, event_id: Uuid, schedule: &RetrySchedule) {
        let key = attempt.key;
        let started_at = postgres_micros(attempt.started_at);
        let (status_code, error_message) = match &attempt.result {
            Ok(status) => (Some(*status), None),
            Err(failure) => (failure.status(), Some(failure.to_string())),
        };
        let retry_after = match attempt.result {
            Err(_) if !key.is_test => schedule.delay_after(key.attempt, fastrand::f64()),
            _ => None,
        };
        let next_attempt_at =
            retry_after.map(|delay| timestamp(started_at + (attempt.duration + delay).as_micros() as i64));

        let status = match (&error_message, &next_attempt_at) {
            (None, _) => "success",
            (Some(_), Some(_)) => "retrying",
            (Some(_), None) => "failed",
        };
        self.add_key(key, event_id, attempt.event_type, status);
        self.response_status_code.push(status_code.map(|status| status as i16));
        self.response_time_ms.push(Some(attempt.duration.as_millis().try_into().unwrap_or(i32::MAX)));
        self.error_message.push(error_message);
        self.response_excerpt.push(attempt.response_excerpt);
        self.attempted_at.push(timestamp(started_at));
        self.next_attempt_at.push(next_attempt_at);
    }

    /// The end of a delivery for which no request can be made any more.
    pub fn add_orphan(&mut self, orphan: Orphan) {
        self.add_key(orphan.key, orphan.event_id, orphan.event_type, "failed");
        self.response_status_code.push(None);
        self.response_time_ms.push(None);
        self.error_message.push(Some("the endpoint was deleted".to_owned()));
        self.response_excerpt.push(None);
        self.attempted_at.push(timestamp(postgres_micros(SystemTime::now())));
        self.next_attempt_at.push(None);
    }

    fn add_key(&mut self, key: DeliveryKey, event_id: Uuid, event_type: String, status: &'static str) {
        self.due_at.push(timestamp(key.due_at));
        self.delivery_id.push(id_datum(&key.delivery_id));
        self.attempt.push(key.attempt as i16);
        self.auction_id.push(id_datum(&key.auction_id));
        self.endpoint_id.push(id_datum(&key.endpoint_id));
        self.event_id.push(id_datum(&event_id));
        self.event_type.push(event_type);
        self.delivery_status.push(status);
        self.is_test.push(key.is_test);
    }
}
