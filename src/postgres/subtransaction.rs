//! Subtransactions: work that can fail without ending the user's transaction.

use std::ffi::{CStr, c_void};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::PgTryBuilder;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

/// Whether a time limit has requested the cancellation that is pending or was raised. Then it is a
/// failure like any other.
pub static IS_CANCELLED_BY_US: AtomicBool = AtomicBool::new(false);

/// An SQL error as a value, with the fields that a user would read.
#[derive(Debug, Clone)]
pub struct SqlError {
    /// The SQLSTATE, which the application may have defined itself.
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// The CONTEXT.
    pub context: Option<Box<str>>,
    /// The server gave up waiting for a lock. The same SQLSTATE raised by a function of the
    /// application does not count.
    pub is_lock_timeout: bool,
}

impl SqlError {
    /// The SQLSTATE if PostgreSQL defines it; otherwise `internal_error`.
    pub fn known_code(&self) -> PgSqlErrorCode {
        let packed = (0..)
            .zip(self.code.bytes())
            .map(|(place, digit)| i32::from(digit.wrapping_sub(b'0') & 0x3f) << (6 * place));
        PgSqlErrorCode::from(packed.sum::<i32>())
    }

    /// Raises the error again.
    pub fn raise(self) -> ! {
        let mut report = ErrorReport::new(self.known_code(), self.message, pgrx::function_name!());
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }
}

/// Runs `work` in a subtransaction. An error rolls back its changes and is returned as a value;
/// only the cancellation of the statement remains an error, unless a time limit caused it.
pub fn in_subtransaction<T>(work: impl FnOnce() -> T) -> Result<T, SqlError> {
    run(work, AtSuccess::Keep)
}

/// Runs `work` in a subtransaction that is rolled back even if it succeeds, for code of the
/// application that only reads.
///
/// Thus side effects of that code do not reach the commit: open cursors (the server has closed
/// those of the transaction for the last time), notifications, locks, settings, changes of
/// temporary tables. The result must not point into memory of the subtransaction.
pub fn in_rolled_back_subtransaction<T>(work: impl FnOnce() -> T) -> Result<T, SqlError> {
    run(work, AtSuccess::RollBack)
}

#[derive(PartialEq, Eq)]
enum AtSuccess {
    Keep,
    RollBack,
}

fn run<T>(work: impl FnOnce() -> T, at_success: AtSuccess) -> Result<T, SqlError> {
    // SAFETY: as PL/pgSQL does for a block with an EXCEPTION clause; context and owner are restored
    // after the subtransaction.
    let (memory, resources, flags, exits_on_error) = unsafe {
        let before =
            (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner, pg_sys::MyXactFlags, pg_sys::ExitOnAnyError);
        // The setting exit_on_error applies to errors of the user only.
        pg_sys::ExitOnAnyError = false;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = before.0;
        before
    };
    let mut witness = Witness::default();
    let outcome = witness.watch(|| {
        PgTryBuilder::new(AssertUnwindSafe(|| Ok(work())))
            .catch_others(|error| Err(Box::new(error)))
            .catch_rust_panic(|error| Err(Box::new(error)))
            .execute()
    });
    // SAFETY: the subtransaction begun above is the current one: all subtransactions within it
    // ended with `work`.
    unsafe {
        if outcome.is_ok() && at_success == AtSuccess::Keep {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
            // The server keeps the flags after the rollback. A temporary table that was read would
            // prevent PREPARE TRANSACTION, although its lock ended with the subtransaction.
            pg_sys::MyXactFlags = flags;
        }
        pg_sys::CurrentMemoryContext = memory;
        pg_sys::CurrentResourceOwner = resources;
        pg_sys::ExitOnAnyError = exits_on_error;
    }
    outcome.map_err(|error| witness.failure(*error))
}

/// Observes errors while they are raised, because pgrx drops their context and every SQLSTATE that
/// it does not know.
#[derive(Default)]
struct Witness {
    code: Option<String>,
    context: Option<String>,
    was_cancelled: bool,
    is_lock_timeout: bool,
}

impl Witness {
    fn watch<T>(&mut self, work: impl FnOnce() -> T) -> T {
        // SAFETY: the entry is in the list only while this frame lives, whose value outlives it.
        unsafe {
            let mut entry = pg_sys::ErrorContextCallback {
                previous: pg_sys::error_context_stack,
                callback: Some(witness_error),
                arg: std::ptr::from_mut(self).cast(),
            };
            pg_sys::error_context_stack = &mut entry;
            let result = work();
            pg_sys::error_context_stack = entry.previous;
            result
        }
    }

    fn failure(self, error: CaughtError) -> SqlError {
        match error {
            CaughtError::PostgresError(_) if self.was_cancelled && !IS_CANCELLED_BY_US.load(Ordering::Relaxed) => {
                error.rethrow()
            }
            CaughtError::PostgresError(_) => {
                let failure = SqlError::from(error);
                SqlError {
                    code: self.code.unwrap_or(failure.code),
                    context: self.context.map(String::into_boxed_str),
                    is_lock_timeout: self.is_lock_timeout,
                    ..failure
                }
            }
            // We raised this error from Rust: the witness has seen an earlier error, which was
            // caught.
            CaughtError::ErrorReport(_) | CaughtError::RustPanic { .. } => error.into(),
        }
    }
}

impl From<CaughtError> for SqlError {
    /// The context is missing, because pgrx does not pass it on.
    fn from(error: CaughtError) -> Self {
        let (CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. }) = error;
        Self {
            code: sqlstate(report.sql_error_code() as i32),
            message: report.message().to_owned(),
            detail: report.detail().map(str::to_owned),
            hint: report.hint().map(str::to_owned),
            context: None,
            is_lock_timeout: false,
        }
    }
}

unsafe extern "C-unwind" {
    // Not pgrx's binding, which would turn an error in here into a panic that unwinds through the
    // server's frames.
    fn CopyErrorData() -> *mut pg_sys::ErrorData;
    fn FreeErrorData(error: *mut pg_sys::ErrorData);
}

/// Called by the server for every error and every notice raised while `Witness::watch` runs, after
/// the callbacks of everything inside it.
unsafe extern "C-unwind" fn witness_error(witness: *mut c_void) {
    // SAFETY: the pointer is that of a `Witness` whose `watch` has not returned. The copy is made
    // outside of ErrorContext, and the values that we keep are owned by Rust.
    unsafe {
        let witness = &mut *witness.cast::<Witness>();
        let error_context = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = pg_sys::TopTransactionContext;
        let error = CopyErrorData();
        if (*error).elevel >= PgLogLevel::ERROR as i32 {
            witness.code = Some(sqlstate((*error).sqlerrcode));
            witness.context = text((*error).context);
            // If a function of the application raises the same code, it is a failure like any
            // other.
            let is_raised_by_server = text((*error).funcname).as_deref() == Some("ProcessInterrupts");
            let is = |code: PgSqlErrorCode| is_raised_by_server && (*error).sqlerrcode == code as i32;
            witness.was_cancelled = is(PgSqlErrorCode::ERRCODE_QUERY_CANCELED);
            witness.is_lock_timeout = is(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE);
        }
        FreeErrorData(error);
        pg_sys::CurrentMemoryContext = error_context;
    }
}

/// # Safety
/// Null, or a NUL-terminated text.
unsafe fn text(pointer: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// The five characters of an SQLSTATE, which Postgres packs six bits each.
fn sqlstate(packed: i32) -> String {
    (0..5).map(|place| char::from((((packed >> (6 * place)) & 0x3f) + i32::from(b'0')) as u8)).collect()
}
