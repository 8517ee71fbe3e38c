//! Queues a test for a caller who may not write to the queue.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use crate::access::visible_auction;
use crate::ids::{self, timestamp};
use crate::postgres::errors::check_writable;
use crate::postgres::security_context::{PinnedSettings, RoleGuard};
use crate::postgres::wakeup;

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Queues the catalogue's example of this event type for an endpoint that the caller can see, and returns the
    /// delivery's id; null if the caller sees no such endpoint, there is no such type, or it was tested too often.
    #[pg_extern(volatile, strict)]
    fn queue_test(endpoint_id: pgrx::Uuid, event_type: &str) -> Option<pgrx::Uuid> {
        super::queue_test(endpoint_id, event_type)
            .unwrap_or_else(|problem| pgrx::error!("the test could not be queued: {problem}"))
    }
}

fn queue_test(endpoint_id: pgrx::Uuid, event_type: &str) -> pgrx::spi::SpiResult<Option<pgrx::Uuid>> {
    check_writable();
    Spi::connect_mut(|client| {
        let Some(auction_id) = visible_auction(client, endpoint_id)? else { return Ok(None) };
        let _settings = PinnedSettings::begin();
        let Some(_rights) = RoleGuard::of_extension_owner() else { return Ok(None) };
        let delivery_id = ids::webhook_delivery::uuid_v7();
        // SAFETY: a clock.
        let moment: TimestampWithTimeZone = timestamp(unsafe { pg_sys::GetCurrentTimestamp() });
        let arguments = [endpoint_id.into(), auction_id.into(), event_type.into(), delivery_id.into(), moment.into()];
        let queued =
            client.update(include_str!("../../sql/statements/endpoint/queue_test.sql"), Some(1), &arguments)?;
        if queued.is_empty() {
            return Ok(None);
        }
        wakeup::at_commit(moment.into());
        Ok(Some(delivery_id))
    })
}
