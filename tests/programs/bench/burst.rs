//! Speed of a burst after a quiet time, in which VACUUM found one row in the queue, as a share of the speed at other times.

use crate::report::median;
use crate::stand::{AUCTION, Stand};
use crate::throughput;

/// Events of a burst.
const EVENTS: usize = 20_000;

/// Each way so often, by turns.
const ROUNDS: usize = 3;

/// Speed after the quiet time as a share of the other.
pub fn measure(stand: &Stand) -> f64 {
    stand.set_endpoints(1);
    let ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            stand.restart_worker();
            let busy = throughput::deliver(stand, EVENTS).per_s;
            stand.wait_until_queue_is_empty();
            // At the end of all the pages that the burst has filled: VACUUM does not cut them off.
            let one_row = format!(
                "insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
                 select now() + interval '1 day', webhook_delivery.uuid_v7(), auction_id, id, gen_random_uuid(), 'submission.created'
                 from webhook_endpoints where auction_id = '{AUCTION}'"
            );
            stand.cluster.execute(&one_row);
            stand.cluster.execute("vacuum (analyze) webhook_delivery.queue");
            stand.restart_worker();
            let quiet = throughput::deliver(stand, EVENTS).per_s;
            stand.cluster.execute("delete from webhook_delivery.queue");
            stand.cluster.execute("vacuum (analyze) webhook_delivery.queue");
            quiet / busy
        })
        .collect();
    median(&ratios)
}
