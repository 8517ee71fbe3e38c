//! Test deliveries: queued for a caller who may not write to the queue.

use pgrx::prelude::*;
use pgrx::spi::SpiError;

use crate::access::visible_auction;
use crate::ids;
use crate::postgres::errors::check_writable;
use crate::postgres::security_context::as_extension_owner;
use crate::postgres::wakeup::{self, Wakeup};
use crate::timestamp::Timestamp;

/// Queues the catalogue's example of this event type for an endpoint that the caller can see, and
/// returns the delivery's id; null if the caller sees no such endpoint, if there is no such type,
/// or if the endpoint was tested too often.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn queue_test(endpoint_id: pgrx::Uuid, event_type: &str) -> Result<Option<pgrx::Uuid>, SpiError> {
    check_writable();
    Spi::connect_mut(|client| {
        let Some(auction_id) = visible_auction(client, endpoint_id)? else { return Ok(None) };
        let _owner = as_extension_owner();
        let delivery_id = ids::uuid_v7();
        let moment = Timestamp::now();
        let arguments = [endpoint_id.into(), auction_id.into(), event_type.into(), delivery_id.into(), moment.into()];
        let queued =
            client.update(include_str!("../../sql/statements/endpoint/queue_test.sql"), Some(1), &arguments)?;
        if queued.is_empty() {
            return Ok(None);
        }
        wakeup::at_commit(Wakeup::DueAt(moment));
        Ok(Some(delivery_id))
    })
}
