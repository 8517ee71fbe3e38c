//! One attempt, before it is made and after.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::{Failure, RetrySchedule, Timing};

/// Which attempt of which delivery. It goes through the pool unchanged, so that the submitter finds the delivery again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryKey {
    /// The webhook_id: the same in every attempt.
    pub delivery_id: Uuid,
    /// The endpoint that the job is for.
    pub endpoint_id: Uuid,
    /// The auction of event and endpoint.
    pub auction_id: Uuid,
    /// The row that the event is about: jobs of one endpoint and one row run one after the other, in the order of their submission.
    pub row_id: Option<Uuid>,
    /// 1 for the first.
    pub attempt: u16,
    // The pool does not read what follows.
    /// What is delivered.
    pub event_id: Uuid,
    /// Attempts made before the delivery was sent again: its schedule begins after them.
    pub earlier_attempts: u16,
    /// When the job was due.
    pub due_at: i64,
    /// Sent by `test_webhook()`: one attempt only.
    pub is_test: bool,
}

/// An attempt to be made. The thread that makes it gets it by value, needs nothing else and shares nothing.
#[derive(Clone)]
pub struct Job {
    /// Which attempt of which delivery.
    pub key: DeliveryKey,
    /// The type of the event.
    pub event_type: String,
    /// When the event happened; part of the body, and so the same in every attempt.
    pub occurred_at: SystemTime,
    /// JSON text. Goes into the body as it is, neither parsed nor written again.
    pub data: String,
    /// Where it goes.
    pub destination: Arc<Destination>,
    /// The time limit of the whole request: name look-up, connection, TLS, response.
    pub timeout: Duration,
}

/// Where an endpoint's deliveries go, and how; shared by all jobs that were read with it.
#[derive(Clone, Default)]
pub struct Destination {
    /// The normal form of the endpoint's URL.
    pub url: String,
    /// The secrets that requests are signed with: the current one first, then those that receivers may still verify with. Empty only in
    /// an attempt that another process has made.
    pub secrets: Vec<String>,
    /// The customer's headers, checked by `check_header`.
    pub headers: Vec<(String, String)>,
    /// The endpoint's retry schedule; `None` for the default one.
    pub retry_schedule: Option<RetrySchedule>,
    /// Strict order: a failed delivery keeps its position before those that follow. Only the submitter reads it.
    pub ordered: bool,
}

impl fmt::Debug for Destination {
    /// Without secrets and headers, which would end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").field("url", &self.url).finish_non_exhaustive()
    }
}

impl fmt::Debug for Job {
    /// Without the secret and the data, which would end up in a log.
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
    /// From the start of the request to its end.
    pub duration: Duration,
    /// Where that time went.
    pub timing: Timing,
    /// The status of a 2xx response, or why it was not one.
    pub result: Result<u16, Failure>,
    /// The beginning of the response to a failed attempt: at most 1 KiB of valid UTF-8 without NUL.
    pub response_excerpt: Option<String>,
    /// The `Retry-After` of a failed attempt.
    pub retry_after: Option<Duration>,
    /// The job's.
    pub destination: Arc<Destination>,
}
