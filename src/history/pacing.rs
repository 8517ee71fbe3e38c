//! Pacing: spreads many deliveries over time, so that new ones do not wait behind them.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use crate::postgres::settings;
use crate::timestamp::Timestamp;

/// The deliveries within this time, in microseconds, become due together, because a cycle of the
/// worker for each delivery would cost too much.
const STEP: u64 = 50_000;

/// Spreads the deliveries of each endpoint over time.
pub struct Pacing {
    start: Timestamp,
    counts: HashMap<Uuid, u64>,
}

impl Pacing {
    /// The first delivery of each endpoint is due at `start`.
    pub fn from(start: Timestamp) -> Self {
        Self { start, counts: HashMap::new() }
    }

    /// When the next delivery of this endpoint is due.
    pub fn next(&mut self, endpoint_id: Uuid) -> Timestamp {
        let count = self.counts.entry(endpoint_id).or_default();
        let after = *count * spacing().unsigned_abs();
        *count += 1;
        self.start + Duration::from_micros(after - after % STEP)
    }
}

/// Microseconds between two deliveries of an endpoint.
pub fn spacing() -> i64 {
    1_000_000_i64.checked_div(settings::redeliveries_per_second().into()).unwrap_or(0)
}
