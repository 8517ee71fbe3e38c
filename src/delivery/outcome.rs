//! Outcomes: the result of an attempt, or why there was none.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::error_kind::ErrorKind;
use crate::timestamp::Timestamp;
use webhook_sender::{Attempt, DeliveryKey, Failure, RetryPolicy, Timing};

impl From<EndReason> for ErrorKind {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::PayloadTooLarge { .. } => Self::PayloadTooLarge,
            EndReason::NoSecret => Self::NoSecret,
            EndReason::EndpointDeleted => Self::EndpointDeleted,
            EndReason::EventDeleted => Self::EventDeleted,
            EndReason::Expired => Self::Expired,
            EndReason::Cancelled => Self::Cancelled,
        }
    }
}

/// Why a delivery ends without another request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    EndpointDeleted,
    EventDeleted,
    /// Its event is older than the retention.
    Expired,
    Cancelled,
    NoSecret,
    PayloadTooLarge {
        bytes: i32,
        limit: i32,
    },
}

impl EndReason {
    /// Of the column `end_reason` of the queue.
    pub fn of_queue(reason: &str) -> Self {
        match reason {
            "expired" => Self::Expired,
            "event_deleted" => Self::EventDeleted,
            _ => Self::Cancelled,
        }
    }

    /// Whether the end is intended, so that it is no failure of the endpoint.
    pub fn is_wanted(self) -> bool {
        match self {
            Self::EndpointDeleted | Self::EventDeleted | Self::Expired | Self::Cancelled => true,
            Self::NoSecret | Self::PayloadTooLarge { .. } => false,
        }
    }
}

impl Display for EndReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndpointDeleted => f.write_str("the endpoint was deleted"),
            Self::EventDeleted => f.write_str("the event was deleted"),
            Self::Expired => f.write_str("expired"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::NoSecret => f.write_str("the endpoint has no secret"),
            Self::PayloadTooLarge { bytes, limit } => {
                write!(f, "the payload has {bytes} bytes, and webhook_delivery.max_payload allows {limit}")
            }
        }
    }
}

/// A row of the log, and the change of the row in the queue.
pub struct Outcome {
    pub key: DeliveryKey,
    pub event_type: String,
    pub response_status_code: Option<i16>,
    /// `None` if no request was made.
    pub response_time_ms: Option<i32>,
    pub error_kind: Option<ErrorKind>,
    pub error_message: Option<String>,
    pub response_excerpt: Option<String>,
    pub attempted_at: Timestamp,
    /// The time of the next attempt; `None` if there is none.
    pub next_attempt_at: Option<Timestamp>,
    /// If set, the row keeps its position in the queue until this time, and the endpoint's later
    /// deliveries wait behind it.
    pub keeps_position: bool,
    /// There was no connection.
    pub is_unreachable: bool,
    /// Why no request was made; `None` if one was.
    pub end_reason: Option<EndReason>,
    pub timing: Timing,
}

impl Outcome {
    pub fn of(attempt: Attempt, policy: &RetryPolicy) -> Self {
        let key = attempt.key;
        let attempted_at = Timestamp::from(attempt.started_at);
        let (status, failure) = match attempt.result {
            Ok(status) => (Some(status), None),
            Err(failure) => (failure.status(), Some(failure)),
        };
        let delay = match failure {
            Some(_) if !key.is_test => {
                let own = attempt.destination.retry_schedule.as_ref();
                policy.delay_after(
                    key.attempt.saturating_sub(key.earlier_attempts),
                    own,
                    attempt.retry_after,
                    fastrand::f64(),
                )
            }
            _ => None,
        };
        Self {
            key,
            event_type: attempt.event_type,
            response_status_code: status.map(|status| status as i16),
            response_time_ms: Some(milliseconds(attempt.duration)),
            is_unreachable: failure.as_ref().is_some_and(Failure::is_unreachable),
            error_kind: failure.as_ref().map(ErrorKind::from),
            error_message: failure.map(|failure| failure.to_string()),
            response_excerpt: attempt.response_excerpt,
            attempted_at,
            next_attempt_at: delay.map(|delay| attempted_at + attempt.duration + delay),
            keeps_position: attempt.destination.ordered,
            end_reason: None,
            timing: attempt.timing,
        }
    }

    /// The end of a delivery without another request.
    pub fn without_request(key: DeliveryKey, event_type: String, reason: EndReason) -> Self {
        Self {
            key,
            event_type,
            response_status_code: None,
            response_time_ms: None,
            error_kind: Some(reason.into()),
            error_message: Some(reason.to_string()),
            response_excerpt: None,
            attempted_at: Timestamp::now(),
            next_attempt_at: None,
            keeps_position: false,
            is_unreachable: false,
            end_reason: Some(reason),
            timing: Timing::default(),
        }
    }
}

/// A duration in the log's unit.
pub fn milliseconds(time: Duration) -> i32 {
    time.as_millis().try_into().unwrap_or(i32::MAX)
}
