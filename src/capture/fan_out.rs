//! Fan-out: an event becomes one queue row for each interested endpoint.

use std::cell::RefCell;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::BuiltinOid::{JSONARRAYOID, TEXTOID, TIMESTAMPTZOID, UUIDARRAYOID};
use pgrx::spi::{SpiClient, SpiResult};
use uuid::Uuid;

use super::apply_filters::apply_filters;
use super::subscriptions::{self, Wanted};
use crate::ids::{self, id_datum};
use crate::postgres::cached_plan::CachedPlan;
use crate::postgres::wakeup::{self, Wakeup};
use crate::timestamp::Timestamp;

/// Events of one type.
pub struct Events<'a> {
    /// `None` for events that are not written.
    pub wanted: Vec<Option<Wanted>>,
    /// The rows that the events are about, and their data: arrays of the server, as long as
    /// `wanted`.
    pub row_ids: DatumWithOid<'a>,
    pub data: DatumWithOid<'a>,
}

thread_local! {
    static STATEMENT: RefCell<CachedPlan> = const { RefCell::new(CachedPlan::new()) };
}

/// Writes the events and their deliveries, and returns the number of the events. An event that all
/// filters reject is not written. Call it with the rights of the extension's owner and our settings.
pub fn fan_out(
    client: &mut SpiClient<'_>,
    event_type: &str,
    occurred_at: Timestamp,
    Events { mut wanted, row_ids, data }: Events<'_>,
) -> SpiResult<i64> {
    if apply_filters(event_type, &mut wanted, &data) {
        for event in &mut wanted {
            event.take_if(|event| !subscriptions::is_recorded(&event.endpoints));
        }
    }
    let written = wanted.iter().flatten().count();
    if written == 0 {
        return Ok(0);
    }
    let moment = Timestamp::now();
    let events = |of: fn(&Wanted) -> &Uuid| -> DatumWithOid {
        wanted.iter().map(|event| event.as_ref().map(of).map(id_datum)).collect::<Vec<_>>().into()
    };
    let deliveries = || {
        wanted
            .iter()
            .flatten()
            .flat_map(|event| event.endpoints.iter().map(move |endpoint| (event, &endpoint.endpoint_id)))
    };
    let of_deliveries =
        |of: fn((&Wanted, &Uuid)) -> pgrx::Uuid| -> DatumWithOid { deliveries().map(of).collect::<Vec<_>>().into() };
    STATEMENT.with_borrow_mut(|statement| {
        let sql = include_str!("../../sql/statements/capture/fan_out.sql");
        let types = [
            TEXTOID,
            TIMESTAMPTZOID,
            UUIDARRAYOID,
            UUIDARRAYOID,
            UUIDARRAYOID,
            JSONARRAYOID,
            TIMESTAMPTZOID,
            UUIDARRAYOID,
            UUIDARRAYOID,
            UUIDARRAYOID,
            UUIDARRAYOID,
        ];
        let statement = statement.for_writing(client, sql, &types)?;
        let arguments = [
            event_type.into(),
            occurred_at.into(),
            events(|event| &event.event_id),
            events(|event| &event.auction_id),
            row_ids,
            data,
            moment.into(),
            of_deliveries(|_| ids::uuid_v7()),
            of_deliveries(|(event, _)| id_datum(&event.auction_id)),
            of_deliveries(|(_, endpoint_id)| id_datum(endpoint_id)),
            of_deliveries(|(event, _)| id_datum(&event.event_id)),
        ];
        client.update(statement, None, &arguments)?;
        if deliveries().next().is_some() {
            // If the worker has read past this moment by the commit, it goes back to this moment.
            wakeup::at_commit(Wakeup::DueAt(moment));
        }
        Ok(written as i64)
    })
}
