//! What does the worker tell of itself: to the log, to `pg_stat_activity`, to `webhook_delivery.status`?

use std::ffi::CString;

use pgrx::prelude::*;

use super::queue::Standing;
use crate::postgres::background_worker;
use crate::postgres::wakeup::ClaimedSlot;
use crate::postgres::worker_stats::Report;

/// What was told last, so that nothing is told twice.
pub struct Telling {
    bell: ClaimedSlot,
    reported: Report,
    standing: Standing,
}

impl Telling {
    /// Overwrites what another worker has left.
    pub fn begin(bell: ClaimedSlot) -> Self {
        let reported = Report::default();
        reported.publish(bell);
        Self { bell, reported, standing: Standing::Sending }
    }

    /// Shows what the worker is at.
    pub fn show(&mut self, report: Report) {
        let activity = match (report.idle_because, &report.problem) {
            (Some(reason), _) => format!("webhook_delivery: {reason}"),
            (None, Some((_, problem))) => format!("webhook_delivery: {problem}"),
            (None, None) => format!(
                "webhook_delivery: {} requests in flight, {} waiting",
                report.requests_in_flight, report.deliveries_in_memory
            ),
        };
        if let Ok(activity) = CString::new(activity) {
            background_worker::report_idle(&activity);
        }
        if report != self.reported {
            report.publish(self.bell);
            self.reported = report;
        }
    }

    /// Tells the log that sending has stopped, or goes on.
    pub fn note_standing(&mut self, standing: Standing) {
        if standing != std::mem::replace(&mut self.standing, standing) {
            tell(standing);
        }
    }
}

fn tell(standing: Standing) {
    let (level, message, hint) = match standing {
        Standing::Copied => (
            PgLogLevel::WARNING,
            "webhook_delivery sends nothing from this database, because it is a copy of another one",
            "If it takes the other one's place: select webhook_delivery.resume().",
        ),
        Standing::Paused => (
            PgLogLevel::LOG,
            "webhook_delivery is paused in this database",
            "To send again: select webhook_delivery.resume().",
        ),
        Standing::Sending => (PgLogLevel::LOG, "webhook_delivery sends from this database", ""),
        Standing::Unused => return,
    };
    let mut report =
        pg_sys::panic::ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, pgrx::function_name!());
    if !hint.is_empty() {
        report = report.set_hint(hint);
    }
    report.report(level);
}
