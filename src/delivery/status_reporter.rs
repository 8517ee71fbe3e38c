//! The status reporter: what the worker reports about itself to the log, to `pg_stat_activity`, and
//! to shared memory (`postgres/worker_stats.rs`). The view `webhook_delivery.status`
//! (`sql/install/operator.sql`) reads it from there.

use std::ffi::CString;

use pgrx::prelude::*;

use super::idle::Idle;
use crate::postgres::background_worker;
use crate::postgres::wakeup::ClaimedSlot;
use crate::postgres::worker_stats::WorkerStats;

/// Publishes only values that have changed.
pub struct StatusReporter {
    slot: ClaimedSlot,
    published: WorkerStats,
    idle: Option<Idle>,
}

impl StatusReporter {
    /// Overwrites the values of an earlier worker.
    pub fn new(slot: ClaimedSlot) -> Self {
        let published = WorkerStats::default();
        published.publish(slot);
        Self { slot, published, idle: None }
    }

    /// Publishes the worker's state.
    pub fn publish(&mut self, stats: WorkerStats) {
        let activity = match (stats.idle_reason, &stats.problem) {
            (Some(reason), Some((_, problem))) => format!("webhook_delivery: {reason}; {problem}"),
            (None, Some((_, problem))) => format!("webhook_delivery: {problem}"),
            (Some(reason), None) => format!("webhook_delivery: {reason}"),
            (None, None) => format!(
                "webhook_delivery: {} requests in flight, {} waiting",
                stats.requests_in_flight, stats.deliveries_in_memory
            ),
        };
        if let Ok(activity) = CString::new(activity) {
            background_worker::report_idle(&activity);
        }
        if stats != self.published {
            stats.publish(self.slot);
            self.published = stats;
        }
    }

    /// Logs that sending has stopped or has resumed.
    pub fn log_change(&mut self, idle: Option<Idle>) {
        if idle != std::mem::replace(&mut self.idle, idle) {
            log(idle);
        }
    }
}

fn log(idle: Option<Idle>) {
    let (level, message, hint) = match idle {
        Some(Idle::Fenced) => (
            PgLogLevel::WARNING,
            "webhook_delivery does not send from this database because it is a copy of another one",
            "If this database takes the place of the other: select webhook_delivery.resume().",
        ),
        Some(Idle::Paused) => (
            PgLogLevel::LOG,
            "webhook_delivery is paused in this database",
            "To send again: select webhook_delivery.resume().",
        ),
        Some(Idle::ReadOnly) => (
            PgLogLevel::WARNING,
            "webhook_delivery does not send from this database because default_transaction_read_only is on",
            "",
        ),
        None => (PgLogLevel::LOG, "webhook_delivery sends from this database", ""),
        Some(Idle::NoExtension | Idle::UpdateNeeded | Idle::NoEndpoint) => return,
    };
    let mut report =
        pg_sys::panic::ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, pgrx::function_name!());
    if !hint.is_empty() {
        report = report.set_hint(hint);
    }
    report.report(level);
}
