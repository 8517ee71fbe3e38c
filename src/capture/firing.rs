//! A firing of one of our triggers: which row changed, and how.

use std::ffi::CStr;

use pgrx::prelude::*;
use uuid::Uuid;

use crate::postgres::warning::Warning;

// Not in pgrx: catalog/partition.h.
unsafe extern "C-unwind" {
    fn get_partition_parent(partition: pg_sys::Oid, even_if_detached: bool) -> pg_sys::Oid;
}

/// The change that a trigger was fired for.
pub struct Firing<'a> {
    pub relation: &'a pg_sys::RelationData,
    /// The row before the change; null for an insert.
    pub old: pg_sys::HeapTuple,
    /// The row after the change; null for a delete.
    pub new: pg_sys::HeapTuple,
    pub arguments: Vec<&'a CStr>,
}

/// The arguments of a trigger.
///
/// # Safety
/// The trigger lives as long as they are used; the server's arguments are NUL-terminated texts.
pub unsafe fn arguments<'a>(trigger: &pg_sys::Trigger) -> Vec<&'a CStr> {
    let number = usize::from(trigger.tgnargs.unsigned_abs());
    // SAFETY: as the caller promises.
    (0..number).map(|place| unsafe { CStr::from_ptr(*trigger.tgargs.add(place)) }).collect()
}

impl Firing<'_> {
    pub fn columns(&self) -> pg_sys::TupleDesc {
        self.relation.rd_att
    }

    /// The row after the change; for a delete, the deleted row.
    pub fn latest(&self) -> Row {
        Row { tuple: if self.new.is_null() { self.old } else { self.new }, columns: self.columns() }
    }

    /// The table that the application knows: for a partition, the topmost partitioned table.
    pub fn table(&self) -> pg_sys::Oid {
        ancestors_of(self.relation).pop().unwrap_or(self.relation.rd_id)
    }
}

/// The partitioned tables above a partition, from its parent to the topmost.
pub fn ancestors_of(relation: &pg_sys::RelationData) -> Vec<pg_sys::Oid> {
    let mut ancestors = Vec::new();
    // SAFETY: a relation that is open has a row of pg_class; look-ups in the catalogue, inside a
    // transaction.
    unsafe {
        let (mut table, mut is_partition) = (relation.rd_id, (*relation.rd_rel).relispartition);
        while is_partition {
            table = pg_sys::ffi::pg_guard_ffi_boundary(|| get_partition_parent(table, true));
            is_partition = pg_sys::get_rel_relispartition(table);
            ancestors.push(table);
        }
    }
    ancestors
}

/// A row as the trigger sees it.
pub struct Row {
    pub tuple: pg_sys::HeapTuple,
    pub columns: pg_sys::TupleDesc,
}

impl Row {
    /// The value of a uuid column, or why it cannot be read. Never raises an error, which would end
    /// the user's statement.
    pub fn uuid(&self, column: &CStr) -> Result<Option<Uuid>, String> {
        // SAFETY: the tuple is one of the trigger, and the columns are those of its relation; the
        // value of a uuid that is not null is a pointer to sixteen bytes.
        unsafe {
            let number = pg_sys::SPI_fnumber(self.columns, column.as_ptr());
            if number <= 0 {
                return Err(format!("column {} does not exist", column.to_string_lossy()));
            }
            let declared = pg_sys::SPI_gettypeid(self.columns, number);
            if declared != pg_sys::UUIDOID && pg_sys::getBaseType(declared) != pg_sys::UUIDOID {
                return Err(format!("column {} is not of type uuid", column.to_string_lossy()));
            }
            Ok(self.uuid_at(number))
        }
    }

    /// The value of the column with this number.
    ///
    /// # Safety
    /// The column exists, and its type is uuid.
    pub unsafe fn uuid_at(&self, number: i32) -> Option<Uuid> {
        // SAFETY: as the caller promises.
        unsafe {
            let mut is_null = false;
            let value = pg_sys::SPI_getbinval(self.tuple, self.columns, number, &mut is_null);
            (!is_null).then(|| Uuid::from_bytes(*value.cast_mut_ptr::<[u8; 16]>()))
        }
    }
}

/// Warns about a trigger with wrong arguments. Happens only if the check of CREATE TRIGGER did not
/// run.
pub fn wrongly_attached(message: &str) {
    let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
    Warning { code, message: message.to_owned(), detail: None, hint: None }.send();
}
