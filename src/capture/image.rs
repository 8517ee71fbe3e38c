//! What did a row say that is gone, or says something else by now?
//!
//! A trigger keeps the bytes of the row and no more: making JSON of it runs the output functions of the application's types,
//! which must neither fail in the user's statement nor run with anybody's rights but the table owner's.

use pgrx::prelude::*;

/// The bytes of a row. They stay readable until the transaction ends: what is stored outside of the row, and was deleted by
/// this very transaction, cannot be vacuumed before.
pub struct Image {
    /// A composite value, aligned as the server aligns it. Words, because that makes the alignment.
    words: Box<[u64]>,
}

impl Image {
    /// # Safety
    /// The tuple is a heap tuple with these columns.
    pub unsafe fn of(tuple: pg_sys::HeapTuple, columns: pg_sys::TupleDesc) -> Self {
        // SAFETY: both arrays have a place for each column. The copied description is given a number under which the session
        // remembers it: it fits these bytes whatever becomes of the table until the commit. Taken apart and put together
        // again, because a row from before a column was added has that column's default in the table's description only.
        unsafe {
            let kept = pg_sys::CreateTupleDescCopy(columns);
            (*kept).tdtypeid = pg_sys::RECORDOID;
            (*kept).tdtypmod = -1;
            let kept = pg_sys::BlessTupleDesc(kept);
            let number = (*kept).natts.unsigned_abs() as usize;
            let (mut values, mut nulls) = (vec![pg_sys::Datum::null(); number], vec![false; number]);
            pg_sys::heap_deform_tuple(tuple, columns, values.as_mut_ptr(), nulls.as_mut_ptr());
            let row = pg_sys::heap_form_tuple(kept, values.as_mut_ptr(), nulls.as_mut_ptr());
            let length = (*row).t_len as usize;
            let mut words = vec![0_u64; length.div_ceil(8)].into_boxed_slice();
            std::ptr::copy_nonoverlapping((*row).t_data.cast::<u8>(), words.as_mut_ptr().cast(), length);
            Self { words }
        }
    }

    /// The row as JSON, with the output functions and casts of its columns' types.
    fn to_json(&self) -> pg_sys::Datum {
        let row = pg_sys::Datum::from(self.words.as_ptr());
        // SAFETY: a composite value in, a json out. It reads `row` and keeps no pointer to it.
        unsafe { pgrx::direct_function_call_as_datum(pg_sys::row_to_json, &[Some(row)]) }
            .expect("row_to_json() of a row is not null")
    }

    fn to_text(&self) -> String {
        // SAFETY: a json is a text.
        unsafe { String::from_datum(self.to_json(), false) }.unwrap_or_default()
    }
}

/// A row as it was when it was noted.
pub enum Kept {
    Image(Image),
    /// What a row trigger saw of it: as it is now, and, of one that was changed, as it was.
    Both {
        now: Image,
        before: Option<Image>,
    },
    /// JSON: an error has kept it meanwhile.
    Text(String),
}

impl Kept {
    /// A value of type json. Runs code of the application's: call it with the rights of the table's owner.
    pub fn to_datum(&self) -> pg_sys::Datum {
        match self {
            Self::Image(image) => image.to_json(),
            Self::Both { now, before } => {
                let before = before.as_ref().map_or_else(|| "null".to_owned(), Image::to_text);
                format!(r#"{{"now":{},"before":{before}}}"#, now.to_text()).into_datum().expect("a text is a value")
            }
            Self::Text(text) => text.as_str().into_datum().expect("a text is a value"),
        }
    }

    /// The same as text.
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            // SAFETY: a json is a text.
            _ => unsafe { String::from_datum(self.to_datum(), false) }.unwrap_or_default(),
        }
    }
}

/// An array of type json[] for the server; nulls stand where nothing was kept.
pub fn json_array<'a>(values: impl Iterator<Item = Option<&'a Kept>>) -> pg_sys::Datum {
    let (mut values, mut nulls): (Vec<_>, Vec<_>) =
        values.map(|value| (value.map_or(pg_sys::Datum::null(), Kept::to_datum), value.is_none())).unzip();
    let (mut length, mut first) = (values.len() as i32, 1);
    // SAFETY: `values` and `nulls` have `length` elements, and json is a varlena that is aligned like an int.
    let array = unsafe {
        pg_sys::construct_md_array(
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
            1,
            &mut length,
            &mut first,
            pg_sys::JSONOID,
            -1,
            false,
            b'i' as std::ffi::c_char,
        )
    };
    pg_sys::Datum::from(array)
}
