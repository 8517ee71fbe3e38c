//! emit(): code in the database sends its own events.
//!
//! The event is kept until the commit and written with the others of the transaction: twenty
//! thousand events of one statement cost twenty statements, not twenty thousand.

use std::cell::RefCell;
use std::collections::HashSet;

use pgrx::datum::JsonString;
use pgrx::pg_sys::BuiltinOid::TEXTOID;
use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiResult};
use uuid::Uuid;

use super::emitted::Emitted;
use super::event_builder::EventBuilder;
use super::event_key::{Event, EventKey};
use super::fan_out::{Events, fan_out};
use super::pending_changes::{PENDING, WholeRow};
use super::subscriptions::{Interested, Wanted};
use super::{row_snapshot, subscriptions};
use crate::ids;
use crate::postgres::cached_plan::CachedPlan;
use crate::postgres::errors::{check_writable, refuse};
use crate::postgres::invalidation::{LatestSnapshot, Topic};
use crate::postgres::security_context::{self, RoleGuard, as_extension_owner};
use crate::postgres::subtransaction::{SqlError, in_subtransaction};
use crate::postgres::timeouts::LockWait;
use crate::timestamp::Timestamp;

/// Sends an event to the endpoints of the auction that want it, if the transaction commits. Returns
/// the event's id; null if no endpoint wants events of this type, unless all events are recorded.
/// The event is written with the commit, when filters are applied: if that fails, such as on a full
/// disk (53100), the transaction fails too. No other call can end a commit; every other event that
/// cannot be captured becomes a dead letter.
// json has the representation of text; Rust's type for json would format the value again.
#[pg_extern(sql = "
    create function webhook_delivery.emit(event text, auction_id uuid, data json) returns uuid
        language c volatile as 'MODULE_PATHNAME', '@FUNCTION_NAME@';
")]
fn emit(
    event: Option<&str>,
    auction_id: Option<pgrx::Uuid>,
    data: Option<&str>,
) -> Result<Option<pgrx::Uuid>, SpiError> {
    let Some(((event_type, auction_id), data)) = event.zip(auction_id).zip(data) else {
        refuse(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "event, auction_id and data cannot be null",
            "Use '{}' for an event without data.",
        );
    };
    check_writable();
    check_type(event_type)?;
    let auction_id = ids::id(auction_id);
    // SAFETY: reads a number of this session.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    let wanting = match subscriptions::cached(&auction_id, event_type) {
        Some(endpoints) => Ok(endpoints),
        None => in_subtransaction(|| wanting(event_type, auction_id)),
    };
    let endpoints = match wanting {
        Ok(endpoints) => endpoints,
        Err(failure) if failure.is_lock_timeout => {
            // The interested endpoints are looked up again at the commit.
            let (event_key, data) = (EventKey::of_emitted(event_type), row_snapshot::SavedRow::Data(data.to_owned()));
            PENDING
                .with_borrow_mut(|changes| changes.note_whole_row(event_key, auction_id, None, subtransaction, data));
            return Ok(None);
        }
        Err(failure) => failure.raise(),
    };
    if !subscriptions::is_recorded(&endpoints) {
        return Ok(None);
    }
    let event_id = ids::uuid_v7();
    let wanted = Wanted { event_id: ids::id(event_id), auction_id, endpoints };
    let emitted = Emitted { event_type: event_type.to_owned(), wanted, data: data.to_owned(), subtransaction };
    let many = PENDING.with_borrow_mut(|changes| {
        changes.emitted.push(emitted);
        changes.emitted.take_if_many(subtransaction)
    });
    write(many)?;
    Ok(Some(event_id))
}

/// The interested endpoints of the auction. The wait for a lock is bounded.
fn wanting(event_type: &str, auction_id: Uuid) -> Vec<Interested> {
    let _lock_wait = LockWait::bounded();
    let _rights = RoleGuard::of_extension_owner();
    Spi::connect_mut(|client| subscriptions::wanting(client, event_type, std::iter::once(auction_id)))
        .unwrap_or_else(|problem| pgrx::error!("could not read webhook endpoints: {problem}"))
        .remove(&auction_id)
        .unwrap_or_default()
}

