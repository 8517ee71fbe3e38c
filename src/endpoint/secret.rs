//! Secrets: what is accepted, and how one gets from the row that is written to the private table.
//!
//! It is never in the row itself, not even for a moment: what is in a row is in the write-ahead log, and logical decoding
//! and other people's triggers read it there.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgrx::prelude::*;

use super::refuse;
use crate::postgres::errors::check_writable;

/// A secret on its way from the row's BEFORE trigger to its AFTER trigger, which alone knows that the row was written.
struct Stashed {
    secret: String,
    /// Nobody knows it yet: whoever writes the row may see it this once.
    is_generated: bool,
    was_shown: bool,
    /// How many statements that write endpoints were running, each within the one before.
    depth: usize,
}

thread_local! {
    /// By endpoint. What a statement that wrote nothing (ON CONFLICT DO NOTHING) leaves here goes when the statement ends.
    static STASH: RefCell<HashMap<[u8; 16], Stashed>> = RefCell::default();

    /// The statements that write endpoints and are running: the subtransaction of each. A function in the RETURNING of one may
    /// run another.
    static STATEMENTS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };

    static ROTATION: Cell<Option<Rotation>> = const { Cell::new(None) };
}

/// Seconds for which an old secret may go on signing.
const KEEP_OLD_AT_MOST: f64 = 30.0 * 86_400.0;

/// The next update of an endpoint gives it a generated secret.
#[derive(Clone, Copy)]
struct Rotation {
    endpoint_id: [u8; 16],
    /// For so many seconds the old secret goes on signing.
    keep_old_for: f64,
    /// Where it was asked for: one that failed and was rolled back to a savepoint is not made up for by a later update.
    subtransaction: u32,
}

fn subtransaction() -> u32 {
    // SAFETY: a number of this session's.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// Hooks into the end of transactions; called while the server loads the library.
pub fn init() {
    // SAFETY: the callback lives as long as the library, and the library is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_end_of_transaction), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_end_of_subtransaction), std::ptr::null_mut());
    }
}

/// The statements that it has broken off do not end.
unsafe extern "C-unwind" fn at_end_of_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut std::ffi::c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        STATEMENTS.with(|statements| {
            if let Ok(mut statements) = statements.try_borrow_mut() {
                statements.retain(|begun_in| *begun_in < subtransaction);
            }
        });
    }
}

/// Nothing of a secret outlives its transaction. Runs after the commit, so it must not fail: dropping allocates nothing.
unsafe extern "C-unwind" fn at_end_of_transaction(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::*;
    if matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_ABORT | XACT_EVENT_PREPARE) {
        STASH.with(|stash| {
            if let Ok(mut stash) = stash.try_borrow_mut() {
                stash.clear();
            }
        });
        STATEMENTS.with(|statements| {
            if let Ok(mut statements) = statements.try_borrow_mut() {
                statements.clear();
            }
        });
        ROTATION.set(None);
    }
}

fn of_stashed<T>(endpoint_id: pgrx::Uuid, look: impl FnOnce(&mut Stashed) -> T) -> Option<T> {
    STASH.with_borrow_mut(|stash| stash.get_mut(endpoint_id.as_bytes()).map(look))
}

/// Refuses a secret (22023) of fewer than 16 or more than 256 characters, or one that begins with `whsec_` and goes on
/// with something other than base64.
#[pg_extern(immutable, strict, schema = "webhook_delivery")]
fn check_secret(secret: &str) {
    const HINT: &str = "Use a long random text, or leave the secret out and one is generated.";
    let length = secret.chars().count();
    if !(16..=256).contains(&length) {
        refuse(format!("the secret has {length} characters; it must have 16 to 256"), HINT);
    }
    if secret.strip_prefix("whsec_").is_some_and(|encoded| STANDARD.decode(encoded).is_err()) {
        refuse("a secret that begins with whsec_ must go on in base64".into(), HINT);
    }
}

