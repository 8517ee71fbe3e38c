//! Sends an endpoint the events of the time before it existed.

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

/// Queues the events of this time for an endpoint that the caller sees, those that it has not had, of these types; returns
/// how many. Null where the caller sees no such endpoint; more than an auction's limit: 53400.
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
            // What is too much is undone with the transaction.
            allowance.take(client, std::iter::repeat_n(id(auction_id), queued))?;
            queued
        };
        if queued > 0 {
            wakeup::at_commit(Wakeup::DueAt(now));
        }
        Ok(Some(queued as i64))
    })
}
