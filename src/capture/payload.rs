//! From which table, and by which statement, is the data of an event read?

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::rc::Rc;

use pgrx::pg_sys::BuiltinOid::{JSONARRAYOID, TEXTOID, TIMESTAMPTZOID, UUIDARRAYOID};
use pgrx::prelude::*;
use pgrx::spi::{self, OwnedPreparedStatement, SpiClient, SpiResult};

use super::subject::{Event, RowTrigger};
use crate::server::news::{LatestSnapshot, Topic};
use crate::server::planned::Planned;
use crate::server::refusal::refuse;
use crate::server::rights::{Rights, owner_of_function, owner_of_relation, relation};

/// What `webhook_delivery.payloads`, or a payload function of the application's own, says of an event.
pub struct Payload {
    /// The table whose rows the event is about: with its owner's rights the data is read.
    table: Table,
    /// The application's own, which must not have fewer rights than it gets.
    function: Option<pg_sys::Oid>,
    of_one: Query,
    of_many: Query,
}

/// Gives one row of three arrays, ids, auctions and data, or none.
struct Query {
    sql: String,
    statement: RefCell<Planned>,
}

/// What the query's `@changed@` stands for. Of one row it is no table, and nothing has to be brought into an order.
const ONE: &str = "(values ($1[1], $2[1], 1)) as changed (id, previous, position)";
const MANY: &str = "unnest($1, $2) with ordinality as changed (id, previous, position)";

enum Table {
    /// By schema and name, whatever table has them at the time.
    Named(CString, CString),
    /// The one that a trigger is on.
    Of(pg_sys::Oid),
}

/// The type of an event, the schema in which its row changed, and the trigger that makes events of whole rows.
type Place = (String, pg_sys::Oid, Option<Rc<RowTrigger>>);

thread_local! {
    static KNOWN: RefCell<HashMap<Place, Rc<Payload>>> = RefCell::default();
    static FIND: RefCell<Planned> = const { RefCell::new(Planned::new()) };
    /// What `Topic::changes` was when that was read.
    static READ_AT: Cell<u64> = const { Cell::new(0) };
}

/// How the data of this event is read. With the rights of the extension's owner; `None` where that is not known.
pub fn payload_of(client: &SpiClient<'_>, event: &Event) -> SpiResult<Option<Rc<Payload>>> {
    let changes = Topic::Payloads.changes();
    if READ_AT.replace(changes) != changes {
        KNOWN.take();
    }
    let place = (event.event_type.clone(), event.schema, event.row_trigger.clone());
    let known = KNOWN.with_borrow(|known| known.get(&place).cloned());
    // A function that was dropped may have been created anew.
    if let Some(known) =
        known.filter(|known| known.function.is_none_or(|function| owner_of_function(function).is_some()))
    {
        return Ok(Some(known));
    }
    let found = match &event.row_trigger {
        Some(trigger) => Some(Payload::of_whole_rows(trigger)),
        None => Payload::find(client, event)?,
    };
    Ok(found.map(|payload| {
        let payload = Rc::new(payload);
        KNOWN.with_borrow_mut(|known| known.insert(place, Rc::clone(&payload)));
        payload
    }))
}

/// Whoever owned the table has set the function. Who owns it now must not lend his rights to another's.
fn check_function(function: pg_sys::Oid, table: pg_sys::Oid) {
    let Some(owner) = owner_of_function(function) else {
        refuse(
            PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
            "the payload function does not exist any more",
            "Set another with webhook_delivery.set_payload_function(), or none.",
        );
    };
    // SAFETY: a look-up in the catalogue, inside a transaction.
    if !owner_of_relation(table).is_some_and(|table_owner| unsafe { pg_sys::has_privs_of_role(owner, table_owner) }) {
        refuse(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "the owner of the payload function has not the rights of the table's owner, with which it runs",
            "Let the table's owner set a function of his own with webhook_delivery.set_payload_function().",
        );
    }
}

