//! Errors with SQLSTATE and HINT.

use std::borrow::Cow;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Raises an error, which ends the (sub)transaction; the HINT says what to do next. `ereport!`
/// supports only DETAIL.
pub fn refuse(code: PgSqlErrorCode, message: impl Into<Cow<'static, str>>, hint: impl Into<String>) -> ! {
    ErrorReport::new(code, message, pgrx::function_name!()).set_hint(hint).report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// Raises an error (25006) on a standby and in a read-only transaction.
// SPI assigns a transaction id before it looks at the statement. On a standby that fails with a
// message about transaction ids.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
pub fn check_writable() {
    // SAFETY: two flags of this process, inside a transaction.
    let (is_standby, is_read_only) = unsafe { (pg_sys::RecoveryInProgress(), pg_sys::XactReadOnly) };
    let (place, hint) = match (is_standby, is_read_only) {
        (true, _) => ("on a standby", "Connect to the primary."),
        (false, true) => ("in a read-only transaction", "Use a transaction that is READ WRITE; over HTTP, POST."),
        (false, false) => return,
    };
    refuse(PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION, format!("cannot write webhooks {place}"), hint);
}
