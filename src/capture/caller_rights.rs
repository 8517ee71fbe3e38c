//! Calls that decide by who is calling: attaching triggers, and setting payload functions.
//!
//! Two roles call: the current one and the session's. A superuser who reads a view runs the SECURITY DEFINER functions behind
//! it as their owner, who has not the superuser's rights; and a role that calls such a function has not its owner's. What is
//! asked of both is asked here, because a SECURITY DEFINER function no longer knows the current role of its caller.

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use crate::postgres::errors::check_writable;
use crate::postgres::security_context::RoleGuard;

/// Lets a function of the application give the data of an event, or takes that away again.
#[pg_extern(sql = "
    create function webhook_delivery.set_payload_function(event_type text, function regprocedure, for_table regclass default null)
        returns void language c volatile as 'MODULE_PATHNAME', '@FUNCTION_NAME@';
")]
fn set_payload_function(event_type: Option<&str>, function: Option<pg_sys::Oid>, for_table: Option<pg_sys::Oid>) {
    check_writable();
    let arguments = [callers().into(), event_type.into(), function.into(), for_table.into()];
    as_owner("select webhook_delivery.set_payload_function_for($1, $2, $3, $4)", &arguments);
}

/// Refuses triggers that a role may not create.
#[pg_extern(sql = "
    create function webhook_delivery.check_attached_triggers() returns event_trigger
        language c volatile as 'MODULE_PATHNAME', '@FUNCTION_NAME@';
")]
fn check_attached_triggers() {
    as_owner("select webhook_delivery.check_attached_triggers_for($1)", &[callers().into()]);
}

/// The current role and the session's.
fn callers() -> Vec<pg_sys::Oid> {
    // SAFETY: reads this session's state.
    unsafe { vec![pg_sys::GetUserId(), pg_sys::GetOuterUserId()] }
}

/// With the rights of the extension's owner, and the session's settings: its warnings are for the client. The functions that
/// are called set their own search path.
fn as_owner(call: &str, arguments: &[pgrx::datum::DatumWithOid<'_>]) {
    let called: SpiResult<()> = Spi::connect_mut(|client| {
        let _rights = RoleGuard::of_extension_owner();
        client.update(call, None, arguments).map(drop)
    });
    if let Err(problem) = called {
        pgrx::error!("{problem}");
    }
}
