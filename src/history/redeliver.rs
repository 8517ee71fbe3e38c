//! Sends a delivery again, with the same webhook_id and the same bytes.

use pgrx::prelude::*;
use pgrx::spi::SpiError;

use super::allowance::Allowance;
use super::authorization::{Visible, look_up, portions};
use super::pacing::Pacing;
use super::retry_moved_row::retry_moved_row;
use crate::ids::id_datum;
use crate::postgres::errors::check_writable;
use crate::postgres::security_context::as_extension_owner;
use crate::postgres::wakeup::{self, Wakeup};
use crate::timestamp::Timestamp;

/// Redelivers those of these deliveries that the caller sees; returns how many are sent again.
/// Raises 53400 if an auction exceeds its limit.
#[pg_extern(volatile, strict, schema = "webhook_delivery")]
fn redeliver_visible(delivery_ids: Vec<Option<pgrx::Uuid>>) -> Result<i64, SpiError> {
    check_writable();
    let portions = portions(delivery_ids);
    let now = Timestamp::now();
    let mut pacing = Pacing::from(now);
    let mut sent = 0;
    Spi::connect_mut(|client| {
        let allowance = Allowance::of_caller(client)?;
        for portion in portions {
            let visible = look_up(client, &portion)?;
            let _owner = as_extension_owner();
            allowance.take(client, visible.iter().map(|delivery| delivery.auction_id))?;
            // Oldest first, whether they wait or have ended.
            let paced = visible.into_iter().map(|delivery| (pacing.next(delivery.endpoint_id), delivery));
            let (waiting, ended): (Vec<_>, Vec<_>) = paced.partition(|(_, delivery)| delivery.waits);
            let ids = |paced: &[(Timestamp, Visible)]| -> Vec<pgrx::Uuid> {
                paced.iter().map(|(_, delivery)| id_datum(&delivery.id)).collect()
            };
            let times =
                |paced: &[(Timestamp, Visible)]| -> Vec<Timestamp> { paced.iter().map(|(due, _)| *due).collect() };
            if let (Some((_, lowest)), Some((_, highest))) = (ended.first(), ended.last()) {
                let arguments = [
                    ids(&ended).into(),
                    times(&ended).into(),
                    id_datum(&lowest.id).into(),
                    id_datum(&highest.id).into(),
                ];
                sent +=
                    client.update(include_str!("../../sql/statements/history/redeliver.sql"), None, &arguments)?.len();
            }
            if !waiting.is_empty() {
                let bring_forward = include_str!("../../sql/statements/history/bring_forward.sql");
                sent += retry_moved_row(|| {
                    let arguments = [ids(&waiting).into(), times(&waiting).into(), Timestamp::now().into()];
                    Ok(client.update(bring_forward, None, &arguments)?.len())
                })?;
            }
        }
        Ok::<_, pgrx::spi::SpiError>(())
    })?;
    if sent > 0 {
        // The worker reads the queue again: deliveries are due earlier than it knows.
        wakeup::at_commit(Wakeup::Rescan);
    }
    Ok(sent as i64)
}
