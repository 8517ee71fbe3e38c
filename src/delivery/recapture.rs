//! Recapture: a separate process recaptures events that could not be captured because of a lock.
//!
//! The process runs code of the application (views, casts, payload functions), which may take any
//! time. In the worker it would delay the deliveries of all tenants.

use std::time::{Duration, Instant};

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::memcxt::PgMemoryContexts;
use pgrx::prelude::*;

use super::extension_lock::lock_extension;
use crate::postgres::subtransaction::SqlError;
use crate::postgres::{background_worker, worker_settings};

/// A process that has not ended after this time is terminated.
const MAX_RUN_TIME: Duration = Duration::from_secs(30);

/// The process begins no dead letter after this time: another process continues. Thus only a
/// process that hangs is terminated.
const WORK_TIME: Duration = Duration::from_secs(10);

/// The process of this database, if one was started.
#[derive(Default)]
pub struct Recapture {
    running: Option<(DynamicBackgroundWorker, Instant)>,
}

impl Recapture {
    /// Whether the process is running. Terminates a process that has run for too long.
    pub fn is_running(&mut self) -> bool {
        let Some((process, began)) = &self.running else { return false };
        if !matches!(process.pid(), Ok(_) | Err(BackgroundWorkerStatus::NotYetStarted)) {
            self.running = None;
        } else if began.elapsed() >= MAX_RUN_TIME {
            self.end();
        }
        self.running.is_some()
    }

    /// Starts the process, outside of a transaction. Fails if no slot for a background worker is
    /// free.
    pub fn start(&mut self, database: pg_sys::Oid) -> Result<(), SqlError> {
        let start = || {
            BackgroundWorkerBuilder::new("webhook_delivery recapture")
                .set_type("webhook_delivery recapture")
                .set_library("webhook_delivery")
                .set_function("webhook_delivery_recapture")
                .enable_spi_access()
                .set_restart_time(None)
                .set_argument(pg_sys::Datum::from(database.to_u32()).into())
                .load_dynamic()
        };
        // SAFETY: the allocated memory is the server's handle of the process, which outlives every
        // transaction.
        match unsafe { PgMemoryContexts::TopMemoryContext.switch_to(|_| start()) } {
            Ok(process) => {
                self.running = Some((process, Instant::now()));
                Ok(())
            }
            Err(_) => Err(SqlError {
                code: "53000".to_owned(),
                message: "no background worker slot is free".to_owned(),
                detail: None,
                hint: Some("Raise max_worker_processes and restart the server.".to_owned()),
                context: None,
                is_lock_timeout: false,
            }),
        }
    }

    /// Terminates the process when the worker drops this value, so that DROP EXTENSION and DROP
    /// DATABASE need not wait for it.
    pub fn end(&mut self) {
        if let Some((process, _)) = self.running.take() {
            process.terminate();
        }
    }
}

/// The process; the argument is the oid of its database.
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn webhook_delivery_recapture(database: pg_sys::Datum) {
    background_worker::die_of_sigterm();
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(pg_sys::Oid::from(database.value() as u32)), None);
    background_worker::set_application_name(c"webhook_delivery recapture");
    background_worker::report_busy();
    worker_settings::pin_settings();
    let began = Instant::now();
    let mut last = 0_i64;
    while began.elapsed() < WORK_TIME
        && let Some(error_id) = background_worker::transaction(|| take(last))
    {
        last = error_id;
        // If even that fails, it has been tried once.
        _ = background_worker::try_transaction(|| {
            let _rights = lock_extension();
            Spi::connect_mut(|client| {
                client.update("select webhook_delivery.recapture($1)", None, &[error_id.into()]).map(drop)
            })
            .unwrap_or_else(|problem| pgrx::error!("{problem}"));
        });
    }
    // SAFETY: ends the process as PostgreSQL requires.
    unsafe { pg_sys::proc_exit(0) };
}

/// The next dead letter that waits for a lock.
fn take(after: i64) -> Option<i64> {
    let _rights = lock_extension();
    let taken = Spi::connect_mut(|client| {
        let taken = client.update(
            include_str!("../../sql/statements/delivery/take_locked_error.sql"),
            None,
            &[after.into()],
        )?;
        taken.into_iter().next().map_or(Ok(None), |row| row.get(1))
    });
    taken.unwrap_or_else(|problem: pgrx::spi::SpiError| pgrx::error!("{problem}"))
}
