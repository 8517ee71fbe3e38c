//! From which table, and by which statement, is the data of an event read?

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::rc::Rc;

use pgrx::pg_sys::BuiltinOid::{JSONARRAYOID, TEXTOID, TIMESTAMPTZOID, UUIDARRAYOID};
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiResult};

use crate::server::planned::Planned;
use crate::server::rights::{Rights, relation};

/// What `webhook_delivery.payloads`, or a payload function of the application's own, says of an event.
pub struct Payload {
    /// Schema and name of the table whose rows the event is about: with its owner's rights the data is read.
    schema: CString,
    table: CString,
    query: String,
    statement: RefCell<Planned>,
}

/// The type of an event, and the schema in which its row changed.
type Place = (String, pg_sys::Oid);

thread_local! {
    static KNOWN: RefCell<HashMap<Place, Rc<Payload>>> = RefCell::default();
    static FIND: RefCell<Planned> = const { RefCell::new(Planned::new()) };
    /// The tables that `KNOWN` was read from.
    static READ_FROM: Cell<[pg_sys::Oid; 2]> = const { Cell::new([pg_sys::InvalidOid; 2]) };
    /// What `KNOWN` says may have changed.
    static IS_STALE: Cell<bool> = const { Cell::new(false) };
}

/// Has the session told when the tables change; called while the server loads the library.
pub fn init() {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::null()) };
}

/// May be called at nearly any time: it only remembers.
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    if relation == pg_sys::InvalidOid || READ_FROM.get().contains(&relation) {
        IS_STALE.set(true);
    }
}

/// How the data of this event is read for rows of tables in this schema. With the rights of the extension's owner;
/// `None` where a row change cannot make such an event.
pub fn payload_of(client: &SpiClient<'_>, event_type: &str, schema: pg_sys::Oid) -> SpiResult<Option<Rc<Payload>>> {
    if IS_STALE.take() {
        KNOWN.take();
    }
    let place = (event_type.to_owned(), schema);
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&place).cloned()) {
        return Ok(Some(known));
    }
    READ_FROM
        .set([c"payloads", c"payload_functions"].map(|name| relation(c"webhook_delivery", name).unwrap_or_default()));
    let found = FIND.with_borrow_mut(|find| {
        let sql = include_str!("../../sql/capture/payload.sql");
        let find = find.for_reading(client, sql, &[TEXTOID, pg_sys::BuiltinOid::OIDOID])?;
        match client.select(find, Some(1), &[event_type.into(), schema.into()])?.next() {
            Some(row) => Ok::<_, pgrx::spi::SpiError>(
                row.get::<String>(1)?.zip(row.get::<String>(2)?).zip(row.get::<String>(3)?),
            ),
            None => Ok(None),
        }
    })?;
    Ok(found.map(|((schema, table), query)| {
        // A name of the server's has no NUL.
        let name = |text| CString::new(text).unwrap_or_default();
        let payload = Payload { schema: name(schema), table: name(table), query, statement: RefCell::default() };
        let payload = Rc::new(payload);
        KNOWN.with_borrow_mut(|known| known.insert(place, Rc::clone(&payload)));
        payload
    }))
}

impl Payload {
    /// The rights of the owner of the table.
    pub fn rights(&self) -> Rights {
        let Some(rights) = Rights::of_owner_of(&self.schema, &self.table) else {
            let name = |name: &CStr| name.to_string_lossy().into_owned();
            ereport!(
                ERROR,
                PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                format!("relation {}.{} does not exist", name(&self.schema), name(&self.table)),
                "Its rows are what the event is about."
            );
        };
        rights
    }

    /// Runs with the statement, planned once per session. $1 keys, $2 the rows as they were before, $3 event type,
    /// $4 when it happened; gives one row of three arrays: ids, auctions, data.
    pub fn with_statement<R>(
        &self,
        client: &SpiClient<'_>,
        run: impl FnOnce(&OwnedPreparedStatement) -> SpiResult<R>,
    ) -> SpiResult<R> {
        let mut planned = self.statement.borrow_mut();
        run(planned.for_reading(client, &self.query, &[UUIDARRAYOID, JSONARRAYOID, TEXTOID, TIMESTAMPTZOID])?)
    }
}
