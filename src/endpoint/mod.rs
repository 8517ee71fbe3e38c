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
