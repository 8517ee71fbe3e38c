//! The worker's SQL statements, and the Rust types of their results.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiResult};
use uuid::Uuid;
use webhook_sender::{Attempt, DeliveryKey, Success};

use super::columns::{column, required};
use super::endpoint_health::{FailedDelivery, HealthChange, HealthNotice};
use super::idle::Idle;
use super::outcome::Outcome;
use super::outcome_rows::OutcomeType;
use super::parking_statements::ParkingStatements;
use super::queue_row::{Batch, Bounds, Event, MAX_BATCH_BYTES, Position, QueueRow};
use super::target::Target;
use super::unreadable_secrets::UnreadableSecrets;
use crate::endpoint::stored_secrets::KeyFile;
use crate::ids::{id, id_datum};
use crate::postgres::settings::DisablePolicy;
use crate::timestamp::Timestamp;

/// The worker's statements, prepared once.
pub struct Statements {
    send_state: OwnedPreparedStatement,
    read_due: OwnedPreparedStatement,
    read_events: OwnedPreparedStatement,
    targets: OwnedPreparedStatement,
    next_due: OwnedPreparedStatement,
    unrecorded: OwnedPreparedStatement,
    outcome_type: OutcomeType,
    record: OwnedPreparedStatement,
    record_carefully: OwnedPreparedStatement,
    slow_endpoints: OwnedPreparedStatement,
    remember_slow: OwnedPreparedStatement,
    failing_endpoints: OwnedPreparedStatement,
    record_endpoint_health: OwnedPreparedStatement,
    notify_failed_deliveries: OwnedPreparedStatement,
    create_partitions: OwnedPreparedStatement,
    drop_expired: OwnedPreparedStatement,
    expire: OwnedPreparedStatement,
    has_locked_errors: OwnedPreparedStatement,
    pub parking: ParkingStatements,
    pub unreadable_secrets: UnreadableSecrets,
}

impl Statements {
    /// Prepares all statements. Call it inside a transaction, while the extension exists.
    pub fn prepare() -> SpiResult<Self> {
        use pg_sys::BuiltinOid::*;
        let outcome_type = OutcomeType::find();
        #[rustfmt::skip]
        let change_types = [
            UUIDARRAYOID, BOOLARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, BOOLARRAYOID, TEXTARRAYOID, INT4OID, INT8OID,
        ];
        #[rustfmt::skip]
        let failed = [
            UUIDARRAYOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, INT2ARRAYOID, INT2ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID,
        ];
        let due = [TIMESTAMPTZOID, UUIDOID, TIMESTAMPTZOID, UUIDARRAYOID, UUIDOID, INT4OID];
        let events = [UUIDARRAYOID, UUIDOID, UUIDOID, INT4OID];
        let success_types = [TIMESTAMPTZARRAYOID, UUIDARRAYOID, INT2ARRAYOID];
        Spi::connect(|client| {
            let oids = |types: &[pg_sys::BuiltinOid]| types.iter().map(|oid| (*oid).into()).collect::<Vec<PgOid>>();
            type Prepared = SpiResult<OwnedPreparedStatement>;
            let reading = |sql, types: &[_]| -> Prepared { Ok(client.prepare(sql, &oids(types))?.keep()) };
            let writing = |sql, types: &[_]| -> Prepared { Ok(client.prepare_mut(sql, &oids(types))?.keep()) };
            let recording =
                |sql| -> Prepared { Ok(client.prepare_mut(sql, &[PgOid::from(outcome_type.array)])?.keep()) };
            Ok(Self {
                send_state: reading(include_str!("../../sql/statements/delivery/send_state.sql"), &[])?,
                read_due: reading(include_str!("../../sql/statements/delivery/read_due.sql"), &due)?,
                read_events: reading(include_str!("../../sql/statements/delivery/read_events.sql"), &events)?,
                targets: reading(include_str!("../../sql/statements/delivery/targets.sql"), &[UUIDARRAYOID])?,
                next_due: reading(include_str!("../../sql/statements/delivery/next_due.sql"), &[TIMESTAMPTZOID])?,
                unrecorded: reading(include_str!("../../sql/statements/delivery/unrecorded.sql"), &success_types)?,
                outcome_type,
                record: recording(include_str!("../../sql/statements/delivery/record.sql"))?,
                record_carefully: recording(include_str!("../../sql/statements/delivery/record_carefully.sql"))?,
                slow_endpoints: reading(include_str!("../../sql/statements/delivery/slow_endpoints.sql"), &[])?,
                remember_slow: writing(
                    include_str!("../../sql/statements/delivery/remember_slow.sql"),
                    &[UUIDARRAYOID, UUIDARRAYOID],
                )?,
                failing_endpoints: reading(include_str!("../../sql/statements/delivery/failing_endpoints.sql"), &[])?,
                record_endpoint_health: writing(
                    include_str!("../../sql/statements/delivery/record_endpoint_health.sql"),
                    &change_types,
                )?,
                notify_failed_deliveries: writing(
                    include_str!("../../sql/statements/delivery/notify_failed_deliveries.sql"),
                    &failed,
                )?,
                create_partitions: writing("select webhook_delivery.create_partitions()", &[])?,
                drop_expired: writing("select dropped::text, is_locked from webhook_delivery.drop_expired()", &[])?,
                expire: writing(include_str!("../../sql/statements/delivery/expire.sql"), &[UUIDOID])?,
                has_locked_errors: reading(include_str!("../../sql/statements/delivery/has_locked_errors.sql"), &[])?,
                parking: ParkingStatements::prepare(client)?,
                unreadable_secrets: UnreadableSecrets::default(),
            })
        })
    }

