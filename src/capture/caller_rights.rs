//! Calls that depend on the caller's rights: attaching triggers, and setting payload functions.
//!
//! Two roles must have the rights: the current role and the session's role. A superuser who reads a
//! view runs the SECURITY DEFINER functions behind it as their owner, who does not have the
//! superuser's rights; and a role that calls such a function does not have its owner's rights. Both
//! roles are read here, because a SECURITY DEFINER function no longer knows the current role of its
//! caller.

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use crate::postgres::errors::check_writable;
use crate::postgres::security_context::RoleGuard;

/// Sets or removes the application's function that returns the data of an event.
#[pg_extern(sql = "
    create function webhook_delivery.set_payload_function(event_type text, function regprocedure, for_table regclass default null)
        returns void language c volatile as 'MODULE_PATHNAME', '@FUNCTION_NAME@';
")]
fn set_payload_function(event_type: Option<&str>, function: Option<pg_sys::Oid>, for_table: Option<pg_sys::Oid>) {
    check_writable();
    let arguments = [callers().into(), event_type.into(), function.into(), for_table.into()];
    as_owner("select webhook_delivery.set_payload_function_for($1, $2, $3, $4)", &arguments);
}

/// Raises an error for triggers that the caller may not create.
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

/// Runs the call with the rights of the extension's owner, and with the session's settings, so that
/// its warnings reach the client. The called functions set their own search path.
fn as_owner(call: &str, arguments: &[pgrx::datum::DatumWithOid<'_>]) {
    let called: SpiResult<()> = Spi::connect_mut(|client| {
        let _rights = RoleGuard::of_extension_owner();
        client.update(call, None, arguments).map(drop)
    });
    if let Err(problem) = called {
        pgrx::error!("{problem}");
    }
}
