//! Timestamps: times as PostgreSQL counts them.

use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// 2000-01-01, where PostgreSQL counts from, in microseconds since 1970.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The first moment after PostgreSQL's calendar: `END_TIMESTAMP` of datatype/timestamp.h.
const END: i64 = 9_223_371_331_200_000_000;

/// A `timestamptz`: microseconds since 2000-01-01 UTC.
///
/// `Timestamp::default()` is that moment. It stands for no time, such as in an unused slot in
/// shared memory.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// `-infinity`
    pub const MIN: Self = Self(i64::MIN);
    /// `infinity`
    pub const MAX: Self = Self(i64::MAX);

    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// For shared memory, whose integers are atomic.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros.saturating_sub(EPOCH_MICROS))
    }

    pub const fn unix_micros(self) -> i64 {
        self.0.saturating_add(EPOCH_MICROS)
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(time)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(time)))
    }
}

/// The duration in microseconds; `i64::MAX` for more than 292,000 years.
pub fn micros_of(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self::from_unix_micros(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => micros_of(after),
            Err(before) => -micros_of(before.duration()),
        })
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let micros = time.unix_micros();
        let distance = Duration::from_micros(micros.unsigned_abs());
        if micros >= 0 { SystemTime::UNIX_EPOCH + distance } else { SystemTime::UNIX_EPOCH - distance }
    }
}

impl From<TimestampWithTimeZone> for Timestamp {
    fn from(time: TimestampWithTimeZone) -> Self {
        Self(time.into())
    }
}

/// A moment outside the calendar becomes `infinity`.
impl From<Timestamp> for TimestampWithTimeZone {
    fn from(time: Timestamp) -> Self {
        Self::try_from(time.0).unwrap_or_else(|_| Self::positive_infinity())
    }
}

/// A moment outside the calendar becomes `infinity`.
impl IntoDatum for Timestamp {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        if self.0 >= END { i64::MAX } else { self.0 }.into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TIMESTAMPTZOID
    }
}

impl FromDatum for Timestamp {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, type_oid: pg_sys::Oid) -> Option<Self> {
        // SAFETY: a timestamptz is an int64; the caller says that the datum is one.
        unsafe { i64::from_polymorphic_datum(datum, is_null, type_oid) }.map(Self)
    }
}
