//! Request preview: the exact request of a delivery, for the author of a receiver.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiResult};
use webhook_sender::{DeliveryKey, Destination, Job, body, headers};

use crate::endpoint::headers_in;
use crate::endpoint::stored_secrets::{self, KeyFile, Secrets};
use crate::ids::id;
use crate::postgres::security_context::as_extension_owner;
use crate::timestamp::Timestamp;

/// URL, headers and body of the last request of a delivery that the caller sees, or of its first
/// request if none was made yet. No row if the caller sees no such delivery. If the endpoint was
/// deleted, URL and headers are null; if the event was deleted, headers and body are null.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
#[allow(clippy::type_complexity)]
fn request_of(
    delivery_id: pgrx::Uuid,
) -> Result<
    TableIterator<
        'static,
        (name!(url, Option<String>), name!(headers, Option<pgrx::JsonB>), name!(body, Option<String>)),
    >,
    SpiError,
> {
    let request = find(delivery_id)?;
    Ok(TableIterator::new(request.map(|request| (request.url, request.headers.map(pgrx::JsonB), request.body))))
}

struct RequestPreview {
    url: Option<String>,
    headers: Option<serde_json::Value>,
    body: Option<String>,
}

const VISIBLE: &str =
    "select delivery.event_id, delivery.endpoint_id, delivery.auction_id, delivery.event_type, delivery.last_attempt_at
    from public.webhook_deliveries as delivery where delivery.id = $1";

fn find(delivery_id: pgrx::Uuid) -> SpiResult<Option<RequestPreview>> {
    Spi::connect(|client| {
        // With the caller's rights.
        let visible = client.select(VISIBLE, Some(1), &[delivery_id.into()])?;
        if visible.is_empty() {
            return Ok(None);
        }
        let visible = visible.first();
        let keys = visible.get::<pgrx::Uuid>(1)?.zip(visible.get::<pgrx::Uuid>(2)?).zip(visible.get::<pgrx::Uuid>(3)?);
        let Some(((event_id, endpoint_id), auction_id)) = keys else { return Ok(None) };
        let event_type: String = visible.get(4)?.unwrap_or_default();
        let sent_at = visible.get::<Timestamp>(5)?.map(SystemTime::from);

        let _owner = as_extension_owner();
        let arguments = [event_id.into(), endpoint_id.into(), auction_id.into()];
        let sent = include_str!("../../sql/statements/history/sent.sql");
        let Some(found) = client.select(sent, Some(1), &arguments)?.next() else { return Ok(None) };
        let url: Option<String> = found.get(3)?;
        let event = found.get::<Timestamp>(1)?.zip(found.get::<String>(2)?);
        let Some((occurred_at, data)) = event else {
            return Ok(Some(RequestPreview { url, headers: None, body: None }));
        };
        let keys = KeyFile::default();
        let secrets = stored_secrets::in_row(&found, 4, id(endpoint_id), &keys)?;
        let Secrets { secrets, signing_keys } =
            secrets.unwrap_or_else(|problem| problem.raise_for_tenant()).unwrap_or_default();
        let destination = Destination {
            url: url.clone().unwrap_or_default(),
            secrets,
            signing_keys,
            headers: headers_in(found.get(7)?),
            ..Destination::default()
        };
        let key = DeliveryKey {
            delivery_id: id(delivery_id),
            endpoint_id: id(endpoint_id),
            auction_id: id(auction_id),
            row_id: None,
            attempt: 1,
            event_id: id(event_id),
            earlier_attempts: 0,
            due_at: 0,
            is_test: false,
        };
        let occurred_at = SystemTime::from(occurred_at);
        let is_signed = !destination.secrets.is_empty();
        let destination = Arc::new(destination);
        let job = Job { key, event_type, occurred_at, data, destination, timeout: Duration::ZERO };
        let body = body(&job);
        let headers = is_signed.then(|| {
            let headers = headers(&job, &body, sent_at.unwrap_or_else(SystemTime::now));
            headers.into_iter().map(|(name, value)| (name, value.into())).collect::<serde_json::Map<_, _>>().into()
        });
        Ok(Some(RequestPreview { url, headers, body: String::from_utf8(body).ok() }))
    })
}
