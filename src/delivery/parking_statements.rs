//! The worker's SQL statements that park deliveries and count the parked ones.

use std::collections::HashMap;

use pgrx::pg_sys::BuiltinOid::*;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiResult};
use uuid::Uuid;

use super::columns::{column, required};
use crate::ids::{id, id_datum};
use crate::timestamp::Timestamp;

/// The deliveries with these values are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Group {
    pub endpoint_id: Uuid,
    pub auction_id: Uuid,
    pub is_test: bool,
}

impl Group {
    /// A group without an endpoint: its row says that there are counts.
    pub const MARKER: Self = Self { endpoint_id: Uuid::nil(), auction_id: Uuid::nil(), is_test: false };
}

/// The counts of a group.
#[derive(Clone, Copy, Default)]
pub struct Counted {
    pub deliveries: i64,
    pub due: i64,
    pub oldest_due_at: Option<Timestamp>,
    pub next_attempt_at: Option<Timestamp>,
}

impl Counted {
    pub fn add(&mut self, other: &Self) {
        let earlier = |one: Option<Timestamp>, another| one.into_iter().chain(another).min();
        self.deliveries += other.deliveries;
        self.due += other.due;
        self.oldest_due_at = earlier(self.oldest_due_at, other.oldest_due_at);
        self.next_attempt_at = earlier(self.next_attempt_at, other.next_attempt_at);
    }
}

/// Where the next step continues: the due time of the last parked delivery of each kind, if there
/// may be more of the kind.
pub struct Left {
    pub overdue: Option<Timestamp>,
    pub later: Option<Timestamp>,
}

pub struct ParkingStatements {
    has_to_park: OwnedPreparedStatement,
    park: OwnedPreparedStatement,
    parked_size: OwnedPreparedStatement,
    count_parked: OwnedPreparedStatement,
    publish_counts: OwnedPreparedStatement,
}

impl ParkingStatements {
    pub fn prepare(client: &SpiClient<'_>) -> SpiResult<Self> {
        let [moment, number, large, moments] = [TIMESTAMPTZOID, INT4OID, INT8OID, TIMESTAMPTZARRAYOID].map(PgOid::from);
        let [ids, flags, numbers] = [UUIDARRAYOID, BOOLARRAYOID, INT8ARRAYOID].map(PgOid::from);
        let counts = [ids, ids, flags, numbers, numbers, moments, moments];
        Ok(Self {
            has_to_park: client
                .prepare(include_str!("../../sql/statements/delivery/has_to_park.sql"), &[moment, moment, moment])?
                .keep(),
            park: client
                .prepare_mut(include_str!("../../sql/statements/delivery/park.sql"), &[moment, moment, moment, number])?
                .keep(),
            parked_size: client.prepare(include_str!("../../sql/statements/delivery/parked_size.sql"), &[])?.keep(),
            count_parked: client
                .prepare(include_str!("../../sql/statements/delivery/count_parked.sql"), &[large, large])?
                .keep(),
            publish_counts: client
                .prepare_mut(include_str!("../../sql/statements/delivery/publish_counts.sql"), &counts)?
                .keep(),
        })
    }

    /// Parks deliveries that are due from `from` until before `before`, or from `later` on, at most
    /// `limit` of each.
    pub fn park(&self, from: Timestamp, before: Timestamp, later: Timestamp, limit: i32) -> SpiResult<Left> {
        let moments = [from.into(), before.into(), later.into()];
        let has_to_park =
            Spi::connect(|client| client.select(&self.has_to_park, Some(1), &moments)?.first().get_one())?;
        if has_to_park != Some(true) {
            return Ok(Left { overdue: None, later: None });
        }
        let [from, before, later] = moments;
        let arguments = [from, before, later, limit.into()];
        Spi::connect_mut(|client| {
            let row = client.update(&self.park, Some(1), &arguments)?.first();
            Ok(Left { overdue: row.get(1)?, later: row.get(2)? })
        })
    }

    /// The number of blocks of the table of parked deliveries, and whether there are counts of it.
    pub fn parked_size(&self) -> SpiResult<(i64, bool)> {
        Spi::connect(|client| {
            let row = client.select(&self.parked_size, Some(1), &[])?.first();
            Ok((required(row.get(1)?), required(row.get(2)?)))
        })
    }

    /// The deliveries that are parked in these blocks of the table.
    pub fn count_parked(&self, first: i64, after_last: i64) -> SpiResult<Vec<(Group, Counted)>> {
        Spi::connect(|client| {
            let rows = client.select(&self.count_parked, None, &[first.into(), after_last.into()])?;
            rows.map(|row| {
                let group = Group {
                    endpoint_id: id(required(row.get(1)?)),
                    auction_id: id(required(row.get(2)?)),
                    is_test: required(row.get(3)?),
                };
                let counted = Counted {
                    deliveries: required(row.get(4)?),
                    due: required(row.get(5)?),
                    oldest_due_at: row.get::<Timestamp>(6)?,
                    next_attempt_at: row.get::<Timestamp>(7)?,
                };
                Ok((group, counted))
            })
            .collect()
        })
    }

    /// Replaces the counts of the parked deliveries.
    pub fn publish_counts(&self, counts: &HashMap<Group, Counted>) -> SpiResult<()> {
        let counts: Vec<_> = counts.iter().collect();
        Spi::connect_mut(|client| {
            let arguments = [
                column(&counts, |(group, _)| id_datum(&group.endpoint_id)).into(),
                column(&counts, |(group, _)| id_datum(&group.auction_id)).into(),
                column(&counts, |(group, _)| group.is_test).into(),
                column(&counts, |(_, counted)| counted.deliveries).into(),
                column(&counts, |(_, counted)| counted.due).into(),
                column(&counts, |(_, counted)| counted.oldest_due_at).into(),
                column(&counts, |(_, counted)| counted.next_attempt_at).into(),
            ];
            client.update(&self.publish_counts, None, &arguments).map(drop)
        })
    }
}
