//! Cancels deliveries that wait.

use pgrx::prelude::*;
use pgrx::spi::SpiError;

use super::authorization::{look_up, portions};
use super::retry_moved_row::retry_moved_row;
use crate::ids::id_datum;
use crate::postgres::errors::check_writable;
use crate::postgres::security_context::as_extension_owner;
use crate::postgres::wakeup::{self, Wakeup};

/// Cancels those of these deliveries that the caller sees and that still wait for an attempt;
/// returns their number. An attempt that has begun is not interrupted.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn cancel(delivery_ids: Vec<Option<pgrx::Uuid>>) -> Result<i64, SpiError> {
    check_writable();
    let mut cancelled = 0;
    Spi::connect_mut(|client| {
        for portion in portions(delivery_ids) {
            let visible = look_up(client, &portion)?;
            let waiting: Vec<_> = visible.iter().filter(|delivery| delivery.waits).collect();
            if waiting.is_empty() {
                continue;
            }
            let ids: Vec<_> = waiting.iter().map(|delivery| id_datum(&delivery.id)).collect();
            let _owner = as_extension_owner();
            let cancel = include_str!("../../sql/statements/history/cancel.sql");
            cancelled += retry_moved_row(|| Ok(client.update(cancel, None, &[ids.clone().into()])?.len()))?;
        }
        Ok::<_, pgrx::spi::SpiError>(())
    })?;
    if cancelled > 0 {
        wakeup::at_commit(Wakeup::Rescan);
    }
    Ok(cancelled as i64)
}
