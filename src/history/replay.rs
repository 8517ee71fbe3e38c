//! How does an endpoint get what happened before it was there?

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::allowance::{Allowance, OverLimit};
use super::pace;
use crate::access::visible_auction;
use crate::ids::{id, timestamp};
use crate::server::refusal::check_writable;
use crate::server::rights::{OurSettings, Rights};
use crate::server::wake;

#[pg_schema]
mod webhook_delivery {
    use pgrx::datum::TimestampWithTimeZone;
    use pgrx::prelude::*;

    /// Queues the events of this time for an endpoint that the caller sees, those that it has not had, of these types; no row
    /// where he sees no such endpoint. `over_limit` says that nothing is to be done, because the auction would have so many
    /// deliveries sent again within a minute.
    #[pg_extern(volatile, strict)]
    fn replay(
        endpoint_id: pgrx::Uuid,
        since: TimestampWithTimeZone,
        until: TimestampWithTimeZone,
        events: Vec<Option<String>>,
    ) -> TableIterator<'static, (name!(queued, i64), name!(over_limit, Option<i64>))> {
        let replayed = super::replay(endpoint_id, since, until, events)
            .unwrap_or_else(|problem| pgrx::error!("the events could not be queued: {problem}"));
        TableIterator::new(replayed.map(|replayed| match replayed {
            Ok(queued) => (queued, None),
            Err(super::OverLimit(reached)) => (0, Some(reached)),
        }))
    }
}

fn replay(
    endpoint_id: pgrx::Uuid,
    since: TimestampWithTimeZone,
    until: TimestampWithTimeZone,
    events: Vec<Option<String>>,
) -> SpiResult<Option<Result<i64, OverLimit>>> {
    check_writable();
    Spi::connect_mut(|client| {
        let Some(auction_id) = visible_auction(client, endpoint_id)? else { return Ok(None) };
        // SAFETY: a clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        let allowance = Allowance::of_caller(client)?;
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
            let queued = client.update(include_str!("../../sql/history/replay.sql"), None, &arguments)?.len();
            // What is too much is undone with the transaction.
            if let Some(over_limit) = allowance.take(client, std::iter::repeat_n(id(auction_id), queued))? {
                return Ok(Some(Err(over_limit)));
            }
            queued
        };
        if queued > 0 {
            wake::at_commit(now);
        }
        Ok(Some(Ok(queued as i64)))
    })
}
