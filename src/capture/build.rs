//! How do changed rows become events in the queue?
//!
//! The rows of an event are taken some at a time: their data is read with the rights of their table's owner, and written
//! to the queue with those of ours. Each portion is a subtransaction, so that what fails costs no more than itself.

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};
use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiResult};
use uuid::Uuid;
use webhook_sender::uuid_v7;

use super::changes::Row;
use super::failures::{Failures, Lost};
use super::fan_out::{Events, Wanted, fan_out};
use super::image::json_array;
use super::payload::payload_of;
use super::subject::Event;
use super::subscriptions;
use crate::server::attempt::{Failure, attempt};
use crate::server::refusal::refuse;
use crate::server::rights::{OurSettings, Rights};
use crate::server::settings::{self, OnCaptureError};

/// Rows of the first portion; how many the next ones have depends on how large their data is.
const FIRST_PORTION: usize = 256;

/// At most so many rows in one: with more than some 64 portions a transaction has more subtransactions than the server
/// keeps in memory, and that slows everybody's snapshots.
const LARGEST_PORTION: usize = 16_384;

/// The data of one portion should have about so many bytes. It is in memory a few times over.
const PORTION_BYTES: usize = 4 << 20;

/// So many times in a transaction a portion that failed is halved, to find the rows that it fails for. After that it
/// fails as a whole: where every one of a million rows fails, two million attempts would not make it better.
const HALVINGS: usize = 512;

/// The capture of one transaction.
pub struct Capture {
    on_error: OnCaptureError,
    occurred_at: TimestampWithTimeZone,
    portion: usize,
    halvings: usize,
    /// Events, so far.
    written: i64,
    failures: Failures,
}

/// What became of a portion.
#[derive(Default)]
struct Sent {
    written: i64,
    bytes: usize,
}

impl Capture {
    pub fn new(occurred_at: TimestampWithTimeZone) -> Self {
        Self {
            on_error: settings::on_capture_error(),
            occurred_at,
            portion: FIRST_PORTION,
            halvings: HALVINGS,
            written: 0,
            failures: Failures::default(),
        }
    }

    /// One whose failures end the transaction.
    pub fn that_fails(occurred_at: TimestampWithTimeZone) -> Self {
        Self { on_error: OnCaptureError::Error, ..Self::new(occurred_at) }
    }

