//! Warnings that cannot fail: they are sent while the user's transaction commits, or in the user's
//! statement.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::subtransaction::in_subtransaction;

/// A WARNING to the client and the server's log.
pub struct Warning {
    pub code: PgSqlErrorCode,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Warning {
    /// Sends the warning. The conversion of a message to the client's encoding raises an error for
    /// a character that the encoding lacks; so can the names of functions in its CONTEXT and a
    /// translated severity. Therefore texts that would be converted are ASCII, and there is no
    /// CONTEXT. If sending still fails, the client misses the warning but keeps the transaction,
    /// and the server's log already has the warning.
    pub fn send(self) {
        let text = if is_converted() { ascii } else { |text: String| text };
        let mut report = ErrorReport::new(self.code, text(self.message), pgrx::function_name!());
        if let Some(detail) = self.detail {
            report = report.set_detail(text(detail));
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(text(hint));
        }
        let sent = in_subtransaction(|| {
            // SAFETY: `in_subtransaction` puts its own callback first and afterwards restores the
            // list as it was before.
            unsafe { pg_sys::error_context_stack = std::ptr::null_mut() };
            report.report(PgLogLevel::WARNING);
        });
        drop(sent);
    }
}

/// Whether texts are converted on their way to the client.
fn is_converted() -> bool {
    // SAFETY: reads this session's state.
    let (client, server) = unsafe { (pg_sys::pg_get_client_encoding(), pg_sys::GetDatabaseEncoding()) };
    client != server && client != pg_sys::pg_enc::PG_SQL_ASCII as i32
}

/// The text with `\u{20ac}` in place of a character that is not ASCII.
fn ascii(text: String) -> String {
    let escaped = |char: char| if char.is_ascii() { char.to_string() } else { char.escape_unicode().to_string() };
    text.chars().map(escaped).collect()
}
