//! Endpoints: URL, headers and secret as a customer writes them, test deliveries, and diagnosis.

use pgrx::prelude::*;

use crate::postgres::errors;

mod diagnosis;
mod filter;
mod header;
mod new_id;
pub mod secret;
pub mod stored_secrets;
mod suggestion;
mod test_delivery;
mod url;

pub use header::headers_in;

fn refuse(message: String, hint: impl Into<String>) -> ! {
    errors::refuse(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, hint)
}

fn fail_without_random_bytes(problem: getrandom::Error) -> ! {
    errors::refuse(
        PgSqlErrorCode::ERRCODE_SYSTEM_ERROR,
        format!("could not generate random bytes for a secret: {problem}"),
        "The operating system provides them: try again.",
    )
}
