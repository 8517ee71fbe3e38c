//! Access: the auctions that the caller administers if the application has not named a function for
//! that, and whether the caller sees an endpoint.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::pg_sys::BuiltinOid::{TEXTOID, UUIDOID};
use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiError, SpiResult};

use crate::ids::id_datum;
use crate::postgres::cached_plan::CachedPlan;
use crate::postgres::security_context::{PinnedSettings, RoleGuard, relation};

const MEMBERS: &CStr = c"auction_members";

/// The auctions of which `public.auction_members` names the `sub` of `request.jwt.claims` as owner
/// or admin. Reads the table with the rights of its owner. Returns none if there is no such table,
/// or if its owner may not decide for every auction.
#[pg_extern(stable, schema = "webhook_delivery")]
fn auctions_of_member() -> Result<SetOfIterator<'static, pgrx::Uuid>, SpiError> {
    Ok(SetOfIterator::new(read_members()?))
}

thread_local! {
    /// One plan for each type of `user_id`: an index on the column is used only if the value has
    /// the column's type.
    static OF_UUID: RefCell<CachedPlan> = const { RefCell::new(CachedPlan::new()) };
    static OF_TEXT: RefCell<CachedPlan> = const { RefCell::new(CachedPlan::new()) };
}

/// The auction of an endpoint that the caller sees; `None` if there is none. Runs with the caller's
/// rights, so that row-level security and the access function apply.
pub fn visible_auction(client: &SpiClient<'_>, endpoint_id: pgrx::Uuid) -> SpiResult<Option<pgrx::Uuid>> {
    let visible = client.select("select webhook_delivery.visible_auction($1)", Some(1), &[endpoint_id.into()])?;
    visible.first().get_one()
}

/// Whether the caller administers an auction, or null: all of them. Runs with the caller's rights.
pub fn administers(client: &SpiClient<'_>, auction_id: Option<pgrx::Uuid>) -> SpiResult<bool> {
    let sql = "select webhook_delivery.is_operator()
        or $1 operator(pg_catalog.=) any (array(select webhook_delivery.administered_auctions()))";
    Ok(client.select(sql, Some(1), &[auction_id.into()])?.first().get_one()? == Some(true))
}

fn read_members() -> SpiResult<Vec<pgrx::Uuid>> {
    Spi::connect(|client| {
        // Without this table the application does not say who administers an auction: no user does.
        let Some(table) = table_of_application(client, MEMBERS)? else { return Ok(Vec::new()) };
        let Some(user_id) = type_of_user_id(table) else { return Ok(Vec::new()) };
        let _settings = PinnedSettings::begin();
        let Some(sub) = client
            .select(include_str!("../sql/statements/access/caller.sql"), Some(1), &[])?
            .first()
            .get_one::<String>()?
        else {
            return Ok(Vec::new());
        };
        let Some(_rights) = RoleGuard::of_owner_of(table) else { return Ok(Vec::new()) };
        let read =
            |statement: &'static std::thread::LocalKey<RefCell<CachedPlan>>, sql: &str, argument_type, argument| {
                statement.with_borrow_mut(|statement| {
                    let statement = statement.for_reading(client, sql, &[argument_type])?;
                    let auctions = client.select(statement, None, &[argument])?;
                    auctions.filter_map(|row| row.get(1).transpose()).collect()
                })
            };
        if user_id == pg_sys::UUIDOID {
            match uuid::Uuid::parse_str(&sub) {
                Ok(sub) => read(
                    &OF_UUID,
                    include_str!("../sql/statements/access/auctions_of_member.sql"),
                    UUIDOID,
                    id_datum(&sub).into(),
                ),
                Err(_) => Ok(Vec::new()),
            }
        } else {
            read(&OF_TEXT, include_str!("../sql/statements/access/auctions_of_member_by_text.sql"), TEXTOID, sub.into())
        }
    })
}

/// A relation in the schema public whose owner may decide for every auction. `None` if there is no
/// such relation, or if another role owns it: a role that may create tables there must not decide
/// who administers an auction. Call it with the caller's rights.
pub fn table_of_application(client: &SpiClient<'_>, name: &CStr) -> SpiResult<Option<pg_sys::Oid>> {
    let Some(table) = relation(c"public", name) else { return Ok(None) };
    let trusted = "select webhook_delivery.speaks_for_every_auction(known.relowner) from pg_catalog.pg_class as known
        where known.oid operator(pg_catalog.=) $1";
    let trusted = client.select(trusted, Some(1), &[table.into()])?.first().get_one::<bool>()?;
    Ok((trusted == Some(true)).then_some(table))
}

/// The type of the column `user_id`; `None` if the table does not have the required columns.
fn type_of_user_id(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: look-ups by a NUL-terminated name and by number, inside a transaction; 0 where there
    // is no such column.
    unsafe {
        let number = |column: &CStr| pg_sys::get_attnum(table, column.as_ptr());
        let has_all = [c"auction_id", c"user_id", c"role"].into_iter().all(|column| number(column) > 0);
        has_all.then(|| pg_sys::get_atttype(table, number(c"user_id")))
    }
}
