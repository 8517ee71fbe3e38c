//! Deletes a customer's data on request.

use pgrx::pg_sys::BuiltinOid::{TEXTOID, UUIDOID};
use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::retry_moved_row::retry_moved_row;
use crate::postgres::errors::check_writable;
use crate::postgres::security_context::{PinnedSettings, RoleGuard};
use crate::postgres::wakeup;

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Deletes the data of the auction's events: of those about this row, with this text in their data, or of all. Returns how
    /// many events these were; null where the caller does not administer the auction.
    #[pg_extern(volatile)]
    fn expunge(auction_id: pgrx::Uuid, row_id: Option<pgrx::Uuid>, containing: Option<&str>) -> Option<i64> {
        super::expunge(auction_id, row_id, containing)
            .unwrap_or_else(|problem| pgrx::error!("the data could not be deleted: {problem}"))
    }
}

const RIGHTS: &str = "select webhook_delivery.is_operator(), exists (
    select from webhook_delivery.administered_auctions() as mine where mine operator(pg_catalog.=) $1)";

fn expunge(auction_id: pgrx::Uuid, row_id: Option<pgrx::Uuid>, containing: Option<&str>) -> SpiResult<Option<i64>> {
    check_writable();
    Spi::connect_mut(|client| {
        // As the caller.
        let rights = client.select(RIGHTS, Some(1), &[auction_id.into()])?.first();
        let (is_operator, is_administrator) = (rights.get(1)? == Some(true), rights.get(2)? == Some(true));
        if !is_operator && !is_administrator {
            return Ok(None);
        }
        let _settings = PinnedSettings::begin();
        let Some(_rights) = RoleGuard::of_extension_owner() else { return Ok(None) };
        let types = [UUIDOID, UUIDOID, TEXTOID].map(PgOid::from);
        let expunge = client.prepare_mut(include_str!("../../sql/statements/history/expunge.sql"), &types)?;
        let arguments = [auction_id.into(), row_id.into(), containing.into()];
        let gone = retry_moved_row(|| client.update(&expunge, Some(1), &arguments)?.first().get_one::<i64>())?;
        if is_operator {
            // Whose they are nobody knows, so they are no tenant's.
            let types = [UUIDOID, TEXTOID].map(PgOid::from);
            let expunge =
                client.prepare_mut(include_str!("../../sql/statements/history/expunge_errors.sql"), &types)?;
            client.update(&expunge, None, &[row_id.into(), containing.into()])?;
        }
        wakeup::at_commit(i64::MIN);
        Ok(gone)
    })
}
