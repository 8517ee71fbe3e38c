//! The lock of the extension, under which each task of the worker writes.

use pgrx::prelude::*;

use crate::postgres::background_worker;
use crate::postgres::security_context::RoleGuard;

/// Locks the extension until the transaction ends, and acts as the worker's role while the guard
/// lives. It does not wait for a session that is dropping the extension, because that session waits
/// for us.
pub fn lock_extension() -> RoleGuard {
    if !matches!(background_worker::extension(), background_worker::Extension::Present(_)) {
        ereport!(
            ERROR,
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            "extension webhook_delivery is being dropped or altered"
        );
    }
    RoleGuard::of_worker()
}
