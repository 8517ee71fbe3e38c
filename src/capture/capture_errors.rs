//! Dead letters: events that could not be captured.

use indexmap::IndexMap;
use pgrx::prelude::*;
use uuid::Uuid;

use super::event_key::Event;
use super::payload::{payload_of, rights_of_row_table};
use super::pending_changes::Row;
use super::row_snapshot::Kept;
use crate::ids::id_datum;
use crate::postgres::background_worker;
use crate::postgres::security_context::{PinnedSettings, RoleGuard, as_extension_owner};
use crate::postgres::subtransaction::{SqlError, in_rolled_back_subtransaction, in_subtransaction};
use crate::postgres::warning::Warning;
use crate::timestamp::Timestamp;

/// Rows of `capture_errors` that one transaction writes at most; what else fails joins the last of them.
const CAUSES_AT_MOST: usize = 20;

/// Bytes of what one row of `capture_errors` keeps of its rows, at most; more for a single row that is larger.
const PORTION_BYTES: usize = 16 << 20;

/// Bytes of an error's message, detail, hint and context.
const TEXT_BYTES: usize = 8000;

/// Rows that the WARNING names.
const NAMED_AT_MOST: usize = 10;

/// By event and cause, so that a million rows that fail alike are one row of `capture_errors`.
#[derive(Default)]
pub struct CaptureErrors {
    causes: IndexMap<Cause, Failed>,
    /// The dead letter that is captured again: what fails of it first keeps its id.
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
    rows: Vec<Lost>,
}

/// A row whose event could not be written: what it takes to do so later.
pub struct Lost {
    /// The row that is read again; of an event of a row trigger, the row that it is about.
    key: Option<Uuid>,
    auction_id: Option<Uuid>,
    kept: LostJson,
}

/// What the row was before, or the data of the event where a row trigger makes it.
enum LostJson {
    /// The event does not carry what was before, or there was no row.
    Nothing,
    Kept(String),
    /// Making JSON of it is what failed.
    Unreadable,
}

impl LostJson {
    /// As `capture_errors` has it: JSON, or null where it is not known any more.
    fn as_json(&self) -> Option<&str> {
        match self {
            Self::Nothing => Some("null"),
            Self::Kept(text) => Some(text),
            Self::Unreadable => None,
        }
    }
}

