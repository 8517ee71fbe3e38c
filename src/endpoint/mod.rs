//! What does a customer write, and is it acceptable?

use pgrx::prelude::*;

pub mod secret;
mod test_delivery;
mod url;

fn refuse(message: String, hint: &'static str) {
    pg_sys::panic::ErrorReport::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, pgrx::function_name!())
        .set_hint(hint)
        .report(PgLogLevel::ERROR);
}
