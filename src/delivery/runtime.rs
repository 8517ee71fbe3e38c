//! The runtime: plans and threads, which the worker has while the extension exists.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use pgrx::prelude::*;
use pgrx::spi::SpiResult;
use uuid::Uuid;
use webhook_sender::{Attempt, Journal, Pool, PoolConfig, Success};

use super::completer::MAX_BATCH;
use super::statements::Statements;
use crate::postgres::{background_worker, settings};

/// Relative to the data directory, the working directory of the process. PostgreSQL uses this
/// folder for files that need not survive: `pg_basebackup` leaves it out.
const JOURNALS: &str = "pg_stat_tmp";

/// Plans and threads for one installation of the extension.
pub struct Runtime {
    /// The extension's oid.
    pub extension: pg_sys::Oid,
    pub statements: Statements,
    pub pool: Pool,
    /// The slow endpoints as last recorded, for the next worker.
    pub recorded_slow: Arc<HashSet<Uuid>>,
}

impl Runtime {
    /// Prepares the statements and starts the threads. Also returns the attempts that an earlier
    /// worker has not recorded.
    pub fn start(extension: pg_sys::Oid) -> SpiResult<(Self, Vec<Attempt>)> {
        let statements = Statements::prepare()?;
        let (journal, successes) = open_journal().unzip();
        let unrecorded = statements.unrecorded(&successes.unwrap_or_default())?;
        let pool = start_pool(statements.slow_endpoints()?, journal);
        let recorded_slow = pool.slow_endpoints();
        Ok((Self { extension, statements, pool, recorded_slow }, unrecorded))
    }
}

/// Without the journal everything works, but more requests are made twice after a crash.
fn open_journal() -> Option<(Arc<Journal>, Vec<Success>)> {
    // SAFETY: the id of this process's database.
    let database = unsafe { pg_sys::MyDatabaseId };
    let path = Path::new(JOURNALS).join(format!("webhook_delivery.{database}"));
    let journal = Journal::open(&path);
    if let Err(problem) = &journal {
        let path = path.display();
        pg_sys::panic::ErrorReport::new(
            PgSqlErrorCode::ERRCODE_IO_ERROR,
            format!("webhook_delivery could not open its journal {path}.*: {problem}"),
            pgrx::function_name!(),
        )
        .set_hint("Deliveries are not affected, but after a crash more requests than necessary are made twice.")
        .report(PgLogLevel::WARNING);
    }
    journal.ok().map(|(journal, successes)| (Arc::new(journal), successes))
}

fn start_pool(slow_endpoints: HashSet<Uuid>, journal: Option<Arc<Journal>>) -> Pool {
    let config = PoolConfig {
        threads: settings::pool_size(),
        rules: settings::rules(),
        connections: settings::connections(),
        slow_endpoints,
        many: MAX_BATCH,
        journal,
    };
    match background_worker::with_signals_blocked(|| Pool::start(config)) {
        Ok(pool) => pool,
        Err(problem) => {
            pg_sys::panic::ErrorReport::new(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                format!("webhook_delivery could not start sending: {problem}"),
                pgrx::function_name!(),
            )
            .set_hint(
                "Check webhook_delivery.ca_file, client_certificate_file, client_key_file, proxy, proxy_credentials_file and pool_size. The worker tries again, at first after a second.",
            )
            .report(PgLogLevel::ERROR);
            unreachable!("an ERROR does not return")
        }
    }
}
