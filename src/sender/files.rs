//! Files that the operator names: certificates, keys, credentials.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::StartError;

/// The content of a file.
pub fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|problem| StartError::UnreadableFile { path: path.to_owned(), problem })
}

/// The content of a file with a secret. The requirements are those of PostgreSQL for ssl_key_file.
pub fn read_private(path: &Path) -> Result<Vec<u8>, StartError> {
    let content = read(path)?;
    let is_private = std::fs::metadata(path).is_ok_and(|file| {
        let forbidden = if file.uid() == 0 { 0o037 } else { 0o077 };
        file.mode() & forbidden == 0
    });
    if is_private { Ok(content) } else { Err(StartError::NotPrivate { path: path.to_owned() }) }
}
