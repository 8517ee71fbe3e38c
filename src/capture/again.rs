//! How is captured what could not be captured before?

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

use std::ffi::CString;
use std::rc::Rc;

use pgrx::datum::TimestampWithTimeZone;
use uuid::Uuid;

use super::build::Capture;
use super::changes::Row;
use super::image::Kept;
use super::subject::{Event, RowTrigger};
use crate::server::refusal::refuse;
use crate::server::rights::{OurSettings, Rights};

/// A row of `capture_errors`.
struct Owed {
    occurred_at: TimestampWithTimeZone,
    event: Event,
    keys: Vec<Option<Uuid>>,
    /// The rows as they were before, none where that could not be kept; empty, or as many as keys.
    previous: Vec<Option<Kept>>,
}

fn capture_again(error_id: i64) -> i64 {
    let owed = match take(error_id) {
        Ok(Some(owed)) => owed,
        Ok(None) => {
            refuse(
                PgSqlErrorCode::ERRCODE_NO_DATA,
                format!("there is no capture error {error_id}"),
                "select id from webhook_delivery.capture_errors shows those that there are.",
            );
        }
        Err(problem) => pgrx::error!("webhook_delivery.capture_errors cannot be read: {problem}"),
    };
    if owed.keys.is_empty() {
        refuse(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("of capture error {error_id} it is not known which rows it was about"),
            "Send the event with webhook_delivery.emit(), and delete the row from webhook_delivery.capture_errors.",
        );
    }
    if owed.previous.iter().any(Option::is_none) {
        refuse(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("of capture error {error_id} it is not known any more what some rows were"),
            "Send the events with webhook_delivery.emit(), and delete the row from webhook_delivery.capture_errors.",
        );
    }
    let mut capture = Capture::new(owed.occurred_at);
    let previous = owed.previous.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    let rows = owed.keys.iter().zip(previous).map(|(key, previous)| Row {
        key: key.unwrap_or_default(),
        about: *key,
        auction_id: None,
        previous,
    });
    capture.build(&owed.event, rows);
    capture.finish()
}

fn take(error_id: i64) -> pgrx::spi::SpiResult<Option<Owed>> {
    let _settings = OurSettings::begin();
    let Some(_rights) = Rights::of_extension_owner() else { return Ok(None) };
    Spi::connect_mut(|client| {
        let taken = client.update(include_str!("../../sql/capture/take_error.sql"), Some(1), &[error_id.into()])?;
        let Some(row) = taken.into_iter().next() else { return Ok(None) };
        let keys: Vec<Option<pgrx::Uuid>> = row.get(3)?.unwrap_or_default();
        let previous: Vec<Option<String>> = row.get(4)?.unwrap_or_default();
        let row_trigger = row.get::<String>(7)?.map(|auction_column| {
            // A name of the server's has no NUL. Where the table is gone its owner is, and that will be the failure.
            let name = |name| CString::new(name).unwrap_or_default();
            let table = row.get::<pg_sys::Oid>(6)?.unwrap_or(pg_sys::InvalidOid);
            let left_out = row.get::<Vec<String>>(8)?.unwrap_or_default().into_iter().map(name).collect();
            Ok::<_, pgrx::spi::SpiError>(Rc::new(RowTrigger { table, auction_column: name(auction_column), left_out }))
        });
        let row_trigger = row_trigger.transpose()?;
        let schema = row.get::<pg_sys::Oid>(5)?.unwrap_or(pg_sys::InvalidOid);
        Ok(row.get(1)?.zip(row.get(2)?).map(|(occurred_at, event_type)| Owed {
            occurred_at,
            event: Event { event_type, schema, row_trigger },
            keys: keys.iter().map(|key| key.map(|key| Uuid::from_bytes(*key.as_bytes()))).collect(),
            previous: previous.into_iter().map(|row| row.map(Kept::Text)).collect(),
        }))
    })
}
