//! Deletes a customer's data on request.

use pgrx::pg_sys::BuiltinOid::{TEXTOID, UUIDOID};
use pgrx::prelude::*;
use pgrx::spi::SpiError;

use super::retry_moved_row::retry_moved_row;
use crate::postgres::errors::check_writable;
use crate::postgres::security_context::as_extension_owner;
use crate::postgres::wakeup::{self, Wakeup};

const RIGHTS: &str = "select webhook_delivery.is_operator(), exists (
    select from webhook_delivery.administered_auctions() as mine where mine operator(pg_catalog.=) $1)";

/// Deletes the data of the auction's events: of those about this row, of those with this text in
/// their data, or of all. Returns the number of these events; null if the caller does not
/// administer the auction.
#[pg_extern(volatile, schema = "webhook_delivery")]
fn expunge(
    auction_id: pgrx::Uuid,
    row_id: Option<pgrx::Uuid>,
    containing: Option<&str>,
) -> Result<Option<i64>, SpiError> {
    check_writable();
    Spi::connect_mut(|client| {
        // With the caller's rights.
        let rights = client.select(RIGHTS, Some(1), &[auction_id.into()])?.first();
        let (is_operator, is_administrator) = (rights.get(1)? == Some(true), rights.get(2)? == Some(true));
        if !is_operator && !is_administrator {
            return Ok(None);
        }
        let _owner = as_extension_owner();
        let types = [UUIDOID, UUIDOID, TEXTOID].map(PgOid::from);
        let expunge = client.prepare_mut(include_str!("../../sql/statements/history/expunge.sql"), &types)?;
        let arguments = [auction_id.into(), row_id.into(), containing.into()];
        let deleted = retry_moved_row(|| client.update(&expunge, Some(1), &arguments)?.first().get_one::<i64>())?;
        if is_operator {
            // Dead letters have no known auction, so only operators may delete them.
            let types = [UUIDOID, TEXTOID].map(PgOid::from);
            let expunge =
                client.prepare_mut(include_str!("../../sql/statements/history/expunge_errors.sql"), &types)?;
            client.update(&expunge, None, &[row_id.into(), containing.into()])?;
        }
        wakeup::at_commit(Wakeup::Rescan);
        Ok(deleted)
    })
}
