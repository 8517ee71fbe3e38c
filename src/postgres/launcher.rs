//! The launcher: one worker per database, restarted when it ends.
//!
//! There is one launcher per server, connected to no database. It reads in the shared catalogs
//! which of the databases in `webhook_delivery.databases` exist, and keeps a worker in each. A
//! static worker per name would end with a FATAL every second while its database does not exist.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorkerBuilder, BackgroundWorkerStatus, BgWorkerStartTime, DynamicBackgroundWorker};
use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, pg_shmem_init};

use super::wakeup::SlotIndex;
use super::{background_worker, settings};

/// How often to look for new databases. The end of a worker is signalled to the launcher.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The state of the launcher: it explains why there is no worker.
#[derive(Default)]
struct State(AtomicU32);

const ABSENT: u32 = 0;
const RUNNING: u32 = 1;
/// A worker could not be started, because all background worker slots are taken.
const NO_SLOT: u32 = 2;

// SAFETY: an atomic, no pointer.
unsafe impl PGRXSharedMemory for State {}

// SAFETY: the name is this library's own.
static STATE: PgAtomic<State> = unsafe { PgAtomic::new(c"webhook_delivery launcher") };

fn set_state(state: u32) {
    STATE.get().0.store(state, Ordering::Relaxed);
}

/// Asks for the shared memory; called while the server loads the library.
pub fn init() {
    pg_shmem_init!(STATE);
}

/// The state of the launcher, which starts a worker in each database: running, no slot, absent.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn launcher_state() -> &'static str {
    match STATE.get().0.load(Ordering::Relaxed) {
        RUNNING => "running",
        NO_SLOT => "no slot",
        _ => "absent",
    }
}

/// Registers the launcher with the postmaster; called while the server loads the library.
pub fn register() {
    BackgroundWorkerBuilder::new("webhook_delivery launcher")
        .set_type("webhook_delivery launcher")
        .set_library("webhook_delivery")
        .set_function("webhook_delivery_launcher")
        .enable_spi_access()
        // Not on a standby, where nothing can be recorded; at once after its promotion.
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// The launcher's process.
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn webhook_delivery_launcher(_argument: pg_sys::Datum) {
    background_worker::attach_signal_handlers();
    pgrx::bgworkers::BackgroundWorker::connect_worker_to_spi(None, None);
    background_worker::set_application_name(c"webhook_delivery launcher");
    background_worker::report_idle(c"webhook_delivery: keeping a worker in each of webhook_delivery.databases");

    let mut started: HashMap<SlotIndex, DynamicBackgroundWorker> = HashMap::new();
    let mut has_warned = false;
    set_state(RUNNING);
    while !background_worker::shutdown_requested() {
        background_worker::reload_settings_if_requested();
        started.retain(|_, worker| matches!(worker.pid(), Ok(_) | Err(BackgroundWorkerStatus::NotYetStarted)));
        for slot in SlotIndex::of_databases(&existing_databases()) {
            if started.contains_key(&slot) || !slot.is_vacant() {
                continue;
            }
            match start_worker(slot) {
                Some(worker) => {
                    started.insert(slot, worker);
                    has_warned = false;
                    set_state(RUNNING);
                }
                None if !has_warned => {
                    has_warned = true;
                    set_state(NO_SLOT);
                    pg_sys::panic::ErrorReport::new(
                        PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
                        "webhook_delivery: no background worker slot is free, webhooks wait",
                        pgrx::function_name!(),
                    )
                    .set_hint("Raise max_worker_processes and restart the server.")
                    .report(PgLogLevel::WARNING);
                }
                None => {}
            }
        }
        background_worker::wait(None, LOOK_INTERVAL);
    }
    set_state(ABSENT);
    // Not 0, so that the postmaster starts another after pg_terminate_backend().
    // SAFETY: ends the process as PostgreSQL requires.
    unsafe { pg_sys::proc_exit(1) };
}

/// The databases that the settings name, that exist, and that are not being dropped or copied at
/// this moment.
fn existing_databases() -> Vec<pg_sys::Oid> {
    let wanted = settings::databases();
    background_worker::transaction(|| {
        let mut found = databases_of_the_server();
        found.retain(|(name, database)| wanted.contains(name) && background_worker::database_is_at_rest(*database));
        found.into_iter().map(|(_, database)| database).collect()
    })
}

/// Every database that accepts connections. Read by a sequential scan, as autovacuum does: a
/// process connected to no database cannot rely on the catalogs' indexes.
fn databases_of_the_server() -> Vec<(String, pg_sys::Oid)> {
    let mut databases = Vec::new();
    // SAFETY: the sequence of calls of every catalog scan, inside a transaction; each tuple is read
    // before the next is fetched, and a pg_database tuple begins with the fixed columns of its
    // struct.
    unsafe {
        let catalog = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::table_beginscan_catalog(catalog, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let header = (*tuple).t_data;
            let row = &*header.cast::<u8>().add((*header).t_hoff.into()).cast::<pg_sys::FormData_pg_database>();
            if row.datallowconn {
                databases.push((pgrx::name_data_to_str(&row.datname).to_owned(), row.oid));
            }
        }
        pg_sys::heap_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as i32);
    }
    databases
}

fn start_worker(slot: SlotIndex) -> Option<DynamicBackgroundWorker> {
    BackgroundWorkerBuilder::new("webhook_delivery worker")
        .set_type("webhook_delivery worker")
        .set_library("webhook_delivery")
        .set_function("webhook_delivery_worker")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        // Not restarted by the postmaster: only the launcher knows whether the database still
        // exists.
        .set_restart_time(None)
        // SAFETY: set when the process started.
        .set_notify_pid(unsafe { pg_sys::MyProcPid })
        .set_argument(slot.as_argument().into())
        .load_dynamic()
        .ok()
}
