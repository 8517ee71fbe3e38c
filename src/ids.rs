//! Identifiers and times on their way to PostgreSQL and back. Identifiers carry the time, so that tables can be partitioned by them and
//! indexes grow at one end.

use std::time::{Duration, SystemTime};

use pgrx::prelude::*;
use uuid::Uuid;

#[pg_schema]
pub mod webhook_delivery {
    use pgrx::datum::TimestampWithTimeZone;
    use pgrx::prelude::*;

    /// A new time-ordered uuid (version 7, RFC 9562). Within a session each is greater than the one before, unless the clock
    /// was set back by more than a second.
    #[pg_extern(volatile, parallel_safe)]
    pub fn uuid_v7() -> pgrx::Uuid {
        super::id_datum(&webhook_sender::uuid_v7())
    }

    /// The time, in milliseconds, at which a version 7 uuid was made.
    #[pg_extern(immutable, strict, parallel_safe)]
    pub fn uuid_v7_time(id: pgrx::Uuid) -> TimestampWithTimeZone {
        super::timestamp(super::id_micros(&super::id(id)))
    }

    /// The lowest version 7 uuid of a moment: the bound of a partition that begins there.
    #[pg_extern(immutable, strict, parallel_safe)]
    pub fn uuid_v7_floor(moment: TimestampWithTimeZone) -> pgrx::Uuid {
        super::id_datum(&super::floor_of(i64::from(moment).saturating_add(super::POSTGRES_EPOCH_MICROS)))
    }
}

/// 2000-01-01, where Postgres counts from, in microseconds since 1970.
pub const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A Postgres time from its microseconds; what lies outside the calendar becomes infinity.
pub fn timestamp(micros: i64) -> pgrx::datum::TimestampWithTimeZone {
    pgrx::datum::TimestampWithTimeZone::try_from(micros)
        .unwrap_or_else(|_| pgrx::datum::TimestampWithTimeZone::positive_infinity())
}

/// Postgres microseconds of a system time.
pub fn postgres_micros(time: SystemTime) -> i64 {
    let since_1970 = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_micros() as i64,
        Err(before) => -(before.duration().as_micros() as i64),
    };
    since_1970 - POSTGRES_EPOCH_MICROS
}

/// The system time of Postgres microseconds.
pub fn system_time(postgres_micros: i64) -> SystemTime {
    let micros = postgres_micros + POSTGRES_EPOCH_MICROS;
    if micros >= 0 {
        SystemTime::UNIX_EPOCH + Duration::from_micros(micros.unsigned_abs())
    } else {
        SystemTime::UNIX_EPOCH - Duration::from_micros(micros.unsigned_abs())
    }
}

/// The time at which a version 7 uuid was made, in Postgres microseconds.
pub fn id_micros(id: &Uuid) -> i64 {
    let milliseconds = id.as_bytes()[..6].iter().fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte));
    milliseconds * 1_000 - POSTGRES_EPOCH_MICROS
}

/// The lowest version 7 uuid of a moment.
pub fn uuid_floor(moment: SystemTime) -> Uuid {
    floor_of(postgres_micros(moment) + POSTGRES_EPOCH_MICROS)
}

fn floor_of(micros_since_1970: i64) -> Uuid {
    // The field of the time has 48 bits: infinity is its end.
    let milliseconds = micros_since_1970.div_euclid(1_000).clamp(0, (1 << 48) - 1);
    let mut bytes = [0_u8; 16];
    bytes[..6].copy_from_slice(&milliseconds.to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

/// A uuid as Postgres takes it.
pub fn id_datum(id: &Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

/// A uuid as Postgres gives it.
pub fn id(datum: pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*datum.as_bytes())
}
