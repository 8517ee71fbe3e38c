//! Jobs and attempts: an attempt before and after it is made.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::{Failure, RetrySchedule, SigningKey, Timing};

/// Identifies an attempt of a delivery. It passes through the pool unchanged, so that the submitter
/// finds the delivery again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryKey {
    /// The webhook_id: the same in every attempt.
    pub delivery_id: Uuid,
    /// The endpoint that the job is for.
    pub endpoint_id: Uuid,
    /// The auction of event and endpoint.
    pub auction_id: Uuid,
    /// The row that the event is about: jobs of one endpoint and one row run one after the other,
    /// in the order of their submission.
    pub row_id: Option<Uuid>,
    /// The number of the attempt, from 1.
    pub attempt: u16,
    // The pool does not read the following fields.
    /// The delivered event.
    pub event_id: Uuid,
    /// Attempts made before the delivery was redelivered: its schedule begins after them.
    pub earlier_attempts: u16,
    /// When the job was due.
    pub due_at: i64,
    /// Sent by `test_webhook()`: one attempt only.
    pub is_test: bool,
}

/// An attempt to be made. The thread that makes it owns the job, and needs and shares nothing else.
#[derive(Clone)]
pub struct Job {
    /// Which attempt of which delivery.
    pub key: DeliveryKey,
    /// The type of the event.
    pub event_type: String,
    /// When the event happened. It is part of the body, so it is the same in every attempt.
    pub occurred_at: SystemTime,
    /// JSON text. It goes into the body as it is, neither parsed nor formatted.
    pub data: String,
    /// Where the request goes.
    pub destination: Arc<Destination>,
    /// The time limit of the whole request: name look-up, connection, TLS, response.
    pub timeout: Duration,
}

/// Where and how an endpoint's deliveries are sent; shared by all jobs that were read with it.
#[derive(Clone, Default)]
pub struct Destination {
    /// The normal form of the endpoint's URL.
    pub url: String,
    /// The secrets that sign requests: the current one first, then those that receivers may still
    /// use to verify. Empty only in an attempt that another process has made.
    pub secrets: Vec<String>,
    /// The keys of the asymmetric `webhook-signature`, newest first. If empty, the secrets make
    /// that signature.
    pub signing_keys: Vec<SigningKey>,
    /// The customer's headers, checked by `check_header`.
    pub headers: Vec<(String, String)>,
    /// The endpoint's retry schedule; `None` for the default one.
    pub retry_schedule: Option<RetrySchedule>,
    /// Strict order: a failed delivery keeps its position before the following ones. Only the
    /// submitter reads it.
    pub ordered: bool,
}

impl fmt::Debug for Destination {
    /// Omits secrets, keys and headers, which would otherwise get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").field("url", &self.url).finish_non_exhaustive()
    }
}

impl fmt::Debug for Job {
    /// Omits the secret and the data, which would otherwise get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("key", &self.key).field("event_type", &self.event_type).finish_non_exhaustive()
    }
}

/// How an attempt ended.
#[derive(Debug)]
pub struct Attempt {
    /// Which attempt of which delivery.
    pub key: DeliveryKey,
    /// The type of the event.
    pub event_type: String,
    /// When the request started.
    pub started_at: SystemTime,
    /// How long the request took.
    pub duration: Duration,
    /// How long the parts of the request took.
    pub timing: Timing,
    /// The status of a 2xx response, or why the attempt failed.
    pub result: Result<u16, Failure>,
    /// The beginning of the response to a failed attempt: at most 1 KiB of valid UTF-8 without NUL.
    pub response_excerpt: Option<String>,
    /// The `Retry-After` of a failed attempt.
    pub retry_after: Option<Duration>,
    /// The destination of the job.
    pub destination: Arc<Destination>,
}