    /// Writes the events of these rows that somebody wants.
    pub fn build<'a>(&mut self, event: &Event, rows: impl Iterator<Item = Row<'a>>) {
        let mut rows = rows.filter(|row| !is_unwanted(event, row));
        loop {
            let portion: Vec<Row> = rows.by_ref().take(self.portion).collect();
            if portion.is_empty() {
                break;
            }
            self.build_portion(event, &portion);
        }
    }

    /// What was to be told of these rows cannot be: it is kept, or ends the transaction where that is what is wanted.
    pub fn fail(&mut self, event: &Event, rows: &[Row<'_>], failure: Failure) {
        match self.on_error {
            OnCaptureError::Warn => self.failures.add(event, Lost::all(event, rows), failure),
            OnCaptureError::Error => failure.raise(),
        }
    }

    /// Records and reports what has failed; gives back how many events were written.
    pub fn finish(self) -> i64 {
        self.failures.report(self.occurred_at);
        self.written
    }

    fn build_portion(&mut self, event: &Event, rows: &[Row<'_>]) {
        match self.send(event, rows) {
            Ok(sent) => {
                self.written += sent.written;
                let fitting = (rows.len() * PORTION_BYTES).checked_div(sent.bytes).unwrap_or(LARGEST_PORTION);
                self.portion = fitting.clamp(1, LARGEST_PORTION).min(self.portion * 2);
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

    fn send(&self, event: &Event, rows: &[Row<'_>]) -> Result<Sent, Failure> {
        let work = || {
            let sent = Spi::connect_mut(|client| send(client, event, &self.occurred_at, rows));
            sent.unwrap_or_else(|problem| pgrx::error!("webhook events could not be built: {problem}"))
        };
        match self.on_error {
            OnCaptureError::Warn => attempt(work),
            OnCaptureError::Error => Ok(work()),
        }
    }
}

fn send(
    client: &mut SpiClient<'_>,
    event: &Event,
    occurred_at: &TimestampWithTimeZone,
    rows: &[Row<'_>],
) -> SpiResult<Sent> {
    let rows = wanted(client, event, rows)?;
    if rows.is_empty() {
        return Ok(Sent::default());
    }
    let _settings = OurSettings::begin();
    let Some(read) = read(client, event, occurred_at, &rows)? else {
        return Ok(Sent::default());
    };
    let bytes = bytes_of(&read.data);
    let _rights = rights_of_extension_owner();
    // By the auctions that the rows have now.
    let auction_ids = read.auction_ids.iter().map(|id| id.as_ref().map(from_datum));
    let wanting = subscriptions::wanting(client, &event.event_type, auction_ids.clone().flatten())?;
    let wanted = auction_ids.map(|auction_id| {
        let endpoint_ids = wanting.get(&auction_id?).filter(|endpoints| !endpoints.is_empty())?.clone();
        Some(Wanted { event_id: uuid_v7(), auction_id: auction_id?, endpoint_ids })
    });
    let events = Events { wanted: wanted.collect(), row_ids: read.row_ids, data: read.data };
    let written = fan_out(client, &event.event_type, *occurred_at, events)?;
    Ok(Sent { written, bytes })
}

/// Whether it is remembered that nobody wants the event of this row.
fn is_unwanted(event: &Event, row: &Row<'_>) -> bool {
    let endpoints = row.auction_id.and_then(|auction_id| subscriptions::remembered(&auction_id, &event.event_type));
    endpoints.is_some_and(|endpoints| endpoints.is_empty())
}

/// The rows whose auction has an endpoint that wants the event, and those whose auction is not known yet.
fn wanted<'a>(client: &SpiClient<'_>, event: &Event, rows: &[Row<'a>]) -> SpiResult<Vec<Row<'a>>> {
    let _rights = rights_of_extension_owner();
    let auction_ids = rows.iter().filter_map(|row| row.auction_id);
    let wanting = subscriptions::wanting(client, &event.event_type, auction_ids)?;
    let is_wanted = |row: &&Row| row.auction_id.is_none_or(|id| !wanting[&id].is_empty());
    Ok(rows.iter().filter(is_wanted).copied().collect())
}

/// What was read of rows: arrays of equal length.
struct Read<'a> {
    auction_ids: Vec<Option<pgrx::Uuid>>,
    row_ids: DatumWithOid<'a>,
    data: DatumWithOid<'a>,
}

/// Reads what there is to tell of these rows, with the rights of the owner of their table; `None` where that is nothing.
fn read<'a>(
    client: &SpiClient<'a>,
    event: &Event,
    occurred_at: &TimestampWithTimeZone,
    rows: &[Row<'_>],
) -> SpiResult<Option<Read<'a>>> {
    let payload = {
        let _rights = rights_of_extension_owner();
        payload_of(client, event)?
    };
    let Some(payload) = payload else {
        refuse(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("how the data of {} is read is not known", event.event_type),
            "Give it a function with webhook_delivery.set_payload_function(), or attach webhook_delivery.row_event() instead.",
        );
    };
    let _rights = payload.rights();
    let keys: Vec<Option<pgrx::Uuid>> = match event.row_trigger {
        // Of whole rows it is known already which rows they are.
        Some(_) => rows.iter().map(|row| row.about.as_ref().map(to_datum)).collect(),
        None => rows.iter().map(|row| Some(to_datum(&row.key))).collect(),
    };
    let previous = json_array(rows.iter().map(|row| row.previous));
    // SAFETY: a json[] that lives as long as the connection to SPI.
    let previous = unsafe { DatumWithOid::new(previous, pg_sys::JSONARRAYOID) };
    let arguments = [keys.into(), previous, (*occurred_at).into()];
    payload.with_statement(client, rows.len(), |statement| {
        let table = client.select(statement, Some(1), &arguments)?;
        if table.is_empty() {
            return Ok(None);
        }
        let row = table.first();
        let column = |number| row.get_datum_by_ordinal(number);
        let Some(((row_ids, auction_ids), data)) = column(1)?.zip(column(2)?).zip(column(3)?) else {
            return Ok(None);
        };
        // SAFETY: the statement casts to uuid and json, whatever the columns are, so these are two uuid[] and a json[].
        // They live until the connection to SPI ends.
        Ok(Some(unsafe {
            Read {
                auction_ids: FromDatum::from_datum(auction_ids, false).unwrap_or_default(),
                row_ids: DatumWithOid::new(row_ids, pg_sys::UUIDARRAYOID),
                data: DatumWithOid::new(data, pg_sys::JSONARRAYOID),
            }
        }))
    })
}

fn bytes_of(data: &DatumWithOid<'_>) -> usize {
    data.datum().map_or(0, |data| {
        // SAFETY: an array that a query just made is a varlena in memory, not toasted.
        unsafe { pgrx::varsize_any(data.sans_lifetime().cast_mut_ptr()) }
    })
}

fn rights_of_extension_owner() -> Rights {
    let Some(rights) = Rights::of_extension_owner() else {
        ereport!(ERROR, PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME, "schema webhook_delivery does not exist");
    };
    rights
}

fn to_datum(id: &Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

fn from_datum(id: &pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}
