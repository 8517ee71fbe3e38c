//! The event builder: changed rows become events in the queue.
//!
//! Rows are built in portions. Their data is read with the rights of their table's owner, in a
//! subtransaction that is rolled back, so that no side effect of the application's code reaches the
//! commit. The data is written to the queue with our rights, in another subtransaction. A failure
//! costs no more than its portion.

use std::iter::Peekable;

use pgrx::datum::{DatumWithOid, JsonString};
use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiResult};
use uuid::Uuid;
use webhook_sender::uuid_v7;

use super::capture_errors::{CaptureErrors, FailedRow};
use super::event_key::{Event, RowTable};
use super::fan_out::{Events, fan_out};
use super::payload::{payload_of, rights_of_row_table};
use super::pending_changes::{Row, WholeRow};
use super::row_snapshot::SavedRow;
use super::subscriptions::{self, Wanted};
use crate::ids::{id, id_datum};
use crate::postgres::errors::refuse;
use crate::postgres::security_context::{PinnedSettings, RoleGuard};
use crate::postgres::settings::{self, OnCaptureError};
use crate::postgres::subtransaction::{SqlError, in_rolled_back_subtransaction, in_subtransaction};
use crate::postgres::varlena::Varlena;
use crate::timestamp::Timestamp;

/// Rows of the first portion. The size of the next ones depends on their data.
const FIRST_PORTION: usize = 256;

/// Maximum number of rows of a portion. A transaction with more than about 64 portions has more
/// subtransactions than the server keeps in memory, which slows the snapshots of all sessions.
const LARGEST_PORTION: usize = 16_384;

/// The data of a portion should have about this number of bytes. Several copies of it are in
/// memory.
const PORTION_BYTES: usize = 4 << 20;

/// Maximum number of times that a transaction halves a failed portion to find the rows that cause
/// the failure. After that a portion fails as a whole: if each of a million rows fails, two million
/// tries would not help.
const HALVINGS: usize = 512;

/// Builds the events of one transaction.
pub struct EventBuilder {
    on_error: OnCaptureError,
    occurred_at: Timestamp,
    portion: usize,
    halvings: usize,
    /// Number of events written so far.
    written: i64,
    failures: CaptureErrors,
    /// The failure of a lock that was not granted in time. The transaction waits once and not
    /// again.
    locked: Option<SqlError>,
}

/// The data of rows: arrays of equal length.
#[derive(Default)]
struct Data {
    auction_ids: Vec<Option<Uuid>>,
    /// The rows that the events are about.
    row_ids: Vec<Option<Uuid>>,
    /// A json[].
    data: Option<Varlena>,
}

/// The data of rows, with the interested endpoints.
#[derive(Default)]
struct Portion {
    data: Data,
    wanted: Vec<Option<Wanted>>,
}

impl EventBuilder {
    pub fn new(occurred_at: Timestamp) -> Self {
        Self {
            on_error: settings::on_capture_error(),
            occurred_at,
            portion: FIRST_PORTION,
            halvings: HALVINGS,
            written: 0,
            failures: CaptureErrors::default(),
            locked: None,
        }
    }

    /// Builds a dead letter again. An event that fails again stays a dead letter, with its new
    /// reason.
    pub fn of_dead_letter(occurred_at: Timestamp, error_id: i64) -> Self {
        Self {
            on_error: OnCaptureError::Warn,
            failures: CaptureErrors::of_dead_letter(error_id),
            ..Self::new(occurred_at)
        }
    }

    /// A builder whose failures end the transaction.
    pub fn that_fails(occurred_at: Timestamp) -> Self {
        Self { on_error: OnCaptureError::Error, ..Self::new(occurred_at) }
    }

