//! What becomes of events that could not be captured?

use std::rc::Rc;

use indexmap::IndexMap;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use uuid::Uuid;

use super::changes::Row;
use super::image::Kept;
use super::payload::payload_of;
use super::subject::{Event, RowTrigger};
use crate::server::attempt::{Failure, attempt};
use crate::server::rights::{OurSettings, Rights};

/// Rows of `capture_errors` that one transaction writes at most; what else fails joins the last of them.
const CAUSES_AT_MOST: usize = 20;

/// Rows that the WARNING names.
const NAMED_AT_MOST: usize = 10;

/// By event and cause, so that a million rows that fail alike are one row of `capture_errors`.
#[derive(Default)]
pub struct Failures(IndexMap<Cause, Failed>);

#[derive(PartialEq, Eq, Hash)]
struct Cause {
    event_type: String,
    /// Of the tables.
    schema: pg_sys::Oid,
    row_trigger: Option<Rc<RowTrigger>>,
    code: String,
    message: String,
}

struct Failed {
    failure: Failure,
    rows: Vec<Lost>,
}

/// A row that is not told of: what it takes to do so later.
pub struct Lost {
    key: Option<Uuid>,
    previous: Before,
}

/// What the row was before.
enum Before {
    /// The event does not tell of that, or there was no row.
    Nothing,
    /// JSON.
    Kept(String),
    /// It cannot be told any more: making JSON of it is what failed.
    Unreadable,
}

impl Before {
    /// As `capture_errors` has it: JSON, or null where it cannot be told.
    fn as_json(&self) -> Option<&str> {
        match self {
            Self::Nothing => Some("null"),
            Self::Kept(text) => Some(text),
            Self::Unreadable => None,
        }
    }
}

impl Lost {
    /// With the rights of the table's owner, and within an attempt: the application's code makes JSON of what was before.
    pub fn all(event: &Event, rows: &[Row<'_>]) -> Vec<Self> {
        let lost = |before: &dyn Fn(&Kept) -> Before| {
            let previous = |row: &Row| row.previous.map_or(Before::Nothing, before);
            rows.iter().map(|row| Self { key: row_id(event, row), previous: previous(row) }).collect()
        };
        if rows.iter().all(|row| row.previous.is_none()) {
            return lost(&|_| Before::Unreadable);
        }
        let readable = attempt(|| {
            let _settings = OurSettings::begin();
            let payload = Spi::connect(|client| {
                let _rights = Rights::of_extension_owner();
                payload_of(client, event)
            });
            // Without these rights it would run as whoever commits.
            let rights = payload.ok().flatten().map(|payload| payload.rights())?;
            let lost = lost(&|row| Before::Kept(row.to_text()));
            drop(rights);
            Some(lost)
        });
        readable.ok().flatten().unwrap_or_else(|| lost(&|_| Before::Unreadable))
    }
}

fn row_id(event: &Event, row: &Row<'_>) -> Option<Uuid> {
    if event.row_trigger.is_some() { row.about } else { Some(row.key) }
}

impl Failures {
    /// `rows`: those that the event was to tell of; none where they are not known.
    pub fn add(&mut self, event: &Event, rows: Vec<Lost>, failure: Failure) {
        let cause = Cause {
            event_type: event.event_type.clone(),
            schema: event.schema,
            row_trigger: event.row_trigger.clone(),
            code: failure.code.clone(),
            message: failure.message.clone(),
        };
        let is_full = self.0.len() >= CAUSES_AT_MOST;
        let same_event = |known: &Cause| {
            known.event_type == event.event_type
                && known.schema == event.schema
                && known.row_trigger == event.row_trigger
        };
        let place = match self.0.get_index_of(&cause) {
            Some(place) => place,
            // Of another event its rows would be captured again as something that they are not.
            None if is_full && let Some(place) = self.0.keys().rposition(same_event) => place,
            None => self.0.insert_full(cause, Failed { failure, rows: Vec::new() }).0,
        };
        if let Some((_, failed)) = self.0.get_index_mut(place) {
            failed.rows.extend(rows);
        }
    }

    /// Writes them to `capture_errors` and warns the user, once. Neither can fail: an error here is a second warning.
    pub fn report(self, occurred_at: TimestampWithTimeZone) {
        let Some((cause, failed)) = self.0.first() else { return };
        let rows: usize = self.0.values().map(|failed| failed.rows.len().max(1)).sum();
        let message = if rows == 1 {
            format!("webhook event {} was not sent: {}", cause.event_type, cause.message)
        } else {
            format!("{rows} webhook events were not sent; {} was not sent: {}", cause.event_type, cause.message)
        };
        let named: Vec<String> =
            failed.rows.iter().filter_map(|row| row.key).take(NAMED_AT_MOST).map(|key| key.to_string()).collect();
        let others =
            if rows > named.len().max(1) { format!(" and {} more", rows - named.len()) } else { String::new() };
        let mut warning = ErrorReport::new(failed.failure.known_code(), message, pgrx::function_name!());
        if !named.is_empty() {
            warning = warning.set_detail(format!("Rows: {}{others}.", named.join(", ")));
        }
        let hint = match attempt(|| self.record(occurred_at)) {
            Ok(()) => {
                "Your change is saved. See webhook_delivery.capture_errors; once the cause is gone, \
                 webhook_delivery.capture_again(id) sends the events."
            }
            Err(problem) => {
                pgrx::warning!("webhook_delivery.capture_errors could not be written: {}", problem.message);
                "Your change is saved. There is no other trace of the event than this warning: send it again with \
                 webhook_delivery.emit() once the cause is gone."
            }
        };
        warning.set_hint(hint).report(PgLogLevel::WARNING);
    }

    fn record(&self, occurred_at: TimestampWithTimeZone) {
        let _settings = OurSettings::begin();
        let Some(_rights) = Rights::of_extension_owner() else { return };
        let written = Spi::connect_mut(|client| {
            for (cause, Failed { failure, rows }) in &self.0 {
                let key = |row: &Lost| row.key.map(|key| pgrx::Uuid::from_bytes(*key.as_bytes()));
                let keys: Vec<Option<pgrx::Uuid>> = rows.iter().map(key).collect();
                let trigger = cause.row_trigger.as_deref();
                let left_out: Option<Vec<String>> = trigger.map(|trigger| {
                    trigger.left_out.iter().map(|column| column.to_string_lossy().into_owned()).collect()
                });
                let previous: Option<Vec<Option<&str>>> = rows
                    .iter()
                    .any(|row| !matches!(row.previous, Before::Nothing))
                    .then(|| rows.iter().map(|row| row.previous.as_json()).collect());
                let arguments = [
                    occurred_at.into(),
                    cause.event_type.as_str().into(),
                    cause.schema.into(),
                    keys.into(),
                    previous.into(),
                    cause.code.as_str().into(),
                    cause.message.as_str().into(),
                    failure.detail.as_deref().into(),
                    failure.hint.as_deref().into(),
                    failure.context.as_deref().into(),
                    trigger.map(|trigger| trigger.table).into(),
                    trigger.map(|trigger| trigger.auction_column.to_string_lossy().into_owned()).into(),
                    left_out.into(),
                ];
                client.update(include_str!("../../sql/capture/record_error.sql"), None, &arguments)?;
            }
            Ok::<_, pgrx::spi::SpiError>(())
        });
        if let Err(problem) = written {
            pgrx::error!("{problem}");
        }
    }
}
