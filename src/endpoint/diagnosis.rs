//! Diagnosis: what only the server sees of an endpoint that receives nothing, and what its name resolves to.

use std::time::Duration;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::SpiError;
use webhook_sender::look_up;

use crate::access::visible_auction;
use crate::postgres::security_context::as_extension_owner;
use crate::postgres::{background_worker, settings};

/// Whoever asks waits for the name server for so long.
const PATIENCE: Duration = Duration::from_secs(2);

/// What diagnose_webhook() asks of an endpoint that the caller sees, in addition to what the caller can read; no row if there is none. The
/// name is looked up, which takes two seconds at most.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
#[allow(clippy::type_complexity)]
fn diagnose_endpoint(
    endpoint_id: pgrx::Uuid,
) -> Result<
    TableIterator<
        'static,
        (
            name!(addresses, Option<String>),
            name!(problem, Option<String>),
            name!(secret_form, Option<String>),
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
        Ok::<_, SpiError>(Some((
            url,
            (found.get(2)?, found.get(3)?, found.get(4)?, found.get(5)?),
            (found.get(6)?, found.get(7)?, found.get(8)?),
        )))
    })?;
    Ok(TableIterator::new(found.map(
        |(url, (secret_form, previous, state, is_paused), (without, disabled, not_built))| {
            let (addresses, problem) = match reach(&url) {
                Ok(addresses) => (Some(addresses), None),
                Err(problem) => (None, Some(problem)),
            };
            (addresses, problem, secret_form, previous, state, is_paused, without, disabled, not_built)
        },
    )))
}

/// The addresses that a request to this URL would be sent to, or why it would not be sent. Tenants read it: of the operator's own
/// networks it says no more than that they are allowed.
fn reach(url: &str) -> Result<String, String> {
    let rules = settings::rules();
    // The thread that asks must not take this one's signals.
    let found = background_worker::with_signals_blocked(|| look_up(url, rules.clone(), PATIENCE));
    let addresses = found.map_err(|problem| problem.to_string())?;
    let (own, public): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| rules.networks.list(*address));
    let own = (!own.is_empty()).then(|| "an address that webhook_delivery.allowed_networks opens".to_owned());
    Ok(public.iter().map(ToString::to_string).chain(own).collect::<Vec<_>>().join(", "))
}
