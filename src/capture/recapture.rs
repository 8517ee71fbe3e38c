//! Recapture: builds dead letters again.

use pgrx::prelude::*;
use pgrx::spi::{SpiHeapTupleData, SpiResult};
use uuid::Uuid;

use super::event_builder::EventBuilder;
use super::event_key::{Event, Location, RowTable};
use super::pending_changes::Row;
use super::row_snapshot::{RowOfTrigger, SavedRow};
use crate::ids::id;
use crate::postgres::errors::check_writable;
use crate::postgres::security_context::as_extension_owner;
use crate::postgres::warning::Warning;
use crate::timestamp::Timestamp;

/// A row of `capture_errors`.
struct DeadLetter {
    occurred_at: Timestamp,
    event: Event,
    rows: Vec<DeadRow>,
}

struct DeadRow {
    key: Option<Uuid>,
    auction_id: Option<Uuid>,
    saved: Option<SavedRow>,
}

/// Why a dead letter cannot be built, and what to do. This is not an error, because one dead letter
/// must not end the statement that recaptures all of them.
struct Unusable {
    problem: &'static str,
    hint: &'static str,
}

const ABSENT: Unusable = Unusable {
    problem: "does not exist",
    hint: "select id from webhook_delivery.capture_errors shows those that exist.",
};

const WITHOUT_ROWS: Unusable = Unusable {
    problem: "does not identify the rows of its events",
    hint: "Send the events with webhook_delivery.emit(), and delete the row from webhook_delivery.capture_errors.",
};

const WITHOUT_DATA: Unusable = Unusable { problem: "does not have the data of its events", ..WITHOUT_ROWS };

const WITHOUT_AUCTION: Unusable = Unusable {
    problem: "does not identify the auction of its events",
    hint: "Attach webhook_delivery.row_event() with the present name of the column that has the auction. If the table no longer has \
           one, send the events with webhook_delivery.emit().",
};

/// Sends the events of a row of `capture_errors`, with the data that their rows have now, and
/// removes it. An event that fails again stays, with its present reason. Returns the number of
/// written events: 0 for rows that no longer exist or that no endpoint wants; null, with a WARNING,
/// if `capture_errors` has no such row or the row does not have what its events need.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn recapture(error_id: i64) -> Option<i64> {
    check_writable();
    let letter = match take(error_id) {
        Ok(Ok(letter)) => letter,
        Ok(Err(Unusable { problem, hint })) => {
            let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
            let message = format!("capture error {error_id} {problem}");
            Warning { code, message, detail: None, hint: Some(hint.to_owned()) }.send();
            return None;
        }
        Err(problem) => pgrx::error!("could not read webhook_delivery.capture_errors: {problem}"),
    };
    let mut builder = EventBuilder::of_dead_letter(letter.occurred_at, error_id);
    let rows = letter.rows.iter().map(|row| Row {
        key: row.key.unwrap_or_default(),
        subject: row.key,
        auction_id: row.auction_id,
        saved: row.saved.as_ref(),
    });
    builder.build(&letter.event, rows);
    Some(builder.finish())
}

/// Removes the row if its events can be built. Events that fail again are recorded again.
fn take(error_id: i64) -> SpiResult<Result<DeadLetter, Unusable>> {
    let _owner = as_extension_owner();
    Spi::connect_mut(|client| {
        let read =
            client.update(include_str!("../../sql/statements/capture/read_error.sql"), Some(1), &[error_id.into()])?;
        let Some(row) = read.into_iter().next() else { return Ok(Err(ABSENT)) };
        let letter = letter(&row)?;
        if letter.is_ok() {
            let delete = "delete from webhook_delivery.capture_errors where id operator(pg_catalog.=) $1";
            client.update(delete, None, &[error_id.into()])?;
        }
        Ok(letter)
    })
}

fn letter(row: &SpiHeapTupleData<'_>) -> SpiResult<Result<DeadLetter, Unusable>> {
    let schema = row.get::<pg_sys::Oid>(4)?.unwrap_or(pg_sys::InvalidOid);
    let has_data = row.get::<bool>(5)? == Some(true);
    // Events whose data is known need neither the table nor the rights of its owner.
    let table = row.get::<pg_sys::Oid>(6)?;
    let keys = row.get::<Vec<Option<pgrx::Uuid>>>(3)?.unwrap_or_default();
    if keys.is_empty() {
        return Ok(Err(WITHOUT_ROWS));
    }
    let auction_ids = row.get::<Vec<Option<pgrx::Uuid>>>(7)?.unwrap_or_default();
    // If this array is null, no row had content to save.
    let texts = row.get::<Vec<Option<String>>>(8)?.unwrap_or_else(|| vec![Some("null".to_owned()); keys.len()]);
    if texts.iter().any(Option::is_none) {
        return Ok(Err(WITHOUT_DATA));
    }
    let trigger = row.get::<Vec<String>>(9)?;
    let mut rows = Vec::with_capacity(keys.len());
    let auction_ids = auction_ids.into_iter().chain(std::iter::repeat(None));
    for ((key, auction_id), text) in keys.into_iter().zip(auction_ids).zip(texts) {
        let (key, mut auction_id) = (key.map(id), auction_id.map(id));
        let saved = match text.as_deref() {
            None | Some("null") => None,
            Some(text) if has_data && auction_id.is_none() => {
                let Some(found) = trigger.as_deref().and_then(|arguments| RowOfTrigger::read(text, arguments)) else {
                    return Ok(Err(WITHOUT_AUCTION));
                };
                // A row that belongs to no auction is no event.
                let Some(of) = found.auction_id else { continue };
                auction_id = Some(of);
                Some(SavedRow::Data(found.data))
            }
            Some(text) if has_data => Some(SavedRow::Data(text.to_owned())),
            Some(text) => Some(SavedRow::PreviousText(text.to_owned())),
        };
        rows.push(DeadRow { key, auction_id, saved });
    }
    let Some((occurred_at, event_type)) = row.get(1)?.zip(row.get(2)?) else { return Ok(Err(WITHOUT_ROWS)) };
    let row_table = has_data.then(|| RowTable { oid: table.unwrap_or(pg_sys::InvalidOid), owner: pg_sys::InvalidOid });
    let event = Event { event_type, location: Location { schema, shard: table.filter(|_| !has_data) }, row_table };
    Ok(Ok(DeadLetter { occurred_at, event, rows }))
}
