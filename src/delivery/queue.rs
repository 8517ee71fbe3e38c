//! What do we ask of the queue in SQL, and in which Rust types does it answer?

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiHeapTupleData, SpiResult};
use uuid::Uuid;
use webhook_sender::{DeliveryKey, Job};

use super::record::Outcome;
use crate::ids::{POSTGRES_EPOCH_MICROS, timestamp};

/// A place in the queue's index: where a read ended and the next one begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    /// Postgres microseconds.
    pub due_at: i64,
    pub delivery_id: Uuid,
}

impl Position {
    /// Before every row.
    pub const START: Self = Self { due_at: i64::MIN, delivery_id: Uuid::nil() };

    /// Before every row that is due at this moment or later.
    pub fn at(due_at: i64) -> Self {
        Self { due_at, delivery_id: Uuid::nil() }
    }
}

/// A row of the queue that is due.
pub struct DueRow {
    pub position: Position,
    pub auction_id: Uuid,
    pub endpoint_id: Uuid,
    pub task: Task,
}

impl DueRow {
    /// Of the event's data.
    pub fn bytes(&self) -> usize {
        match &self.task {
            Task::Send(job) => job.data.len(),
            Task::Wait | Task::End(_) => 0,
        }
    }
}

/// What is to be done with a row that is due.
pub enum Task {
    Send(Job),
    /// Its endpoint is disabled.
    Wait,
    /// It can no longer be sent.
    End(Outcome),
}

/// The worker's statements, planned once.
pub struct Statements {
    standing: OwnedPreparedStatement,
    read_due: OwnedPreparedStatement,
    next_due: OwnedPreparedStatement,
    record: OwnedPreparedStatement,
    slow_endpoints: OwnedPreparedStatement,
    remember_slow: OwnedPreparedStatement,
    create_partitions: OwnedPreparedStatement,
}

impl Statements {
    /// Prepares all statements; call it inside a transaction, with the extension there.
    pub fn prepare() -> SpiResult<Self> {
        use pg_sys::BuiltinOid::*;
        Spi::connect(|client| {
            Ok(Self {
                standing: client.prepare(include_str!("../../sql/delivery/standing.sql"), &[])?.keep(),
                read_due: client
                    .prepare(
                        include_str!("../../sql/delivery/read_due.sql"),
                        &[
                            TIMESTAMPTZOID.into(),
                            UUIDOID.into(),
                            TIMESTAMPTZOID.into(),
                            UUIDARRAYOID.into(),
                            UUIDOID.into(),
                            INT4OID.into(),
                            INT4OID.into(),
                        ],
                    )?
                    .keep(),
                next_due: client
                    .prepare(include_str!("../../sql/delivery/next_due.sql"), &[TIMESTAMPTZOID.into()])?
                    .keep(),
                record: client
                    .prepare_mut(
                        include_str!("../../sql/delivery/record.sql"),
                        &[
                            TIMESTAMPTZARRAYOID.into(),
                            UUIDARRAYOID.into(),
                            INT2ARRAYOID.into(),
                            UUIDARRAYOID.into(),
                            UUIDARRAYOID.into(),
                            UUIDARRAYOID.into(),
                            TEXTARRAYOID.into(),
                            TEXTARRAYOID.into(),
                            INT2ARRAYOID.into(),
                            INT4ARRAYOID.into(),
                            TEXTARRAYOID.into(),
                            TEXTARRAYOID.into(),
                            BOOLARRAYOID.into(),
                            TIMESTAMPTZARRAYOID.into(),
                            TIMESTAMPTZARRAYOID.into(),
                        ],
                    )?
                    .keep(),
                slow_endpoints: client.prepare(include_str!("../../sql/delivery/slow_endpoints.sql"), &[])?.keep(),
                remember_slow: client
                    .prepare_mut(
                        include_str!("../../sql/delivery/remember_slow.sql"),
                        &[UUIDARRAYOID.into(), UUIDARRAYOID.into()],
                    )?
                    .keep(),
                create_partitions: client.prepare_mut("select webhook_delivery.create_partitions()", &[])?.keep(),
            })
        })
    }

