//! The definitions of the settings: name, description, unit, default, bounds, and who may change
//! each setting and when.

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;
use webhook_sender::{InvalidProxyUrl, Networks, NoProxy, Ports, ProxyUrl, RetrySchedule};

use super::OnCaptureError;

pub static DATABASES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"postgres"));
pub static POOL_SIZE: GucSetting<i32> = GucSetting::<i32>::new(64);
pub static REQUEST_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(30_000);
pub static RETRY_SCHEDULE: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"1m, 5m, 30m, 2h, 12h"));
pub static RETRY_AFTER_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(3600);
pub static DISABLE_AFTER_FAILURES: GucSetting<i32> = GucSetting::<i32>::new(10);
pub static DISABLE_AFTER: GucSetting<i32> = GucSetting::<i32>::new(5 * 24 * 3600);
pub static POLL_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(1_000);
pub static CAPTURE: GucSetting<bool> = GucSetting::<bool>::new(true);
pub static MAX_PAYLOAD: GucSetting<i32> = GucSetting::<i32>::new(256);
pub static RECORD_ALL_EVENTS: GucSetting<bool> = GucSetting::<bool>::new(false);
pub static ON_CAPTURE_ERROR: GucSetting<OnCaptureError> = GucSetting::<OnCaptureError>::new(OnCaptureError::Warn);
pub static ACCESS_FUNCTION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static ROLE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"webhook_delivery_worker"));
pub static MAX_ENDPOINTS: GucSetting<i32> = GucSetting::<i32>::new(50);
pub static TESTS_PER_MINUTE: GucSetting<i32> = GucSetting::<i32>::new(60);
pub static RETENTION: GucSetting<i32> = GucSetting::<i32>::new(30 * 24 * 3600);
pub static REDELIVERIES_PER_MINUTE: GucSetting<i32> = GucSetting::<i32>::new(10_000);
pub static BUSY_EVENTS_PER_MINUTE: GucSetting<i32> = GucSetting::<i32>::new(1_000);
pub static REDELIVERIES_PER_SECOND: GucSetting<i32> = GucSetting::<i32>::new(100);
pub static ALLOW_HTTP: GucSetting<bool> = GucSetting::<bool>::new(false);
pub static ALLOWED_PORTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"80, 443"));
pub static ALLOWED_NETWORKS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static DENIED_NETWORKS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static CA_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static CLIENT_CERTIFICATE_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static PROXY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static PROXY_CREDENTIALS_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static NO_PROXY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static CLIENT_KEY_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// The address of a proxy, or no text.
struct ProxyOrNone;

impl FromStr for ProxyOrNone {
    type Err = InvalidProxyUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self) } else { text.parse::<ProxyUrl>().map(|_| Self) }
    }
}

/// Defines the settings. Called once, while the server loads the library, after those of other
/// modules are defined.
pub fn define() {
    define_worker();
    define_capture();
    define_tenants();
    define_addresses();
    // SAFETY: a NUL-terminated literal. From here on a misspelt webhook_delivery.* setting is an
    // error, not silently ignored.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"webhook_delivery".as_ptr()) };
}

