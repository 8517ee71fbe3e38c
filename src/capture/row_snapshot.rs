//! Row snapshots: the values of a row when a trigger saw it.
//!
//! A trigger keeps the bytes of the row. They become JSON later, because that runs the output
//! functions and casts of the application's types. These must not fail in the user's statement, and
//! must run with the rights of the table's owner.

use std::ffi::CStr;

use indexmap::IndexMap;
use pgrx::prelude::*;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::postgres::subtransaction::in_rolled_back_subtransaction;

/// Maximum bytes of values stored outside of their row (TOAST) that a transaction copies. A value
/// that is not copied is read from the TOAST table at the commit. It is lost if the TOAST table was
/// rewritten, truncated or dropped in the meantime.
pub const MAX_COPIED_BYTES: usize = 16 << 20;

/// The bytes of a row, or of some of its columns.
pub struct RowSnapshot {
    /// A composite value. An array of words has the alignment that the server requires.
    words: Box<[u64]>,
    /// Copied bytes of values that were stored outside of the row.
    copied: usize,
    /// Bytes of the values without compression: about the length of the row's JSON.
    raw: usize,
}

/// How a snapshot is taken.
pub struct SnapshotOptions<'a> {
    /// Numbers of columns to leave out.
    pub excluded_columns: &'a [i32],
    /// Maximum bytes of values stored outside of the row that may be copied. Called only if the row
    /// has such values.
    pub max_copied_bytes: &'a dyn Fn() -> usize,
}

impl RowSnapshot {
    /// # Safety
    /// The tuple is a heap tuple with these columns.
    pub unsafe fn of(tuple: pg_sys::HeapTuple, columns: pg_sys::TupleDesc, options: &SnapshotOptions) -> Self {
        // SAFETY: both arrays have a place for each column, and the copied values live until the
        // tuple is formed.
        unsafe {
            let number = (*columns).natts.unsigned_abs() as usize;
            let (mut values, mut nulls) = (vec![pg_sys::Datum::null(); number], vec![false; number]);
            pg_sys::heap_deform_tuple(tuple, columns, values.as_mut_ptr(), nulls.as_mut_ptr());
            let places: Vec<usize> = (0..number).filter(|place| options.includes(columns, *place)).collect();
            let copied = if has_external_values(tuple) {
                let external =
                    places.iter().filter(|place| !nulls[**place] && is_external(columns, **place, values[**place]));
                copy_external_values(&external.copied().collect::<Vec<_>>(), &mut values, (options.max_copied_bytes)())
            } else {
                0
            };
            let raw =
                places.iter().filter(|place| !nulls[**place]).map(|place| raw_size(columns, *place, values[*place]));
            let raw = raw.sum();
            Self { words: form(columns, &places, &values, &nulls), copied, raw }
        }
    }

    /// The same row with only the columns of these names.
    fn with_only(&self, names: &[String]) -> Self {
        // SAFETY: the words are a composite value, and the session keeps its description.
        unsafe {
            let header = self.words.as_ptr().cast_mut().cast::<pg_sys::HeapTupleHeaderData>();
            let columns = pg_sys::lookup_rowtype_tupdesc_copy(
                (*header).t_choice.t_datum.datum_typeid,
                (*header).t_choice.t_datum.datum_typmod,
            );
            let mut tuple: pg_sys::HeapTupleData = std::mem::zeroed();
            tuple.t_len = (self.words.len() * size_of::<u64>()) as u32;
            tuple.t_data = header;
            let number = (*columns).natts.unsigned_abs() as usize;
            let (mut values, mut nulls) = (vec![pg_sys::Datum::null(); number], vec![false; number]);
            pg_sys::heap_deform_tuple(&mut tuple, columns, values.as_mut_ptr(), nulls.as_mut_ptr());
            let place_of = |name: &String| {
                let name = std::ffi::CString::new(name.as_str()).ok()?;
                usize::try_from(pg_sys::SPI_fnumber(columns, name.as_ptr()) - 1).ok()
            };
            let places: Vec<usize> = names.iter().filter_map(place_of).collect();
            Self { words: form(columns, &places, &values, &nulls), ..*self }
        }
    }

    /// Copied bytes of values that were stored outside of the row.
    pub fn copied(&self) -> usize {
        self.copied
    }

    /// About the number of bytes of its JSON.
    pub fn raw(&self) -> usize {
        self.raw
    }

    /// The row as JSON, with the output functions and casts of its columns' types.
    pub fn to_json(&self) -> String {
        let row = pg_sys::Datum::from(self.words.as_ptr());
        // SAFETY: a composite value in, a json out, which is a text. It reads `row` and keeps no
        // pointer to it.
        let json = unsafe {
            let json = pgrx::direct_function_call_as_datum(pg_sys::row_to_json, &[Some(row)]);
            json.and_then(|json| String::from_datum(json, false))
        };
        json.expect("row_to_json() of a row is not null")
    }
}

