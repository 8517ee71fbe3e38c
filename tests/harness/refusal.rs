//! Errors of the server: the statements that it refuses, and the error that it reports.

use postgres::GenericClient;
use postgres::error::DbError;
use postgres::types::ToSql;

/// Executes a statement that must fail, and returns the server's error: SQLSTATE, message, detail
/// and hint.
///
/// # Panics
/// If the statement succeeds.
#[track_caller]
pub fn refusal(client: &mut impl GenericClient, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> DbError {
    match client.query(sql, parameters) {
        Ok(rows) => panic!("{sql}\nshould have been refused but returned {rows:?}"),
        Err(error) => server_error(error),
    }
}

/// Returns the server's error from an error of the driver.
///
/// # Panics
/// If the error does not come from the server.
#[track_caller]
pub fn server_error(error: postgres::Error) -> DbError {
    error.as_db_error().unwrap_or_else(|| panic!("not an error of the server: {error}")).clone()
}
