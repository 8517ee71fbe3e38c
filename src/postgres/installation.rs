//! The identity of this installation, which tells a copy of a database from the original.
//!
//! A copy in another server or another database has another system identifier or oid. A copy of the
//! server's files has the same system identifier and oid as the original. Therefore a server that
//! starts from a backup gives itself a third identifier, which it keeps in a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use pgrx::prelude::*;

/// Relative to the data directory, the working directory of the process. Backups and standbys have
/// the file, too.
const RESTORE_ID_FILE: &str = "webhook_delivery.restored";

/// Set in the postmaster; all other processes are forked from it.
static RESTORE_ID: OnceLock<String> = OnceLock::new();

/// Checks whether the server starts from a backup; called while the server loads the library,
/// before recovery begins.
pub fn detect_restore() {
    let restore_id = if starts_from_backup() { new_restore_id() } else { known_restore_id() };
    match restore_id {
        Ok(restore_id) => _ = RESTORE_ID.set(restore_id),
        Err(problem) => {
            // Without the identifier the copy could send the deliveries of its original.
            pg_sys::panic::ErrorReport::new(
                PgSqlErrorCode::ERRCODE_IO_ERROR,
                format!(
                    "webhook_delivery: could not access the file \"{RESTORE_ID_FILE}\" in the data directory: {problem}"
                ),
                pgrx::function_name!(),
            )
            .report(PgLogLevel::FATAL);
        }
    }
}

/// A base backup has a label file until its recovery has begun, and point-in-time recovery has a
/// signal file until it has ended. A standby has them as well, but it replaces its primary and is
/// not a copy.
fn starts_from_backup() -> bool {
    let is_there = |name| Path::new(name).exists();
    (is_there("backup_label") || is_there("recovery.signal")) && !is_there("standby.signal")
}

fn known_restore_id() -> io::Result<String> {
    match fs::read_to_string(RESTORE_ID_FILE) {
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        known => known.map(|text| text.trim().to_owned()),
    }
}

fn new_restore_id() -> io::Result<String> {
    let restore_id = webhook_sender::uuid_v7().to_string();
    let temporary = format!("{RESTORE_ID_FILE}.tmp");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{restore_id}")?;
    file.sync_all()?;
    fs::rename(&temporary, RESTORE_ID_FILE)?;
    File::open(".")?.sync_all()?;
    Ok(restore_id)
}

/// The identifier of this server's data. Every copy of its files has the same; no other server has
/// it.
#[pg_extern(stable, strict, parallel_safe, schema = "webhook_delivery")]
fn system_identifier() -> i64 {
    // SAFETY: reads the control file's copy in shared memory.
    (unsafe { pg_sys::GetSystemIdentifier() }) as i64
}

/// The oid of this database. It stays the same when the database is renamed; a copy has another.
#[pg_extern(stable, strict, parallel_safe, schema = "webhook_delivery")]
fn database_oid() -> pg_sys::Oid {
    // SAFETY: set when the session began.
    unsafe { pg_sys::MyDatabaseId }
}

/// The identifier of the last restore of this server's files from a backup; empty if there was
/// none.
#[pg_extern(stable, strict, parallel_safe, schema = "webhook_delivery")]
fn restore_id() -> String {
    RESTORE_ID.get().cloned().unwrap_or_default()
}
