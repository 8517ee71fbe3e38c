//! Switching capture off, for those who may.

use pgrx::prelude::*;

use super::pending_changes::PENDING;
use crate::postgres::settings;
use crate::postgres::warning::Warning;

/// Whether changes of this table are not to be told of, because `webhook_delivery.capture` is off. That is the owner's to
/// decide, who could as well take the trigger off: asked of the role that acts and of the one that the session has, so that
/// neither does a tenant's setting reach into the owner's function, nor a superuser's rights into the tenant's.
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
            hint: Some("Only the owner of the changed table may switch the capture of its changes off.".to_owned()),
        }
        .send();
    }
    may
}