    /// Whether, in the snapshot of this transaction, anything may be sent from here.
    pub fn standing(&self) -> SpiResult<Standing> {
        let standing: Option<String> =
            Spi::connect(|client| client.select(&self.standing, Some(1), &[])?.first().get_one())?;
        Ok(match standing.as_deref() {
            Some("sending") => Standing::Sending,
            Some("paused") => Standing::Paused,
            Some("unused") => Standing::Unused,
            _ => Standing::Copied,
        })
    }

    /// Rows due after `from`, in order, at most `limit`: of the endpoint that is given, or else of all but those to `leave_out`.
    pub fn read_due(
        &self,
        from: Position,
        now: i64,
        leave_out: Vec<Uuid>,
        only: Option<Uuid>,
        limit: usize,
        bounds: Bounds,
    ) -> SpiResult<Vec<DueRow>> {
        let leave_out: Vec<pgrx::Uuid> = leave_out.iter().map(id_datum).collect();
        Spi::connect(|client| {
            let arguments = [
                timestamp(from.due_at).into(),
                id_datum(&from.delivery_id).into(),
                timestamp(now).into(),
                leave_out.into(),
                only.as_ref().map(id_datum).into(),
                i32::try_from(limit).unwrap_or(i32::MAX).into(),
                bounds.payload.into(),
            ];
            let rows = client.select(&self.read_due, None, &arguments)?;
            rows.map(|row| due_row(&row, bounds)).collect()
        })
    }

    /// When the first delivery that is not due yet will be, in Postgres microseconds.
    pub fn next_due(&self, now: i64) -> SpiResult<Option<i64>> {
        Spi::connect(|client| {
            let mut rows = client.select(&self.next_due, Some(1), &[timestamp(now).into()])?;
            match rows.next() {
                Some(row) => Ok(row.get::<TimestampWithTimeZone>(1)?.map(i64::from)),
                None => Ok(None),
            }
        })
    }

    /// Records finished attempts: they leave the queue or get their next time, and enter the log. Gives back the deliveries
    /// of which nothing was recorded, because somebody has locked their rows.
    pub fn record(&self, outcomes: &[Outcome]) -> SpiResult<HashSet<Uuid>> {
        fn column<'a, T: 'a>(outcomes: &'a [Outcome], of: impl Fn(&'a Outcome) -> T + 'a) -> Vec<T> {
            outcomes.iter().map(of).collect()
        }
        Spi::connect_mut(|client| {
            let arguments = [
                column(outcomes, |o| timestamp(o.key.due_at)).into(),
                column(outcomes, |o| id_datum(&o.key.delivery_id)).into(),
                column(outcomes, |o| o.key.attempt as i16).into(),
                column(outcomes, |o| id_datum(&o.key.auction_id)).into(),
                column(outcomes, |o| id_datum(&o.key.endpoint_id)).into(),
                column(outcomes, |o| id_datum(&o.key.event_id)).into(),
                column(outcomes, |o| o.event_type.as_str()).into(),
                column(outcomes, |o| o.delivery_status).into(),
                column(outcomes, |o| o.response_status_code).into(),
                column(outcomes, |o| o.response_time_ms).into(),
                column(outcomes, |o| o.error_message.as_deref()).into(),
                column(outcomes, |o| o.response_excerpt.as_deref()).into(),
                column(outcomes, |o| o.key.is_test).into(),
                column(outcomes, |o| timestamp(o.attempted_at)).into(),
                column(outcomes, |o| o.next_attempt_at.map(timestamp)).into(),
            ];
            let locked = client.update(&self.record, None, &arguments)?;
            locked.map(|row| Ok(id(required(row.get(1)?)))).collect()
        })
    }

    /// The endpoints that were slow when that was last remembered.
    pub fn slow_endpoints(&self) -> SpiResult<HashSet<Uuid>> {
        Spi::connect(|client| {
            let rows = client.select(&self.slow_endpoints, None, &[])?;
            rows.map(|row| Ok(id(required(row.get(1)?)))).collect()
        })
    }

    /// Remembers that endpoints have become slow, and that others are no longer.
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

    /// Makes the partitions of the days ahead. False where somebody uses the tables in a way that would make it wait.
    pub fn create_partitions(&self) -> SpiResult<bool> {
        let made = Spi::connect_mut(|client| client.update(&self.create_partitions, Some(1), &[])?.first().get_one());
        made.map(|made| made.unwrap_or(false))
    }
}

