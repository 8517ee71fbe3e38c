//! Identifiers: version 7 uuids (RFC 9562), on their way to PostgreSQL and back.
//!
//! They contain the time, so tables can be partitioned by them and indexes grow at one end.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use uuid::Uuid;

use crate::timestamp::Timestamp;

/// A new time-ordered uuid (version 7, RFC 9562). Within a session each is greater than the one
/// before, unless the clock was set back by more than a second.
#[pg_extern(volatile, parallel_safe, schema = "webhook_delivery")]
pub fn uuid_v7() -> pgrx::Uuid {
    id_datum(&webhook_sender::uuid_v7())
}

/// The time, in milliseconds, at which a version 7 uuid was made.
#[pg_extern(immutable, strict, parallel_safe, schema = "webhook_delivery")]
pub fn uuid_v7_time(id: pgrx::Uuid) -> TimestampWithTimeZone {
    id_time(&self::id(id)).into()
}

/// The lowest version 7 uuid of a moment: the bound of a partition that begins there.
#[pg_extern(immutable, strict, parallel_safe, schema = "webhook_delivery")]
pub fn uuid_v7_floor(moment: TimestampWithTimeZone) -> pgrx::Uuid {
    id_datum(&uuid_floor(moment.into()))
}

/// The time at which a version 7 uuid was made.
pub fn id_time(id: &Uuid) -> Timestamp {
    let milliseconds = id.as_bytes()[..6].iter().fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte));
    Timestamp::from_unix_micros(milliseconds * 1_000)
}

/// The lowest version 7 uuid of a moment.
pub fn uuid_floor(moment: Timestamp) -> Uuid {
    // The time has 48 bits; infinity becomes the largest value.
    let milliseconds = moment.unix_micros().div_euclid(1_000).clamp(0, (1 << 48) - 1);
    let mut bytes = [0_u8; 16];
    bytes[..6].copy_from_slice(&milliseconds.to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

/// Converts a uuid to PostgreSQL's type.
pub fn id_datum(id: &Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

/// Converts a uuid from PostgreSQL's type.
pub fn id(datum: pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*datum.as_bytes())
}