    /// Writes the events of these rows that have an interested endpoint.
    pub fn build<'a>(&mut self, event: &Event, rows: impl Iterator<Item = Row<'a>>) {
        let mut rows = rows.filter(|row| !is_unwanted(event, row)).peekable();
        if rows.peek().is_none() {
            return;
        }
        let _settings = PinnedSettings::begin();
        loop {
            let portion = next_portion(&mut rows, self.portion);
            if portion.is_empty() {
                break;
            }
            self.build_portion(event, &portion);
        }
    }

    /// The events of these rows failed: they become dead letters, or end the transaction if
    /// `on_capture_error` says so.
    pub fn fail(&mut self, event: &Event, rows: &[Row<'_>], failure: SqlError) {
        match self.on_error {
            OnCaptureError::Warn => {
                let failed_rows = FailedRow::all(event, rows);
                if !failed_rows.is_empty() || rows.is_empty() {
                    self.failures.add(event, failed_rows, failure);
                }
            }
            OnCaptureError::Error => failure.raise(),
        }
    }

    /// Emitted events failed: they become dead letters, each with its data and its auction.
    pub fn fail_emitted(&mut self, emitted: impl Iterator<Item = (Event, WholeRow, Uuid)>, failure: SqlError) {
        for (event, WholeRow { subject, saved }, auction_id) in emitted {
            let row = Row { key: Uuid::nil(), subject, auction_id: Some(auction_id), saved: Some(&saved) };
            self.fail(&event, &[row], failure.clone());
        }
    }

    /// The trigger of these rows does not fit its table any more.
    pub fn fail_unreadable(&mut self, event: &Event, problem: &str, rows: &[WholeRow]) {
        let hint = if event.row_table.is_some() {
            format!(
                "Drop the trigger and attach it again with the present name of the column: create trigger ... execute function \
                 webhook_delivery.row_event('{}', '<column>'). Then webhook_delivery.recapture(id) sends the events.",
                event.event_type
            )
        } else {
            "select * from webhook_delivery.install_triggers() shows the columns that the application's tables lack. Attach a trigger of \
             your own again with the present name of the column."
                .to_owned()
        };
        let failure = SqlError {
            code: "42804".to_owned(),
            message: format!("trigger cannot read the changed row: {problem}"),
            detail: None,
            hint: Some(hint),
            context: None,
            is_lock_timeout: false,
        };
        let rows = rows.iter().map(|WholeRow { subject, saved }| Row {
            key: Uuid::nil(),
            subject: *subject,
            auction_id: None,
            saved: Some(saved),
        });
        let rows: Vec<Row<'_>> = rows.collect();
        self.fail(event, &rows, failure);
    }

    /// Records and reports the failures; returns the number of written events.
    pub fn finish(self) -> i64 {
        self.failures.report(self.occurred_at);
        self.written
    }

    fn build_portion(&mut self, event: &Event, rows: &[Row<'_>]) {
        if let Some(failure) = &self.locked {
            return self.fail(event, rows, failure.clone());
        }
        match self.read_and_write(event, rows) {
            Ok(bytes) => {
                let fitting = (rows.len() * PORTION_BYTES).checked_div(bytes).unwrap_or(LARGEST_PORTION);
                self.portion = fitting.clamp(1, LARGEST_PORTION).min(self.portion * 2);
            }
            Err(failure) if self.on_error == OnCaptureError::Error => failure.raise(),
            Err(failure) if failure.is_lock_timeout => {
                self.locked = Some(failure.clone());
                self.fail(event, rows, failure);
            }
            Err(_) if rows.len() > 1 && self.halvings > 0 => {
                self.halvings -= 1;
                let (first, second) = rows.split_at(rows.len() / 2);
                self.build_portion(event, first);
                self.build_portion(event, second);
            }
            Err(failure) => self.fail(event, rows, failure),
        }
    }

    /// Returns the number of bytes of data that were read.
    fn read_and_write(&mut self, event: &Event, rows: &[Row<'_>]) -> Result<usize, SqlError> {
        let occurred_at = self.occurred_at;
        let portion = in_rolled_back_subtransaction(|| {
            Spi::connect(|client| read_portion(client, event, occurred_at, rows))
                .unwrap_or_else(|problem| pgrx::error!("could not read the data of webhook events: {problem}"))
        })?;
        let bytes = portion.bytes();
        if portion.wanted.iter().any(Option::is_some) {
            let write = || {
                Spi::connect_mut(|client| write_portion(client, event, occurred_at, portion))
                    .unwrap_or_else(|problem| pgrx::error!("could not write webhook events: {problem}"))
            };
            self.written += match self.on_error {
                OnCaptureError::Warn => in_subtransaction(write)?,
                OnCaptureError::Error => write(),
            };
        }
        Ok(bytes)
    }
}

impl Portion {
    fn bytes(&self) -> usize {
        self.data.data.as_ref().map_or(0, Varlena::bytes)
    }
}

/// The next portion: at most `max_rows` rows. Saved rows have known sizes, so their bytes are
/// bounded as well.
fn next_portion<'a>(rows: &mut Peekable<impl Iterator<Item = Row<'a>>>, max_rows: usize) -> Vec<Row<'a>> {
    let mut portion = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next_if(|_| portion.len() < max_rows && bytes < PORTION_BYTES) {
        bytes += row.saved.map_or(0, SavedRow::raw);
        portion.push(row);
    }
    portion
}

fn read_portion(client: &SpiClient<'_>, event: &Event, occurred_at: Timestamp, rows: &[Row<'_>]) -> SpiResult<Portion> {
    let rows = wanted(client, event, rows)?;
    if rows.is_empty() {
        return Ok(Portion::default());
    }
    let data = match event.row_table {
        Some(table) => data_of_row_events(table, &rows),
        None => data_of_payload(client, event, occurred_at, &rows)?,
    };
    let _rights = RoleGuard::of_extension_owner();
    // The rows may have moved to other auctions, so look up the auctions that they have now.
    let auction_ids = data.auction_ids.iter().copied();
    let wanting = subscriptions::wanting(client, &event.event_type, auction_ids.clone().flatten())?;
    let wanted = auction_ids.map(|auction_id| {
        let endpoints = wanting.get(&auction_id?).filter(|endpoints| subscriptions::is_recorded(endpoints))?.clone();
        Some(Wanted { event_id: uuid_v7(), auction_id: auction_id?, endpoints })
    });
    Ok(Portion { wanted: wanted.collect(), data })
}

