//! How is a test queued by somebody who may not write to the queue?

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use crate::ids::{self, timestamp};
use crate::server::rights::{OurSettings, Rights};
use crate::server::wake;

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Queues the catalogue's example of this event type for an endpoint that the caller can see, and gives back the
    /// delivery's id; null where he sees no such endpoint, there is no such type, or it was tested too often.
    #[pg_extern(volatile, strict)]
    fn queue_test(endpoint_id: pgrx::Uuid, event_type: &str) -> Option<pgrx::Uuid> {
        super::queue_test(endpoint_id, event_type)
            .unwrap_or_else(|problem| pgrx::error!("the test could not be queued: {problem}"))
    }
}

fn queue_test(endpoint_id: pgrx::Uuid, event_type: &str) -> pgrx::spi::SpiResult<Option<pgrx::Uuid>> {
    Spi::connect_mut(|client| {
        // As the caller: row-level security and the access function answer for him, and not for us.
        let visible = client.select("select webhook_delivery.visible_auction($1)", Some(1), &[endpoint_id.into()])?;
        let Some(auction_id) = visible.first().get_one::<pgrx::Uuid>()? else { return Ok(None) };
        let _settings = OurSettings::begin();
        let Some(_rights) = Rights::of_extension_owner() else { return Ok(None) };
        let delivery_id = ids::webhook_delivery::uuid_v7();
        // SAFETY: a clock.
        let moment: TimestampWithTimeZone = timestamp(unsafe { pg_sys::GetCurrentTimestamp() });
        let arguments = [endpoint_id.into(), auction_id.into(), event_type.into(), delivery_id.into(), moment.into()];
        let queued = client.update(include_str!("../../sql/queue_test.sql"), Some(1), &arguments)?;
        if queued.is_empty() {
            return Ok(None);
        }
        wake::at_commit(moment.into());
        Ok(Some(delivery_id))
    })
}
