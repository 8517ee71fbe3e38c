//! Secrets: which are accepted, and how a secret gets from a written row into the private table.
//!
//! A secret is never stored in the row itself, not even for a moment: a stored row is in the
//! write-ahead log, where logical decoding reads it, and the application's triggers see it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgrx::prelude::*;
use webhook_sender::SigningKey;

use super::stored_secrets::Algorithm;
use super::{fail_without_random_bytes, refuse};
use crate::postgres::errors::check_writable;

/// A secret on its way from the row's BEFORE trigger to its AFTER trigger. Only the AFTER trigger
/// knows that the row was written.
struct StashedSecret {
    secret: String,
    /// We generated it: the statement that writes the row may show it once.
    is_generated: bool,
    was_shown: bool,
    /// The number of nested statements that write endpoints and were running.
    depth: usize,
}

thread_local! {
    /// By endpoint and algorithm. If a statement writes no row (ON CONFLICT DO NOTHING), its secret
    /// is removed when it ends.
    static STASH: RefCell<HashMap<([u8; 16], Algorithm), StashedSecret>> = RefCell::default();

    /// The subtransactions of the running statements that write endpoints. They are nested: a
    /// function in the RETURNING clause of one may run another.
    static STATEMENTS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };

    static ROTATION: Cell<Option<Rotation>> = const { Cell::new(None) };
}

/// Maximum number of seconds that an old secret continues to sign.
const MAX_KEEP_OLD_SECONDS: f64 = 30.0 * 86_400.0;

/// A requested rotation: the next update of the endpoint gives it a generated secret.
#[derive(Clone, Copy)]
struct Rotation {
    endpoint_id: [u8; 16],
    /// Number of seconds that the old secret continues to sign.
    keep_old_for: f64,
    /// The subtransaction that requested it: after a rollback to a savepoint, a later update must
    /// not do the rotation.
    subtransaction: u32,
}

fn subtransaction() -> u32 {
    // SAFETY: reads a number of this session.
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

/// Statements that the rollback has ended do not call `end_stashing()`, so they are removed here.
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

/// No secret stays in memory after its transaction. Runs after the commit, so it must not fail:
/// dropping allocates nothing.
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

fn of_stashed<T>(endpoint_id: pgrx::Uuid, look: impl FnOnce(&mut StashedSecret) -> T) -> Option<T> {
    STASH.with_borrow_mut(|stash| stash.get_mut(&(*endpoint_id.as_bytes(), Algorithm::Hmac)).map(look))
}

fn stash(endpoint_id: pgrx::Uuid, algorithm: Algorithm, secret: String, is_generated: bool) {
    let depth = STATEMENTS.with_borrow(Vec::len);
    STASH.with_borrow_mut(|stash| {
        let stashed = StashedSecret { secret, is_generated, was_shown: false, depth };
        stash.insert((*endpoint_id.as_bytes(), algorithm), stashed);
    });
}

fn take(endpoint_id: pgrx::Uuid, algorithm: Algorithm) -> Option<String> {
    STASH.with_borrow_mut(|stash| stash.remove(&(*endpoint_id.as_bytes(), algorithm)).map(|stashed| stashed.secret))
}

fn random_bytes() -> [u8; 32] {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).unwrap_or_else(|problem| fail_without_random_bytes(problem));
    bytes
}

/// Raises an error (22023) for a secret of fewer than 16 or more than 256 characters, or one that
/// begins with `whsec_` and does not continue with base64.
#[pg_extern(immutable, strict, schema = "webhook_delivery")]
fn check_secret(secret: &str) {
    const HINT: &str = "Use a long random text, or omit the secret to have one generated.";
    let length = secret.chars().count();
    if !(16..=256).contains(&length) {
        refuse(format!("secret must have 16 to 256 characters, not {length}"), HINT);
    }
    if secret.strip_prefix("whsec_").is_some_and(|encoded| STANDARD.decode(encoded).is_err()) {
        refuse("secret that begins with whsec_ must continue in base64".into(), HINT);
    }
}

/// A new secret: `whsec_` and 32 random bytes of the operating system in base64.
#[pg_extern(volatile, schema = "webhook_delivery")]
fn generate_secret() -> String {
    format!("whsec_{}", STANDARD.encode(random_bytes()))
}

/// Keeps a secret until the row is written.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn stash_secret(endpoint_id: pgrx::Uuid, secret: String, is_generated: bool) {
    stash(endpoint_id, Algorithm::Hmac, secret, is_generated);
}

/// Generates a key pair and keeps the private key until the row is written. Returns the public key.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn stash_signing_key(endpoint_id: pgrx::Uuid) -> Option<String> {
    let private_key = format!("whsk_{}", STANDARD.encode(random_bytes()));
    let public_key = SigningKey::from_secret(&private_key)?.public_key();
    stash(endpoint_id, Algorithm::Ed25519, private_key, false);
    Some(public_key)
}

/// Removes and returns the stashed private key; null if there is none.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn take_stashed_signing_key(endpoint_id: pgrx::Uuid) -> Option<String> {
    take(endpoint_id, Algorithm::Ed25519)
}

/// The stashed secret; null if there is none.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn stashed_secret(endpoint_id: pgrx::Uuid) -> Option<String> {
    of_stashed(endpoint_id, |stashed| stashed.secret.clone())
}

/// Whether the stashed secret was generated and not shown yet; null if there is none.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn stashed_is_unknown(endpoint_id: pgrx::Uuid) -> Option<bool> {
    of_stashed(endpoint_id, |stashed| stashed.is_generated && !stashed.was_shown)
}

/// The secret that the running statement has generated for this endpoint; null if there is none.
/// Always null inside a trigger, because a trigger is not the caller.
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

/// Removes and returns the stashed secret; null if there is none.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn take_stashed_secret(endpoint_id: pgrx::Uuid) -> Option<String> {
    take(endpoint_id, Algorithm::Hmac)
}

/// Call when a statement that writes endpoints begins.
#[pg_extern(volatile, schema = "webhook_delivery")]
fn begin_stashing() {
    STATEMENTS.with_borrow_mut(|statements| statements.push(subtransaction()));
}

/// Call when the statement ends. Removes the secrets that it stashed and did not write, but not
/// those of the statement around it.
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

/// Makes the next update of this endpoint in this transaction generate a secret. The old secret
/// also signs for `keep_old_for` seconds: 0 to 30 days, otherwise 22023. The call itself changes no
/// row, so it is of no use to a role that may not update the endpoint.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn begin_rotation(endpoint_id: pgrx::Uuid, keep_old_for: f64) {
    check_writable();
    if !(0.0..=MAX_KEEP_OLD_SECONDS).contains(&keep_old_for) {
        refuse(
            "keep_old_for must be between 0 and 30 days".into(),
            "Specify an interval from 0 to 30 days: keep_old_for => '24 hours'.",
        );
    }
    let endpoint_id = *endpoint_id.as_bytes();
    ROTATION.set(Some(Rotation { endpoint_id, keep_old_for, subtransaction: subtransaction() }));
}

/// Number of seconds that the old secret of this endpoint continues to sign after its replacement;
/// null if no rotation is requested.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn rotation(endpoint_id: pgrx::Uuid) -> Option<f64> {
    let is_requested = |rotation: &Rotation| {
        rotation.endpoint_id == *endpoint_id.as_bytes() && rotation.subtransaction == subtransaction()
    };
    ROTATION.get().filter(is_requested).map(|rotation| rotation.keep_old_for)
}
