//! The states of endpoints that are not simply read in order of due time.
//!
//! | state | begins when | ends when |
//! |---|---|---|
//! | backlogged | the endpoint is beyond its prefetch limit, fills a batch alone, gets deliveries back from the pool, or its throttle ends | all its due deliveries are read |
//! | throttled | a delivery is sent to an endpoint with strict order or a rate limit, or its breaker opens | `Throttle::ends_at`; it is backlogged then |
//! | disabled | a delivery of it must wait because it is disabled or paused | the queue is read from the start |
//!
//! Reads over all endpoints leave out endpoints in any of these states.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use uuid::Uuid;

use super::queue_row::{DueDelivery, Position};
use super::throttle::Throttle;
use crate::timestamp::Timestamp;

#[derive(Clone, Copy)]
enum State {
    Backlogged,
    Throttled(Throttle),
    Disabled,
}

#[derive(Clone, Copy)]
struct Endpoint {
    auction_id: Uuid,
    /// Where the next read of the endpoint begins: the last row that was taken.
    position: Position,
    state: State,
}

/// A backlogged endpoint.
#[derive(Clone, Copy)]
pub struct Backlogged {
    pub endpoint_id: Uuid,
    pub auction_id: Uuid,
    pub position: Position,
}

#[derive(Default)]
pub struct EndpointStates {
    endpoints: BTreeMap<Uuid, Endpoint>,
    /// The backlogged endpoint that was read last: the next turn begins after it.
    last_served: Uuid,
}

impl EndpointStates {
    /// Whether reads over all endpoints leave the endpoint out.
    pub fn contains(&self, endpoint_id: &Uuid) -> bool {
        self.endpoints.contains_key(endpoint_id)
    }

    /// The endpoints that reads over all endpoints leave out.
    pub fn endpoints(&self) -> Vec<Uuid> {
        self.endpoints.keys().copied().collect()
    }

    fn throttle(&self, endpoint_id: &Uuid) -> Option<&Throttle> {
        match &self.endpoints.get(endpoint_id)?.state {
            State::Throttled(throttle) => Some(throttle),
            State::Backlogged | State::Disabled => None,
        }
    }

    /// The throttles, each with the endpoint.
    fn throttles(&self) -> impl Iterator<Item = (&Uuid, &Throttle)> {
        self.endpoints.iter().filter_map(|(endpoint_id, endpoint)| match &endpoint.state {
            State::Throttled(throttle) => Some((endpoint_id, throttle)),
            State::Backlogged | State::Disabled => None,
        })
    }

    fn throttle_mut(&mut self, endpoint_id: &Uuid) -> Option<&mut Throttle> {
        match &mut self.endpoints.get_mut(endpoint_id)?.state {
            State::Throttled(throttle) => Some(throttle),
            State::Backlogged | State::Disabled => None,
        }
    }

    /// Rows of the endpoint may be unread from this position on: the endpoint is backlogged, unless
    /// it is throttled.
    pub fn mark_backlogged(&mut self, endpoint_id: Uuid, auction_id: Uuid, position: Position) {
        let backlogged = Endpoint { auction_id, position, state: State::Backlogged };
        let endpoint = self.endpoints.entry(endpoint_id).or_insert(backlogged);
        match endpoint.state {
            State::Disabled => *endpoint = backlogged,
            State::Backlogged | State::Throttled(_) => endpoint.position = endpoint.position.min(position),
        }
    }

    /// A backlogged endpoint is read up to this position.
    pub fn advance(&mut self, endpoint_id: &Uuid, position: Position) {
        if let Some(Endpoint { position: last, state: State::Backlogged, .. }) = self.endpoints.get_mut(endpoint_id) {
            *last = position;
        }
    }

    /// All due deliveries of a backlogged endpoint are read.
    pub fn end_backlog(&mut self, endpoint_id: &Uuid) {
        if self.is_backlogged(endpoint_id) {
            self.endpoints.remove(endpoint_id);
        }
    }

    pub fn is_backlogged(&self, endpoint_id: &Uuid) -> bool {
        self.endpoints.get(endpoint_id).is_some_and(|endpoint| matches!(endpoint.state, State::Backlogged))
    }

    /// The backlogged endpoints in the order of their turns.
    pub fn backlogged(&self) -> impl Iterator<Item = Backlogged> {
        let after_the_last = self.endpoints.range((Excluded(self.last_served), Unbounded));
        let in_turn = after_the_last.chain(self.endpoints.range(..=self.last_served));
        in_turn.filter(|(_, endpoint)| matches!(endpoint.state, State::Backlogged)).map(|(endpoint_id, endpoint)| {
            Backlogged { endpoint_id: *endpoint_id, auction_id: endpoint.auction_id, position: endpoint.position }
        })
    }

    /// The endpoint has its turn.
    pub fn serve(&mut self, endpoint_id: Uuid) {
        self.last_served = endpoint_id;
    }

    /// The endpoint of this delivery is disabled or paused. A test that waits ends no throttle: the
    /// delivery that the endpoint waits for may still be in flight when it is resumed.
    pub fn disable(&mut self, row: &DueDelivery) {
        if row.skips_throttle && self.throttle(&row.endpoint_id).is_some() {
            return;
        }
        let disabled = Endpoint { auction_id: row.auction_id, position: row.position.before(), state: State::Disabled };
        self.endpoints.insert(row.endpoint_id, disabled);
    }