impl SnapshotOptions<'_> {
    /// # Safety
    /// The place is less than the number of columns.
    unsafe fn includes(&self, columns: pg_sys::TupleDesc, place: usize) -> bool {
        let number = place as i32 + 1;
        // SAFETY: as the caller promises; the type of a dropped column is 0.
        let is_dropped = unsafe { pg_sys::SPI_gettypeid(columns, number) } == pg_sys::InvalidOid;
        !is_dropped && !self.excluded_columns.contains(&number)
    }
}

/// The composite value of the columns at these places. Its description is registered in the
/// session, so that it fits the bytes even if the table changes before the commit.
///
/// # Safety
/// `values` and `nulls` are those of a row with these columns.
unsafe fn form(columns: pg_sys::TupleDesc, places: &[usize], values: &[pg_sys::Datum], nulls: &[bool]) -> Box<[u64]> {
    // SAFETY: as the caller promises; every place is less than the number of columns.
    unsafe {
        let description = pg_sys::CreateTemplateTupleDesc(places.len() as i32);
        for (new, old) in (1_i16..).zip(places) {
            pg_sys::TupleDescCopyEntry(description, new, columns, *old as i16 + 1);
        }
        let description = pg_sys::BlessTupleDesc(description);
        let mut values: Vec<pg_sys::Datum> = places.iter().map(|place| values[*place]).collect();
        let mut nulls: Vec<bool> = places.iter().map(|place| nulls[*place]).collect();
        let row = pg_sys::heap_form_tuple(description, values.as_mut_ptr(), nulls.as_mut_ptr());
        let length = (*row).t_len as usize;
        let mut words = vec![0_u64; length.div_ceil(size_of::<u64>())].into_boxed_slice();
        std::ptr::copy_nonoverlapping((*row).t_data.cast::<u8>(), words.as_mut_ptr().cast(), length);
        words
    }
}

/// Bytes of a value when it is not compressed.
///
/// # Safety
/// The value is not null, and is that of the column at this place.
unsafe fn raw_size(columns: pg_sys::TupleDesc, place: usize, value: pg_sys::Datum) -> usize {
    // SAFETY: as the caller promises; a value of a type without a fixed length is a varlena.
    unsafe {
        match pg_sys::get_typlen(pg_sys::SPI_gettypeid(columns, place as i32 + 1)) {
            -1 => pg_sys::toast_raw_datum_size(value),
            length => length.unsigned_abs().into(),
        }
    }
}

/// # Safety
/// A heap tuple.
unsafe fn has_external_values(tuple: pg_sys::HeapTuple) -> bool {
    // SAFETY: as the caller promises.
    unsafe { u32::from((*(*tuple).t_data).t_infomask) & pg_sys::HEAP_HASEXTERNAL != 0 }
}

/// # Safety
/// The value is not null, and is that of the column at this place.
unsafe fn is_external(columns: pg_sys::TupleDesc, place: usize, value: pg_sys::Datum) -> bool {
    // SAFETY: as the caller promises; a value of a type without a fixed length is a varlena.
    unsafe {
        pg_sys::get_typlen(pg_sys::SPI_gettypeid(columns, place as i32 + 1)) == -1
            && pgrx::varatt_is_1b_e(value.cast_mut_ptr())
    }
}

/// Copies these values, which are stored outside of the row, as they are stored (compressed or
/// not), up to `max_bytes`. Returns the number of copied bytes. Runs in a subtransaction, because a
/// damaged TOAST table must not prevent the user from changing the row.
///
/// # Safety
/// The values at these places are external.
unsafe fn copy_external_values(external: &[usize], values: &mut [pg_sys::Datum], max_bytes: usize) -> usize {
    let mut copied = 0;
    for place in external {
        // SAFETY: as the caller promises.
        unsafe {
            let size = pg_sys::toast_datum_size(values[*place]);
            if copied + size > max_bytes {
                continue;
            }
            let stored = values[*place].cast_mut_ptr();
            if let Ok(copy) = in_rolled_back_subtransaction(|| pg_sys::detoast_external_attr(stored)) {
                values[*place] = pg_sys::Datum::from(copy);
                copied += size;
            }
        }
    }
    copied
}

/// The content of a row, saved when the row was noted.
pub enum SavedRow {
    /// The row before the transaction changed it.
    Previous(RowSnapshot),
    /// The row as a row trigger saw it: after the change and, for an update, before it.
    Both { now: RowSnapshot, before: Option<RowSnapshot> },
    /// JSON of the row before the change, from `capture_errors`.
    PreviousText(String),
    /// The data of an event: from `emit()`, or from `capture_errors` for a row trigger.
    Data(String),
}

impl SavedRow {
    /// Copied bytes of values that were stored outside of the row.
    pub fn copied(&self) -> usize {
        match self {
            Self::Previous(image) => image.copied(),
            Self::Both { now, before } => now.copied() + before.as_ref().map_or(0, RowSnapshot::copied),
            Self::PreviousText(_) | Self::Data(_) => 0,
        }
    }

    /// About the number of bytes of its JSON.
    pub fn raw(&self) -> usize {
        match self {
            Self::Previous(image) => image.raw(),
            Self::Both { now, before } => now.raw() + before.as_ref().map_or(0, RowSnapshot::raw),
            Self::PreviousText(text) | Self::Data(text) => text.len(),
        }
    }

