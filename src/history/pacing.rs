//! Spreads many deliveries over time, so that new ones do not wait behind them.

use std::collections::HashMap;

use uuid::Uuid;

use crate::postgres::settings;

/// Those of so many microseconds come due together: a turn of the worker for each would cost more than it is worth.
const TOGETHER: i64 = 50_000;

/// Spreads the deliveries of each endpoint over time.
pub struct Pacing {
    start: i64,
    placed: HashMap<Uuid, i64>,
}

impl Pacing {
    /// The first of each endpoint is due at this moment, in Postgres microseconds.
    pub fn from(start: i64) -> Self {
        Self { start, placed: HashMap::new() }
    }

    /// When the next one of this endpoint is due.
    pub fn next(&mut self, endpoint_id: Uuid) -> i64 {
        let place = self.placed.entry(endpoint_id).or_default();
        let after = *place * spacing();
        *place += 1;
        self.start + after - after % TOGETHER
    }
}

/// Microseconds from one to the next.
pub fn spacing() -> i64 {
    1_000_000_i64.checked_div(settings::resend_per_second().into()).unwrap_or(0)
}
