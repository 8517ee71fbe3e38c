//! Outcome rows: finished attempts as the argument of record.sql, an array of the type
//! `webhook_delivery.outcome`.

use std::net::IpAddr;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

use super::outcome::{Outcome, milliseconds};
use crate::error_kind::ErrorKind;
use crate::ids::id_time;
use crate::timestamp::Timestamp;

/// Columns of the type.
const COLUMNS: usize = 22;

/// The type in the catalogue.
#[derive(Clone, Copy)]
pub struct OutcomeType {
    row: pg_sys::Oid,
    pub array: pg_sys::Oid,
}

impl OutcomeType {
    /// Call it inside a transaction, while the extension exists.
    pub fn find() -> Self {
        // SAFETY: look-ups by NUL-terminated names; an ERROR if there is no such type.
        unsafe {
            let schema = pg_sys::get_namespace_oid(c"webhook_delivery".as_ptr(), false);
            let row = pg_sys::GetSysCacheOid(
                pg_sys::SysCacheIdentifier::TYPENAMENSP as i32,
                pg_sys::Anum_pg_type_oid as i16,
                pg_sys::Datum::from(c"outcome".as_ptr()),
                schema.into(),
                pg_sys::Datum::null(),
                pg_sys::Datum::null(),
            );
            Self { row, array: pg_sys::get_array_type(row) }
        }
    }

    /// The attempts as an argument, in the memory of the current context.
    pub fn array_of(self, outcomes: &[Outcome]) -> DatumWithOid<'static> {
        // SAFETY: the descriptor is reference-counted and released; an ERROR releases it as well.
        // `values` lives until the tuple is formed, which copies them.
        unsafe {
            let descriptor = pg_sys::lookup_rowtype_tupdesc(self.row, -1);
            if (*descriptor).natts as usize != COLUMNS {
                error!("webhook_delivery.outcome has {} columns instead of {COLUMNS}", (*descriptor).natts);
            }
            let mut addresses = Addresses::default();
            let mut rows: Vec<pg_sys::Datum> = outcomes
                .iter()
                .map(|outcome| {
                    let values = columns(outcome, &mut addresses);
                    let mut nulls = values.map(|value| value.is_none());
                    let mut values = values.map(|value| value.unwrap_or_else(pg_sys::Datum::null));
                    let tuple = pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
                    pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data)
                })
                .collect();
            if (*descriptor).tdrefcount >= 0 {
                pg_sys::DecrTupleDescRefCount(descriptor);
            }
            let number = i32::try_from(rows.len()).expect("fewer than the maximum that the completer keeps");
            let array =
                pg_sys::construct_array(rows.as_mut_ptr(), number, self.row, -1, false, pg_sys::TYPALIGN_DOUBLE as _);
            DatumWithOid::new(pg_sys::Datum::from(array), self.array)
        }
    }
}

/// The values in the order of the type's columns. Pointers point into the outcome, or into the
/// current memory context.
fn columns(outcome: &Outcome, addresses: &mut Addresses) -> [Option<pg_sys::Datum>; COLUMNS] {
    let Outcome { key, timing, .. } = outcome;
    let id = |id: &uuid::Uuid| Some(pg_sys::Datum::from(id.as_bytes().as_ptr()));
    let time = Timestamp::into_datum;
    [
        time(Timestamp::from_micros(key.due_at)),
        id(&key.delivery_id),
        (key.attempt as i16).into_datum(),
        id(&key.auction_id),
        id(&key.endpoint_id),
        id(&key.event_id),
        outcome.event_type.as_str().into_datum(),
        outcome.response_status_code.into_datum(),
        outcome.response_time_ms.into_datum(),
        outcome.error_kind.map(ErrorKind::as_str).into_datum(),
        outcome.error_message.as_deref().into_datum(),
        outcome.response_excerpt.as_deref().into_datum(),
        key.is_test.into_datum(),
        time(outcome.attempted_at),
        outcome.next_attempt_at.and_then(time),
        outcome.keeps_position.into_datum(),
        timing.look_up.map(milliseconds).into_datum(),
        timing.connect.map(milliseconds).into_datum(),
        timing.tls.map(milliseconds).into_datum(),
        timing.first_byte.map(milliseconds).into_datum(),
        timing.address.and_then(|address| addresses.datum(address)),
        time(id_time(&key.delivery_id)),
    ]
}

/// Most attempts of a batch have the same address, which is then parsed once.
#[derive(Default)]
struct Addresses(Option<(IpAddr, Option<pg_sys::Datum>)>);

impl Addresses {
    fn datum(&mut self, address: IpAddr) -> Option<pg_sys::Datum> {
        match self.0 {
            Some((known, datum)) if known == address => datum,
            _ => {
                let datum = pgrx::datum::Inet::from(address.to_string()).into_datum();
                self.0 = Some((address, datum));
                datum
            }
        }
    }
}