    /// The endpoint's throttle, and its position. A new one is at `position`, unless the endpoint is
    /// backlogged and thus has a position.
    fn throttled(&mut self, endpoint_id: Uuid, auction_id: Uuid, position: Position) -> (&mut Throttle, &mut Position) {
        let throttled = Endpoint { auction_id, position, state: State::Throttled(Throttle::NONE) };
        let endpoint = self.endpoints.entry(endpoint_id).or_insert(throttled);
        if !matches!(endpoint.state, State::Throttled(_)) {
            endpoint.state = throttled.state;
        }
        let State::Throttled(throttle) = &mut endpoint.state else { unreachable!("set above") };
        (throttle, &mut endpoint.position)
    }

    /// This delivery waits for its next attempt, and all deliveries behind it wait too.
    pub fn wait_for_retry(&mut self, row: &DueDelivery, retry_at: Timestamp) {
        let (throttle, position) = self.throttled(row.endpoint_id, row.auction_id, row.position);
        *position = row.position.before();
        throttle.wait_for_retry(retry_at);
    }

    /// Call when this delivery is sent: throttles its endpoint after it, if necessary.
    pub fn sent(&mut self, row: &DueDelivery, is_half_open: bool, now: Timestamp) {
        if Throttle::is_needed_after(row, is_half_open) {
            let (throttle, position) = self.throttled(row.endpoint_id, row.auction_id, row.position);
            // With strict order a delivery that fails keeps its position.
            *position = if row.terms.ordered { row.position.before() } else { row.position };
            throttle.sent(row, is_half_open, now);
        }
    }

    /// Throttles an endpoint whose breaker is open: nothing is sent to it until this time.
    pub fn pause(&mut self, endpoint_id: Uuid, auction_id: Uuid, position: Position, until: Timestamp) {
        self.throttled(endpoint_id, auction_id, position).0.pause(until);
    }

    /// Whether the endpoint is throttled, and not because of this delivery.
    pub fn waits_for_another(&self, endpoint_id: &Uuid, delivery_id: &Uuid) -> bool {
        self.throttle(endpoint_id).is_some_and(|throttle| !throttle.waits_for(delivery_id))
    }

    /// Whether nothing more of the endpoint may be fetched in this turn.
    pub fn has_enough(&self, endpoint_id: &Uuid, now: Timestamp) -> bool {
        self.throttle(endpoint_id).is_some_and(|throttle| throttle.has_enough(now))
    }

    /// Call when the delivery has failed, with the time of its next attempt.
    pub fn retried(&mut self, endpoint_id: &Uuid, delivery_id: &Uuid, retry_at: Timestamp) {
        if let Some(throttle) = self.throttle_mut(endpoint_id).filter(|throttle| throttle.waits_for(delivery_id)) {
            throttle.wait_for_retry(retry_at);
        }
    }

    /// Rereads from this position.
    pub fn rewind(&mut self, position: Position) {
        for endpoint in self.endpoints.values_mut() {
            endpoint.position = endpoint.position.min(position);
        }
    }

    /// Rereads from the start: an endpoint may have been enabled, and deliveries that wait for an
    /// attempt may have been brought forward.
    pub fn rewind_to_start(&mut self) {
        self.endpoints.retain(|_, endpoint| !matches!(endpoint.state, State::Disabled));
        self.rewind(Position::START);
        self.each_throttle(Throttle::forget_retry);
    }

    fn each_throttle(&mut self, change: fn(&mut Throttle)) {
        for endpoint in self.endpoints.values_mut() {
            if let State::Throttled(throttle) = &mut endpoint.state {
                change(throttle);
            }
        }
    }

    /// Endpoints that wait because of their rate limit.
    pub fn rate_limited(&self) -> impl Iterator<Item = Uuid> {
        self.throttles().filter(|(_, throttle)| throttle.has_rate_limit()).map(|(endpoint_id, _)| *endpoint_id)
    }

    /// Changes an endpoint's rate limit: the time from one delivery to the next, zero for none.
    pub fn set_rate_limit(&mut self, endpoint_id: &Uuid, spacing: Duration) {
        if let Some(throttle) = self.throttle_mut(endpoint_id) {
            throttle.set_rate_limit(spacing);
        }
    }

    /// Call when the clock was set back.
    pub fn forget_times(&mut self) {
        self.each_throttle(Throttle::forget_times);
    }

    /// Endpoints whose throttle has ended are backlogged.
    pub fn end_throttles(&mut self, now: Timestamp, is_in_flight: impl Fn(&Uuid) -> bool) {
        for endpoint in self.endpoints.values_mut() {
            if let State::Throttled(throttle) = endpoint.state
                && throttle.ends_at(&is_in_flight).is_some_and(|at| at <= now)
            {
                endpoint.state = State::Backlogged;
            }
        }
    }

    /// When the next throttle ends, of those that do not wait for a delivery.
    pub fn next_end_of_throttle(&self, is_in_flight: impl Fn(&Uuid) -> bool) -> Option<Timestamp> {
        self.throttles().filter_map(|(_, throttle)| throttle.ends_at(&is_in_flight)).min()
    }
}
