//! The history of all nodes, in a database with Citus: each node keeps that of its own deliveries.

use pgrx::prelude::*;
use pgrx::spi::SpiError;

use crate::access::administers;
use crate::postgres::errors::refuse;
use crate::postgres::security_context::as_extension_owner;

/// Maximum number of rows of a call. Each node is asked for as many.
const MAX_ROWS: i32 = 1000;

/// Rows of `webhook_deliveries` of all nodes, as a JSON array: the latest of an auction (null: of
/// all), before a delivery (null: all). Null if the caller does not see the auction.
#[pg_extern(stable, schema = "webhook_delivery")]
fn deliveries_of_nodes(
    auction_id: Option<pgrx::Uuid>,
    before: Option<pgrx::Uuid>,
    max_rows: Option<i32>,
) -> Result<Option<pgrx::JsonB>, SpiError> {
    let Some(max_rows) = max_rows.filter(|rows| (1..=MAX_ROWS).contains(rows)) else {
        refuse(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("max_rows must be from 1 to {MAX_ROWS}"),
            "For the next page, give the id of the last row as before.",
        );
    };
    if !Spi::connect(|client| administers(client, auction_id))? {
        return Ok(None);
    }
    let _owner = as_extension_owner();
    let sql = "select webhook_delivery.read_deliveries_of_nodes($1, $2, $3)";
    Spi::get_one_with_args(sql, &[auction_id.into(), before.into(), max_rows.into()])
}
