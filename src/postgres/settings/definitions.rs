//! The definitions of the settings: name, description, unit, default, bounds, and who may change
//! each setting and when.

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;
use webhook_sender::RetrySchedule;

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

pub fn define() {
    define_worker();
    define_capture();
    define_tenants();
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
