//! Values of variable length, in memory of our own.

use pgrx::prelude::*;

/// A value of a type with a length word (json[], jsonpath): the server's bytes, detoasted.
pub struct Varlena {
    /// An array of words has the alignment that the server requires.
    words: Box<[u64]>,
}

impl Varlena {
    /// # Safety
    /// The datum is of a type with a length word.
    pub unsafe fn of(datum: pg_sys::Datum) -> Self {
        // SAFETY: as the caller promises: `length` bytes are there, and the copy is aligned.
        let words = unsafe {
            let value = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let length = pgrx::varsize_any(value);
            let mut words = vec![0_u64; length.div_ceil(size_of::<u64>())].into_boxed_slice();
            std::ptr::copy_nonoverlapping(value.cast::<u8>(), words.as_mut_ptr().cast(), length);
            words
        };
        Self { words }
    }

    pub fn datum(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.words.as_ptr())
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}
