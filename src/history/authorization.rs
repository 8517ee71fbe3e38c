//! Authorization: selects the deliveries that the caller sees.

use pgrx::spi::{SpiClient, SpiResult};
use uuid::Uuid;

use crate::ids::{id, id_datum};

/// Maximum number of deliveries that one statement looks up.
const MAX_IDS: usize = 10_000;

/// A delivery that the caller sees.
pub struct Visible {
    pub id: Uuid,
    pub auction_id: Uuid,
    pub endpoint_id: Uuid,
    /// Whether the delivery waits for an attempt; otherwise it has ended.
    pub waits: bool,
}

/// These deliveries in the order of their ids, in portions. An array from SQL may have nulls and
/// the same delivery twice; both are removed.
pub fn portions(given: Vec<Option<pgrx::Uuid>>) -> Vec<Vec<Uuid>> {
    let mut ids: Vec<Uuid> = given.into_iter().flatten().map(id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.chunks(MAX_IDS).map(<[Uuid]>::to_vec).collect()
}

/// The deliveries of a portion that the caller sees. Runs with the caller's rights, so that
/// row-level security and the access function apply.
pub fn look_up(client: &SpiClient<'_>, portion: &[Uuid]) -> SpiResult<Vec<Visible>> {
    let (Some(lowest), Some(highest)) = (portion.first(), portion.last()) else { return Ok(Vec::new()) };
    let ids: Vec<pgrx::Uuid> = portion.iter().map(id_datum).collect();
    let arguments = [ids.into(), id_datum(lowest).into(), id_datum(highest).into()];
    let rows = client.select(include_str!("../../sql/statements/history/visible.sql"), None, &arguments)?;
    let visible = rows.map(|row| {
        let waits = row.get(4)?.unwrap_or(false);
        let (Some(delivery), Some(endpoint), Some(auction)) = (row.get(1)?, row.get(2)?, row.get(3)?) else {
            return Ok(None);
        };
        Ok(Some(Visible { id: id(delivery), endpoint_id: id(endpoint), auction_id: id(auction), waits }))
    });
    visible.filter_map(SpiResult::transpose).collect()
}