/// Settings of the worker: what it does, and how it sends.
fn define_worker() {
    GucRegistry::define_string_guc(
        c"webhook_delivery.databases",
        c"Sets the databases in which a worker delivers webhooks.",
        c"Comma-separated names, at most 64. A worker starts when the database exists, and sends when it has the extension.",
        &DATABASES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"webhook_delivery.role",
        c"Sets the role as which the worker acts.",
        c"CREATE EXTENSION creates the role if it does not exist. webhook_delivery.grant_worker() grants another role the privileges.",
        &ROLE,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.pool_size",
        c"Sets the maximum number of requests that a database's worker has in flight.",
        c"Each takes a thread. One endpoint alone may use three eighths of them and one auction half, and less if others are \
          busy too; endpoints that reach the time limit share a quarter.",
        &POOL_SIZE,
        2,
        1024,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.poll_interval",
        c"Sets the time after which an idle worker reads the queue without a wakeup.",
        c"A commit wakes the worker at once. COMMIT PREPARED (later or in another session) and DROP DATABASE do not.",
        &POLL_INTERVAL,
        10,
        60_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.request_timeout",
        c"Sets the maximum duration of a request: name look-up, connection, TLS and response.",
        c"",
        &REQUEST_TIMEOUT,
        10,
        600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_string_guc(
        c"webhook_delivery.ca_file",
        c"Sets a PEM file with certificate authorities to trust in addition to the system's.",
        c"Read when a worker starts.",
        &CA_FILE,
        GucContext::Postmaster,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"webhook_delivery.client_certificate_file",
        c"Sets a PEM file with the certificate, and its chain, for receivers that ask for a client certificate.",
        c"Read when a worker starts. Needs webhook_delivery.client_key_file.",
        &CLIENT_CERTIFICATE_FILE,
        GucContext::Postmaster,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"webhook_delivery.client_key_file",
        c"Sets the PEM file with the private key of webhook_delivery.client_certificate_file.",
        c"Read when a worker starts. Its mode must be 0600, or 0640 if root owns it.",
        &CLIENT_KEY_FILE,
        GucContext::Postmaster,
        GucFlags::SUPERUSER_ONLY,
    );
    define_proxy();
    GucRegistry::define_int_guc(
        c"webhook_delivery.retry_after_limit",
        c"Sets the longest wait that a receiver can request with Retry-After.",
        c"Retry-After lengthens the wait of the retry schedule and never shortens it. 0 ignores it.",
        &RETRY_AFTER_LIMIT,
        0,
        30 * 24 * 3600,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.disable_after_failures",
        c"Sets the number of deliveries in a row that have used up all of their attempts after which an endpoint is disabled.",
        c"0 turns this off.",
        &DISABLE_AFTER_FAILURES,
        0,
        1_000_000,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.disable_after",
        c"Sets the time in which attempts failed and none succeeded after which an endpoint is disabled.",
        c"0 turns this off.",
        &DISABLE_AFTER,
        0,
        366 * 24 * 3600,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.retention",
        c"Sets the time for which events and the history of deliveries are kept.",
        c"Deliveries that still wait for an attempt then fail. 0 keeps everything.",
        &RETENTION,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    // SAFETY: the check hook is guarded, so no panic passes it.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.retry_schedule",
            c"Sets the waiting times between the attempts of a delivery.",
            c"A list such as '1m, 5m, 30m, 2h, 12h': each failed attempt is followed by the next wait, and when none is left \
              the delivery has failed. Units: ms, s, m, h, d. If empty, there is one attempt.",
            &RETRY_SCHEDULE,
            GucContext::Sighup,
            GucFlags::default(),
            Some(check::<RetrySchedule>),
            None,
            None,
        );
    }
}

fn define_proxy() {
    // SAFETY: the check hooks are guarded, so no panic passes them.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.proxy",
            c"Sets the HTTP proxy through which receivers are called.",
            c"http://HOST:PORT. It is asked to connect (CONNECT) to an address that was looked up and checked here. Read when a worker starts. \
              If empty, receivers are called directly; environment variables such as https_proxy have no effect.",
            &PROXY,
            GucContext::Postmaster,
            GucFlags::SUPERUSER_ONLY,
            Some(check::<ProxyOrNone>),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.no_proxy",
            c"Sets hosts that are called without the proxy.",
            c"A list of names, which include their subdomains, addresses and networks, such as 'internal.example, 10.0.0.0/8'.",
            &NO_PROXY,
            GucContext::Postmaster,
            GucFlags::SUPERUSER_ONLY,
            Some(check::<NoProxy>),
            None,
            None,
        );
    }
    GucRegistry::define_string_guc(
        c"webhook_delivery.proxy_credentials_file",
        c"Sets a file with the line user:password for the proxy.",
        c"Read when a worker starts. Its mode must be 0600, or 0640 if root owns it.",
        &PROXY_CREDENTIALS_FILE,
        GucContext::Postmaster,
        GucFlags::SUPERUSER_ONLY,
    );
}

