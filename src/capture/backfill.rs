//! Backfill: events for rows that existed before an endpoint wanted them.

use pgrx::prelude::*;
use pgrx::spi::SpiResult;
use uuid::Uuid;

use super::emit::check_type;
use super::event_builder::EventBuilder;
use super::event_key::{Event, Location};
use super::pending_changes::Row;
use crate::ids::id;
use crate::postgres::errors::{check_writable, refuse};
use crate::postgres::security_context::as_extension_owner;
use crate::timestamp::Timestamp;

/// Sends an event of the catalogue for each of these rows, with their present data, as the event's
/// triggers would. Returns the number of written events: none for rows that do not exist or that no
/// endpoint wants.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn backfill_rows(event_type: &str, row_ids: Vec<Option<pgrx::Uuid>>, schema_name: &str) -> i64 {
    check_writable();
    if let Err(problem) = check_type(event_type) {
        pgrx::error!("could not read the catalogue of events: {problem}");
    }
    let schema = schema_of(schema_name);
    // A failure ends this statement, because its caller can react to the error.
    let mut builder = EventBuilder::that_fails(Timestamp::now());
    let rows: Vec<Uuid> = row_ids.into_iter().flatten().map(id).collect();
    let locations = match shards_here(event_type, schema_name) {
        Ok(None) => vec![Location::schema(schema)],
        Ok(Some(shards)) => shards.into_iter().map(|shard| Location { schema, shard: Some(shard) }).collect(),
        Err(problem) => pgrx::error!("could not read the shards of this node: {problem}"),
    };
    for location in locations {
        let event = Event { event_type: event_type.to_owned(), location, row_table: None };
        let rows = rows.iter().map(|key| Row { key: *key, subject: Some(*key), auction_id: None, saved: None });
        builder.build(&event, rows);
    }
    builder.finish()
}

/// The shards with the rows of this event that this node has; `None` if Citus does not distribute
/// the table.
fn shards_here(event_type: &str, schema: &str) -> SpiResult<Option<Vec<pg_sys::Oid>>> {
    let _owner = as_extension_owner();
    let sql = "select webhook_delivery.citus_shards_here($1, $2)::pg_catalog.oid[]";
    Spi::get_one_with_args(sql, &[event_type.into(), schema.into()])
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
