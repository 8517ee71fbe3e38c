//! Auctions: those that the caller can set up webhooks for, and their names.

use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiResult};

use crate::access::table_of_application;
use crate::postgres::security_context::{PinnedSettings, RoleGuard, set_locally};

/// The auctions that the caller administers, with their names from `public.auctions`, which is read
/// with the rights of its owner; the name is null if it is not known. Operators get all auctions
/// that have endpoints.
#[pg_extern(stable, schema = "webhook_delivery")]
fn named_auctions()
-> Result<TableIterator<'static, (name!(auction_id, pgrx::Uuid), name!(name, Option<String>))>, SpiError> {
    Ok(TableIterator::new(read()?))
}

const ADMINISTERED: &str =
    "select administered.auction_id from webhook_delivery.administered_auctions() as administered (auction_id)
    where not webhook_delivery.is_operator()
    union select endpoint.auction_id from public.webhook_endpoints as endpoint where webhook_delivery.is_operator()";

const NAMES: &str = "select known.auction_id, auction.name::text
    from pg_catalog.unnest($1) as known (auction_id)
    left join public.auctions as auction on auction.id = known.auction_id";

fn read() -> SpiResult<Vec<(pgrx::Uuid, Option<String>)>> {
    let (ids, table): (Vec<pgrx::Uuid>, _) = Spi::connect(|client| {
        // With the caller's rights.
        let ids = client.select(ADMINISTERED, None, &[])?.filter_map(|row| row.get(1).transpose());
        Ok::<_, pgrx::spi::SpiError>((ids.collect::<SpiResult<_>>()?, table_of_application(client, c"auctions")?))
    })?;
    let _settings = PinnedSettings::begin();
    // If a policy hides a row even from the table's owner, its auction has no name here; the page
    // does not need one.
    set_locally(c"row_security", c"on");
    let Some(_rights) = table.filter(has_names).and_then(RoleGuard::of_owner_of) else {
        return Ok(ids.into_iter().map(|id| (id, None)).collect());
    };
    Spi::connect(|client| {
        let named = client.select(NAMES, None, &[ids.into()])?;
        named.map(|row| Ok((row.get(1)?.expect("an id of the list"), row.get(2)?))).collect()
    })
}

/// Whether the table has the columns that the statement reads.
fn has_names(table: &pg_sys::Oid) -> bool {
    // SAFETY: look-ups by NUL-terminated names and by number, inside a transaction; 0 where there
    // is no such column.
    unsafe {
        let number = |column: &std::ffi::CStr| pg_sys::get_attnum(*table, column.as_ptr());
        pg_sys::get_atttype(*table, number(c"id")) == pg_sys::UUIDOID && number(c"name") > 0
    }
}
