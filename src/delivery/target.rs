//! The target of a delivery: its endpoint, as far as the worker needs it.

use std::sync::Arc;
use std::time::Duration;

use pgrx::datum::Interval;
use pgrx::spi::{SpiHeapTupleData, SpiResult};
use uuid::Uuid;
use webhook_sender::{Destination, RetrySchedule};

use super::columns::required;
use crate::endpoint::headers_in;
use crate::endpoint::stored_secrets::{self, KeyFile, Secrets};
use crate::ids::id;

/// How deliveries are sent to an endpoint.
#[derive(Clone, Copy, Default)]
pub struct Terms {
    /// One at a time, in order.
    pub ordered: bool,
    /// Microseconds from one delivery to the next by its rate limit; 0 without one.
    pub spacing: Duration,
}

/// An endpoint, as far as its deliveries need it.
pub struct Target {
    pub auction_id: Uuid,
    pub is_active: bool,
    /// Paused by the operator, or because of its secret; then it receives no tests either.
    pub is_paused: bool,
    /// Why its secret cannot be decrypted.
    pub secret_problem: Option<String>,
    pub terms: Terms,
    /// `None` if it has no secret.
    pub destination: Option<Arc<Destination>>,
}

impl Target {
    /// The endpoint's id and the rest of a row of `targets.sql`.
    /// Raises an error if the key file cannot be read: then nothing is sent until it can.
    pub fn from_row(row: &SpiHeapTupleData<'_>, keys: &KeyFile) -> SpiResult<(Uuid, Self)> {
        let endpoint_id = id(required(row.get(1)?));
        let url = required(row.get(4)?);
        let (secrets, secret_problem) = match stored_secrets::in_row(row, 5, endpoint_id, keys)? {
            Ok(secrets) => (secrets, None),
            Err(problem) if problem.is_of_one_endpoint() => (None, Some(problem.to_string())),
            Err(problem) => problem.raise(),
        };
        let headers = headers_in(row.get(8)?);
        let waits = row.get::<Vec<Interval>>(9)?;
        let retry_schedule = waits.map(|waits| RetrySchedule::of_waits(waits.iter().map(duration)));
        let ordered = required(row.get(10)?);
        let spacing = row.get::<f32>(11)?.map_or(Duration::ZERO, |per_second| {
            Duration::try_from_secs_f32(1.0 / per_second).unwrap_or(Duration::MAX)
        });
        let destination = |Secrets { secrets, signing_keys }| {
            Arc::new(Destination { url, secrets, signing_keys, headers, retry_schedule, ordered })
        };
        let target = Self {
            auction_id: id(required(row.get(2)?)),
            is_active: required(row.get(3)?),
            is_paused: required::<bool>(row.get(12)?) || secret_problem.is_some(),
            secret_problem,
            terms: Terms { ordered, spacing },
            destination: secrets.map(destination),
        };
        Ok((endpoint_id, target))
    }

    /// Whether it receives anything but tests.
    pub fn receives(&self) -> bool {
        self.is_active && !self.is_paused
    }
}

/// The length of a wait, which is not negative.
fn duration(wait: &Interval) -> Duration {
    Duration::from_micros(u64::try_from(wait.as_micros()).unwrap_or(0))
}
