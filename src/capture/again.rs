//! Recapture: dead letters are built again.

use pgrx::prelude::*;

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Sends the events of a row of `capture_errors`, with the data that their rows have now, and removes it. What fails
    /// again is a new row. Gives back how many events were written: none for rows that are gone or that nobody wants.
    /// Unknown id: 02000; a row whose keys are not known: 55000.
    #[pg_extern(volatile, strict)]
    fn capture_again(error_id: i64) -> i64 {
        super::capture_again(error_id)
    }
}

use pgrx::datum::TimestampWithTimeZone;
use uuid::Uuid;

use super::build::Capture;
use super::changes::Row;
use super::image::Kept;
use super::subject::{Event, RowTable};
use crate::ids::id;
use crate::server::refusal::{check_writable, refuse};
use crate::server::rights::{OurSettings, Rights};

/// A row of `capture_errors`.
struct DeadLetter {
    occurred_at: TimestampWithTimeZone,
    event: Event,
    rows: Vec<DeadRow>,
}

struct DeadRow {
    key: Option<Uuid>,
    auction_id: Option<Uuid>,
    kept: Option<Kept>,
}

fn capture_again(error_id: i64) -> i64 {
    check_writable();
    let letter = match take(error_id) {
        Ok(Some(letter)) => letter,
        Ok(None) => {
            refuse(
                PgSqlErrorCode::ERRCODE_NO_DATA,
                format!("capture error {error_id} does not exist"),
                "select id from webhook_delivery.capture_errors shows those that exist.",
            );
        }
        Err(problem) => pgrx::error!("webhook_delivery.capture_errors cannot be read: {problem}"),
    };
    if letter.rows.is_empty() {
        refuse(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("the rows of capture error {error_id} are not known"),
            "Send the event with webhook_delivery.emit(), and delete the row from webhook_delivery.capture_errors.",
        );
    }
    let mut capture = Capture::new(letter.occurred_at);
    let rows = letter.rows.iter().map(|row| Row {
        key: row.key.unwrap_or_default(),
        about: row.key,
        auction_id: row.auction_id,
        kept: row.kept.as_ref(),
    });
    capture.build(&letter.event, rows);
    capture.finish()
}

fn take(error_id: i64) -> pgrx::spi::SpiResult<Option<DeadLetter>> {
    let _settings = OurSettings::begin();
    let Some(_rights) = Rights::of_extension_owner() else { return Ok(None) };
    Spi::connect_mut(|client| {
        let taken = client.update(include_str!("../../sql/capture/take_error.sql"), Some(1), &[error_id.into()])?;
        let Some(row) = taken.into_iter().next() else { return Ok(None) };
        let schema = row.get::<pg_sys::Oid>(4)?.unwrap_or(pg_sys::InvalidOid);
        let is_of_row = row.get::<bool>(5)? == Some(true);
        // Events that are data already need neither the table nor the rights of its owner.
        let oid = row.get::<pg_sys::Oid>(6)?.unwrap_or(pg_sys::InvalidOid);
        let table = RowTable { oid, owner: pg_sys::InvalidOid };
        let keys = row.get::<Vec<Option<pgrx::Uuid>>>(3)?.unwrap_or_default();
        let auction_ids = row.get::<Vec<Option<pgrx::Uuid>>>(7)?.unwrap_or_default();
        // Without this array no row had anything to keep.
        let texts = row.get::<Vec<Option<String>>>(8)?.unwrap_or_else(|| vec![Some("null".to_owned()); keys.len()]);
        if texts.iter().any(Option::is_none) {
            refuse(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("the data of capture error {error_id} could not be kept"),
                "Send the events with webhook_delivery.emit(), and delete the row from webhook_delivery.capture_errors.",
            );
        }
        let auction_ids = auction_ids.into_iter().chain(std::iter::repeat(None));
        let rows = keys.into_iter().zip(auction_ids).zip(texts).map(|((key, auction_id), text)| DeadRow {
            key: key.map(id),
            auction_id: auction_id.map(id),
            kept: match text.as_deref() {
                None | Some("null") => None,
                Some(text) if is_of_row => Some(Kept::Data(text.to_owned())),
                Some(text) => Some(Kept::PreviousText(text.to_owned())),
            },
        });
        Ok(row.get(1)?.zip(row.get(2)?).map(|(occurred_at, event_type)| DeadLetter {
            occurred_at,
            event: Event { event_type, schema, row_table: is_of_row.then_some(table) },
            rows: rows.collect(),
        }))
    })
}
