//! Cancels deliveries that wait.

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::authorization::{look_up, portions};
use super::retry_moved_row::retry_moved_row;
use crate::ids::id_datum;
use crate::postgres::errors::check_writable;
use crate::postgres::security_context::{PinnedSettings, RoleGuard};
use crate::postgres::wakeup;

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// Ends those of these deliveries that the caller sees and that still wait for an attempt; returns how many. One that is
    /// under way is let end.
    #[pg_extern(volatile, strict)]
    fn cancel(delivery_ids: Vec<Option<pgrx::Uuid>>) -> i64 {
        super::cancel(delivery_ids)
            .unwrap_or_else(|problem| pgrx::error!("the deliveries could not be cancelled: {problem}"))
    }
}

fn cancel(delivery_ids: Vec<Option<pgrx::Uuid>>) -> SpiResult<i64> {
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
            let _settings = PinnedSettings::begin();
            let Some(_rights) = RoleGuard::of_extension_owner() else { return Ok(()) };
            let cancel = include_str!("../../sql/statements/history/cancel.sql");
            cancelled += retry_moved_row(|| Ok(client.update(cancel, None, &[ids.clone().into()])?.len()))?;
        }
        Ok::<_, pgrx::spi::SpiError>(())
    })?;
    if cancelled > 0 {
        wakeup::at_commit(i64::MIN);
    }
    Ok(cancelled as i64)
}
