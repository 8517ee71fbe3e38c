//! Filters: an endpoint's condition on the data of its events, and its evaluation.
//!
//! A filter is a jsonpath predicate of the customer. It decides which events are queued for the
//! endpoint, and can lose none: an event is left out only if the filter is false. If it is unknown,
//! fails, or takes too long, or if jsonb cannot hold the data, then the event is sent.
//!
//! The time that filters take is bounded. `webhook_sender::check_filter` accepts only conditions
//! whose time is proportional to the data. Each auction has an allowance of processor time in each
//! session, which evaluations use up, and a timer ends those that exceed it. Without allowance no
//! filter of the auction is evaluated, and all its events are sent.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

use pgrx::memcxt::PgMemoryContexts;
use pgrx::prelude::*;
use uuid::Uuid;
use webhook_sender::is_costly_as_jsonb;

use crate::ids::id;
use crate::postgres::varlena::Varlena;
use crate::postgres::{settings, time_limit};

/// Maximum allowance of an auction in a session: the longest that its filters extend a commit of a
/// few events.
const MAX_ALLOWANCE: Duration = Duration::from_millis(100);

/// What each evaluation adds to the allowance, and each byte of its data: about what the delivery
/// costs that it may save, and several times what a simple filter takes.
const PER_EVALUATION: Duration = Duration::from_micros(20);
const PER_BYTE: Duration = Duration::from_nanos(20);

/// The allowance also grows with time, by this fraction of it.
const REGROWTH: u32 = 100;

/// Evaluations begin only with this allowance.
const MIN_ALLOWANCE: Duration = Duration::from_millis(1);

/// Maximum number of auctions with an allowance of their own in a session.
const MAX_AUCTIONS: usize = 4096;

/// Maximum number of failed evaluations in one statement. After these the events are sent without
/// being filtered, because each failure costs a subtransaction.
const MAX_FAILURES: usize = 16;

/// A jsonpath.
pub struct Filter(Varlena);

impl Filter {
    /// # Safety
    /// The datum is a jsonpath.
    pub unsafe fn of(path: pg_sys::Datum) -> Self {
        // SAFETY: a jsonpath has a length word.
        Self(unsafe { Varlena::of(path) })
    }
}

/// The time that the filters of an auction may take, at a moment.
#[derive(Clone, Copy)]
struct Allowance {
    /// In microseconds. Negative after an evaluation that could not be ended in time.
    left: i64,
    at: Instant,
}

thread_local! {
    static ALLOWANCES: RefCell<HashMap<Uuid, Allowance>> = RefCell::default();
}

const MAX_MICROS: i64 = MAX_ALLOWANCE.as_micros() as i64;

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl Allowance {
    fn of(auction_id: &Uuid) -> Self {
        let at = Instant::now();
        let known = ALLOWANCES.with_borrow(|allowances| allowances.get(auction_id).copied());
        let left = known.map_or(MAX_MICROS, |known| known.left.saturating_add(micros((at - known.at) / REGROWTH)));
        Self { left: left.min(MAX_MICROS), at }
    }

    fn add(&mut self, evaluations: &[Evaluation<'_>]) {
        // SAFETY: values of json.
        let bytes: usize = evaluations.iter().map(|of| unsafe { pgrx::varsize_any(of.data.cast_mut_ptr()) }).sum();
        let times = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.left += micros(PER_EVALUATION * times(evaluations.len()) + PER_BYTE * times(bytes));
    }

    fn charge(&mut self, took: Duration) {
        self.left = self.left.saturating_sub(micros(took));
    }

    /// The time that evaluations may take now; `None` if there is not enough.
    fn time(&self) -> Option<Duration> {
        u64::try_from(self.left).ok().map(Duration::from_micros).filter(|left| *left >= MIN_ALLOWANCE)
    }

    fn keep(self, auction_id: Uuid) {
        let allowance = Self { left: self.left.min(MAX_MICROS), at: Instant::now() };
        ALLOWANCES.with_borrow_mut(|allowances| {
            if allowances.len() >= MAX_AUCTIONS && !allowances.contains_key(&auction_id) {
                allowances.clear();
            }
            allowances.insert(auction_id, allowance);
        });
    }
}

/// An evaluation to be made: a filter on the data of an event.
pub struct Evaluation<'a> {
    pub filter: &'a Filter,
    /// A json value. Evaluations of the same data follow each other.
    pub data: pg_sys::Datum,
}

