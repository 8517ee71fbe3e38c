//! Replays past events to an endpoint.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::SpiError;

use super::allowance::Allowance;
use super::pacing;
use crate::access::visible_auction;
use crate::ids::id;
use crate::postgres::errors::check_writable;
use crate::postgres::security_context::as_extension_owner;
use crate::postgres::wakeup::{self, Wakeup};
use crate::timestamp::Timestamp;

/// Queues events for an endpoint that the caller sees: those of this period and these types that
/// the endpoint has not had. Returns their number; null if the caller sees no such endpoint. Raises
/// 53400 if the auction exceeds its limit.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn replay(
    endpoint_id: pgrx::Uuid,
    since: TimestampWithTimeZone,
    until: TimestampWithTimeZone,
    events: Vec<Option<String>>,
) -> Result<Option<i64>, SpiError> {
    check_writable();
    Spi::connect_mut(|client| {
        let Some(auction_id) = visible_auction(client, endpoint_id)? else { return Ok(None) };
        let now = Timestamp::now();
        let allowance = Allowance::of_caller(client)?;
        let queued = {
            let _owner = as_extension_owner();
            let arguments = [
                endpoint_id.into(),
                auction_id.into(),
                since.into(),
                until.into(),
                events.into(),
                now.into(),
                pacing::spacing().into(),
                allowance.one_too_many().into(),
            ];
            let queued =
                client.update(include_str!("../../sql/statements/history/replay.sql"), None, &arguments)?.len();
            // An error here rolls the queued rows back with the transaction.
            allowance.take(client, std::iter::repeat_n(id(auction_id), queued))?;
            queued
        };
        if queued > 0 {
            wakeup::at_commit(Wakeup::DueAt(now));
        }
        Ok(Some(queued as i64))
    })
}
