//! The throttle of an endpoint: why it must wait although deliveries are due. Reasons are strict
//! order, a rate limit and an open circuit breaker.

use std::time::Duration;

use uuid::Uuid;

use super::queue_row::DueDelivery;
use crate::timestamp::Timestamp;

/// A high rate limit is applied in steps of this time: one read for each delivery would cost too
/// much.
const STEP: Duration = Duration::from_millis(50);

#[derive(Clone, Copy)]
pub struct Throttle {
    /// The delivery that must be recorded before the next one is sent. With strict order, no
    /// delivery may be sent again after the one that follows it, even if the process is killed in
    /// between. With a half-open breaker, the delivery shows whether the endpoint can be reached
    /// again.
    delivery: Option<Uuid>,
    /// When a failed delivery may be tried again; those behind it wait with it.
    retry_at: Timestamp,
    /// When the wait because of the rate limit or the breaker ends.
    paced_until: Timestamp,
    /// Time from one delivery to the next by the rate limit; zero without one.
    spacing: Duration,
}

impl Throttle {
    pub const NONE: Self =
        Self { delivery: None, retry_at: Timestamp::MIN, paced_until: Timestamp::MIN, spacing: Duration::ZERO };

    /// Whether an endpoint must be throttled after this delivery.
    pub fn is_needed_after(row: &DueDelivery, is_half_open: bool) -> bool {
        row.terms.ordered || is_half_open || !row.terms.spacing.is_zero()
    }

    /// Call when this delivery is sent.
    pub fn sent(&mut self, row: &DueDelivery, is_half_open: bool, now: Timestamp) {
        if row.terms.ordered || is_half_open {
            self.delivery = Some(row.position.delivery_id);
        }
        if !row.terms.spacing.is_zero() {
            self.paced_until = self.paced_until.max(now) + row.terms.spacing;
            self.spacing = row.terms.spacing;
        }
    }

    /// Waits for the next attempt of a delivery that has failed: all deliveries behind it wait too.
    pub fn wait_for_retry(&mut self, retry_at: Timestamp) {
        self.retry_at = retry_at;
    }

    /// Sends nothing until this time, because the breaker is open.
    pub fn pause(&mut self, until: Timestamp) {
        self.paced_until = self.paced_until.max(until);
    }

    pub fn waits_for(&self, delivery_id: &Uuid) -> bool {
        self.delivery == Some(*delivery_id)
    }

    /// Whether nothing more of the endpoint may be fetched in this turn.
    pub fn has_enough(&self, now: Timestamp) -> bool {
        self.delivery.is_some() || self.retry_at > now || self.paced_until.since(now) >= STEP
    }

    pub fn has_rate_limit(&self) -> bool {
        !self.spacing.is_zero()
    }

    /// Changes the rate limit, and how long the endpoint still waits.
    pub fn set_rate_limit(&mut self, spacing: Duration) {
        self.paced_until = self.paced_until - self.spacing + spacing;
        self.spacing = spacing;
    }

    /// Call when deliveries that wait for an attempt may have been brought forward.
    pub fn forget_retry(&mut self) {
        self.retry_at = Timestamp::MIN;
    }

    /// Call when the clock was set back, so that the times are too far ahead. An endpoint may get a
    /// delivery early. The next attempt time of a failed delivery is in its row.
    pub fn forget_times(&mut self) {
        (self.retry_at, self.paced_until) = (Timestamp::MIN, Timestamp::MIN);
    }

    /// `None` while its delivery is in flight.
    pub fn ends_at(&self, is_in_flight: impl Fn(&Uuid) -> bool) -> Option<Timestamp> {
        let waits = self.delivery.is_some_and(|delivery| is_in_flight(&delivery));
        (!waits).then(|| self.retry_at.max(self.paced_until))
    }
}
