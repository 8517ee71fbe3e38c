//! Dead letters: events that could not be captured.

use indexmap::IndexMap;
use pgrx::prelude::*;
use uuid::Uuid;

use super::event_key::Event;
use super::payload::{payload_of, rights_of_row_table};
use super::pending_changes::Row;
use super::row_snapshot::SavedRow;
use crate::ids::id_datum;
use crate::postgres::background_worker;
use crate::postgres::security_context::{PinnedSettings, RoleGuard, as_extension_owner};
use crate::postgres::subtransaction::{SqlError, in_rolled_back_subtransaction, in_subtransaction};
use crate::postgres::warning::Warning;
use crate::timestamp::Timestamp;

/// Maximum number of causes that one transaction records. Beyond it a failure joins the last cause
/// of its event, or is recorded separately if its event has none.
const MAX_CAUSES: usize = 20;

/// Maximum bytes of JSON in one row of `capture_errors`; more only for a single row that is larger.
const PORTION_BYTES: usize = 16 << 20;

/// Maximum bytes of each of an error's message, detail, hint and context.
const TEXT_BYTES: usize = 8000;

/// Maximum number of rows that the WARNING names.
const MAX_NAMED_ROWS: usize = 10;

/// The failures of a transaction by event and cause, so that a million rows with the same failure
/// are one cause.
#[derive(Default)]
pub struct CaptureErrors {
    causes: IndexMap<Cause, Failed>,
    /// The dead letter that is built again: its first cause that fails again keeps its id.
    error_id: Option<i64>,
}

#[derive(PartialEq, Eq, Hash)]
struct Cause {
    event: Event,
    code: String,
    message: String,
}

struct Failed {
    failure: SqlError,
    rows: Vec<FailedRow>,
}

/// A row whose event could not be written, with what is needed to write the event later.
pub struct FailedRow {
    /// The row that is read again; for an event of a row trigger, the row that is its subject.
    key: Option<Uuid>,
    auction_id: Option<Uuid>,
    json: FailedRowJson,
}

/// The row before the change, or the data of the event if a row trigger makes it.
enum FailedRowJson {
    /// The event has no previous values, or there was no previous row.
    Nothing,
    Text(String),
    /// The conversion to JSON failed.
    Unreadable,
}

impl FailedRowJson {
    /// The value in `capture_errors`: JSON, or null if the content is lost.
    fn as_json(&self) -> Option<&str> {
        match self {
            Self::Nothing => Some("null"),
            Self::Text(text) => Some(text),
            Self::Unreadable => None,
        }
    }
}