    /// Whether it is JSON already, so that no code of the application runs to make it.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::PreviousText(_) | Self::Data(_))
    }

    /// The row before the change, as JSON: the columns with these names, or all. Runs code of the
    /// application: call it with the rights of the table's owner.
    pub fn previous(&self, columns: Option<&[String]>) -> Option<String> {
        match (self, columns) {
            (Self::Previous(image), None) => Some(image.to_json()),
            (Self::Previous(image), Some(columns)) => Some(image.with_only(columns).to_json()),
            (Self::PreviousText(text), None) => Some(text.clone()),
            (Self::PreviousText(text), Some(columns)) => {
                let fields = fields_of(text);
                Some(object(columns.iter().filter_map(|name| Some((name.as_str(), *fields.get(name)?)))))
            }
            (Self::Both { .. } | Self::Data(_), _) => None,
        }
    }

    /// The data of the event that a row trigger makes of the row: the row and, for an update, the
    /// previous values of the columns that have changed. `None` if no column of the event has
    /// changed. Runs code of the application: call it with the rights of the table's owner.
    ///
    /// Values are copied as they are written and never parsed: PostgreSQL's JSON operators reject
    /// `\u0000` and lone surrogates, which a `json` column may contain.
    pub fn data(&self) -> Option<String> {
        match self {
            Self::Data(data) => Some(data.clone()),
            Self::Both { now, before: None } => Some(now.to_json()),
            Self::Both { now, before: Some(before) } => {
                let (now, before) = (now.to_json(), before.to_json());
                let (now, before) = (fields_of(&now), fields_of(&before));
                let differs = |(name, value): &(&String, &&RawValue)| {
                    now.get(name.as_str()).is_some_and(|now| now.get() != value.get())
                };
                let changed: Vec<_> =
                    before.iter().filter(differs).map(|(name, value)| (name.as_str(), *value)).collect();
                if changed.is_empty() {
                    return None;
                }
                let previous = RawValue::from_string(object(changed.into_iter())).expect("an object is JSON");
                let fields = now.iter().map(|(name, value)| (name.as_str(), *value));
                Some(object(fields.chain(std::iter::once(("previous", &*previous)))))
            }
            Self::Previous(_) | Self::PreviousText(_) => None,
        }
    }
}

/// The event that a row trigger makes of a row in `capture_errors`. The row is there because the
/// trigger no longer fitted its table.
pub struct RowOfTrigger {
    /// `None` for a row that belongs to no auction.
    pub auction_id: Option<Uuid>,
    pub data: String,
}

impl RowOfTrigger {
    /// Reads the row with the trigger's present arguments: the column of the auction, and columns
    /// to leave out. `None` if the row has no such column, or its value is not a uuid.
    pub fn read(data: &str, arguments: &[String]) -> Option<Self> {
        let (auction_column, excluded_columns) = arguments.split_first()?;
        let fields = fields_of(data);
        let auction_id: Option<String> = serde_json::from_str(fields.get(auction_column)?.get()).ok()?;
        let auction_id = auction_id.map(|text| Uuid::parse_str(&text)).transpose().ok()?;
        let without_excluded = |data: &str| {
            let fields = fields_of(data);
            object(
                fields
                    .iter()
                    .filter(|(name, _)| !excluded_columns.contains(name))
                    .map(|(name, value)| (name.as_str(), *value)),
            )
        };
        let data = match fields.get("previous").filter(|before| before.get().starts_with('{')) {
            // The previous row has the same columns.
            Some(before) if !excluded_columns.iter().any(|name| name == "previous") => {
                let before = RawValue::from_string(without_excluded(before.get())).ok()?;
                let others = fields.iter().filter(|(name, _)| !excluded_columns.contains(name) && *name != "previous");
                let others = others.map(|(name, value)| (name.as_str(), *value));
                object(others.chain(std::iter::once(("previous", &*before))))
            }
            _ => without_excluded(data),
        };
        Some(Self { auction_id, data })
    }
}

/// The fields of a JSON object that the server wrote, in their order.
fn fields_of(object: &str) -> IndexMap<String, &RawValue> {
    serde_json::from_str(object).expect("row_to_json() gives an object")
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a RawValue)>) -> String {
    let fields: IndexMap<&str, &RawValue> = fields.collect();
    serde_json::to_string(&fields).expect("raw JSON is JSON")
}

/// The numbers of the columns with these names, or a message about the first that does not exist.
///
/// # Safety
/// `columns` is a description of columns.
pub unsafe fn numbers_of(columns: pg_sys::TupleDesc, names: &[&CStr]) -> Result<Vec<i32>, String> {
    let number = |name: &&CStr| {
        // SAFETY: as the caller promises; no column has a number that is not positive.
        let number = unsafe { pg_sys::SPI_fnumber(columns, name.as_ptr()) };
        if number > 0 { Ok(number) } else { Err(format!("column {} does not exist", name.to_string_lossy())) }
    };
    names.iter().map(number).collect()
}