/// Settings of capture.
fn define_capture() {
    GucRegistry::define_bool_guc(
        c"webhook_delivery.capture",
        c"Captures changes of the application's tables as events.",
        c"Off is for a bulk load or a restore. It has effect only on tables of which the role that sets it has the owner's rights.",
        &CAPTURE,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.max_payload",
        c"Sets the maximum size of an event's data.",
        c"A delivery with larger data ends as failed, with that reason; data is never truncated.",
        &MAX_PAYLOAD,
        1,
        65_536,
        GucContext::Sighup,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_bool_guc(
        c"webhook_delivery.record_all_events",
        c"Writes events that no endpoint wants, too.",
        c"For a publication of webhook_delivery.events, and for replay_webhooks() to endpoints that do not exist yet.",
        &RECORD_ALL_EVENTS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"webhook_delivery.on_capture_error",
        c"Sets whether a transaction whose event cannot be built commits.",
        c"warn: the transaction commits without the event, which is recorded in webhook_delivery.capture_errors. error: it fails.",
        &ON_CAPTURE_ERROR,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// Settings for what tenants may do.
fn define_tenants() {
    GucRegistry::define_string_guc(
        c"webhook_delivery.access_function",
        c"Sets the function () returns setof uuid that returns the auctions that the caller administers.",
        c"Schema-qualified. It is called as the caller, because policies do not apply to the owner of a table. If empty: \
          webhook_delivery.auctions_of_member, which looks up the sub of request.jwt.claims in public.auction_members.",
        &ACCESS_FUNCTION,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.max_endpoints",
        c"Sets the maximum number of endpoints of an auction.",
        c"",
        &MAX_ENDPOINTS,
        1,
        10_000,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.tests_per_minute",
        c"Sets the maximum number of tests that an auction can send within a minute, to all of its endpoints.",
        c"",
        &TESTS_PER_MINUTE,
        1,
        100_000,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.redeliveries_per_minute",
        c"Sets the maximum number of deliveries that the administrators of an auction can redeliver within a minute.",
        c"Operators have no limit.",
        &REDELIVERIES_PER_MINUTE,
        1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.redeliveries_per_second",
        c"Sets the number of redelivered deliveries of an endpoint that become due each second.",
        c"New events then do not wait behind them. 0 makes all due at once.",
        &REDELIVERIES_PER_SECOND,
        0,
        100_000,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.busy_events_per_minute",
        c"Sets the number of events within a minute from which status and metrics show an auction as busy.",
        c"A receiver that causes another event for each event that it receives makes a loop. 0 shows none.",
        &BUSY_EVENTS_PER_MINUTE,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// Settings for where requests may go.
fn define_addresses() {
    GucRegistry::define_bool_guc(
        c"webhook_delivery.allow_http",
        c"Accepts endpoints with http:// URLs.",
        c"For development: without TLS, events can be read on the way.",
        &ALLOW_HTTP,
        GucContext::Sighup,
        GucFlags::default(),
    );
    // SAFETY: the check hook is guarded, so no panic passes it.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.allowed_ports",
            c"Sets the ports that URLs of endpoints may have.",
            c"A list of ports and ranges such as '80, 443, 8000-8999'.",
            &ALLOWED_PORTS,
            GucContext::Sighup,
            GucFlags::default(),
            Some(check::<Ports>),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.allowed_networks",
            c"Sets the networks, in addition to the public internet, to which requests may be sent.",
            c"A list of addresses and networks such as '10.1.0.0/16, ::1'. For development: users who write endpoints reach \
              all that the server reaches there.",
            &ALLOWED_NETWORKS,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
            Some(check::<Networks>),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.denied_networks",
            c"Sets the networks of the public internet to which no requests may be sent.",
            c"A list such as '198.51.100.0/24, 2001:db8::/32', for machines of your own that have public addresses. Takes \
              precedence over webhook_delivery.allowed_networks.",
            &DENIED_NETWORKS,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
            Some(check::<Networks>),
            None,
            None,
        );
    }
}

/// The check hook of a setting whose text must parse as a `T`; the reason why it does not becomes
/// the error's DETAIL.
///
/// # Safety
/// Called by guc.c: `new_value` points to a NUL-terminated text.
pub unsafe extern "C-unwind" fn check<T: FromStr<Err: Display>>(
    new_value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    let parse = || {
        // SAFETY: as the caller promises.
        let text = unsafe { CStr::from_ptr(*new_value) }.to_string_lossy();
        let Err(problem) = text.parse::<T>() else { return true };
        if let Ok(detail) = CString::new(problem.to_string()) {
            // SAFETY: guc.c frees and reads this text itself, so it must be a palloc'd copy in the
            // error context.
            unsafe { pg_sys::GUC_check_errdetail_string = pg_sys::pstrdup(detail.as_ptr()) };
        }
        false
    };
    // SAFETY: called by the server, in its main thread.
    unsafe { pgrx::pgrx_extern_c_guard(AssertUnwindSafe(parse)) }
}
