//! What is in this extension, and in which order does a delivery pass through it?
//!
//! | step | file |
//! |---|---|
//! | a row changes, its key is noted, the event is built before the commit | `capture.rs`, `sql/capture.sql` |
//! | event and queue rows are written | `sql/fan_out.sql` |
//! | the commit wakes the worker | `wake.rs` |
//! | the launcher has started a worker in each database | `launcher.rs` |
//! | the worker's life: signals, waiting, its turn | `worker.rs`, `process.rs` |
//! | what is due goes to the pool, endpoint by endpoint | `intake.rs`, `queue.rs` |
//! | a thread signs and sends | the crate `webhook_sender` |
//! | finished attempts are recorded | `record.rs`, `queue.rs` |
//!
//! Beside the way: `settings.rs` (GUCs), `endpoint.rs` (what a customer writes is checked, the secret is put away),
//! `ids.rs` (time-ordered uuids).

use pgrx::prelude::*;

mod capture;
mod endpoint;
mod ids;
mod intake;
mod launcher;
mod process;
mod queue;
mod record;
mod settings;
mod wake;
mod worker;

pgrx::pg_module_magic!(name, version);

/// Runs in the postmaster when the server starts, and in any backend of a server that does not preload us.
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // SAFETY: both are plain flags that Postgres set before it loaded us; nothing else runs in this process yet.
    let (preloading, upgrading) =
        unsafe { (pg_sys::process_shared_preload_libraries_in_progress, pg_sys::IsBinaryUpgrade) };
    if upgrading {
        // pg_upgrade loads every library to see that it can; a worker would write while it copies.
        return;
    }
    if !preloading {
        refuse_to_load_late();
    }
    settings::define();
    wake::init();
    capture::init();
    endpoint::init();
    launcher::register();
}

/// Shared memory and the launcher exist only from the server's start: without them events would be queued and never sent.
fn refuse_to_load_late() {
    // SAFETY: a NUL-terminated name in, a NUL-terminated value (or NULL, for an unknown name) out, valid until the next change.
    let config_file = unsafe {
        let value = pg_sys::GetConfigOption(c"config_file".as_ptr(), true, false);
        if value.is_null() { "postgresql.conf".into() } else { std::ffi::CStr::from_ptr(value).to_string_lossy() }
    };
    pg_sys::panic::ErrorReport::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "webhook_delivery must be loaded when the server starts",
        pgrx::function_name!(),
    )
    .set_hint(format!(
        "Add the line shared_preload_libraries = 'webhook_delivery' to {config_file} (after a comma where the setting \
         already names libraries) and restart the server."
    ))
    .report(PgLogLevel::ERROR);
}

extension_sql_file!("../sql/event_types.sql", name = "event_types", requires = [uuid_v7, uuid_v7_time]);
extension_sql_file!("../sql/endpoints.sql", name = "endpoints", requires = ["event_types"]);
extension_sql_file!("../sql/storage.sql", name = "storage", requires = ["endpoints"]);
extension_sql_file!("../sql/fan_out.sql", name = "fan_out", requires = ["storage"]);
extension_sql_file!("../sql/capture.sql", name = "capture", requires = ["fan_out"]);
extension_sql_file!("../sql/install_triggers.sql", name = "install_triggers", requires = ["capture"]);
extension_sql_file!("../sql/access.sql", name = "access", requires = ["install_triggers"]);
extension_sql_file!("../sql/history.sql", name = "history", requires = ["access"]);
extension_sql_file!("../sql/test_webhook.sql", name = "test_webhook", requires = ["history"]);
extension_sql_file!("../sql/finish.sql", name = "finish", requires = ["test_webhook"], finalize);
