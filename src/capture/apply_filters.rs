//! Applies the filters of the interested endpoints to the events that are written.

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use uuid::Uuid;

use super::filter::{Evaluation, evaluate};
use super::subscriptions::Wanted;

/// Removes the endpoints whose filter rejects the event from these events of one type. Returns
/// whether there was any filter. `data` is a json[] with the data of each event.
pub fn apply_filters(event_type: &str, wanted: &mut [Option<Wanted>], data: &DatumWithOid<'_>) -> bool {
    let has_filter = |event: &Wanted| event.endpoints.iter().any(|endpoint| endpoint.filter.is_some());
    let filtered =
        |event: &Option<Wanted>| event.as_ref().filter(|event| has_filter(event)).map(|event| event.auction_id);
    let mut places: Vec<(Uuid, usize)> =
        wanted.iter().enumerate().filter_map(|(place, event)| Some((filtered(event)?, place))).collect();
    if places.is_empty() {
        return false;
    }
    let Some(data) = data.datum() else { return false };
    // SAFETY: a json[].
    let data = unsafe { elements(data.sans_lifetime()) };
    places.sort_by_key(|(auction_id, _)| *auction_id);
    for of_auction in places.chunk_by(|(one, _), (other, _)| one == other) {
        let of_event = |place: usize| {
            let filters = wanted[place].iter().flat_map(|event| &event.endpoints).filter_map(|e| e.filter.as_deref());
            filters
                .zip(std::iter::repeat(data[place]))
                .filter_map(|(filter, data)| Some(Evaluation { filter, data: data? }))
        };
        let evaluations: Vec<_> = of_auction.iter().flat_map(|(_, place)| of_event(*place)).collect();
        let mut matches = evaluate(of_auction[0].0, event_type, &evaluations).into_iter();
        for (_, place) in of_auction {
            if let (Some(event), Some(_)) = (&mut wanted[*place], data[*place]) {
                let mut is_sent = || matches.next().flatten() != Some(false);
                event.endpoints.retain(|endpoint| endpoint.filter.is_none() || is_sent());
            }
        }
    }
    true
}

/// The elements of an array of json.
///
/// # Safety
/// The datum is a json[].
unsafe fn elements(array: pg_sys::Datum) -> Vec<Option<pg_sys::Datum>> {
    let (mut values, mut nulls, mut number) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: as the caller promises; json has variable length and is aligned like int. The server
    // sets the three outputs, arrays of this number of elements.
    unsafe {
        let array = pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast();
        let align = b'i' as std::ffi::c_char;
        pg_sys::deconstruct_array(array, pg_sys::JSONOID, -1, false, align, &mut values, &mut nulls, &mut number);
        (0..number as usize).map(|place| (!*nulls.add(place)).then(|| *values.add(place))).collect()
    }
}
