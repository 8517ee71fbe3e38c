//! Background workers, as PostgreSQL requires them: signals, latches, transactions, locks, and the
//! activity in pg_stat_activity.

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::PgTryBuilder;
use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::subtransaction::SqlError;

/// The wait event in `pg_stat_activity`: that of extensions.
const WAIT_EVENT: u32 = pg_sys::PG_WAIT_EXTENSION;

unsafe extern "C-unwind" {
    // Declared here because pgrx's wrappers of them set up jump buffers, which a signal handler
    // must not touch.
    fn SetLatch(latch: *mut pg_sys::Latch);
    fn SignalHandlerForConfigReload(signal: i32);
    fn die(signal: i32);
}

/// SIGTERM ends the process like a session: at the next safe point, and no code can catch it. The
/// default handler of background workers ends the process at once, even where that brings the whole
/// server down.
pub fn die_of_sigterm() {
    // SAFETY: Postgres' own handler.
    unsafe {
        set_handler(pg_sys::SIGTERM, die);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Installs the handlers of SIGTERM and SIGHUP. Start threads before, or with signals blocked: a
/// thread that takes a signal keeps the main thread from waking up.
pub fn attach_signal_handlers() {
    // SAFETY: Postgres' own handler, and one of ours that does only what is allowed in one.
    unsafe {
        set_handler(pg_sys::SIGTERM, tell_to_go);
        set_handler(pg_sys::SIGHUP, SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
    let_statements_be_cancelled(false);
}

/// SIGTERM was received.
static TOLD_TO_GO: AtomicBool = AtomicBool::new(false);

/// Cancels the running statement, so that a shutdown never waits for it. The process still has time
/// to record its finished attempts. SIGTERM may come twice: the postmaster sends it to the process
/// and to its group.
unsafe extern "C-unwind" fn tell_to_go(_signal: i32) {
    TOLD_TO_GO.store(true, Ordering::Relaxed);
    // SAFETY: as Postgres' handler of SIGINT: flags of this process, and its latch.
    unsafe {
        (&raw mut pg_sys::InterruptPending).write_volatile(1);
        (&raw mut pg_sys::QueryCancelPending).write_volatile(1);
        SetLatch(pg_sys::MyLatch);
    }
}

/// Whether SIGTERM was received: a shutdown, or `pg_terminate_backend()`. A process that ends after
/// it has not failed.
pub fn shutdown_requested() -> bool {
    TOLD_TO_GO.load(Ordering::Relaxed)
}

/// Whether SIGTERM and `pg_cancel_backend()` may cancel the running statement. Between two
/// transactions they must not: an error there would end the process.
fn let_statements_be_cancelled(may_be: bool) {
    // SAFETY: state of this process. Postgres itself sets the count to 0 when an error is raised.
    unsafe {
        (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
        (&raw mut pg_sys::QueryCancelHoldoffCount).write_volatile(u32::from(!may_be));
    }
}

unsafe fn set_handler(signal: u32, handler: unsafe extern "C-unwind" fn(i32)) {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: the caller passes a handler that is safe to run at any time.
    unsafe {
        pg_sys::pqsignal(signal as i32, Some(handler));
    }
    #[cfg(feature = "pg18")]
    // SAFETY: as above.
    unsafe {
        pg_sys::pqsignal_be(signal as i32, Some(handler));
    }
}

/// Rereads the configuration after SIGHUP. Returns whether it was reread. Without this a reload
/// would not reach the process.
pub fn reload_settings_if_requested() -> bool {
    // SAFETY: a flag of this process, set by the signal handler; outside of any transaction.
    unsafe {
        let asked = (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0;
        if asked {
            (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
        asked
    }
}

/// Why a wait ended.
#[derive(PartialEq, Eq)]
pub enum Woken {
    /// The latch was set: a commit, a signal.
    Latch,
    /// The descriptor is readable.
    Descriptor,
    /// The time has passed.
    Time,
}

/// Sleeps until the latch is set, the descriptor is readable, or the time has passed. Ends the
/// process if the postmaster has died. Processes the server's barriers while it sleeps; otherwise
/// DROP DATABASE would wait for us.
pub fn wait(readable: Option<RawFd>, max_time: Duration) -> Woken {
    let (events, socket) = match readable {
        Some(descriptor) => (pg_sys::WL_LATCH_SET | pg_sys::WL_SOCKET_READABLE, descriptor),
        None => (pg_sys::WL_LATCH_SET, pg_sys::PGINVALID_SOCKET),
    };
    let events = wait_for(events, socket, max_time);
    // SAFETY: our own latch.
    unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
    pgrx::check_for_interrupts!();
    if events & pg_sys::WL_LATCH_SET != 0 {
        Woken::Latch
    } else if events & pg_sys::WL_SOCKET_READABLE != 0 {
        Woken::Descriptor
    } else {
        Woken::Time
    }
}

/// Sleeps for this time, unless the postmaster dies. Only for moments: signals wait as well.
pub fn pause(duration: Duration) {
    wait_for(0, pg_sys::PGINVALID_SOCKET, duration);
}

fn wait_for(events: u32, socket: pg_sys::pgsocket, max_time: Duration) -> u32 {
    let events = events | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let milliseconds = max_time.as_millis().max(1).try_into().unwrap_or(std::ffi::c_long::MAX);
    // SAFETY: our own latch; the descriptor belongs to the pool, which outlives the wait.
    unsafe { pg_sys::WaitLatchOrSocket(pg_sys::MyLatch, events as i32, socket, milliseconds, WAIT_EVENT) as u32 }
}

/// Runs `body` in a transaction of its own. An error in `body` or in the commit rolls the
/// transaction back and is returned as a value.
pub fn try_transaction<T>(body: impl FnOnce() -> T) -> Result<T, SqlError> {
    PgTryBuilder::new(AssertUnwindSafe(|| Ok(transaction(body))))
        .catch_others(|error| Err(Box::new(error)))
        .catch_rust_panic(|error| Err(Box::new(error)))
        .execute()
        .map_err(|error| {
            // SAFETY: what the main loop of every process of Postgres does after an error.
            unsafe { pg_sys::AbortCurrentTransaction() };
            let_statements_be_cancelled(false);
            (*error).into()
        })
}

/// Runs `body` in a transaction of its own. An error ends the process.
pub fn transaction<T>(body: impl FnOnce() -> T) -> T {
    let_statements_be_cancelled(true);
    // SAFETY: the calls and their order are those of every background worker that runs SQL.
    let result = unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let result = body();
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
        result
    };
    let_statements_be_cancelled(false);
    result
}

/// Takes a weak lock on a catalog object until the transaction ends, if no session holds or changes
/// it. Never waits.
fn try_lock_object(database: pg_sys::Oid, class: pg_sys::Oid, object: pg_sys::Oid, mode: u32) -> bool {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: database.to_u32(),
        locktag_field2: class.to_u32(),
        locktag_field3: object.to_u32(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // SAFETY: inside a transaction, with a complete tag that LockAcquire copies.
    let result = unsafe { pg_sys::LockAcquire(&tag, mode as pg_sys::LOCKMODE, false, true) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// Whether no session is about to drop, rename, move or copy the database. Such a session already
/// has the lock and waits up to five seconds for all others to leave.
pub fn database_is_at_rest(database: pg_sys::Oid) -> bool {
    try_lock_object(pg_sys::InvalidOid, pg_sys::DatabaseRelationId, database, pg_sys::RowExclusiveLock)
}

/// The name of the database this process is connected to, as it is now; inside a transaction.
pub fn database_name() -> String {
    // SAFETY: returns a copy of the name, or NULL for a database that no longer exists.
    unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
    }
}

/// Whether the extension exists in this database.
#[derive(PartialEq, Eq)]
pub enum Extension {
    /// It does not exist in this database.
    Absent,
    /// It is being dropped.
    BeingChanged,
    /// It exists with this oid, and stays until the transaction ends.
    Present(pg_sys::Oid),
}

/// Looks up the extension and locks it, so that there is no deadlock with DROP EXTENSION.
pub fn extension() -> Extension {
    // SAFETY: a NUL-terminated name, inside a transaction.
    let find = || unsafe { pg_sys::get_extension_oid(c"webhook_delivery".as_ptr(), true) };
    let found = find();
    if found == pg_sys::InvalidOid {
        return Extension::Absent;
    }
    // SAFETY: set when the process connected.
    let database = unsafe { pg_sys::MyDatabaseId };
    if !try_lock_object(database, pg_sys::ExtensionRelationId, found, pg_sys::AccessShareLock) {
        return Extension::BeingChanged;
    }
    // The extension may have been dropped before we had the lock.
    if find() == found { Extension::Present(found) } else { Extension::Absent }
}

/// Whether the extension's objects have this library's version. They differ if a new library was
/// loaded before ALTER EXTENSION UPDATE.
pub fn extension_is_current() -> SpiResult<bool> {
    let installed = "select extversion from pg_catalog.pg_extension where extname = 'webhook_delivery'";
    let installed: Option<String> = Spi::connect(|client| client.select(installed, Some(1), &[])?.first().get_one())?;
    Ok(installed.as_deref() == Some(env!("CARGO_PKG_VERSION")))
}

/// Whether this transaction is read-only because of `default_transaction_read_only`.
pub fn is_read_only() -> bool {
    // SAFETY: a flag that is set when a transaction begins.
    unsafe { pg_sys::XactReadOnly }
}

/// Whether this is a background process and not a session of a user.
pub fn is_background() -> bool {
    // SAFETY: set when the process started.
    !unsafe { pg_sys::MyBgworkerEntry }.is_null()
}

/// The name in `pg_stat_activity.application_name`.
pub fn set_application_name(name: &CStr) {
    // SAFETY: copies the text.
    unsafe { pg_sys::pgstat_report_appname(name.as_ptr()) };
}

/// Shows the process as busy in `pg_stat_activity.state`.
pub fn report_busy() {
    // SAFETY: null leaves the activity's text as it is.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, std::ptr::null()) };
}

/// Shows the process as idle, and this text in `pg_stat_activity.query`.
pub fn report_idle(activity: &CStr) {
    // SAFETY: copies the text.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, activity.as_ptr()) };
}

/// Reports the table statistics to the server. Without this autovacuum would not notice our dead
/// rows.
pub fn report_statistics() {
    // SAFETY: outside of a transaction. `false`: Postgres itself limits it to about once a second.
    unsafe { pg_sys::pgstat_report_stat(false) };
}

/// Runs `start` with all signals blocked, so that the threads that it starts never receive a signal
/// of the process.
pub fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: plain calls on two sets on the stack; the mask before is restored.
    unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let result = start();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        result
    }
}
