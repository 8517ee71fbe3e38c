//! Payloads: the table and the statement from which the data of an event is read.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CString;
use std::rc::Rc;

use pgrx::pg_sys::BuiltinOid::{JSONARRAYOID, OIDOID, TEXTOID, TIMESTAMPTZOID, UUIDARRAYOID};
use pgrx::prelude::*;
use pgrx::spi::{self, OwnedPreparedStatement, SpiClient, SpiResult};

use super::event_key::{Event, Location, RowTable};
use crate::postgres::cached_plan::CachedPlan;
use crate::postgres::errors::refuse;
use crate::postgres::invalidation::{LatestSnapshot, Topic, changes_of_any_table};
use crate::postgres::security_context::{RoleGuard, owner_of_function, owner_of_relation, relation};

/// The payload of an event, from `webhook_delivery.payload_queries` or a payload function of the
/// application.
pub struct Payload {
    /// Schema and name of the table whose rows the event is about. The data is read with the rights
    /// of the owner of the table that has this name at the time.
    table: (CString, CString),
    /// The application's function. Its owner must have the rights with which it runs.
    function: Option<pg_sys::Oid>,
    /// Columns of the previous row that the query reads; `None` for all.
    previous_columns: Option<Vec<String>>,
    of_one: Query,
    of_many: Query,
}

/// A statement that returns one row of three arrays (ids, auctions and data), or no row.
struct Query {
    sql: String,
    statement: RefCell<CachedPlan>,
}

/// The text for the query's `@changed@`. For one row it is a list of values, so that the plan has
/// no function scan and no sort.
const ONE: &str = "(values ($1[1], $2[1], 1)) as changed (id, previous, position)";
const MANY: &str = "unnest($1, $2) with ordinality as changed (id, previous, position)";

/// Maximum number of payloads in the cache: with Citus, each group of co-located shards has its own.
const MAX_PAYLOADS: usize = 1024;

thread_local! {
    static KNOWN: RefCell<HashMap<(String, Location), Rc<Payload>>> = RefCell::default();
    static FIND: RefCell<CachedPlan> = const { RefCell::new(CachedPlan::new()) };
    /// The value of `Topic::changes` when the payloads were read.
    static READ_AT: Cell<u64> = const { Cell::new(0) };
    /// The number of changes of tables when payloads of shards were read: their names are in them.
    static SHARDS_READ_AT: Cell<u64> = const { Cell::new(0) };
}

/// How the data of this event is read; `None` if that is not known. Call it with the rights of the
/// extension's owner.
pub fn payload_of(client: &SpiClient<'_>, event: &Event) -> SpiResult<Option<Rc<Payload>>> {
    let changes = Topic::Payloads.changes();
    let tables = changes_of_any_table();
    let is_outdated = event.location.shard.is_some() && SHARDS_READ_AT.replace(tables) != tables;
    if READ_AT.replace(changes) != changes || is_outdated || KNOWN.with_borrow(HashMap::len) >= MAX_PAYLOADS {
        KNOWN.take();
    }
    let place = (event.event_type.clone(), event.location);
    let known = KNOWN.with_borrow(|known| known.get(&place).cloned());
    // A function that was dropped may have been created again.
    if let Some(known) =
        known.filter(|known| known.function.is_none_or(|function| owner_of_function(function).is_some()))
    {
        return Ok(Some(known));
    }
    Ok(Payload::find(client, event)?.map(|payload| {
        let payload = Rc::new(payload);
        KNOWN.with_borrow_mut(|known| known.insert(place, Rc::clone(&payload)));
        payload
    }))
}

/// Raises an error unless the function's owner has the rights of the table's owner. The owner of
/// the table set the function, but the table may have a new owner, whose rights the function of
/// another role must not get.
fn check_function(function: pg_sys::Oid, table: pg_sys::Oid) {
    let Some(owner) = owner_of_function(function) else {
        refuse(
            PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
            "payload function does not exist",
            "Set another function, or none, with webhook_delivery.set_payload_function().",
        );
    };
    // SAFETY: a look-up in the catalogue, inside a transaction.
    if !owner_of_relation(table).is_some_and(|table_owner| unsafe { pg_sys::has_privs_of_role(owner, table_owner) }) {
        refuse(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "owner of the payload function must have the rights of the table's owner",
            "The function runs with the rights of the table's owner, who can set another with webhook_delivery.set_payload_function().",
        );
    }
}

