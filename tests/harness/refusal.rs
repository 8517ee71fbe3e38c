//! What the server says when it refuses.

use postgres::GenericClient;
use postgres::error::DbError;
use postgres::types::ToSql;

/// The error that a statement ends with: SQLSTATE, message, detail and hint.
///
/// # Panics
/// When the server does not refuse it.
#[track_caller]
pub fn refusal(client: &mut impl GenericClient, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> DbError {
    match client.query(sql, parameters) {
        Ok(rows) => panic!("{sql}\nshould have been refused and gave {rows:?}"),
        Err(error) => refused(error),
    }
}

/// The server's part of an error.
///
/// # Panics
/// When it did not come from the server.
#[track_caller]
pub fn refused(error: postgres::Error) -> DbError {
    error.as_db_error().unwrap_or_else(|| panic!("not an error of the server: {error}")).clone()
}
