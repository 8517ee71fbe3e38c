//! Filters: their normal form, and trying one on events that an auction has had.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiResult};

use std::ffi::{CStr, CString};

use webhook_sender::check_filter;

use crate::access::administers;
use crate::postgres::errors;
use crate::postgres::security_context::as_extension_owner;
use crate::postgres::subtransaction::in_rolled_back_subtransaction;

const MAX_CHARACTERS: usize = 1000;

const HINT: &str = "Compare a value with a literal: $.total_car_count > 50 && $.location_name == \"North Lot\". For the \
    elements of an array: exists($.entries[*] ? (@.car_count > 20)). For a field that is true or false: $.flag == true. $event is the event type.";

type Tried = (String, Option<TimestampWithTimeZone>, String, Option<bool>);

/// The filter as PostgreSQL displays a jsonpath. Raises 22023 for one that is not a jsonpath, that
/// is no condition or may take too long (`webhook_sender::check_filter`), or that has more than
/// 1,000 characters.
#[pg_extern(stable, strict, schema = "webhook_delivery")]
fn normal_filter(filter: &str) -> String {
    check_length(filter, "");
    let normal = match in_rolled_back_subtransaction(|| display(filter)) {
        Ok(normal) => normal,
        Err(failure) => refuse(format!("invalid filter: {}", failure.message)),
    };
    check_length(&normal, " as it is stored");
    if let Err(problem) = check_filter(&normal) {
        refuse(format!("invalid filter: {problem}"));
    }
    normal
}

fn refuse(message: String) -> ! {
    errors::refuse(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, HINT)
}

fn check_length(filter: &str, form: &str) {
    let length = filter.chars().count();
    if length > MAX_CHARACTERS {
        refuse(format!("filter must have at most {MAX_CHARACTERS} characters{form}, not {length}"));
    }
}

/// The text that the type jsonpath displays for this one.
fn display(filter: &str) -> String {
    let filter = CString::new(filter).unwrap_or_default();
    // SAFETY: texts that end with NUL; the first lives until the call returns, and the second is
    // copied.
    unsafe {
        let path = pgrx::direct_function_call_as_datum(pg_sys::jsonpath_in, &[Some(filter.as_ptr().into())]);
        let text = pgrx::direct_function_call_as_datum(pg_sys::jsonpath_out, &[path]);
        text.map(|text| CStr::from_ptr(text.cast_mut_ptr()).to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// The latest events of an auction and the examples of the catalogue, with whether each matches a
/// filter. Raises 42501 if the caller does not administer the auction, 22023 for an invalid filter.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
#[allow(clippy::type_complexity)]
fn preview_filter(
    auction_id: pgrx::Uuid,
    filter: &str,
    events: Vec<Option<String>>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(event_type, String),
            name!(occurred_at, Option<TimestampWithTimeZone>),
            name!(data, String),
            name!(matches, Option<bool>),
        ),
    >,
    SpiError,
> {
    let tried = Spi::connect(|client| {
        if !administers(client, Some(auction_id))? {
            errors::refuse(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("permission denied for auction {auction_id}"),
                "webhook_auctions() returns the auctions that you administer.",
            );
        }
        let filter = normal_filter(filter);
        let _owner = as_extension_owner();
        let arguments = [auction_id.into(), filter.into(), events.into()];
        let rows = client.select(include_str!("../../sql/statements/endpoint/preview_filter.sql"), None, &arguments)?;
        let tried = rows.map(|row| {
            let data = row.get(3)?.unwrap_or_default();
            Ok((row.get(1)?.unwrap_or_default(), row.get(2)?, data, row.get(4)?))
        });
        tried.collect::<SpiResult<Vec<Tried>>>()
    })?;
    Ok(TableIterator::new(tried))
}