/// A new secret: `whsec_` and 32 bytes of the operating system's randomness in base64.
#[pg_extern(volatile, schema = "webhook_delivery")]
fn generate_secret() -> String {
    let mut bytes = [0_u8; 32];
    if let Err(problem) = getrandom::fill(&mut bytes) {
        ereport!(ERROR, PgSqlErrorCode::ERRCODE_SYSTEM_ERROR, format!("no randomness for a secret: {problem}"));
    }
    format!("whsec_{}", STANDARD.encode(bytes))
}

/// Keeps a secret until it is known that the row is written.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn stash_secret(endpoint_id: pgrx::Uuid, secret: String, is_generated: bool) {
    let depth = STATEMENTS.with_borrow(Vec::len);
    STASH.with_borrow_mut(|stash| {
        stash.insert(*endpoint_id.as_bytes(), Stashed { secret, is_generated, was_shown: false, depth })
    });
}

/// The stashed secret, null where there is none.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn stashed_secret(endpoint_id: pgrx::Uuid) -> Option<String> {
    of_stashed(endpoint_id, |stashed| stashed.secret.clone())
}

/// Whether the stashed secret was generated and nobody has seen it; null where there is none.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn stashed_is_unknown(endpoint_id: pgrx::Uuid) -> Option<bool> {
    of_stashed(endpoint_id, |stashed| stashed.is_generated && !stashed.was_shown)
}

/// The secret that the running statement has generated for this endpoint, null where it has not. Not for triggers,
/// which are not the caller: there it is always null.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn show_generated_secret(endpoint_id: pgrx::Uuid) -> Option<String> {
    // SAFETY: reads a counter; the function takes no argument.
    let depth = unsafe { pgrx::direct_function_call::<i32>(pg_sys::pg_trigger_depth, &[]) };
    if depth != Some(0) {
        return None;
    }
    of_stashed(endpoint_id, |stashed| {
        stashed.was_shown |= stashed.is_generated;
        stashed.is_generated.then(|| stashed.secret.clone())
    })
    .flatten()
}

/// Takes the stashed secret out; null where there is none.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn take_stashed_secret(endpoint_id: pgrx::Uuid) -> Option<String> {
    STASH.with_borrow_mut(|stash| stash.remove(endpoint_id.as_bytes()).map(|stashed| stashed.secret))
}

/// A statement that writes endpoints begins.
#[pg_extern(volatile, schema = "webhook_delivery")]
fn begin_stashing() {
    STATEMENTS.with_borrow_mut(|statements| statements.push(subtransaction()));
}

/// It ends: what it has stashed and not written is forgotten, and what the statement around it has stashed is not.
#[pg_extern(volatile, schema = "webhook_delivery")]
fn end_stashing() {
    let depth = STATEMENTS.with_borrow_mut(|statements| {
        let depth = statements.len();
        statements.pop();
        depth
    });
    STASH.with_borrow_mut(|stash| stash.retain(|_, stashed| stashed.depth < depth));
    ROTATION.set(None);
}

/// Has the next update of this endpoint in this transaction generate a secret, and the old one sign as well for so many
/// seconds, 0 to 30 days (22023). Does nothing by itself: who may not update the endpoint gains nothing by it.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn begin_rotation(endpoint_id: pgrx::Uuid, keep_old_for: f64) {
    check_writable();
    if !(0.0..=KEEP_OLD_AT_MOST).contains(&keep_old_for) {
        refuse(
            "an old secret is kept for 30 days at most".into(),
            "Give an interval from 0 to 30 days: keep_old_for => '24 hours'.",
        );
    }
    let endpoint_id = *endpoint_id.as_bytes();
    ROTATION.set(Some(Rotation { endpoint_id, keep_old_for, subtransaction: subtransaction() }));
}

/// For how many seconds the old secret of this endpoint goes on signing when it is replaced; null where it does not.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn rotation(endpoint_id: pgrx::Uuid) -> Option<f64> {
    let is_meant = |rotation: &Rotation| {
        rotation.endpoint_id == *endpoint_id.as_bytes() && rotation.subtransaction == subtransaction()
    };
    ROTATION.get().filter(is_meant).map(|rotation| rotation.keep_old_for)
}