/// For each evaluation whether the filter is true; `None` if it is unknown, failed or was not
/// evaluated.
pub fn evaluate(auction_id: Uuid, event_type: &str, evaluations: &[Evaluation<'_>]) -> Vec<Option<bool>> {
    let matches: Vec<Cell<Option<bool>>> = vec![Cell::new(None); evaluations.len()];
    let next = Cell::new(0);
    let mut allowance = Allowance::of(&auction_id);
    allowance.add(evaluations);
    let mut failures = 0;
    while next.get() < evaluations.len()
        && failures < MAX_FAILURES
        && let Some(time) = allowance.time()
    {
        let began = time_limit::processor_time();
        let outcome = time_limit::within(time, || evaluate_from(&next, event_type, evaluations, &matches));
        allowance.charge(time_limit::processor_time() - began);
        if outcome.is_err() {
            failures += 1;
            next.set(next.get() + 1);
        }
    }
    allowance.keep(auction_id);
    matches.into_iter().map(Cell::into_inner).collect()
}

/// Makes the evaluations from this place on. After an error, `next` is the place of the one that
/// failed.
fn evaluate_from(next: &Cell<usize>, event_type: &str, evaluations: &[Evaluation<'_>], matches: &[Cell<Option<bool>>]) {
    let variables = jsonb(&serde_json::json!({ "event": event_type }).to_string());
    // Larger data is not sent: the delivery ends with an error that says so.
    let max_payload = usize::try_from(settings::max_payload()).unwrap_or(0);
    let mut context = PgMemoryContexts::new("webhook filter");
    let mut last: Option<(pg_sys::Datum, Option<pg_sys::Datum>)> = None;
    while let Some(Evaluation { filter, data }) = evaluations.get(next.get()) {
        if last.is_none_or(|(of, _)| !std::ptr::eq(of.cast_mut_ptr::<u8>(), data.cast_mut_ptr())) {
            // SAFETY: no value in the context is used any more.
            unsafe { context.reset() };
            last = None;
        }
        // SAFETY: the arguments have the types of the functions, and live in this context or longer.
        let found = unsafe {
            context.switch_to(|_| {
                let document = match last {
                    Some((_, document)) => document,
                    None => {
                        let text = pg_sys::text_to_cstring(data.cast_mut_ptr());
                        let json = CStr::from_ptr(text).to_bytes();
                        let is_small = json.len() <= max_payload && !is_costly_as_jsonb(json);
                        is_small
                            .then(|| pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text.into())]))
                            .flatten()
                    }
                };
                last = Some((*data, document));
                document?;
                let is_silent = Some(true.into());
                let arguments = [document, Some(filter.0.datum()), variables, is_silent];
                pgrx::direct_function_call::<bool>(pg_sys::jsonb_path_match, &arguments)
            })
        };
        matches[next.get()].set(found);
        next.set(next.get() + 1);
    }
}

/// This JSON text as jsonb.
fn jsonb(text: &str) -> Option<pg_sys::Datum> {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: a text that lives until the call returns.
    unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text.as_ptr().into())]) }
}

/// Whether the data of an event of this auction matches a filter; null if the filter is neither
/// true nor false, fails, or takes too long: then the event is sent.
// jsonpath and json are passed as the bytes that they have.
#[pg_extern(sql = "
    create function webhook_delivery.matches_filter(filter jsonpath, auction_id uuid, event_type text, data json) returns boolean
        language c volatile strict cost 1000 as 'MODULE_PATHNAME', '@FUNCTION_NAME@';
")]
fn matches_filter(
    filter: pgrx::AnyElement,
    auction_id: pgrx::Uuid,
    event_type: &str,
    data: pgrx::AnyElement,
) -> Option<bool> {
    // SAFETY: the types of the SQL function's arguments.
    let (filter, data) = unsafe { (Filter::of(filter.datum()), pg_sys::pg_detoast_datum(data.datum().cast_mut_ptr())) };
    let evaluation = Evaluation { filter: &filter, data: data.into() };
    evaluate(id(auction_id), event_type, &[evaluation])[0]
}
