//! Which of some deliveries does the caller see?

use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiResult};
use uuid::Uuid;

use crate::ids::{id, id_datum};
use crate::server::refusal::refuse;
use crate::server::settings;

/// Deliveries that are looked up by one statement.
const AT_ONCE: usize = 10_000;

/// A delivery that the caller sees.
pub struct Visible {
    pub id: Uuid,
    pub endpoint_id: Uuid,
    /// Whether it waits for an attempt; otherwise it has ended.
    pub waits: bool,
}

/// These deliveries in their order, in portions. An array from SQL may have nulls and the same delivery twice.
pub fn portions(given: Vec<Option<pgrx::Uuid>>) -> Vec<Vec<Uuid>> {
    let mut ids: Vec<Uuid> = given.into_iter().flatten().map(id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.chunks(AT_ONCE).map(<[Uuid]>::to_vec).collect()
}

/// Those of them that the caller sees: row-level security and the access function answer for him, and not for us.
pub fn look_up(client: &SpiClient<'_>, portion: &[Uuid]) -> SpiResult<Vec<Visible>> {
    let (Some(lowest), Some(highest)) = (portion.first(), portion.last()) else { return Ok(Vec::new()) };
    let ids: Vec<pgrx::Uuid> = portion.iter().map(id_datum).collect();
    let arguments = [ids.into(), id_datum(lowest).into(), id_datum(highest).into()];
    let rows = client.select(include_str!("../../sql/history/visible.sql"), None, &arguments)?;
    let visible = rows.map(|row| {
        let (delivery_id, endpoint_id) = (row.get::<pgrx::Uuid>(1)?, row.get::<pgrx::Uuid>(2)?);
        let waits = row.get(3)?.unwrap_or(false);
        Ok(delivery_id.zip(endpoint_id).map(|(d, e)| Visible { id: id(d), endpoint_id: id(e), waits }))
    });
    visible.filter_map(SpiResult::transpose).collect()
}

/// Refuses (22023) more than a tenant may have sent again with one call.
pub fn check_number(client: &SpiClient<'_>, wanted: usize) -> SpiResult<()> {
    let at_most = settings::max_resend();
    if wanted <= at_most {
        return Ok(());
    }
    let operator = client.select("select webhook_delivery.is_operator()", Some(1), &[])?.first().get_one::<bool>()?;
    if operator == Some(true) {
        return Ok(());
    }
    refuse(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("one call sends {at_most} deliveries again at most, and these are more"),
        "Call it for a shorter time, and again for the next; or have an administrator raise webhook_delivery.max_resend.",
    )
}
