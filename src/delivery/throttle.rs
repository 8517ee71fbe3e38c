//! Which endpoints have to wait though more of theirs is due: because their deliveries go out one at a time, or only so many a
//! second, or because they cannot be reached?

use std::collections::HashMap;

use uuid::Uuid;

use super::outcome::Outcome;
use super::queue_row::{DueDelivery, Position};

/// Endpoints that may have many a second get those of so many microseconds at once: a reading for each would cost more than it is worth.
const AT_ONCE: i64 = 50_000;

/// An endpoint that rests. The reading leaves it out.
#[derive(Clone, Copy)]
pub struct Throttle {
    pub auction_id: Uuid,
    /// Where the reading of it goes on.
    pub position: Position,
    /// The delivery that has to be recorded before the next one goes out. Of an endpoint whose deliveries go out in their order
    /// none may be sent twice after the one that follows it, also if the process is killed in between. Of one that could not be
    /// reached it shows whether it can be again.
    delivery: Option<Uuid>,
    /// When a delivery that has failed may be tried again, in Postgres microseconds; those behind it wait with it.
    retry_at: i64,
    /// When it has had no more than its number a second, or was left alone for long enough.
    paced_until: i64,
    /// What a delivery takes of a second by the endpoint's limit, in microseconds; 0 where it is not limited.
    spacing: i64,
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

    /// This row's delivery has to wait, and all behind it.
    pub fn until_retry(&mut self, row: &DueDelivery, retry_at: i64) {
        let rest = self.entry(row);
        (rest.position, rest.retry_at) = (row.position.before(), retry_at);
    }

    /// This row's delivery goes out. What rest its endpoint takes after it, which may be one that is only tried.
    pub fn after(&mut self, row: &DueDelivery, is_trial: bool, now: i64) {
        if !row.terms.ordered && !is_trial && row.terms.spacing == 0 {
            return;
        }
        let rest = self.entry(row);
        // A delivery of an ordered one that fails stays where it is.
        rest.position = if row.terms.ordered { row.position.before() } else { row.position };
        if row.terms.ordered || is_trial {
            rest.delivery = Some(row.position.delivery_id);
        }
        if row.terms.spacing > 0 {
            rest.paced_until = rest.paced_until.max(now) + row.terms.spacing;
            rest.spacing = row.terms.spacing;
        }
    }

    /// The endpoint could not be reached, and is to be left alone until then.
    pub fn leave_alone(&mut self, outcome: &Outcome, position: Position, until: i64) {
        let rest = self.0.entry(outcome.key.endpoint_id).or_insert(Throttle::at(outcome.key.auction_id, position));
        rest.paced_until = rest.paced_until.max(until);
    }

    /// Whether the endpoint rests, and not because of this delivery.
    pub fn is_because_of_another(&self, endpoint_id: &Uuid, delivery_id: &Uuid) -> bool {
        self.0.get(endpoint_id).is_some_and(|rest| rest.delivery != Some(*delivery_id))
    }

    /// Rows of an endpoint have come behind the place that the reading of it has got to. False where it does not rest.
    pub fn include(&mut self, endpoint_id: &Uuid, position: Position) -> bool {
        let rest = self.0.get_mut(endpoint_id);
        rest.map(|rest| rest.position = rest.position.min(position)).is_some()
    }

    fn entry(&mut self, row: &DueDelivery) -> &mut Throttle {
        self.0.entry(row.endpoint_id).or_insert(Throttle::at(row.auction_id, row.position))
    }

    /// Whether nothing more of an endpoint may be taken in this reading.
    pub fn has_enough(&self, endpoint_id: &Uuid, now: i64) -> bool {
        self.0.get(endpoint_id).is_some_and(|rest| {
            rest.delivery.is_some() || rest.retry_at > now || rest.paced_until.saturating_sub(now) >= AT_ONCE
        })
    }

    /// The delivery is tried again then.
    pub fn retried(&mut self, endpoint_id: &Uuid, delivery_id: &Uuid, retry_at: i64) {
        if let Some(rest) = self.0.get_mut(endpoint_id).filter(|rest| rest.delivery == Some(*delivery_id)) {
            rest.retry_at = retry_at;
        }
    }

    /// It is looked anew what is to be read of an endpoint: its rest is over.
    pub fn end(&mut self, endpoint_id: &Uuid) {
        self.0.remove(endpoint_id);
    }

    /// Rows have come behind the places that the reading has got to. From the start, what was to wait may go out now.
    pub fn rewind_to(&mut self, place: Position) {
        for rest in self.0.values_mut() {
            rest.position = rest.position.min(place);
            if place == Position::START {
                rest.retry_at = i64::MIN;
            }
        }
    }

    /// Endpoints that wait because of their limit.
    pub fn rate_limited(&self) -> impl Iterator<Item = &Uuid> {
        self.0.iter().filter(|(_, rest)| rest.spacing > 0).map(|(endpoint_id, _)| endpoint_id)
    }

    /// The endpoint's limit may be another now. What it waits for is counted by that.
    pub fn set_rate_limit(&mut self, endpoint_id: &Uuid, spacing: i64) {
        if let Some(rest) = self.0.get_mut(endpoint_id) {
            rest.paced_until = rest.paced_until.saturating_add(spacing - rest.spacing);
            rest.spacing = spacing;
        }
    }

    /// The clock was set back, so the times kept here lie too far ahead. An endpoint may get a delivery early; when a failed
    /// one may be tried again is in its row.
    pub fn forget_times(&mut self) {
        for rest in self.0.values_mut() {
            (rest.retry_at, rest.paced_until) = (i64::MIN, i64::MIN);
        }
    }

    /// Takes out those whose rest is over.
    pub fn rested(&mut self, now: i64, is_under_way: impl Fn(&Uuid) -> bool) -> Vec<(Uuid, Throttle)> {
        self.0.extract_if(|_, rest| rest.ends_at(&is_under_way).is_some_and(|at| at <= now)).collect()
    }

    /// When the next rest is over, of those that need not wait for a delivery.
    pub fn next_end(&self, is_under_way: impl Fn(&Uuid) -> bool) -> Option<i64> {
        self.0.values().filter_map(|rest| rest.ends_at(&is_under_way)).min()
    }
}

impl Throttle {
    fn at(auction_id: Uuid, position: Position) -> Self {
        Self { auction_id, position, delivery: None, retry_at: i64::MIN, paced_until: i64::MIN, spacing: 0 }
    }

    /// `None` while its delivery is under way.
    fn ends_at(&self, is_under_way: impl Fn(&Uuid) -> bool) -> Option<i64> {
        let waits = self.delivery.is_some_and(|delivery| is_under_way(&delivery));
        (!waits).then(|| self.retry_at.max(self.paced_until))
    }
}