    /// Why nothing may be sent from this database, in the snapshot of this transaction; `None` if
    /// deliveries may be sent. Not cached: if a restore commits rows of another installation
    /// together with its queue, the worker must see both or none.
    pub fn send_state(&self) -> SpiResult<Option<Idle>> {
        let state: Option<String> =
            Spi::connect(|client| client.select(&self.send_state, Some(1), &[])?.first().get_one())?;
        Ok(Idle::of_send_state(state.as_deref()))
    }

    /// Rows due after `from`, in order, at most `limit` and no more than `MAX_BATCH_BYTES` of data:
    /// those of the given endpoint, or of all endpoints except those in `leave_out`.
    pub fn read_due(
        &self,
        from: Position,
        now: Timestamp,
        leave_out: Vec<Uuid>,
        only: Option<Uuid>,
        limit: usize,
        bounds: Bounds,
    ) -> SpiResult<Batch> {
        let leave_out: Vec<pgrx::Uuid> = leave_out.iter().map(id_datum).collect();
        Spi::connect(|client| {
            let arguments = [
                from.due_at.into(),
                id_datum(&from.delivery_id).into(),
                now.into(),
                leave_out.into(),
                only.as_ref().map(id_datum).into(),
                i32::try_from(limit).unwrap_or(i32::MAX).into(),
            ];
            let rows = client.select(&self.read_due, None, &arguments)?;
            let due: Vec<QueueRow> = rows.map(|row| QueueRow::from_row(&row)).collect::<SpiResult<_>>()?;
            let events = self.events(client, &due, bounds)?;
            let found = due.len();
            let (mut taken, mut bytes) = (Vec::with_capacity(found), 0);
            for mut due in due {
                if let Some(event) = events.get(&due.key.event_id) {
                    bytes += event.bytes();
                    if bytes > MAX_BATCH_BYTES && !taken.is_empty() {
                        break;
                    }
                    due.set_event(event)?;
                }
                taken.push(due);
            }
            let more = found == limit || taken.len() < found;
            let targets = self.targets(client, taken.iter().map(|due: &QueueRow| due.key.endpoint_id).collect())?;
            Ok(Batch { rows: taken.into_iter().map(|due| due.with_target(&targets, bounds)).collect(), more })
        })
    }