fn write_portion(
    client: &mut SpiClient<'_>,
    event: &Event,
    occurred_at: Timestamp,
    Portion { data, wanted }: Portion,
) -> SpiResult<i64> {
    let _rights = RoleGuard::of_extension_owner();
    let row_ids: Vec<Option<pgrx::Uuid>> = data.row_ids.iter().map(|id| id.as_ref().map(id_datum)).collect();
    // SAFETY: a json[] that lives until the statement has ended.
    let array = data.data.as_ref().map(|data| unsafe { DatumWithOid::new(data.datum(), pg_sys::JSONARRAYOID) });
    let Some(array) = array else { return Ok(0) };
    let events = Events { wanted, row_ids: row_ids.into(), data: array };
    fan_out(client, &event.event_type, occurred_at, events)
}

/// Whether the session has cached that no endpoint wants the event of this row, which is not
/// recorded either.
fn is_unwanted(event: &Event, row: &Row<'_>) -> bool {
    let endpoints = row.auction_id.and_then(|auction_id| subscriptions::cached(&auction_id, &event.event_type));
    endpoints.is_some_and(|endpoints| !subscriptions::is_recorded(&endpoints))
}

/// The rows whose event is recorded, as their auction has an endpoint that wants it, and those whose
/// auction is not known yet.
fn wanted<'a>(client: &SpiClient<'_>, event: &Event, rows: &[Row<'a>]) -> SpiResult<Vec<Row<'a>>> {
    let _rights = RoleGuard::of_extension_owner();
    let auction_ids = rows.iter().filter_map(|row| row.auction_id);
    let wanting = subscriptions::wanting(client, &event.event_type, auction_ids)?;
    let is_wanted = |row: &&Row| row.auction_id.is_none_or(|id| subscriptions::is_recorded(&wanting[&id]));
    Ok(rows.iter().filter(is_wanted).copied().collect())
}

/// The data of rows that are events themselves, from the rows that their trigger has saved.
fn data_of_row_events(table: RowTable, rows: &[Row<'_>]) -> Data {
    // Text needs no rights, and its table may no longer exist.
    let is_known = rows.iter().all(|row| row.saved.is_some_and(SavedRow::is_text));
    let _rights = (!is_known).then(|| rights_of_row_table(table));
    let mut data = Vec::new();
    let mut all = Data::default();
    for row in rows {
        let Some(of_row) = row.saved.and_then(SavedRow::data) else { continue };
        all.auction_ids.push(row.auction_id);
        all.row_ids.push(row.subject);
        data.push(Some(JsonString(of_row)));
    }
    // SAFETY: a json[].
    all.data = data.into_datum().map(|data| unsafe { Varlena::of(data) });
    all
}

/// The data of these rows as their payload query returns it, read with the rights of the owner of
/// their table.
fn data_of_payload(client: &SpiClient<'_>, event: &Event, occurred_at: Timestamp, rows: &[Row<'_>]) -> SpiResult<Data> {
    let payload = {
        let _rights = RoleGuard::of_extension_owner();
        payload_of(client, event)?
    };
    let Some(payload) = payload else {
        refuse(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("event type {} has no payload function", event.event_type),
            "Set one with webhook_delivery.set_payload_function(), or attach webhook_delivery.row_event() instead.",
        );
    };
    let _rights = payload.rights();
    let keys: Vec<Option<pgrx::Uuid>> = rows.iter().map(|row| Some(id_datum(&row.key))).collect();
    let previous = |row: &Row| row.saved.and_then(|saved| saved.previous(payload.previous_columns())).map(JsonString);
    let previous: Vec<Option<JsonString>> = rows.iter().map(previous).collect();
    let arguments = [keys.into(), previous.into(), occurred_at.into()];
    payload.with_statement(client, rows.len(), |statement| {
        let table = client.select(statement, Some(1), &arguments)?;
        if table.is_empty() {
            return Ok(Data::default());
        }
        let row = table.first();
        let ids = |ids: Option<Vec<Option<pgrx::Uuid>>>| {
            ids.unwrap_or_default().into_iter().map(|found| found.map(id)).collect()
        };
        Ok(Data {
            row_ids: ids(row.get(1)?),
            auction_ids: ids(row.get(2)?),
            // SAFETY: the statement casts every type of column to json, so this is a json[].
            data: row.get_datum_by_ordinal(3)?.map(|data| unsafe { Varlena::of(data) }),
        })
    })
}