impl Lost {
    /// What can be kept of these rows: together, or each for itself where that fails, so that a row that cannot be read costs
    /// the others nothing.
    pub fn all(event: &Event, rows: &[Row<'_>]) -> Vec<Self> {
        Self::readable(event, rows).unwrap_or_else(|| {
            let alone = |row| {
                let unreadable = || vec![Self::of(event, row, LostJson::Unreadable)];
                Self::readable(event, std::slice::from_ref(row)).unwrap_or_else(unreadable)
            };
            rows.iter().flat_map(alone).collect()
        })
    }

    /// With the rights of the table's owner, and in a subtransaction: the application's code makes JSON of what was kept.
    fn readable(event: &Event, rows: &[Row<'_>]) -> Option<Vec<Self>> {
        let readable = in_rolled_back_subtransaction(|| {
            let _settings = PinnedSettings::begin();
            let _rights = Self::rights(event, rows)?;
            let lost = rows.iter().filter_map(|row| {
                let kept = match (row.kept, event.row_table) {
                    (None, None) => LostJson::Nothing,
                    (Some(kept), None) => kept.previous(None).map_or(LostJson::Nothing, LostJson::Kept),
                    // Nothing that the event carries has changed: no event is lost.
                    (kept, Some(_)) => LostJson::Kept(kept?.data()?),
                };
                Some(Self::of(event, row, kept))
            });
            Some(lost.collect())
        });
        readable.ok().flatten()
    }

    /// `None` where these rights cannot be had, without which the application's code would run as the user who commits.
    fn rights(event: &Event, rows: &[Row<'_>]) -> Option<Option<RoleGuard>> {
        if rows.iter().all(|row| row.kept.is_none_or(Kept::is_text)) {
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

    fn of(event: &Event, row: &Row<'_>, kept: LostJson) -> Self {
        let key = if event.row_table.is_some() { row.about } else { Some(row.key) };
        Self { key, auction_id: row.auction_id, kept }
    }
}

impl CaptureErrors {
    pub fn of_dead_letter(error_id: i64) -> Self {
        Self { error_id: Some(error_id), ..Self::default() }
    }

    /// `rows`: those that the event was to tell of; none where they are not known.
    pub fn add(&mut self, event: &Event, rows: Vec<Lost>, failure: SqlError) {
        let failure = bounded(failure);
        let cause = Cause { event: event.clone(), code: failure.code.clone(), message: failure.message.clone() };
        let is_full = self.causes.len() >= CAUSES_AT_MOST;
        let same_event = |known: &Cause| known.event == *event;
        let place = match self.causes.get_index_of(&cause) {
            Some(place) => place,
            // Of another event its rows would be captured again as something that they are not.
            None if is_full && let Some(place) = self.causes.keys().rposition(same_event) => place,
            None => self.causes.insert_full(cause, Failed { failure, rows: Vec::new() }).0,
        };
        if let Some((_, failed)) = self.causes.get_index_mut(place) {
            failed.rows.extend(rows);
        }
    }

    /// Writes them to `capture_errors` and warns the user, once. Neither can fail: an error here is a second warning.
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
            failed.rows.iter().filter_map(|row| row.key).take(NAMED_AT_MOST).map(|key| key.to_string()).collect();
        let others =
            if rows > named.len().max(1) { format!(" and {} more", rows - named.len()) } else { String::new() };
        let detail = (!named.is_empty()).then(|| format!("Rows: {}{others}.", named.join(", ")));
        let code = failed.failure.known_code();
        let mut problem = None;
        for (cause, failed) in &self.causes {
            // Each for itself: one that cannot be written costs the others nothing.
            problem = in_subtransaction(|| cause.record(failed, occurred_at, error_id)).err().or(problem);
            error_id = None;
        }
        if is_locked && problem.is_none() && background_worker::is_background() {
            // It is tried every second, which is not to fill the log.
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
                let message = format!("webhook_delivery.capture_errors could not be written: {}", problem.message);
                Warning { code: problem.known_code(), message, detail: None, hint: None }.send();
                "Your change is saved. Of an event that is not in webhook_delivery.capture_errors there is no other trace than \
                 this warning: send it again with webhook_delivery.emit() once the cause is gone."
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
                let ids = |id: fn(&Lost) -> Option<Uuid>| -> Vec<Option<pgrx::Uuid>> {
                    rows.iter().map(|row| id(row).as_ref().map(id_datum)).collect()
                };
                let kept = || rows.iter().map(|row| row.kept.as_json()).collect::<Vec<_>>();
                let is_of_row = self.event.row_table.is_some();
                let has_previous = !is_of_row && rows.iter().any(|row| !matches!(row.kept, LostJson::Nothing));
                let arguments = [
                    occurred_at.into(),
                    self.event.event_type.as_str().into(),
                    self.event.schema.into(),
                    ids(|row| row.key).into(),
                    has_previous.then(kept).into(),
                    self.code.as_str().into(),
                    self.message.as_str().into(),
                    failure.detail.as_deref().into(),
                    failure.hint.as_deref().into(),
                    failure.context.as_deref().into(),
                    self.event.row_table.map(|table| table.oid).into(),
                    is_of_row.then(|| ids(|row| row.auction_id)).into(),
                    is_of_row.then(kept).into(),
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

/// The rows, some at a time: what was kept of all of them may be more than a row of `capture_errors` can hold. Of no rows one
/// portion.
fn portions(rows: &[Lost]) -> Vec<&[Lost]> {
    let mut portions = Vec::new();
    let mut rest = rows;
    loop {
        let mut bytes = 0;
        let within = |row: &&Lost| {
            bytes += row.kept.as_json().map_or(0, str::len);
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

/// The failure with texts of at most some kilobytes: the application's code may raise an error of any length.
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
