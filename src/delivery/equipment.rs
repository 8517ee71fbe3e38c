//! With what does the worker work, once the extension is there?

use std::collections::HashSet;
use std::sync::Arc;

use pgrx::prelude::*;
use pgrx::spi::SpiResult;
use uuid::Uuid;
use webhook_sender::{Pool, PoolConfig};

use super::queue::Statements;
use super::record::GATHER_AT_MOST;
use crate::server::{process, settings};

/// Attempts that have ended and are not recorded. With fewer the threads stand still more often while the worker records: a
/// sixth of the speed with three times what is recorded at once, measured on two cores.
const UNSETTLED_AT_MOST: usize = 4 * GATHER_AT_MOST;

/// What the extension's presence makes possible.
pub struct Equipment {
    pub statements: Statements,
    pub pool: Pool,
    /// The slow endpoints that the next worker will know of.
    pub remembered_slow: Arc<HashSet<Uuid>>,
}

impl Equipment {
    pub fn get() -> SpiResult<Self> {
        let statements = Statements::prepare()?;
        let pool = start_pool(statements.slow_endpoints()?);
        let remembered_slow = pool.slow_endpoints();
        Ok(Self { statements, pool, remembered_slow })
    }
}

fn start_pool(slow_endpoints: HashSet<Uuid>) -> Pool {
    let config = PoolConfig {
        threads: settings::pool_size(),
        ca_file: settings::ca_file(),
        slow_endpoints,
        many: GATHER_AT_MOST,
        unsettled_at_most: Some(UNSETTLED_AT_MOST),
    };
    match process::with_signals_blocked(|| Pool::start(config)) {
        Ok(pool) => pool,
        Err(problem) => {
            pg_sys::panic::ErrorReport::new(
                PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
                format!("webhook_delivery cannot start sending: {problem}"),
                pgrx::function_name!(),
            )
            .set_hint(
                "Check webhook_delivery.ca_file and webhook_delivery.pool_size; the worker tries again, at first after a second.",
            )
            .report(PgLogLevel::ERROR);
            unreachable!("an ERROR does not return")
        }
    }
}