/// Writes events at the commit. They become dead letters if a lock is not granted in time; any
/// other failure ends the transaction.
pub fn write_at_commit(emitted: Vec<Emitted>, builder: &mut EventBuilder) {
    if emitted.is_empty() {
        return;
    }
    if let Err(failure) = lock_tables() {
        return builder.fail_emitted(emitted.into_iter().map(into_row), failure);
    }
    // From here on a failure ends the transaction, so the wait for locks is not bounded.
    let _lock_wait = LockWait::unbounded();
    if let Err(problem) = write(emitted) {
        pgrx::error!("could not write webhook events: {problem}");
    }
}

/// Locks the tables that are written to. Needs no subtransaction if the locks are free.
fn lock_tables() -> Result<(), SqlError> {
    for name in [c"events", c"queue"] {
        let Some(table) = security_context::relation(c"webhook_delivery", name) else { continue };
        let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: an oid and a mode, inside a transaction; a subtransaction catches the error of
        // the blocking call.
        unsafe {
            if !pg_sys::ConditionalLockRelationOid(table, mode) {
                in_subtransaction(|| pg_sys::LockRelationOid(table, mode))?;
            }
        }
    }
    Ok(())
}

/// Writes events, in their order.
fn write(emitted: Vec<Emitted>) -> SpiResult<()> {
    let mut emitted = emitted.into_iter().peekable();
    while let Some(first) = emitted.next() {
        let event_type = first.event_type.clone();
        let (mut wanted, mut data) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(event) = next {
            wanted.push(Some(event.wanted));
            data.push(JsonString(event.data));
            next = emitted.next_if(|event| event.event_type == event_type);
        }
        let _owner = as_extension_owner();
        Spi::connect_mut(|client| {
            let row_ids = vec![None::<pgrx::Uuid>; wanted.len()].into();
            fan_out(client, &event_type, Timestamp::now(), Events { wanted, row_ids, data: data.into() })
        })?;
    }
    Ok(())
}

#[derive(Default)]
struct KnownTypes {
    names: HashSet<String>,
    /// The value of `Topic::changes` when they were read.
    changes: u64,
}

thread_local! {
    static KNOWN_TYPES: RefCell<KnownTypes> = RefCell::default();
    static IS_KNOWN: RefCell<CachedPlan> = const { RefCell::new(CachedPlan::new()) };
}

/// Raises an error if the type is not in the catalogue.
pub fn check_type(event_type: &str) -> SpiResult<()> {
    let is_cached = KNOWN_TYPES
        .with_borrow(|known| known.names.contains(event_type) && known.changes == Topic::EventTypes.changes());
    if is_cached {
        return Ok(());
    }
    let _owner = as_extension_owner();
    Spi::connect_mut(|client| {
        Topic::EventTypes.watch([security_context::relation(c"public", c"webhook_event_types"), None]);
        let changes = Topic::EventTypes.changes();
        let is_known = IS_KNOWN.with_borrow_mut(|statement| {
            let sql = include_str!("../../sql/statements/capture/is_known.sql");
            let statement = statement.for_reading(client, sql, &[TEXTOID])?;
            let _latest = LatestSnapshot::take();
            client.select(statement, Some(1), &[event_type.into()])?.first().get_one::<bool>()
        })?;
        if is_known != Some(true) {
            let sql = include_str!("../../sql/statements/capture/known_types.sql");
            let known = client.select(sql, Some(1), &[])?.first().get_one::<String>()?;
            refuse(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("unknown event type: {event_type}"),
                format!(
                    "Register it with webhook_delivery.register_event_type() first. Known event types: {}.",
                    known.unwrap_or_default()
                ),
            );
        }
        KNOWN_TYPES.with_borrow_mut(|known| {
            if known.changes != changes {
                known.names.clear();
                known.changes = changes;
            }
            known.names.insert(event_type.to_owned());
        });
        Ok(())
    })
}

/// The event as a row whose data is known.
fn into_row(emitted: Emitted) -> (Event, WholeRow, Uuid) {
    let saved = row_snapshot::SavedRow::Data(emitted.data);
    (Event::emitted(emitted.event_type), WholeRow { subject: None, saved }, emitted.wanted.auction_id)
}
