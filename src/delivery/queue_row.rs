//! Due rows of the queue, and the action for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgrx::spi::{SpiHeapTupleData, SpiResult};
use uuid::Uuid;
use webhook_sender::{DeliveryKey, Job};

use super::columns::required;
use super::outcome::{EndReason, Outcome};
use super::target::{Target, Terms};
use crate::ids::id;
use crate::timestamp::Timestamp;

/// A position in the queue's key order: where a read ended and the next one begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    pub due_at: Timestamp,
    pub delivery_id: Uuid,
}

impl Position {
    /// Before every row.
    pub const START: Self = Self { due_at: Timestamp::MIN, delivery_id: Uuid::nil() };

    /// Right before this row.
    pub fn before(self) -> Self {
        match self.delivery_id.as_u128().checked_sub(1) {
            Some(id) => Self { delivery_id: Uuid::from_u128(id), ..self },
            None => Self { due_at: self.due_at - Duration::from_micros(1), delivery_id: Uuid::max() },
        }
    }

    /// Before every row that is due at this moment or later.
    pub fn at(due_at: Timestamp) -> Self {
        Self { due_at, delivery_id: Uuid::nil() }
    }
}

/// Maximum number of bytes of data of one read, unless a single event has more.
pub const MAX_BATCH_BYTES: usize = 2 << 20;

/// The result of one read.
pub struct Batch {
    pub rows: Vec<DueDelivery>,
    /// Whether more rows may follow.
    pub more: bool,
}

impl Batch {
    /// The endpoint that fills a whole batch of this size and may have more, and its auction.
    pub fn endpoint_that_fills(&self, size: usize) -> Option<(Uuid, Uuid)> {
        let first = self.rows.first().filter(|_| self.more && self.rows.len() >= size)?;
        let is_of_first = |row: &DueDelivery| row.endpoint_id == first.endpoint_id && !row.skips_throttle;
        self.rows.iter().all(is_of_first).then_some((first.endpoint_id, first.auction_id))
    }
}

/// A row of the queue that is due.
pub struct DueDelivery {
    pub position: Position,
    pub auction_id: Uuid,
    pub endpoint_id: Uuid,
    /// The delivery does not wait for its endpoint: a test, or a delivery that is to end.
    pub skips_throttle: bool,
    /// When a failed delivery that keeps its position may be tried again.
    pub not_before: Option<Timestamp>,
    pub terms: Terms,
    pub action: Action,
}

impl DueDelivery {
    /// Bytes of the event's data.
    pub fn bytes(&self) -> usize {
        match &self.action {
            Action::Send(job) => job.data.len(),
            Action::Wait | Action::End(_) => 0,
        }
    }
}

/// The action for a due row.
pub enum Action {
    Send(Job),
    /// Its endpoint is disabled or paused.
    Wait,
    /// The delivery can no longer be sent.
    End(Outcome),
}

/// The bounds of a delivery.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// The time limit of the whole request, including name look-up and response.
    pub timeout: Duration,
    /// Maximum bytes of data; a larger event is not even read.
    pub payload: i32,
    /// The lowest id that an event within the retention can have.
    pub oldest: Uuid,
}

/// An event that was read.
pub struct Event<'conn> {
    occurred_at: SystemTime,
    row_id: Option<Uuid>,
    bytes: i32,
    /// Large data is still in the table.
    row: SpiHeapTupleData<'conn>,
}

impl<'conn> Event<'conn> {
    pub fn from_row(row: SpiHeapTupleData<'conn>) -> SpiResult<Self> {
        Ok(Self {
            occurred_at: required(row.get::<Timestamp>(2)?).into(),
            row_id: row.get(3)?.map(id),
            bytes: required(row.get(4)?),
            row,
        })
    }

    /// Bytes of the event's data.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(0)
    }
}

/// A row of the queue with its event.
pub struct QueueRow {
    pub key: DeliveryKey,
    event_type: String,
    /// `None` if the event does not exist any more.
    occurred_at: Option<SystemTime>,
    /// `None` if the event does not exist any more or is too large.
    data: Option<String>,
    bytes: i32,
    not_before: Option<Timestamp>,
    /// Why it is to end without another attempt.
    end_reason: Option<EndReason>,
}

impl QueueRow {
    pub fn from_row(row: &SpiHeapTupleData<'_>) -> SpiResult<Self> {
        let key = DeliveryKey {
            due_at: required(row.get::<Timestamp>(1)?).micros(),
            delivery_id: id(required(row.get(2)?)),
            auction_id: id(required(row.get(3)?)),
            endpoint_id: id(required(row.get(4)?)),
            event_id: id(required(row.get(5)?)),
            attempt: required(row.get::<i16>(7)?).unsigned_abs() + 1,
            earlier_attempts: required(row.get::<i16>(8)?).unsigned_abs(),
            is_test: required(row.get(9)?),
            row_id: None,
        };
        Ok(Self {
            key,
            event_type: required(row.get(6)?),
            occurred_at: None,
            data: None,
            bytes: 0,
            not_before: row.get::<Timestamp>(10)?,
            end_reason: row.get::<&str>(11)?.map(EndReason::of_queue),
        })
    }

    /// Sets the event of the delivery.
    pub fn set_event(&mut self, event: &Event<'_>) -> SpiResult<()> {
        self.key.row_id = event.row_id;
        self.occurred_at = Some(event.occurred_at);
        self.bytes = event.bytes;
        self.data = event.row.get(5)?;
        Ok(())
    }

    pub fn with_target(self, targets: &HashMap<Uuid, Target>, bounds: Bounds) -> DueDelivery {
        let position = Position { due_at: Timestamp::from_micros(self.key.due_at), delivery_id: self.key.delivery_id };
        let (auction_id, endpoint_id) = (self.key.auction_id, self.key.endpoint_id);
        // The auction must be the same: after an endpoint is deleted, another auction can use its
        // id.
        let target = targets.get(&endpoint_id).filter(|target| target.auction_id == auction_id);
        let (skips_throttle, not_before) = (self.key.is_test || self.end_reason.is_some(), self.not_before);
        let terms = target.map(|target| target.terms).unwrap_or_default();
        DueDelivery {
            position,
            auction_id,
            endpoint_id,
            skips_throttle,
            not_before,
            terms,
            action: self.action(target, bounds),
        }
    }

    fn action(self, target: Option<&Target>, bounds: Bounds) -> Action {
        let Self { key, event_type, occurred_at, data, bytes, end_reason, .. } = self;
        let end = |key, event_type, reason| Action::End(Outcome::without_request(key, event_type, reason));
        if let Some(reason) = end_reason {
            return end(key, event_type, reason);
        }
        let Some(occurred_at) = occurred_at else {
            let reason = if key.event_id < bounds.oldest { EndReason::Expired } else { EndReason::EventDeleted };
            return end(key, event_type, reason);
        };
        let Some(target) = target else { return end(key, event_type, EndReason::EndpointDeleted) };
        if target.is_paused || !target.is_active && !key.is_test {
            return Action::Wait;
        }
        let Some(destination) = &target.destination else {
            return end(key, event_type, EndReason::NoSecret);
        };
        let Some(data) = data else {
            return end(key, event_type, EndReason::PayloadTooLarge { bytes, limit: bounds.payload });
        };
        let destination = Arc::clone(destination);
        Action::Send(Job { key, event_type, occurred_at, data, destination, timeout: bounds.timeout })
    }
}