impl FailedRow {
    /// Reads these rows together or, if that fails, one by one, so that an unreadable row does not
    /// affect the others.
    pub fn all(event: &Event, rows: &[Row<'_>]) -> Vec<Self> {
        Self::readable(event, rows).unwrap_or_else(|| {
            let alone = |row| {
                let unreadable = || vec![Self::of(event, row, FailedRowJson::Unreadable)];
                Self::readable(event, std::slice::from_ref(row)).unwrap_or_else(unreadable)
            };
            rows.iter().flat_map(alone).collect()
        })
    }

    /// Runs with the rights of the table's owner, and in a subtransaction, because the
    /// application's code converts the saved rows to JSON.
    fn readable(event: &Event, rows: &[Row<'_>]) -> Option<Vec<Self>> {
        let readable = in_rolled_back_subtransaction(|| {
            let _settings = PinnedSettings::begin();
            let _rights = Self::rights(event, rows)?;
            let failed_rows = rows.iter().filter_map(|row| {
                let json = match (row.saved, event.row_table) {
                    (None, None) => FailedRowJson::Nothing,
                    (Some(saved), None) => saved.previous(None).map_or(FailedRowJson::Nothing, FailedRowJson::Text),
                    // No column of the event has changed, so there is no event to record.
                    (saved, Some(_)) => FailedRowJson::Text(saved?.data()?),
                };
                Some(Self::of(event, row, json))
            });
            Some(failed_rows.collect())
        });
        readable.ok().flatten()
    }

    /// The rights to read these rows with; `Some(None)` if they need none. `None` if the rights are
    /// not available: without them the application's code would run as the user who commits.
    fn rights(event: &Event, rows: &[Row<'_>]) -> Option<Option<RoleGuard>> {
        if rows.iter().all(|row| row.saved.is_none_or(SavedRow::is_text)) {
            return Some(None);
        }
        if let Some(table) = event.row_table {
            return Some(Some(rights_of_row_table(table)));
        }
        let payload = Spi::connect(|client| {
            let _rights = RoleGuard::of_extension_owner();
            payload_of(client, event)
        });
        Some(Some(payload.ok().flatten()?.rights()))
    }

    fn of(event: &Event, row: &Row<'_>, json: FailedRowJson) -> Self {
        let key = if event.row_table.is_some() { row.subject } else { Some(row.key) };
        Self { key, auction_id: row.auction_id, json }
    }
}

impl CaptureErrors {
    pub fn of_dead_letter(error_id: i64) -> Self {
        Self { error_id: Some(error_id), ..Self::default() }
    }

    /// `rows`: the rows of the event; empty if they are not known.
    pub fn add(&mut self, event: &Event, rows: Vec<FailedRow>, failure: SqlError) {
        let failure = bounded(failure);
        let cause = Cause { event: event.clone(), code: failure.code.clone(), message: failure.message.clone() };
        let is_full = self.causes.len() >= MAX_CAUSES;
        let same_event = |known: &Cause| known.event == *event;
        let place = match self.causes.get_index_of(&cause) {
            Some(place) => place,
            // Not a cause of another event: recapture would build these rows as that event.
            None if is_full && let Some(place) = self.causes.keys().rposition(same_event) => place,
            None => self.causes.insert_full(cause, Failed { failure, rows: Vec::new() }).0,
        };
        if let Some((_, failed)) = self.causes.get_index_mut(place) {
            failed.rows.extend(rows);
        }
    }

    /// Writes the failures to `capture_errors` and sends one WARNING. Neither can fail: an error
    /// here becomes a second WARNING.
    pub fn report(self, occurred_at: Timestamp) {
        let Some((cause, failed)) = self.causes.first() else { return };
        let is_locked = failed.failure.is_lock_timeout;
        let mut error_id = self.error_id;
        let rows: usize = self.causes.values().map(|failed| failed.rows.len().max(1)).sum();
        let message = if rows == 1 {
            format!("webhook event {} was not sent: {}", cause.event.event_type, cause.message)
        } else {
            format!("{rows} webhook events were not sent; {} was not sent: {}", cause.event.event_type, cause.message)
        };
        let named: Vec<String> =
            failed.rows.iter().filter_map(|row| row.key).take(MAX_NAMED_ROWS).map(|key| key.to_string()).collect();
        let others =
            if rows > named.len().max(1) { format!(" and {} more", rows - named.len()) } else { String::new() };
        let detail = (!named.is_empty()).then(|| format!("Rows: {}{others}.", named.join(", ")));
        let code = failed.failure.known_code();
        let mut problem = None;
        for (cause, failed) in &self.causes {
            // In separate subtransactions: a cause that cannot be written does not affect the
            // others.
            problem = in_subtransaction(|| cause.record(failed, occurred_at, error_id)).err().or(problem);
            error_id = None;
        }
        if is_locked && problem.is_none() && background_worker::is_background() {
            // The worker tries again every second; that must not fill the log.
            return;
        }
        let hint = match problem {
            None if is_locked => {
                "Your change is saved. The events are captured again when the lock is released; \
                 see webhook_delivery.capture_errors."
            }
            None => {
                "Your change is saved. See webhook_delivery.capture_errors; once the cause is gone, \
                 webhook_delivery.recapture(id) sends the events."
            }
            Some(problem) => {
                let problem = bounded(problem);
                let message = format!("could not write webhook_delivery.capture_errors: {}", problem.message);
                Warning { code: problem.known_code(), message, detail: None, hint: None }.send();
                "Your change is saved. Only this warning reports an event that is not in webhook_delivery.capture_errors: \
                 send it with webhook_delivery.emit() once the cause is gone."
            }
        };
        Warning { code, message, detail, hint: Some(hint.to_owned()) }.send();
    }
}

impl Cause {
    /// `error_id`: the id of the first row that is written; `None` for a new one.
    fn record(&self, Failed { failure, rows }: &Failed, occurred_at: Timestamp, error_id: Option<i64>) {
        let _owner = as_extension_owner();
        let written = Spi::connect_mut(|client| {
            let error_ids = std::iter::once(error_id).chain(std::iter::repeat(None));
            for (rows, error_id) in portions(rows).into_iter().zip(error_ids) {
                let ids = |id: fn(&FailedRow) -> Option<Uuid>| -> Vec<Option<pgrx::Uuid>> {
                    rows.iter().map(|row| id(row).as_ref().map(id_datum)).collect()
                };
                let json = || rows.iter().map(|row| row.json.as_json()).collect::<Vec<_>>();
                let is_of_row = self.event.row_table.is_some();
                let has_previous = !is_of_row && rows.iter().any(|row| !matches!(row.json, FailedRowJson::Nothing));
                let arguments = [
                    occurred_at.into(),
                    self.event.event_type.as_str().into(),
                    self.event.location.schema.into(),
                    ids(|row| row.key).into(),
                    has_previous.then(json).into(),
                    self.code.as_str().into(),
                    self.message.as_str().into(),
                    failure.detail.as_deref().into(),
                    failure.hint.as_deref().into(),
                    failure.context.as_deref().into(),
                    self.event.row_table.map(|table| table.oid).or(self.event.location.shard).into(),
                    is_of_row.then(|| ids(|row| row.auction_id)).into(),
                    is_of_row.then(json).into(),
                    error_id.into(),
                    failure.is_lock_timeout.into(),
                ];
                client.update(include_str!("../../sql/statements/capture/record_error.sql"), None, &arguments)?;
            }
            Ok::<_, pgrx::spi::SpiError>(())
        });
        if let Err(problem) = written {
            pgrx::error!("{problem}");
        }
    }
}

/// The rows in portions: the JSON of all of them may be more than a row of `capture_errors` can
/// hold. One empty portion if there are no rows.
fn portions(rows: &[FailedRow]) -> Vec<&[FailedRow]> {
    let mut portions = Vec::new();
    let mut rest = rows;
    loop {
        let mut bytes = 0;
        let within = |row: &&FailedRow| {
            bytes += row.json.as_json().map_or(0, str::len);
            bytes <= PORTION_BYTES
        };
        let fitting = rest.iter().take_while(within).count().max(1).min(rest.len());
        let (portion, others) = rest.split_at(fitting);
        portions.push(portion);
        if others.is_empty() {
            return portions;
        }
        rest = others;
    }
}

/// The failure with shortened texts: the application's code may raise an error of any length.
fn bounded(failure: SqlError) -> SqlError {
    let text = |text: String| {
        if text.len() <= TEXT_BYTES {
            return text;
        }
        format!("{}... ({} bytes)", &text[..text.floor_char_boundary(TEXT_BYTES)], text.len())
    };
    SqlError {
        code: failure.code,
        message: text(failure.message),
        detail: failure.detail.map(text),
        hint: failure.hint.map(text),
        context: failure.context.map(|context| text(context.into()).into()),
        is_lock_timeout: failure.is_lock_timeout,
    }
}
