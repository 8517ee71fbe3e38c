//! Spreads many deliveries over time, so that new ones do not wait behind them.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use crate::postgres::settings;
use crate::timestamp::Timestamp;

/// The deliveries of this time, in microseconds, come due together: a turn of the worker for each
/// would cost more than it is worth.
const STEP: u64 = 50_000;

/// Spreads the deliveries of each endpoint over time.
pub struct Pacing {
    start: Timestamp,
    placed: HashMap<Uuid, u64>,
}

impl Pacing {
    /// The first of each endpoint is due at this moment.
    pub fn from(start: Timestamp) -> Self {
        Self { start, placed: HashMap::new() }
    }

    /// When the next one of this endpoint is due.
    pub fn next(&mut self, endpoint_id: Uuid) -> Timestamp {
        let place = self.placed.entry(endpoint_id).or_default();
        let after = *place * spacing().unsigned_abs();
        *place += 1;
        self.start + Duration::from_micros(after - after % STEP)
    }
}

/// Microseconds from one to the next.
pub fn spacing() -> i64 {
    1_000_000_i64.checked_div(settings::redeliveries_per_second().into()).unwrap_or(0)
}
