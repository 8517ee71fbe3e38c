//! What do we ask of the queue in SQL, and in which Rust types does it answer?

use std::time::{Duration, SystemTime};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiHeapTupleData, SpiResult};
use uuid::Uuid;
use webhook_sender::{DeliveryKey, Job};

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
    pub endpoint_id: Uuid,
    pub event_id: Uuid,
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
    /// Its endpoint is disabled, or not there yet (a dump is being restored).
    Wait,
    /// Its endpoint was deleted.
    End(Orphan),
}

/// A delivery that can no longer be made.
pub struct Orphan {
    pub key: DeliveryKey,
    pub event_id: Uuid,
    pub event_type: String,
}

/// How an attempt ended, as columns of `sql/delivery/record.sql`.
#[derive(Default)]
pub struct Outcomes {
    pub due_at: Vec<TimestampWithTimeZone>,
    pub delivery_id: Vec<pgrx::Uuid>,
    pub attempt: Vec<i16>,
    pub auction_id: Vec<pgrx::Uuid>,
    pub endpoint_id: Vec<pgrx::Uuid>,
    pub event_id: Vec<pgrx::Uuid>,
    pub event_type: Vec<String>,
    pub delivery_status: Vec<&'static str>,
    pub response_status_code: Vec<Option<i16>>,
    pub response_time_ms: Vec<Option<i32>>,
    pub error_message: Vec<Option<String>>,
    pub response_excerpt: Vec<Option<String>>,
    pub is_test: Vec<bool>,
    pub attempted_at: Vec<TimestampWithTimeZone>,
    pub next_attempt_at: Vec<Option<TimestampWithTimeZone>>,
}

/// The worker's statements, planned once.
pub struct Statements {
    read_due: OwnedPreparedStatement,
    read_due_of_endpoint: OwnedPreparedStatement,
    next_due: OwnedPreparedStatement,
    record: OwnedPreparedStatement,
    has_deleted: OwnedPreparedStatement,
    orphans: OwnedPreparedStatement,
    swept: OwnedPreparedStatement,
    create_partitions: OwnedPreparedStatement,
}

