//! The setting that switches capture off, and who may use it.

use pgrx::prelude::*;

use super::pending_changes::PENDING;
use crate::postgres::settings;
use crate::postgres::warning::Warning;

/// Whether capture is off for this table: `webhook_delivery.capture` is off, and the caller has the
/// rights of the table's owner, who could also drop the trigger. Both the current role and the
/// session's role must have these rights. Thus a tenant's setting has no effect inside a function
/// of the owner, and a superuser's rights have no effect inside a function of a tenant.
pub fn is_switched_off(relation: &pg_sys::RelationData) -> bool {
    if settings::capture() {
        return false;
    }
    // SAFETY: reads this session's state, and the catalogue inside a transaction.
    let may = unsafe {
        let owner = (*relation.rd_rel).relowner;
        [pg_sys::GetUserId(), pg_sys::GetOuterUserId()].iter().all(|role| pg_sys::has_privs_of_role(*role, owner))
    };
    if !may && PENDING.with_borrow_mut(|changes| changes.is_first_refusal()) {
        Warning {
            code: PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            message: "webhook_delivery.capture = off has no effect".to_owned(),
            detail: None,
            hint: Some("Only the owner of the changed table may switch off the capture of its changes.".to_owned()),
        }
        .send();
    }
    may
}