impl Payload {
    fn find(client: &SpiClient<'_>, event: &Event) -> SpiResult<Option<Self>> {
        Topic::Payloads.watch([c"payloads", c"payload_functions"].map(|name| relation(c"webhook_delivery", name)));
        FIND.with_borrow_mut(|find| {
            let sql = include_str!("../../sql/capture/payload.sql");
            let find = find.for_reading(client, sql, &[TEXTOID, pg_sys::BuiltinOid::OIDOID])?;
            let arguments = [event.event_type.as_str().into(), event.schema.into()];
            let _latest = LatestSnapshot::take();
            let Some(row) = client.select(find, Some(1), &arguments)?.next() else { return Ok(None) };
            let found = row.get::<String>(1)?.zip(row.get::<String>(2)?).zip(row.get::<String>(3)?);
            // A name of the server's has no NUL.
            let name = |text| CString::new(text).unwrap_or_default();
            let function = row.get::<pg_sys::Oid>(4)?;
            Ok(found
                .map(|((schema, table), query)| Self::new(Table::Named(name(schema), name(table)), function, &query)))
        })
    }

    fn new(table: Table, function: Option<pg_sys::Oid>, query: &str) -> Self {
        Self {
            table,
            function,
            of_one: Query::new(query, ONE, |column| format!("array[built.{column}]")),
            of_many: Query::new(query, MANY, |column| format!("array_agg(built.{column})")),
        }
    }

    /// The data is what the trigger has kept of the row.
    fn of_whole_rows(trigger: &RowTrigger) -> Self {
        let literal = |text: &CStr| spi::quote_literal(text.to_string_lossy());
        let left_out: Vec<String> = trigger.left_out.iter().map(|column| literal(column)).collect();
        let query = include_str!("../../sql/capture/whole_rows.sql")
            .replace("@auction_column@", &literal(&trigger.auction_column))
            .replace("@left_out@", &left_out.join(", "));
        Self::new(Table::Of(trigger.table), None, &query)
    }

    /// The rights of the owner of the table.
    pub fn rights(&self) -> Rights {
        let (table, name) = match &self.table {
            Table::Named(schema, name) => {
                (relation(schema, name), format!("{}.{}", schema.to_string_lossy(), name.to_string_lossy()))
            }
            Table::Of(oid) => (Some(*oid), oid.to_u32().to_string()),
        };
        if let Some((function, table)) = self.function.zip(table) {
            check_function(function, table);
        }
        let Some(rights) = table.and_then(Rights::of_owner_of) else {
            refuse(
                PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                format!("relation {name} does not exist"),
                "Its rows are what the event is about.",
            );
        };
        rights
    }

    /// Runs with the statement for so many rows, planned once per session. $1 keys, $2 the rows as they were before, $3 when
    /// it happened; gives one row of three arrays, ids, auctions and data, or none.
    pub fn with_statement<R>(
        &self,
        client: &SpiClient<'_>,
        rows: usize,
        run: impl FnOnce(&OwnedPreparedStatement) -> SpiResult<R>,
    ) -> SpiResult<R> {
        // A function of the application's may give several for one.
        let query = if rows == 1 && self.function.is_none() { &self.of_one } else { &self.of_many };
        let mut planned = query.statement.borrow_mut();
        run(planned.for_reading(client, &query.sql, &[UUIDARRAYOID, JSONARRAYOID, TIMESTAMPTZOID])?)
    }
}

impl Query {
    /// The casts are what makes it safe to take the arrays as they are: the columns belong to the application, which may give
    /// them any type at any time.
    fn new(query: &str, changed: &str, array: impl Fn(&str) -> String) -> Self {
        let [id, auction_id, data] = ["id::uuid", "auction_id::uuid", "data::json"].map(array);
        let built = query.replace("@changed@", changed);
        Self {
            sql: format!("select {id}, {auction_id}, {data} from ({built}) as built"),
            statement: RefCell::default(),
        }
    }
}
