//! Throttles: endpoints that must wait although deliveries are due, because of strict order, a rate
//! limit or an open circuit breaker.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::outcome::Outcome;
use super::queue_row::{DueDelivery, Position};
use crate::timestamp::Timestamp;

/// A high rate limit is applied in steps of this time: one read for each delivery would cost too
/// much.
const STEP: Duration = Duration::from_millis(50);

/// A throttled endpoint. Reads over all endpoints leave it out.
#[derive(Clone, Copy)]
pub struct Throttle {
    pub auction_id: Uuid,
    /// Where the next read of it begins.
    pub position: Position,
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

#[derive(Default)]
pub struct Throttles(HashMap<Uuid, Throttle>);

impl Throttles {
    pub fn contains(&self, endpoint_id: &Uuid) -> bool {
        self.0.contains_key(endpoint_id)
    }

    pub fn endpoints(&self) -> impl Iterator<Item = &Uuid> {
        self.0.keys()
    }

    /// Throttles the endpoint of a delivery that waits for its next attempt: all deliveries behind
    /// it wait too.
    pub fn until_retry(&mut self, row: &DueDelivery, retry_at: Timestamp) {
        let throttle = self.entry(row);
        (throttle.position, throttle.retry_at) = (row.position.before(), retry_at);
    }

    /// Call when this delivery is sent: throttles its endpoint after it, if necessary.
    pub fn after(&mut self, row: &DueDelivery, is_half_open: bool, now: Timestamp) {
        if !row.terms.ordered && !is_half_open && row.terms.spacing.is_zero() {
            return;
        }
        let throttle = self.entry(row);
        // With strict order a delivery that fails keeps its position.
        throttle.position = if row.terms.ordered { row.position.before() } else { row.position };
        if row.terms.ordered || is_half_open {
            throttle.delivery = Some(row.position.delivery_id);
        }
        if !row.terms.spacing.is_zero() {
            throttle.paced_until = throttle.paced_until.max(now) + row.terms.spacing;
            throttle.spacing = row.terms.spacing;
        }
    }

    /// Throttles an endpoint whose breaker is open: nothing is sent to it until this time.
    pub fn pause(&mut self, outcome: &Outcome, position: Position, until: Timestamp) {
        let throttle = self.0.entry(outcome.key.endpoint_id).or_insert(Throttle::at(outcome.key.auction_id, position));
        throttle.paced_until = throttle.paced_until.max(until);
    }

    /// Whether the endpoint is throttled, and not because of this delivery.
    pub fn is_because_of_another(&self, endpoint_id: &Uuid, delivery_id: &Uuid) -> bool {
        self.0.get(endpoint_id).is_some_and(|throttle| throttle.delivery != Some(*delivery_id))
    }

    /// Call when rows of an endpoint were queued before its position. False if the endpoint is not
    /// throttled.
    pub fn include(&mut self, endpoint_id: &Uuid, position: Position) -> bool {
        let throttle = self.0.get_mut(endpoint_id);
        throttle.map(|throttle| throttle.position = throttle.position.min(position)).is_some()
    }

    fn entry(&mut self, row: &DueDelivery) -> &mut Throttle {
        self.0.entry(row.endpoint_id).or_insert(Throttle::at(row.auction_id, row.position))
    }

    /// Whether nothing more of the endpoint may be fetched in this turn.
    pub fn has_enough(&self, endpoint_id: &Uuid, now: Timestamp) -> bool {
        self.0.get(endpoint_id).is_some_and(|throttle| {
            throttle.delivery.is_some() || throttle.retry_at > now || throttle.paced_until.since(now) >= STEP
        })
    }

    /// Call when the delivery has failed, with the time of its next attempt.
    pub fn retried(&mut self, endpoint_id: &Uuid, delivery_id: &Uuid, retry_at: Timestamp) {
        if let Some(throttle) = self.0.get_mut(endpoint_id).filter(|throttle| throttle.delivery == Some(*delivery_id)) {
            throttle.retry_at = retry_at;
        }
    }

    /// Ends the throttle of an endpoint.
    pub fn end(&mut self, endpoint_id: &Uuid) {
        self.0.remove(endpoint_id);
    }

    /// Rereads from this position. If it is the start of the queue, deliveries that wait for an
    /// attempt may have been brought forward.
    pub fn rewind_to(&mut self, position: Position) {
        for throttle in self.0.values_mut() {
            throttle.position = throttle.position.min(position);
            if position == Position::START {
                throttle.retry_at = Timestamp::MIN;
            }
        }
    }

    /// Endpoints that wait because of their rate limit.
    pub fn rate_limited(&self) -> impl Iterator<Item = &Uuid> {
        self.0.iter().filter(|(_, throttle)| !throttle.spacing.is_zero()).map(|(endpoint_id, _)| endpoint_id)
    }

    /// Changes an endpoint's rate limit, and how long it still waits.
    pub fn set_rate_limit(&mut self, endpoint_id: &Uuid, spacing: Duration) {
        if let Some(throttle) = self.0.get_mut(endpoint_id) {
            throttle.paced_until = throttle.paced_until - throttle.spacing + spacing;
            throttle.spacing = spacing;
        }
    }

    /// Call when the clock was set back, so that the times are too far ahead. An endpoint may get a
    /// delivery early. The next attempt time of a failed delivery is in its row.
    pub fn forget_times(&mut self) {
        for throttle in self.0.values_mut() {
            (throttle.retry_at, throttle.paced_until) = (Timestamp::MIN, Timestamp::MIN);
        }
    }

    /// Removes and returns the throttles that have ended.
    pub fn take_ended(&mut self, now: Timestamp, is_in_flight: impl Fn(&Uuid) -> bool) -> Vec<(Uuid, Throttle)> {
        self.0.extract_if(|_, throttle| throttle.ends_at(&is_in_flight).is_some_and(|at| at <= now)).collect()
    }

    /// When the next throttle ends, of those that do not wait for a delivery.
    pub fn next_end(&self, is_in_flight: impl Fn(&Uuid) -> bool) -> Option<Timestamp> {
        self.0.values().filter_map(|throttle| throttle.ends_at(&is_in_flight)).min()
    }
}

impl Throttle {
    fn at(auction_id: Uuid, position: Position) -> Self {
        Self {
            auction_id,
            position,
            delivery: None,
            retry_at: Timestamp::MIN,
            paced_until: Timestamp::MIN,
            spacing: Duration::ZERO,
        }
    }

    /// `None` while its delivery is in flight.
    fn ends_at(&self, is_in_flight: impl Fn(&Uuid) -> bool) -> Option<Timestamp> {
        let waits = self.delivery.is_some_and(|delivery| is_in_flight(&delivery));
        (!waits).then(|| self.retry_at.max(self.paced_until))
    }
}