impl Statements {
    /// Prepares all statements; call it inside a transaction, with the extension there.
    pub fn prepare() -> SpiResult<Self> {
        use pg_sys::BuiltinOid::*;
        Spi::connect(|client| {
            let read = |sql, third| {
                client.prepare(
                    sql,
                    &[TIMESTAMPTZOID.into(), UUIDOID.into(), TIMESTAMPTZOID.into(), third, INT4OID.into()],
                )
            };
            Ok(Self {
                read_due: read(include_str!("../../sql/delivery/read_due.sql"), UUIDARRAYOID.into())?.keep(),
                read_due_of_endpoint: read(
                    include_str!("../../sql/delivery/read_due_of_endpoint.sql"),
                    UUIDOID.into(),
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
                has_deleted: client.prepare(include_str!("../../sql/delivery/has_deleted.sql"), &[])?.keep(),
                orphans: client.prepare(include_str!("../../sql/delivery/orphans.sql"), &[INT4OID.into()])?.keep(),
                swept: client.prepare_mut(include_str!("../../sql/delivery/swept.sql"), &[])?.keep(),
                create_partitions: client.prepare_mut("select webhook_delivery.create_partitions()", &[])?.keep(),
            })
        })
    }

    /// Rows due after `from`, in order, at most `limit`, none of the endpoints to `leave_out`.
    pub fn read_due(
        &self,
        from: Position,
        now: i64,
        leave_out: Vec<Uuid>,
        limit: i32,
        timeout: Duration,
    ) -> SpiResult<Vec<DueRow>> {
        let leave_out: Vec<pgrx::Uuid> = leave_out.iter().map(id_datum).collect();
        Spi::connect(|client| {
            let arguments = [
                timestamp(from.due_at).into(),
                id_datum(&from.delivery_id).into(),
                timestamp(now).into(),
                leave_out.into(),
                limit.into(),
            ];
            due_rows(client, &self.read_due, &arguments, timeout)
        })
    }

    /// Rows of one endpoint due after `from`, in order, at most `limit`.
    pub fn read_due_of_endpoint(
        &self,
        from: Position,
        now: i64,
        endpoint: Uuid,
        limit: i32,
        timeout: Duration,
    ) -> SpiResult<Vec<DueRow>> {
        Spi::connect(|client| {
            let arguments = [
                timestamp(from.due_at).into(),
                id_datum(&from.delivery_id).into(),
                timestamp(now).into(),
                id_datum(&endpoint).into(),
                limit.into(),
            ];
            due_rows(client, &self.read_due_of_endpoint, &arguments, timeout)
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

    /// Records finished attempts: they leave the queue or get their next time, and enter the log.
    pub fn record(&self, outcomes: Outcomes) -> SpiResult<()> {
        Spi::connect_mut(|client| {
            let arguments = [
                outcomes.due_at.into(),
                outcomes.delivery_id.into(),
                outcomes.attempt.into(),
                outcomes.auction_id.into(),
                outcomes.endpoint_id.into(),
                outcomes.event_id.into(),
                outcomes.event_type.into(),
                outcomes.delivery_status.into(),
                outcomes.response_status_code.into(),
                outcomes.response_time_ms.into(),
                outcomes.error_message.into(),
                outcomes.response_excerpt.into(),
                outcomes.is_test.into(),
                outcomes.attempted_at.into(),
                outcomes.next_attempt_at.into(),
            ];
            client.update(&self.record, None, &arguments).map(drop)
        })
    }

    /// Deliveries, due or not, whose endpoint was deleted since the last sweep; `None` where none was.
    pub fn orphans(&self, limit: i32) -> SpiResult<Option<Vec<Orphan>>> {
        Spi::connect(|client| {
            if client.select(&self.has_deleted, Some(1), &[])?.is_empty() {
                return Ok(None);
            }
            let rows = client.select(&self.orphans, None, &[limit.into()])?;
            rows.map(|row| orphan(&row)).collect::<SpiResult<_>>().map(Some)
        })
    }

    /// Notes that nothing waits any more for the endpoints deleted so far.
    pub fn swept(&self) -> SpiResult<()> {
        Spi::connect_mut(|client| client.update(&self.swept, None, &[]).map(drop))
    }

    /// Makes the partitions of the days ahead. False where somebody uses the tables in a way that would make it wait;
    /// `None` where there is no endpoint yet.
    pub fn create_partitions(&self) -> SpiResult<Option<bool>> {
        Spi::connect_mut(|client| client.update(&self.create_partitions, Some(1), &[])?.first().get_one())
    }
}

fn due_rows(
    client: &SpiClient<'_>,
    statement: &OwnedPreparedStatement,
    arguments: &[pgrx::datum::DatumWithOid<'_>],
    timeout: Duration,
) -> SpiResult<Vec<DueRow>> {
    let rows = client.select(statement, None, arguments)?;
    let mut due = Vec::with_capacity(rows.len());
    for row in rows {
        let Orphan { key, event_id, event_type } = orphan(&row)?;
        let position = Position { due_at: key.due_at, delivery_id: key.delivery_id };
        let endpoint_id = key.endpoint_id;
        let (occurred_at, data) = (row.get::<TimestampWithTimeZone>(9)?, row.get::<String>(10)?);
        let (url, secret) = (row.get::<String>(11)?, row.get::<String>(12)?);
        let is_gone = row.get::<bool>(13)?.unwrap_or(false);
        let task = match (occurred_at, data, url, secret) {
            (Some(occurred_at), Some(data), Some(url), Some(secret)) => Task::Send(Job {
                key,
                event_type,
                occurred_at: system_time(occurred_at.into()),
                data,
                url,
                secret,
                timeout,
            }),
            _ if is_gone => Task::End(Orphan { key, event_id, event_type }),
            _ => Task::Wait,
        };
        due.push(DueRow { position, endpoint_id, event_id, task });
    }
    Ok(due)
}

/// The first eight columns of every statement that reads the queue.
fn orphan(row: &SpiHeapTupleData<'_>) -> SpiResult<Orphan> {
    let required = "the queue's columns are not null";
    let attempts: i16 = row.get(6)?.expect(required);
    let key = DeliveryKey {
        due_at: row.get::<TimestampWithTimeZone>(1)?.expect(required).into(),
        delivery_id: id(row.get(2)?.expect(required)),
        auction_id: id(row.get(3)?.expect(required)),
        endpoint_id: id(row.get(4)?.expect(required)),
        attempt: attempts.unsigned_abs() + 1,
        is_test: row.get(7)?.expect(required),
    };
    let event_id = id(row.get(5)?.expect(required));
    Ok(Orphan { key, event_id, event_type: row.get(8)?.unwrap_or_default() })
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
