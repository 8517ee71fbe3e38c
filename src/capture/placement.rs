//! Placement: the shard of which a trigger fires, in a database with Citus.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::firing::Firing;
use crate::postgres::cached_plan::CachedPlan;
use crate::postgres::invalidation::{LatestSnapshot, changes_of_any_table};
use crate::postgres::security_context::{self, as_extension_owner};

/// Where Citus keeps the rows of a table.
#[derive(Clone, Copy)]
pub struct Placement {
    /// The first of the co-located shards, which stands for all of them; `None` if the table is no
    /// shard.
    pub shard: Option<pg_sys::Oid>,
    /// Whether the rows of this node make events: a table with copies on several nodes has a
    /// trigger on each.
    pub makes_events: bool,
}

const WITHOUT_CITUS: Placement = Placement { shard: None, makes_events: true };

/// Maximum number of tables in the cache.
const MAX_TABLES: usize = 4096;

thread_local! {
    /// The last table, with the number of changes at which its placement was read: a million rows
    /// of one table need one look-up.
    static LAST: Cell<Option<((pg_sys::Oid, u64), Placement)>> = const { Cell::new(None) };
    static KNOWN: RefCell<HashMap<pg_sys::Oid, Placement>> = RefCell::default();
    /// The number of changes of tables when the placements were read. Citus announces changes of
    /// its catalogue as changes of the tables.
    static READ_AT: Cell<u64> = const { Cell::new(0) };
    static READ: RefCell<CachedPlan> = const { RefCell::new(CachedPlan::new()) };
}

/// The placement of the table of a trigger that fires; for a partition, of the topmost partitioned
/// table. Without a subtransaction: Citus would begin one on other nodes too, whose part of the
/// user's statement may be running.
pub fn placement_of(firing: &Firing) -> Placement {
    let (relation, changes) = (firing.relation.rd_id, changes_of_any_table());
    if let Some((_, known)) = LAST.get().filter(|(of, _)| *of == (relation, changes)) {
        return known;
    }
    if READ_AT.replace(changes) != changes || KNOWN.with_borrow(HashMap::len) >= MAX_TABLES {
        KNOWN.take();
    }
    let known = KNOWN.with_borrow(|known| known.get(&relation).copied());
    let placement = known.unwrap_or_else(|| {
        let found = if has_citus() {
            read(firing.table())
                .unwrap_or_else(|problem| pgrx::error!("could not read the shards of this node: {problem}"))
        } else {
            WITHOUT_CITUS
        };
        KNOWN.with_borrow_mut(|known| known.insert(relation, found));
        found
    });
    LAST.set(Some(((relation, changes), placement)));
    placement
}

/// Whether this database has Citus.
pub fn has_citus() -> bool {
    security_context::relation(c"pg_catalog", c"pg_dist_partition").is_some()
}

fn read(table: pg_sys::Oid) -> SpiResult<Placement> {
    let _owner = as_extension_owner();
    Spi::connect(|client| {
        READ.with_borrow_mut(|statement| {
            let sql = "select placement.first_shard::pg_catalog.oid, placement.makes_events
                from webhook_delivery.citus_placement($1) as placement";
            let statement = statement.for_reading(client, sql, &[pg_sys::BuiltinOid::OIDOID])?;
            let _latest = LatestSnapshot::take();
            let row = client.select(statement, Some(1), &[table.into()])?.first();
            Ok(Placement { shard: row.get(1)?, makes_events: row.get(2)?.unwrap_or(true) })
        })
    })
}