    /// The events of these deliveries that are still there.
    fn events<'conn>(
        &self,
        client: &SpiClient<'conn>,
        due: &[QueueRow],
        bounds: Bounds,
    ) -> SpiResult<HashMap<Uuid, Event<'conn>>> {
        let ids: HashSet<Uuid> = due.iter().map(|due| due.key.event_id).collect();
        let Some((lowest, highest)) = ids.iter().min().zip(ids.iter().max()) else { return Ok(HashMap::new()) };
        let arguments = [
            ids.iter().map(id_datum).collect::<Vec<_>>().into(),
            id_datum(lowest).into(),
            id_datum(highest).into(),
            bounds.payload.into(),
        ];
        let rows = client.select(&self.read_events, None, &arguments)?;
        rows.map(|row| Ok((id(required(row.get(1)?)), Event::from_row(row)?))).collect()
    }

    /// Read in the same snapshot as the rows, so that the rows and the endpoint changes of one
    /// commit are seen together. A cache would not be correct: commits wake the worker before the
    /// server sends invalidations.
    fn targets(&self, client: &SpiClient<'_>, endpoint_ids: HashSet<Uuid>) -> SpiResult<HashMap<Uuid, Target>> {
        if endpoint_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<pgrx::Uuid> = endpoint_ids.iter().map(id_datum).collect();
        let rows = client.select(&self.targets, None, &[ids.into()])?;
        let keys = KeyFile::default();
        let targets: HashMap<Uuid, Target> = rows.map(|row| Target::from_row(&row, &keys)).collect::<SpiResult<_>>()?;
        if let Some(problem) = targets.values().find_map(|target| target.secret_problem.as_ref()) {
            self.unreadable_secrets.found(problem);
        }
        Ok(targets)
    }

    /// These endpoints, without those that are deleted.
    pub fn targets_now(&self, endpoint_ids: HashSet<Uuid>) -> SpiResult<HashMap<Uuid, Target>> {
        Spi::connect(|client| self.targets(client, endpoint_ids))
    }

    /// The earliest due time of the deliveries that are not due yet.
    pub fn next_due(&self, now: Timestamp) -> SpiResult<Option<Timestamp>> {
        Spi::connect(|client| {
            let mut rows = client.select(&self.next_due, Some(1), &[now.into()])?;
            match rows.next() {
                Some(row) => Ok(row.get::<Timestamp>(1)?),
                None => Ok(None),
            }
        })
    }

    /// The attempts among these that are not recorded.
    pub fn unrecorded(&self, successes: &[Success]) -> SpiResult<Vec<Attempt>> {
        Spi::connect(|client| {
            let arguments = [
                column(successes, |success| Timestamp::from_micros(success.due_at)).into(),
                column(successes, |success| id_datum(&success.delivery_id())).into(),
                column(successes, |success| success.attempt as i16).into(),
            ];
            let rows = client.select(&self.unrecorded, None, &arguments)?;
            rows.map(|row| {
                let place: i64 = required(row.get(1)?);
                let success = successes[place as usize - 1];
                let key = DeliveryKey {
                    due_at: success.due_at,
                    delivery_id: success.delivery_id(),
                    auction_id: id(required(row.get(2)?)),
                    endpoint_id: id(required(row.get(3)?)),
                    event_id: id(required(row.get(4)?)),
                    attempt: success.attempt,
                    earlier_attempts: 0,
                    is_test: required(row.get(6)?),
                    row_id: None,
                };
                Ok(Attempt {
                    key,
                    event_type: required(row.get(5)?),
                    started_at: success.started_at(),
                    duration: success.duration(),
                    result: Ok(success.status),
                    response_excerpt: None,
                    retry_after: None,
                    timing: Default::default(),
                    destination: Arc::default(),
                })
            })
            .collect()
        })
    }

    /// Records finished attempts: their deliveries leave the queue or get their next attempt time,
    /// and the log gets a row. If some cannot be recorded, `carefully` records the others and
    /// returns the deliveries whose rows are locked, each with the transaction that has locked it.
    pub fn record(&self, outcomes: &[Outcome], carefully: bool) -> SpiResult<HashMap<Uuid, i64>> {
        Spi::connect_mut(|client| {
            let arguments = [self.outcome_type.array_of(outcomes)];
            let statement = if carefully { &self.record_carefully } else { &self.record };
            let locked = client.update(statement, None, &arguments)?;
            locked.map(|row| Ok((id(required(row.get(1)?)), transaction_of(required(row.get(2)?))))).collect()
        })
    }

    /// Whether there is a dead letter that a lock has caused.
    pub fn has_locked_errors(&self) -> SpiResult<bool> {
        Spi::connect(
            |client| Ok(client.select(&self.has_locked_errors, Some(1), &[])?.first().get_one()? == Some(true)),
        )
    }

    /// The endpoints that are recorded as slow.
    pub fn slow_endpoints(&self) -> SpiResult<HashSet<Uuid>> {
        Spi::connect(|client| {
            let rows = client.select(&self.slow_endpoints, None, &[])?;
            rows.map(|row| Ok(id(required(row.get(1)?)))).collect()
        })
    }

    /// Records endpoints that have become slow, and removes others.
    pub fn remember_slow<'a>(
        &self,
        became: impl Iterator<Item = &'a Uuid>,
        no_longer: impl Iterator<Item = &'a Uuid>,
    ) -> SpiResult<()> {
        let (became, no_longer): (Vec<_>, Vec<_>) = (became.map(id_datum).collect(), no_longer.map(id_datum).collect());
        Spi::connect_mut(|client| {
            client.update(&self.remember_slow, None, &[became.into(), no_longer.into()]).map(drop)
        })
    }

    /// The endpoints that have failed since they last succeeded.
    pub fn failing_endpoints(&self) -> SpiResult<HashSet<Uuid>> {
        Spi::connect(|client| {
            let rows = client.select(&self.failing_endpoints, None, &[])?;
            rows.map(|row| Ok(id(required(row.get(1)?)))).collect()
        })
    }

    /// Records the health of endpoints, and returns the notices that were sent.
    pub fn record_endpoint_health(
        &self,
        changes: &HashMap<Uuid, HealthChange>,
        failed: &[FailedDelivery],
        policy: &DisablePolicy,
    ) -> SpiResult<Vec<HealthNotice>> {
        let changes: Vec<(&Uuid, &HealthChange)> = changes.iter().collect();
        Spi::connect_mut(|client| {
            let arguments = [
                column(failed, |f| id_datum(&f.delivery_id)).into(),
                column(failed, |f| id_datum(&f.auction_id)).into(),
                column(failed, |f| id_datum(&f.endpoint_id)).into(),
                column(failed, |f| f.event_type.as_str()).into(),
                column(failed, |f| f.attempt).into(),
                column(failed, |f| f.response_status_code).into(),
                column(failed, |f| f.error_message.as_str()).into(),
                column(failed, |f| f.attempted_at).into(),
            ];
            if !failed.is_empty() {
                client.update(&self.notify_failed_deliveries, None, &arguments)?;
            }
            let arguments = [
                column(&changes, |(id, _)| id_datum(id)).into(),
                column(&changes, |(_, change)| change.succeeded).into(),
                column(&changes, |(_, change)| change.failing_since).into(),
                column(&changes, |(_, change)| change.failed_deliveries).into(),
                column(&changes, |(_, change)| change.is_gone).into(),
                column(&changes, |(_, change)| change.error_message.as_str()).into(),
                policy.after_failures.into(),
                i64::try_from(policy.after.as_millis()).unwrap_or(i64::MAX).into(),
            ];
            let notices = client.update(&self.record_endpoint_health, None, &arguments)?;
            notices
                .map(|row| {
                    Ok(HealthNotice {
                        endpoint_id: id(required(row.get(1)?)),
                        auction_id: id(required(row.get(2)?)),
                        event_type: required(row.get(3)?),
                        reason: row.get(4)?,
                    })
                })
                .collect()
        })
    }

    /// Creates the partitions of the next days. False if another session's lock prevents it.
    pub fn create_partitions(&self) -> SpiResult<bool> {
        let made = Spi::connect_mut(|client| client.update(&self.create_partitions, Some(1), &[])?.first().get_one());
        made.map(|made| made.unwrap_or(false))
    }

    /// Drops the oldest partition, if all of it is older than the retention.
    pub fn drop_expired(&self) -> SpiResult<Expired> {
        Spi::connect_mut(|client| {
            let row = client.update(&self.drop_expired, Some(1), &[])?.first();
            if let Some(dropped) = row.get::<String>(1)? {
                pgrx::log!("webhook_delivery: dropped {dropped}, which is older than webhook_delivery.retention");
                return Ok(Expired::Dropped);
            }
            Ok(if required(row.get(2)?) { Expired::Locked } else { Expired::Nothing })
        })
    }

    /// Ends deliveries whose event is older than the retention. Returns whether there may be more.
    pub fn expire_waiting(&self, oldest: &Uuid) -> SpiResult<bool> {
        Spi::connect_mut(|client| Ok(!client.update(&self.expire, None, &[id_datum(oldest).into()])?.is_empty()))
    }
}

/// The result of `drop_expired()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expired {
    Dropped,
    /// The partition is in use.
    Locked,
    /// No partition has expired.
    Nothing,
}

/// The transaction that a subtransaction belongs to: `pg_locks` has only the id of the transaction.
fn transaction_of(id: i64) -> i64 {
    let Ok(number) = u32::try_from(id) else { return id };
    let transaction = pg_sys::TransactionId::from(number);
    // SAFETY: called inside a transaction. The server is sure to have the parent only if the
    // transaction is in progress.
    unsafe {
        if !pg_sys::TransactionIdIsInProgress(transaction) {
            return id;
        }
        pg_sys::SubTransGetTopmostTransaction(transaction).into_inner().into()
    }
}
