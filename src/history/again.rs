//! How is a delivery sent once more, with the same webhook_id and the same bytes?

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::allowance::{Allowance, OverLimit};
use super::pace::Pace;
use super::visible::{Visible, look_up, portions};
use crate::ids::{id_datum, timestamp};
use crate::server::refusal::check_writable;
use crate::server::rights::{OurSettings, Rights};
use crate::server::wake;

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// What resend() does. `over_limit` says that nothing is to be done, because an auction would have so many within a minute.
    #[pg_extern(volatile, strict)]
    fn resend_visible(
        delivery_ids: Vec<Option<pgrx::Uuid>>,
    ) -> TableIterator<'static, (name!(sent, i64), name!(over_limit, Option<i64>))> {
        let resent = super::resend(delivery_ids)
            .unwrap_or_else(|problem| pgrx::error!("the deliveries could not be queued: {problem}"));
        TableIterator::once(match resent {
            Ok(sent) => (sent, None),
            Err(super::OverLimit(reached)) => (0, Some(reached)),
        })
    }
}

fn resend(delivery_ids: Vec<Option<pgrx::Uuid>>) -> SpiResult<Result<i64, OverLimit>> {
    check_writable();
    let portions = portions(delivery_ids);
    // SAFETY: a clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let mut pace = Pace::from(now);
    let mut sent = 0;
    let over_limit = Spi::connect_mut(|client| {
        let allowance = Allowance::of_caller(client)?;
        for portion in portions {
            let visible = look_up(client, &portion)?;
            let _settings = OurSettings::begin();
            let Some(_rights) = Rights::of_extension_owner() else { return Ok(None) };
            let over_limit = allowance.take(client, visible.iter().map(|delivery| delivery.auction_id))?;
            if over_limit.is_some() {
                return Ok(over_limit);
            }
            let (waiting, ended): (Vec<Visible>, Vec<Visible>) =
                visible.into_iter().partition(|delivery| delivery.waits);
            if let (Some(lowest), Some(highest)) = (ended.first(), ended.last()) {
                let due: Vec<_> = ended.iter().map(|delivery| timestamp(pace.next(delivery.endpoint_id))).collect();
                let arguments = [
                    ended.iter().map(|delivery| id_datum(&delivery.id)).collect::<Vec<_>>().into(),
                    due.into(),
                    id_datum(&lowest.id).into(),
                    id_datum(&highest.id).into(),
                ];
                sent += client.update(include_str!("../../sql/history/resend.sql"), None, &arguments)?.len();
            }
            if !waiting.is_empty() {
                let ids: Vec<_> = waiting.iter().map(|delivery| id_datum(&delivery.id)).collect();
                sent += client.update(include_str!("../../sql/history/bring_forward.sql"), None, &[ids.into()])?.len();
            }
        }
        Ok::<_, pgrx::spi::SpiError>(None)
    })?;
    if let Some(over_limit) = over_limit {
        return Ok(Err(over_limit));
    }
    if sent > 0 {
        // What was to wait for its time, or rested, is looked at anew.
        wake::at_commit(i64::MIN);
    }
    Ok(Ok(sent as i64))
}
