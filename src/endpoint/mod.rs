//! Is what a customer writes acceptable, and where is the secret between two triggers?

use std::cell::RefCell;
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgrx::prelude::*;

/// A secret on its way from the row's BEFORE trigger to its AFTER trigger, which alone knows that the row was written.
struct Stashed {
    secret: String,
    /// What the BEFORE trigger left in the row's `secret`: by this an upsert's UPDATE knows that the secret is meant.
    row_form: String,
}

thread_local! {
    /// By endpoint. What a statement that wrote nothing (ON CONFLICT DO NOTHING) leaves here goes when the transaction ends.
    static STASH: RefCell<HashMap<[u8; 16], Stashed>> = RefCell::default();
}

/// Hooks into the end of transactions; called while the server loads the library.
pub fn init() {
    // SAFETY: the callback lives as long as the library, and the library is never unloaded.
    unsafe { pg_sys::RegisterXactCallback(Some(at_end_of_transaction), std::ptr::null_mut()) };
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
    }
}

/// The URL's normal form, or why it cannot be an endpoint and what to do. The normal form is what is kept and called: what
/// was checked and what is called must be the same to every parser.
fn normal_url(url: &str, allow_http: bool) -> Result<String, (String, &'static str)> {
    const EXAMPLE: &str = "Use an address such as https://example.com/webhooks.";
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(("the URL contains white space or control characters".into(), EXAMPLE));
    }
    let parsed = url::Url::parse(url).map_err(|problem| (format!("this is not a URL: {problem}"), EXAMPLE))?;
    match parsed.scheme() {
        "https" => {}
        "http" if allow_http => {}
        "http" => {
            return Err((
                "the URL must begin with https://".into(),
                "Anyone on the way could read events sent over http. For development, webhook_delivery.allow_http = on accepts it.",
            ));
        }
        other => return Err((format!("the URL must begin with https://, not {other}:"), EXAMPLE)),
    }
    if parsed.host_str().is_none_or(str::is_empty) {
        return Err(("the URL names no host".into(), EXAMPLE));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err((
            "the URL contains a user name or password".into(),
            "Everyone who sees the endpoint would see it. Verify the signature instead.",
        ));
    }
    if parsed.port() == Some(0) {
        return Err(("the URL names port 0".into(), EXAMPLE));
    }
    let normal = parsed.as_str();
    if !webhook_sender::can_be_called(normal) {
        return Err((
            "the URL contains characters that no request can carry".into(),
            "Write them in percent encoding.",
        ));
    }
    Ok(normal.to_owned())
}

fn refuse(message: String, hint: &'static str) {
    pg_sys::panic::ErrorReport::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, pgrx::function_name!())
        .set_hint(hint)
        .report(PgLogLevel::ERROR);
}

#[pg_schema]
mod webhook_delivery {
    use super::*;

    /// The normal form of an endpoint's URL. Refuses (22023) one that cannot be an endpoint: scheme other than https (http
    /// where `allow_http` is on), no host, user name or password in it, white space.
    #[pg_extern(stable, strict)]
    fn normal_url(url: &str) -> Option<String> {
        match super::normal_url(url, crate::server::settings::allow_http()) {
            Ok(normal) => Some(normal),
            Err((message, hint)) => {
                refuse(message, hint);
                None
            }
        }
    }

    /// Refuses a secret (22023) of fewer than 16 or more than 256 characters, or one that begins with `whsec_` and goes on
    /// with something other than base64.
    #[pg_extern(immutable, strict)]
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
    #[pg_extern(volatile)]
    fn generate_secret() -> String {
        let mut bytes = [0_u8; 32];
        if let Err(problem) = getrandom::fill(&mut bytes) {
            ereport!(ERROR, PgSqlErrorCode::ERRCODE_SYSTEM_ERROR, format!("no randomness for a secret: {problem}"));
        }
        format!("whsec_{}", STANDARD.encode(bytes))
    }

    /// Keeps a secret out of the row until it is known that the row is written.
    #[pg_extern(volatile, strict)]
    fn stash_secret(endpoint_id: pgrx::Uuid, secret: String, row_form: String) {
        STASH.with_borrow_mut(|stash| stash.insert(*endpoint_id.as_bytes(), Stashed { secret, row_form }));
    }

    /// The stashed secret, null where there is none.
    #[pg_extern(volatile, strict)]
    fn stashed_secret(endpoint_id: pgrx::Uuid) -> Option<String> {
        STASH.with_borrow(|stash| stash.get(endpoint_id.as_bytes()).map(|stashed| stashed.secret.clone()))
    }

    /// What stands in the row for the stashed secret, null where there is none.
    #[pg_extern(volatile, strict)]
    fn stashed_row_form(endpoint_id: pgrx::Uuid) -> Option<String> {
        STASH.with_borrow(|stash| stash.get(endpoint_id.as_bytes()).map(|stashed| stashed.row_form.clone()))
    }

    /// Forgets all stashed secrets of this session.
    #[pg_extern(volatile)]
    fn forget_stashed_secrets() {
        STASH.with_borrow_mut(HashMap::clear);
    }

    /// Takes the stashed secret out; null where there is none.
    #[pg_extern(volatile, strict)]
    fn take_stashed_secret(endpoint_id: pgrx::Uuid) -> Option<String> {
        STASH.with_borrow_mut(|stash| stash.remove(endpoint_id.as_bytes()).map(|stashed| stashed.secret))
    }
}
