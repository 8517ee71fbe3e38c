//! The settings, as the rest of the code reads them.

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use pgrx::guc::GucSetting;
use pgrx::prelude::*;
use webhook_sender::{RetryPolicy, Rules};

mod definitions;

pub use definitions::{check, define};

use definitions::{
    ALLOW_HTTP, ALLOWED_NETWORKS, ALLOWED_PORTS, CA_FILE, CAPTURE, DATABASES, DENIED_NETWORKS, DISABLE_AFTER,
    DISABLE_AFTER_FAILURES, MAX_PAYLOAD, ON_CAPTURE_ERROR, POLL_INTERVAL, POOL_SIZE, REQUEST_TIMEOUT,
    RESEND_PER_SECOND, RESENDS_PER_MINUTE, RETENTION, RETRY_AFTER_LIMIT, RETRY_SCHEDULE, ROLE,
};

/// What becomes of a transaction whose event cannot be built.
#[derive(PostgresGucEnum, Clone, Copy, PartialEq, Eq)]
pub enum OnCaptureError {
    /// It commits without the event; a WARNING and a row of `capture_errors` say so.
    #[name = c"warn"]
    Warn,
    /// It fails.
    #[name = c"error"]
    Error,
}

pub fn text(setting: &GucSetting<Option<CString>>) -> String {
    setting.get().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The databases to work in, in the order given.
pub fn databases() -> Vec<String> {
    let list = text(&DATABASES);
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

pub fn pool_size() -> usize {
    POOL_SIZE.get().unsigned_abs() as usize
}

pub fn request_timeout() -> Duration {
    Duration::from_millis(REQUEST_TIMEOUT.get().unsigned_abs().into())
}

/// When what failed is tried again; the check hook has seen every schedule that can be set.
pub fn retry_policy() -> RetryPolicy {
    RetryPolicy {
        schedule: text(&RETRY_SCHEDULE).parse().unwrap_or_default(),
        retry_after_limit: Duration::from_secs(RETRY_AFTER_LIMIT.get().unsigned_abs().into()),
    }
}

/// When an endpoint that fails is disabled. 0 stands for never.
pub struct DisablePolicy {
    pub after_failures: i32,
    pub after: Duration,
}

pub fn disable_policy() -> DisablePolicy {
    let after = Duration::from_secs(DISABLE_AFTER.get().unsigned_abs().into());
    DisablePolicy { after_failures: DISABLE_AFTER_FAILURES.get(), after }
}

pub fn poll_interval() -> Duration {
    Duration::from_millis(POLL_INTERVAL.get().unsigned_abs().into())
}

/// How long events are kept; `None` for ever.
pub fn retention() -> Option<Duration> {
    let seconds = RETENTION.get().unsigned_abs();
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Deliveries of an auction that tenants send again within a minute at most.
pub fn redeliveries_per_minute() -> i64 {
    RESENDS_PER_MINUTE.get().into()
}

/// Of one endpoint; 0 for all at once.
pub fn redeliveries_per_second() -> i32 {
    RESEND_PER_SECOND.get()
}

pub fn capture() -> bool {
    CAPTURE.get()
}

/// Bytes.
pub fn max_payload() -> i32 {
    MAX_PAYLOAD.get() * 1024
}

pub fn on_capture_error() -> OnCaptureError {
    ON_CAPTURE_ERROR.get()
}

/// The role as which the worker acts.
pub fn role() -> CString {
    ROLE.get().unwrap_or_default()
}

/// Where requests may go; the check hooks have seen every value that can be set.
pub fn rules() -> Rules {
    Rules {
        allow_http: ALLOW_HTTP.get(),
        ports: text(&ALLOWED_PORTS).parse().unwrap_or_default(),
        networks: text(&ALLOWED_NETWORKS).parse().unwrap_or_default(),
        denied: text(&DENIED_NETWORKS).parse().unwrap_or_default(),
    }
}

pub fn ca_file() -> Option<PathBuf> {
    let path = text(&CA_FILE);
    (!path.is_empty()).then(|| path.into())
}