/// What a request may take.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// For all of it, name look-up and response included.
    pub timeout: Duration,
    /// Bytes of data; an event with more is not even read.
    pub payload: i32,
}

/// What the database says of itself: may anything be sent from here? The words of `webhook_delivery.standing`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    Sending,
    /// By `webhook_delivery.pause()`.
    Paused,
    /// What is here lived elsewhere before: a dump that was restored, a copy of a database.
    Copied,
    /// Nobody has created an endpoint here.
    Unused,
}

fn due_row(row: &SpiHeapTupleData<'_>, bounds: Bounds) -> SpiResult<DueRow> {
    let key = DeliveryKey {
        due_at: required(row.get::<TimestampWithTimeZone>(1)?).into(),
        delivery_id: id(required(row.get(2)?)),
        auction_id: id(required(row.get(3)?)),
        endpoint_id: id(required(row.get(4)?)),
        event_id: id(required(row.get(5)?)),
        row_id: row.get(15)?.map(id),
        attempt: required(row.get::<i16>(6)?).unsigned_abs() + 1,
        is_test: required(row.get(7)?),
    };
    let position = Position { due_at: key.due_at, delivery_id: key.delivery_id };
    let (auction_id, endpoint_id) = (key.auction_id, key.endpoint_id);
    let event_type: String = required(row.get(8)?);
    let event = (row.get::<TimestampWithTimeZone>(9)?, row.get::<String>(10)?);
    let bytes = row.get::<i32>(11)?.unwrap_or(0);
    let endpoint = (row.get::<bool>(12)?, row.get::<String>(13)?, row.get::<String>(14)?);
    let end = |key, event_type, reason: &str| Task::End(Outcome::without_request(key, event_type, reason));
    let task = match (event, endpoint) {
        (_, (None, ..)) => end(key, event_type, "the endpoint was deleted"),
        ((Some(_), _), (Some(false), _, Some(_))) if !key.is_test => Task::Wait,
        ((Some(_), None), _) => {
            let reason =
                format!("the payload has {bytes} bytes, and webhook_delivery.max_payload allows {}", bounds.payload);
            end(key, event_type, &reason)
        }
        ((Some(occurred_at), Some(data)), (Some(_), Some(url), Some(secret))) => {
            let occurred_at = system_time(occurred_at.into());
            Task::Send(Job { key, event_type, occurred_at, data, url, secret, timeout: bounds.timeout })
        }
        ((Some(_), _), _) => end(key, event_type, "the endpoint has no secret"),
        ((None, _), _) => end(key, event_type, "the event was deleted"),
    };
    Ok(DueRow { position, auction_id, endpoint_id, task })
}

/// A column that is never null.
fn required<T>(value: Option<T>) -> T {
    value.expect("the queue's columns are not null")
}

/// A uuid as Postgres takes it.
pub fn id_datum(id: &Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

fn id(datum: pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*datum.as_bytes())
}

/// Postgres microseconds of a system time.
pub fn postgres_micros(time: SystemTime) -> i64 {
    let since_1970 = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_micros() as i64,
        Err(before) => -(before.duration().as_micros() as i64),
    };
    since_1970 - POSTGRES_EPOCH_MICROS
}

fn system_time(postgres_micros: i64) -> SystemTime {
    let micros = postgres_micros + POSTGRES_EPOCH_MICROS;
    if micros >= 0 {
        SystemTime::UNIX_EPOCH + Duration::from_micros(micros.unsigned_abs())
    } else {
        SystemTime::UNIX_EPOCH - Duration::from_micros(micros.unsigned_abs())
    }
}
