//! Diagnosis: why an endpoint receives nothing, as far as only the server can see it, and the
//! addresses of its host name.

use std::time::Duration;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::SpiError;
use webhook_sender::{Failure, look_up};

use super::stored_secrets::{self, KeyFile, Secrets};
use crate::access::visible_auction;
use crate::error_kind::ErrorKind;
use crate::ids::id;
use crate::postgres::security_context::as_extension_owner;
use crate::postgres::{background_worker, settings};

/// Maximum time that the caller waits for the name server.
const MAX_LOOK_UP_TIME: Duration = Duration::from_secs(2);

/// The facts about an endpoint that diagnose_webhook() needs and the caller cannot read. No row if
/// the caller sees no such endpoint. Resolves the host name, which takes at most two seconds.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
#[allow(clippy::type_complexity)]
fn diagnose_endpoint(
    endpoint_id: pgrx::Uuid,
) -> Result<
    TableIterator<
        'static,
        (
            name!(addresses, Option<String>),
            name!(problem_kind, Option<&'static str>),
            name!(problem, Option<String>),
            name!(secret_form, Option<&'static str>),
            name!(previous_secret_until, Option<TimestampWithTimeZone>),
            name!(state, Option<String>),
            name!(is_paused, Option<bool>),
            name!(without_trigger, Option<Vec<String>>),
            name!(with_disabled_trigger, Option<Vec<String>>),
            name!(not_built, Option<Vec<String>>),
        ),
    >,
    SpiError,
> {
    let found = Spi::connect(|client| {
        if visible_auction(client, endpoint_id)?.is_none() {
            return Ok(None);
        }
        let _owner = as_extension_owner();
        let diagnose_endpoint = include_str!("../../sql/statements/endpoint/diagnose_endpoint.sql");
        let found = client.select(diagnose_endpoint, Some(1), &[endpoint_id.into()])?;
        let Some(found) = found.into_iter().next() else { return Ok(None) };
        let url: String = found.get(1)?.unwrap_or_default();
        let keys = KeyFile::default();
        let secret_form = match stored_secrets::in_row(&found, 2, id(endpoint_id), &keys)? {
            Ok(secrets) => secrets.and_then(|secrets| form(&secrets)),
            Err(_) => Some("encrypted"),
        };
        Ok::<_, SpiError>(Some((
            url,
            (secret_form, found.get(5)?, found.get(6)?, found.get(7)?),
            (found.get(8)?, found.get(9)?, found.get(10)?),
        )))
    })?;
    Ok(TableIterator::new(found.map(
        |(url, (secret_form, previous, state, is_paused), (without, disabled, not_built))| {
            let (addresses, problem) = match reach(&url) {
                Ok(addresses) => (Some(addresses), None),
                Err(problem) => (None, Some(problem)),
            };
            let (kind, problem) = (problem.as_ref().map(ErrorKind::from), problem.map(|problem| problem.to_string()));
            (
                addresses,
                kind.map(ErrorKind::as_str),
                problem,
                secret_form,
                previous,
                state,
                is_paused,
                without,
                disabled,
                not_built,
            )
        },
    )))
}

/// The form of the present secret, as it is explained.
fn form(secrets: &Secrets) -> Option<&'static str> {
    let secret = secrets.secrets.first()?;
    Some(match (secrets.signing_keys.is_empty(), secret.starts_with("whsec_")) {
        (false, _) => "ed25519",
        (true, true) => "whsec",
        (true, false) => "own",
    })
}

/// The addresses that a request to this URL would be sent to, or why it would not be sent. Tenants
/// read this, so an address in the operator's own networks is not shown, only that it is allowed.
fn reach(url: &str) -> Result<String, Failure> {
    let rules = settings::rules();
    // The look-up runs in another thread, which must not receive this thread's signals.
    let found = background_worker::with_signals_blocked(|| look_up(url, rules.clone(), MAX_LOOK_UP_TIME));
    let addresses = found?;
    let (own, public): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| rules.networks.list(*address));
    let own = (!own.is_empty()).then(|| "an address that webhook_delivery.allowed_networks opens".to_owned());
    Ok(public.iter().map(ToString::to_string).chain(own).collect::<Vec<_>>().join(", "))
}
