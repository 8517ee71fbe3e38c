//! Diagnosis: what only the server sees of an endpoint that receives nothing, and what its name resolves to.

use std::time::Duration;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::SpiResult;
use webhook_sender::look_up;

use crate::access::visible_auction;
use crate::postgres::security_context::{PinnedSettings, RoleGuard};
use crate::postgres::{background_worker, settings};

/// Whoever asks waits for the name server for so long.
const PATIENCE: Duration = Duration::from_secs(2);

#[pg_schema]
mod webhook_delivery {
    use pgrx::datum::TimestampWithTimeZone;
    use pgrx::prelude::*;

    /// What webhook_diagnose() asks of an endpoint that the caller sees, in addition to what the caller can read; no row if there is none. The
    /// name is looked up, which takes two seconds at most.
    #[pg_extern(volatile, strict)]
    #[allow(clippy::type_complexity)]
    fn examine(
        endpoint_id: pgrx::Uuid,
    ) -> TableIterator<
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
    > {
        let seen = super::examine(endpoint_id)
            .unwrap_or_else(|problem| pgrx::error!("the endpoint could not be examined: {problem}"));
        TableIterator::new(seen.map(|seen| {
            let (addresses, problem) = match super::reach(&seen.url) {
                Ok(addresses) => (Some(addresses), None),
                Err(problem) => (None, Some(problem)),
            };
            (
                addresses,
                problem,
                seen.secret_form,
                seen.previous_secret_until,
                seen.state,
                seen.is_paused,
                seen.without_trigger,
                seen.with_disabled_trigger,
                seen.not_built,
            )
        }))
    }
}

struct Seen {
    url: String,
    secret_form: Option<String>,
    previous_secret_until: Option<TimestampWithTimeZone>,
    state: Option<String>,
    is_paused: Option<bool>,
    without_trigger: Option<Vec<String>>,
    with_disabled_trigger: Option<Vec<String>>,
    not_built: Option<Vec<String>>,
}

fn examine(endpoint_id: pgrx::Uuid) -> SpiResult<Option<Seen>> {
    Spi::connect(|client| {
        if visible_auction(client, endpoint_id)?.is_none() {
            return Ok(None);
        }
        let _settings = PinnedSettings::begin();
        let Some(_rights) = RoleGuard::of_extension_owner() else { return Ok(None) };
        let found =
            client.select(include_str!("../../sql/statements/endpoint/examine.sql"), Some(1), &[endpoint_id.into()])?;
        if found.is_empty() {
            return Ok(None);
        }
        let found = found.first();
        Ok(Some(Seen {
            url: found.get(1)?.unwrap_or_default(),
            secret_form: found.get(2)?,
            previous_secret_until: found.get(3)?,
            state: found.get(4)?,
            is_paused: found.get(5)?,
            without_trigger: found.get(6)?,
            with_disabled_trigger: found.get(7)?,
            not_built: found.get(8)?,
        }))
    })
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
