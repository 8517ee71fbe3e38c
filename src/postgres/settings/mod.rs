//! The settings, as the rest of the code reads them.

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use pgrx::guc::GucSetting;
use pgrx::prelude::*;
use webhook_sender::{Connections, ProxyConfig, RetryPolicy, Rules, TlsFiles};

mod connections;
mod definitions;

pub use definitions::check;

use connections::{
    ALLOW_HTTP, ALLOWED_NETWORKS, ALLOWED_PORTS, CA_FILE, CLIENT_CERTIFICATE_FILE, CLIENT_KEY_FILE, DENIED_NETWORKS,
    NO_PROXY, PROXY, PROXY_CREDENTIALS_FILE, SECRET_KEY_FILE,
};
use definitions::{
    CAPTURE, DATABASES, DISABLE_AFTER, DISABLE_AFTER_FAILURES, MAX_PAYLOAD, ON_CAPTURE_ERROR, POLL_INTERVAL, POOL_SIZE,
    RECORD_ALL_EVENTS, REDELIVERIES_PER_MINUTE, REDELIVERIES_PER_SECOND, REQUEST_TIMEOUT, RETENTION, RETRY_AFTER_LIMIT,
    RETRY_SCHEDULE, ROLE,
};

/// What happens to a transaction whose event cannot be built.
#[derive(PostgresGucEnum, Clone, Copy, PartialEq, Eq)]
pub enum OnCaptureError {
    /// It commits without the event; a WARNING and a row of `capture_errors` report this.
    #[name = c"warn"]
    Warn,
    /// It fails.
    #[name = c"error"]
    Error,
}

/// Defines the settings. Called once, while the server loads the library, after those of other
/// modules are defined.
pub fn define() {
    definitions::define();
    connections::define();
    // SAFETY: a NUL-terminated literal. From here on a misspelt webhook_delivery.* setting is an
    // error, not silently ignored.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"webhook_delivery".as_ptr()) };
}

pub fn text(setting: &GucSetting<Option<CString>>) -> String {
    setting.get().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The databases that get a worker, in the order of the setting.
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

/// When a failed delivery is retried. The check hook has validated the schedule.
pub fn retry_policy() -> RetryPolicy {
    RetryPolicy {
        schedule: text(&RETRY_SCHEDULE).parse().unwrap_or_default(),
        retry_after_limit: Duration::from_secs(RETRY_AFTER_LIMIT.get().unsigned_abs().into()),
    }
}

/// When a failing endpoint is disabled. 0 stands for never.
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

/// How long events are kept; `None` for no limit.
pub fn retention() -> Option<Duration> {
    let seconds = RETENTION.get().unsigned_abs();
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Maximum number of deliveries of an auction that tenants may redeliver within a minute.
pub fn redeliveries_per_minute() -> i64 {
    REDELIVERIES_PER_MINUTE.get().into()
}

/// Maximum number of redeliveries of one endpoint that become due within a second; 0 for all at
/// once.
pub fn redeliveries_per_second() -> i32 {
    REDELIVERIES_PER_SECOND.get()
}

pub fn capture() -> bool {
    CAPTURE.get()
}

/// In bytes.
pub fn max_payload() -> i32 {
    MAX_PAYLOAD.get() * 1024
}

/// Whether events that no endpoint wants are written too.
pub fn record_all_events() -> bool {
    RECORD_ALL_EVENTS.get()
}

pub fn on_capture_error() -> OnCaptureError {
    ON_CAPTURE_ERROR.get()
}

/// The role that the worker acts as.
pub fn role() -> CString {
    ROLE.get().unwrap_or_default()
}

/// Where requests may go. The check hooks have validated the values.
pub fn rules() -> Rules {
    Rules {
        allow_http: ALLOW_HTTP.get(),
        ports: text(&ALLOWED_PORTS).parse().unwrap_or_default(),
        networks: text(&ALLOWED_NETWORKS).parse().unwrap_or_default(),
        denied: text(&DENIED_NETWORKS).parse().unwrap_or_default(),
    }
}

/// The file of an optional setting.
fn file(setting: &GucSetting<Option<CString>>) -> Option<PathBuf> {
    Some(text(setting)).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The file with the keys that encrypt secrets; `None` if they are not encrypted.
pub fn secret_key_file() -> Option<PathBuf> {
    file(&SECRET_KEY_FILE)
}

/// How connections are made. The check hooks have validated the texts.
pub fn connections() -> Connections {
    let proxy = text(&PROXY).parse().ok().map(|url| ProxyConfig {
        url,
        credentials_file: file(&PROXY_CREDENTIALS_FILE),
        no_proxy: text(&NO_PROXY).parse().unwrap_or_default(),
    });
    let tls = TlsFiles {
        ca: file(&CA_FILE),
        client_certificate: file(&CLIENT_CERTIFICATE_FILE),
        client_key: file(&CLIENT_KEY_FILE),
    };
    Connections { tls, proxy }
}
