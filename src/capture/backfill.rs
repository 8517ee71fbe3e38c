//! Backfill: events for rows that existed before an endpoint wanted them.

use pgrx::prelude::*;
use uuid::Uuid;

use super::emit::check_type;
use super::event_builder::EventBuilder;
use super::event_key::Event;
use super::pending_changes::Row;
use crate::ids::id;
use crate::postgres::errors::{check_writable, refuse};
use crate::timestamp::Timestamp;

/// Sends an event of the catalogue for each of these rows, with their present data, as the event's
/// triggers would. Returns the number of written events: none for rows that do not exist or that no
/// endpoint wants.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn backfill_rows(event_type: &str, row_ids: Vec<Option<pgrx::Uuid>>, schema: &str) -> i64 {
    check_writable();
    if let Err(problem) = check_type(event_type) {
        pgrx::error!("could not read the catalogue of events: {problem}");
    }
    let event = Event { event_type: event_type.to_owned(), schema: schema_of(schema), row_table: None };
    // A failure ends this statement, because its caller can react to the error.
    let mut builder = EventBuilder::that_fails(Timestamp::now());
    let rows: Vec<Uuid> = row_ids.into_iter().flatten().map(id).collect();
    builder.build(&event, rows.iter().map(|key| Row { key: *key, subject: Some(*key), auction_id: None, saved: None }));
    builder.finish()
}

fn schema_of(name: &str) -> pg_sys::Oid {
    let found = std::ffi::CString::new(name).ok().map(|name| {
        // SAFETY: a look-up by a NUL-terminated name, inside a transaction.
        unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) }
    });
    match found {
        Some(schema) if schema != pg_sys::InvalidOid => schema,
        _ => refuse(
            PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME,
            format!("schema \"{name}\" does not exist"),
            "Name the schema of the application's tables: backfill(..., schema => 'public').",
        ),
    }
}
