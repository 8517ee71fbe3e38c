//! How does an event become one queue row for each endpoint that wants it?

use std::cell::RefCell;

use pgrx::datum::{DatumWithOid, JsonString, TimestampWithTimeZone};
use pgrx::pg_sys::BuiltinOid::{JSONARRAYOID, TEXTOID, TIMESTAMPTZOID, UUIDARRAYOID};
use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiResult};

use crate::ids::timestamp;
use crate::server::planned::Planned;
use crate::server::rights::OurSettings;
use crate::server::wake;

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Writes an event that just happened, whose data is this JSON text, if an endpoint wants it, and queues it for each that does; gives back its id.
    #[pg_extern(volatile, strict)]
    fn write_event(event_type: &str, auction_id: pgrx::Uuid, data: &str) -> Option<pgrx::Uuid> {
        super::write_event(event_type, auction_id, data)
            .unwrap_or_else(|problem| pgrx::error!("the event could not be written: {problem}"))
    }
}

fn write_event(event_type: &str, auction_id: pgrx::Uuid, data: &str) -> SpiResult<Option<pgrx::Uuid>> {
    let _settings = OurSettings::begin();
    Spi::connect_mut(|client| {
        let events = Events {
            row_ids: vec![None::<pgrx::Uuid>].into(),
            auction_ids: vec![auction_id].into(),
            data: vec![JsonString(data.to_owned())].into(),
        };
        Ok(fan_out(client, event_type, now(), events)?.an_event_id)
    })
}

/// Events that may be wanted, as the server's own arrays, of equal length.
pub struct Events<'a> {
    /// Which rows they are about.
    pub row_ids: DatumWithOid<'a>,
    pub auction_ids: DatumWithOid<'a>,
    pub data: DatumWithOid<'a>,
}

/// What was wanted.
pub struct Written {
    pub events: i64,
    /// One of them.
    pub an_event_id: Option<pgrx::Uuid>,
}

thread_local! {
    static STATEMENT: RefCell<Planned> = const { RefCell::new(Planned::new()) };
}

/// Writes the events that somebody wants. With the rights of the extension's owner, and our settings.
pub fn fan_out(
    client: &mut SpiClient<'_>,
    event_type: &str,
    occurred_at: TimestampWithTimeZone,
    Events { row_ids, auction_ids, data }: Events<'_>,
) -> SpiResult<Written> {
    let moment = now();
    STATEMENT.with_borrow_mut(|statement| {
        let sql = include_str!("../../sql/capture/fan_out.sql");
        let types = [TEXTOID, TIMESTAMPTZOID, UUIDARRAYOID, UUIDARRAYOID, JSONARRAYOID, TIMESTAMPTZOID];
        let statement = statement.for_writing(client, sql, &types)?;
        let arguments = [event_type.into(), occurred_at.into(), auction_ids, row_ids, data, moment.into()];
        let row = client.update(statement, Some(1), &arguments)?.first();
        let written = Written { events: row.get(1)?.unwrap_or(0), an_event_id: row.get(2)? };
        if written.events > 0 {
            // Where the worker has read past this moment when we commit, it goes back to it.
            wake::at_commit(moment.into());
        }
        Ok(written)
    })
}

fn now() -> TimestampWithTimeZone {
    // SAFETY: a clock.
    timestamp(unsafe { pg_sys::GetCurrentTimestamp() })
}