impl Payload {
    fn find(client: &SpiClient<'_>, event: &Event) -> SpiResult<Option<Self>> {
        Topic::Payloads
            .watch([c"payload_queries", c"payload_functions"].map(|name| relation(c"webhook_delivery", name)));
        FIND.with_borrow_mut(|find| {
            let sql = include_str!("../../sql/statements/capture/payload.sql");
            let find = find.for_reading(client, sql, &[TEXTOID, OIDOID, OIDOID])?;
            let arguments =
                [event.event_type.as_str().into(), event.location.schema.into(), event.location.shard.into()];
            let _latest = LatestSnapshot::take();
            let Some(row) = client.select(find, Some(1), &arguments)?.next() else { return Ok(None) };
            let Some((schema, table)) = row.get::<String>(1)?.zip(row.get::<String>(2)?) else { return Ok(None) };
            let (built_in, call, function) = (row.get::<String>(3)?, row.get::<String>(4)?, row.get(5)?);
            let previous_columns = row.get::<Vec<String>>(6)?;
            let tables = row.get::<Vec<String>>(7)?.zip(row.get::<Vec<String>>(8)?);
            let mut places: Vec<(String, String)> = tables.map_or_else(Vec::new, |(names, tables)| {
                names.into_iter().map(|name| format!("@{name}@")).zip(tables).collect()
            });
            places.push(("@event@".to_owned(), spi::quote_literal(&event.event_type)));
            let query = |changed: &str, array: fn(&str) -> String| match (&call, &built_in) {
                (Some(call), _) => Some(Query::new(call, array)),
                (None, Some(query)) => {
                    let mut places = places.clone();
                    places.push(("@changed@".to_owned(), changed.to_owned()));
                    Some(Query::new(&fill(query, &places), array))
                }
                (None, None) => None,
            };
            let of_one = query(ONE, |column| format!("array[built.{column}]"));
            let of_many = query(MANY, |column| format!("array_agg(built.{column})"));
            // A name in the server's catalogue has no NUL.
            let table = [&schema, &table].map(|name| CString::new(name.as_str()).unwrap_or_default()).into();
            Ok(of_one.zip(of_many).map(|(of_one, of_many)| Self { table, function, previous_columns, of_one, of_many }))
        })
    }

    /// The rights of the owner of the table.
    pub fn rights(&self) -> RoleGuard {
        let (schema, name) = &self.table;
        let table = relation(schema, name);
        if let Some((function, table)) = self.function.zip(table) {
            check_function(function, table);
        }
        let Some(rights) = table.and_then(RoleGuard::of_owner_of) else {
            let name = format!("{}.{}", schema.to_string_lossy(), name.to_string_lossy());
            no_table(name);
        };
        rights
    }

    /// Columns of the previous row that are read; `None` for all.
    pub fn previous_columns(&self) -> Option<&[String]> {
        self.previous_columns.as_deref()
    }

    /// Calls `run` with the statement for this number of rows, which is planned once per session.
    /// $1: keys, $2: the previous rows, $3: when it happened. The statement returns one row of
    /// three arrays (ids, auctions and data), or no row.
    pub fn with_statement<R>(
        &self,
        client: &SpiClient<'_>,
        rows: usize,
        run: impl FnOnce(&OwnedPreparedStatement) -> SpiResult<R>,
    ) -> SpiResult<R> {
        // A function of the application may return several rows for one key.
        let query = if rows == 1 && self.function.is_none() { &self.of_one } else { &self.of_many };
        let mut planned = query.statement.borrow_mut();
        run(planned.for_reading(client, &query.sql, &[UUIDARRAYOID, JSONARRAYOID, TIMESTAMPTZOID])?)
    }
}

/// The rights of the owner of this table, if its rows are the events.
pub fn rights_of_row_table(table: RowTable) -> RoleGuard {
    let owner = owner_of_relation(table.oid).unwrap_or(table.owner);
    RoleGuard::of_table_owner(owner).unwrap_or_else(|| no_table(table.oid.to_u32().to_string()))
}

fn no_table(name: String) -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        format!("relation {name} does not exist"),
        "The event is about rows of this relation.",
    )
}

impl Query {
    /// The casts make it safe to read the arrays without a check of their types: the columns belong
    /// to the application, which may change their types at any time.
    fn new(query: &str, array: fn(&str) -> String) -> Self {
        let [id, auction_id, data] = ["id::uuid", "auction_id::uuid", "data::json"].map(array);
        Self {
            sql: format!("select {id}, {auction_id}, {data} from ({query}) as built"),
            statement: RefCell::default(),
        }
    }
}

/// Replaces each place (`@name@`) of the template by its text, in one pass: a text that contains
/// the name of another place stays as it is. Texts must be SQL already: quoted identifiers, quoted
/// literals, or our own.
fn fill(template: &str, places: &[(String, String)]) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('@') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        match places.iter().find(|(name, _)| rest.starts_with(name.as_str())) {
            Some((name, text)) => {
                filled.push_str(text);
                rest = &rest[name.len()..];
            }
            None => {
                filled.push('@');
                rest = &rest[1..];
            }
        }
    }
    filled + rest
}
