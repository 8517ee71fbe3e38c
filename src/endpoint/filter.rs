//! Trying a filter on events that an auction has had.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiResult};

use crate::access::administers;
use crate::postgres::errors::refuse;
use crate::postgres::security_context::as_extension_owner;

type Tried = (String, Option<TimestampWithTimeZone>, String, Option<bool>);

/// The latest events of an auction and the examples of the catalogue, with whether each matches a
/// filter. Raises 42501 if the caller does not administer the auction.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
#[allow(clippy::type_complexity)]
fn preview_filter(
    auction_id: pgrx::Uuid,
    filter: &str,
    events: Vec<Option<String>>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(event_type, String),
            name!(occurred_at, Option<TimestampWithTimeZone>),
            name!(data, String),
            name!(matches, Option<bool>),
        ),
    >,
    SpiError,
> {
    let tried = Spi::connect(|client| {
        if !administers(client, Some(auction_id))? {
            refuse(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("permission denied for auction {auction_id}"),
                "webhook_auctions() returns the auctions that you administer.",
            );
        }
        let _owner = as_extension_owner();
        let arguments = [auction_id.into(), filter.into(), events.into()];
        let rows = client.select(include_str!("../../sql/statements/endpoint/preview_filter.sql"), None, &arguments)?;
        let tried = rows.map(|row| {
            let data = row.get(3)?.unwrap_or_default();
            Ok((row.get(1)?.unwrap_or_default(), row.get(2)?, data, row.get(4)?))
        });
        tried.collect::<SpiResult<Vec<Tried>>>()
    })?;
    Ok(TableIterator::new(tried))
}
