//! Allowance: how many deliveries an auction's administrators may redeliver or replay within a
//! minute.

use std::collections::BTreeMap;

use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiResult};
use uuid::Uuid;

use crate::ids::id_datum;
use crate::postgres::errors::refuse;
use crate::postgres::settings;

/// The caller's limit; operators have none.
pub struct Allowance {
    is_unlimited: bool,
}

impl Allowance {
    /// Call it with the caller's rights, because it checks whether the caller is an operator.
    pub fn of_caller(client: &SpiClient<'_>) -> SpiResult<Self> {
        let operator =
            client.select("select webhook_delivery.is_operator()", Some(1), &[])?.first().get_one::<bool>()?;
        Ok(Self { is_unlimited: operator == Some(true) })
    }

    /// One more than the limit of an auction: a statement that writes this many rows need not write
    /// millions to exceed the limit. `None` without a limit.
    pub fn one_too_many(&self) -> Option<i64> {
        (!self.is_unlimited).then(|| settings::redeliveries_per_minute() + 1)
    }

    /// Counts one delivery for each of these auctions, and raises an error if an auction exceeds
    /// its limit. Call it with the rights of the extension's owner.
    pub fn take(&self, client: &mut SpiClient<'_>, auction_ids: impl Iterator<Item = Uuid>) -> SpiResult<()> {
        if self.is_unlimited {
            return Ok(());
        }
        // In the order of the ids, so that two sessions that lock several auctions never deadlock.
        let mut numbers: BTreeMap<Uuid, i64> = BTreeMap::new();
        auction_ids.for_each(|auction_id| *numbers.entry(auction_id).or_default() += 1);
        let limit = settings::redeliveries_per_minute();
        for (auction_id, number) in numbers {
            let arguments = [id_datum(&auction_id).into(), number.into()];
            let count = "select counted.redeliveries from webhook_delivery.count_usage($1, 0, $2) as counted";
            let reached = client.update(count, Some(1), &arguments)?.first().get_one::<i64>()?;
            if let Some(reached) = reached.filter(|reached| *reached > limit) {
                // SQL turns this SQLSTATE into PT429: Rust cannot raise a SQLSTATE that PostgreSQL
                // does not define.
                refuse(
                    PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                    format!("an auction can redeliver at most {limit} deliveries within a minute, not {reached}"),
                    "Wait a minute and redeliver fewer, of a shorter period; or have an operator redeliver them, or raise \
                     webhook_delivery.redeliveries_per_minute.",
                );
            }
        }
        Ok(())
    }
}
