//! How is somebody told that something cannot be done, and what to do about it?

use std::borrow::Cow;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Ends the (sub)transaction; the HINT says what to do next. `ereport!` has a place for DETAIL only.
pub fn refuse(code: PgSqlErrorCode, message: impl Into<Cow<'static, str>>, hint: impl Into<String>) -> ! {
    ErrorReport::new(code, message, pgrx::function_name!()).set_hint(hint).report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}
