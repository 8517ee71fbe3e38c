//! Who administers an auction, where the application has named no function of its own to say?

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use crate::server::planned::Planned;
use crate::server::rights::{OurSettings, Rights, relation};

const MEMBERS: &CStr = c"auction_members";

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Whether `public.auction_members` names the `sub` of `request.jwt.claims` as owner or admin of the auction. Reads it
    /// with the rights of its owner; false where there is no such table.
    #[pg_extern(stable, strict)]
    fn is_auction_admin(auction_id: pgrx::Uuid) -> bool {
        super::is_auction_admin(auction_id)
            .unwrap_or_else(|problem| pgrx::error!("public.auction_members could not be read: {problem}"))
    }
}

thread_local! {
    static STATEMENT: RefCell<Planned> = const { RefCell::new(Planned::new()) };
}

fn is_auction_admin(auction_id: pgrx::Uuid) -> SpiResult<bool> {
    if !has_members() {
        // An application without this table has said nothing about who administers an auction: nobody does.
        return Ok(false);
    }
    let _settings = OurSettings::begin();
    let Some(_rights) = relation(c"public", MEMBERS).and_then(Rights::of_owner_of) else { return Ok(false) };
    Spi::connect(|client| {
        STATEMENT.with_borrow_mut(|statement| {
            let sql = include_str!("../sql/is_auction_admin.sql");
            let statement = statement.for_reading(client, sql, &[PgBuiltInOids::UUIDOID])?;
            let found = client.select(statement, Some(1), &[auction_id.into()])?;
            Ok(found.first().get_one()?.unwrap_or(false))
        })
    })
}

fn has_members() -> bool {
    relation(c"public", MEMBERS).is_some_and(|table| {
        [c"auction_id", c"user_id", c"role"].iter().all(|column| {
            // SAFETY: a look-up by a NUL-terminated name, inside a transaction; 0 where there is no such column.
            unsafe { pg_sys::get_attnum(table, column.as_ptr()) > 0 }
        })
    })
}
