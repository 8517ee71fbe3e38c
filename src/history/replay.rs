//! How does an endpoint get what happened before it was there?

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::pace;
use super::visible::check_number;
use crate::access::visible_auction;
use crate::ids::timestamp;
use crate::server::rights::{OurSettings, Rights};
use crate::server::wake;

#[pg_schema]
mod webhook_delivery {
    use pgrx::datum::TimestampWithTimeZone;
    use pgrx::prelude::*;

    /// Queues the events of this time for an endpoint that the caller sees, those that it has not had, of these types; gives back
    /// how many. Null where he sees no such endpoint.
    #[pg_extern(volatile, strict)]
    fn replay(
        endpoint_id: pgrx::Uuid,
        since: TimestampWithTimeZone,
        until: TimestampWithTimeZone,
        events: Vec<Option<String>>,
    ) -> Option<i64> {
        super::replay(endpoint_id, since, until, events)
            .unwrap_or_else(|problem| pgrx::error!("the events could not be queued: {problem}"))
    }
}

fn replay(
    endpoint_id: pgrx::Uuid,
    since: TimestampWithTimeZone,
    until: TimestampWithTimeZone,
    events: Vec<Option<String>>,
) -> SpiResult<Option<i64>> {
    Spi::connect_mut(|client| {
        let Some(auction_id) = visible_auction(client, endpoint_id)? else { return Ok(None) };
        // SAFETY: a clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        let queued = {
            let _settings = OurSettings::begin();
            let Some(_rights) = Rights::of_extension_owner() else { return Ok(None) };
            let arguments = [
                endpoint_id.into(),
                auction_id.into(),
                since.into(),
                until.into(),
                events.into(),
                timestamp(now).into(),
                pace::spacing().into(),
            ];
            client.update(include_str!("../../sql/history/replay.sql"), None, &arguments)?.len()
        };
        // What is too much is undone with the transaction.
        check_number(client, queued)?;
        if queued > 0 {
            wake::at_commit(now);
        }
        Ok(Some(queued as i64))
    })
}
