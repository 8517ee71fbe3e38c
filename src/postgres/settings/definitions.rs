//! The definitions of the settings: name, description, unit, default, bounds, and who may change
//! each setting and when.

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;
use webhook_sender::{Networks, Ports, RetrySchedule};

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
        c"Databases in which a worker delivers webhooks.",
        c"Comma-separated names, at most 64. A database that does not exist yet, or has no extension yet, is waited for.",
        &DATABASES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"webhook_delivery.role",
        c"Role as which the worker acts.",
        c"CREATE EXTENSION makes it where there is none; another has what it needs by webhook_delivery.grant_worker().",
        &ROLE,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.pool_size",
        c"Requests that a database's worker has under way at most.",
        c"Each takes a thread. One endpoint alone may use three eighths of them and one auction half, and less where others are \
          busy too; endpoints that run into the time limit share a quarter.",
        &POOL_SIZE,
        2,
        1024,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.poll_interval",
        c"How often an idle worker looks by itself.",
        c"A commit wakes it at once; this is for what cannot: COMMIT PREPARED later or in another session, and a database that is to be dropped.",
        &POLL_INTERVAL,
        10,
        60_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.request_timeout",
        c"Time for one request in all: name look-up, connection, TLS and response.",
        c"",
        &REQUEST_TIMEOUT,
        10,
        600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_string_guc(
        c"webhook_delivery.ca_file",
        c"PEM file with certificate authorities to trust beside the system's.",
        c"Read when a worker starts.",
        &CA_FILE,
        GucContext::Postmaster,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.retry_after_limit",
        c"Longest wait that a receiver's Retry-After can ask for.",
        c"It lengthens the wait of the retry schedule and never shortens it. 0: it is not heeded.",
        &RETRY_AFTER_LIMIT,
        0,
        30 * 24 * 3600,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.disable_after_failures",
        c"Deliveries in a row that have used up all of their attempts, with which an endpoint is disabled.",
        c"0: it is not.",
        &DISABLE_AFTER_FAILURES,
        0,
        1_000_000,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.disable_after",
        c"Time in which attempts failed and none succeeded, with which an endpoint is disabled.",
        c"0: it is not.",
        &DISABLE_AFTER,
        0,
        366 * 24 * 3600,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.retention",
        c"How long events and the history of deliveries are kept.",
        c"What still waits for an attempt then has failed. 0: for ever.",
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
            c"Waiting times between the attempts of a delivery.",
            c"A list such as '1m, 5m, 30m, 2h, 12h': after each failed attempt the next of these, and after the last one the \
              delivery has failed. Units: ms, s, m, h, d. Empty: one attempt only.",
            &RETRY_SCHEDULE,
            GucContext::Sighup,
            GucFlags::default(),
            Some(check::<RetrySchedule>),
            None,
            None,
        );
    }
}

/// Settings of capture.
fn define_capture() {
    GucRegistry::define_bool_guc(
        c"webhook_delivery.capture",
        c"Whether changes of the application's tables become events.",
        c"Off, for a bulk load or a restore, it holds for the tables that whoever sets it owns, and has no effect on others.",
        &CAPTURE,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.max_payload",
        c"Largest data of an event that is sent.",
        c"A delivery of more ends as failed, with that reason; nothing is sent cut.",
        &MAX_PAYLOAD,
        1,
        65_536,
        GucContext::Sighup,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_enum_guc(
        c"webhook_delivery.on_capture_error",
        c"What becomes of a transaction whose event cannot be built.",
        c"warn: it commits without the event, which is recorded in webhook_delivery.capture_errors. error: it fails.",
        &ON_CAPTURE_ERROR,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// Settings for what tenants may do.
fn define_tenants() {
    GucRegistry::define_string_guc(
        c"webhook_delivery.access_function",
        c"Function () returns setof uuid that gives the auctions which the caller administers.",
        c"With its schema. Asked as the caller: the policies that it relies on do not hold for the owner of a table. Empty: \
          webhook_delivery.auctions_of_member, which asks public.auction_members for the sub of request.jwt.claims.",
        &ACCESS_FUNCTION,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.max_endpoints",
        c"Endpoints that an auction may have.",
        c"",
        &MAX_ENDPOINTS,
        1,
        10_000,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.tests_per_minute",
        c"Tests that an auction may send within a minute, to all of its endpoints.",
        c"",
        &TESTS_PER_MINUTE,
        1,
        100_000,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.redeliveries_per_minute",
        c"Deliveries that the administrators of an auction may send again within a minute.",
        c"Operators are not bound by it.",
        &REDELIVERIES_PER_MINUTE,
        1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.redeliveries_per_second",
        c"How many of the deliveries that are sent again come due each second, of one endpoint.",
        c"So that what happens meanwhile does not wait behind them. 0: all at once.",
        &REDELIVERIES_PER_SECOND,
        0,
        100_000,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"webhook_delivery.busy_events_per_minute",
        c"Events within a minute with which an auction is shown in status and metrics.",
        c"A receiver that causes the next event with what it does makes a loop. 0: none is shown.",
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
        c"For development: without TLS anyone on the way reads the events.",
        &ALLOW_HTTP,
        GucContext::Sighup,
        GucFlags::default(),
    );
    // SAFETY: the check hook is guarded, so no panic passes it.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.allowed_ports",
            c"Ports that endpoints may name.",
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
            c"Networks beside the public internet that endpoints may lead to.",
            c"A list of addresses and networks such as '10.1.0.0/16, ::1'. For development: whoever writes an endpoint reaches \
              what the server reaches there.",
            &ALLOWED_NETWORKS,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
            Some(check::<Networks>),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.denied_networks",
            c"Networks of the public internet that no endpoint may lead to.",
            c"A list such as '198.51.100.0/24, 2001:db8::/32': for machines of your own that have public addresses. Wins over \
              webhook_delivery.allowed_networks.",
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
