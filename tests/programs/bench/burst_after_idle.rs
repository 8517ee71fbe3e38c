//! Speed of a burst after an idle time in which VACUUM has found one row in the queue, as a share
//! of the speed at other times.

use crate::report::median;
use crate::testbed::{AUCTION, Testbed};
use crate::throughput;

/// Events of each burst.
const EVENTS: usize = 20_000;

/// Number of bursts of each kind, which alternate.
const ROUNDS: usize = 3;

/// Speed after the idle time as a share of the speed at other times.
pub fn measure(testbed: &Testbed) -> f64 {
    testbed.set_endpoints(1);
    let ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            testbed.restart_worker();
            let after_load = throughput::deliver(testbed, EVENTS).per_s;
            testbed.wait_until_queue_is_empty();
            // The row is behind all pages that the burst has filled, so VACUUM cannot truncate
            // them.
            let one_row = format!(
                "insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
                 select now() + interval '1 day', webhook_delivery.uuid_v7(), auction_id, id, gen_random_uuid(), 'submission.created'
                 from webhook_endpoints where auction_id = '{AUCTION}'"
            );
            testbed.cluster.execute(&one_row);
            testbed.cluster.execute("vacuum (analyze) webhook_delivery.queue");
            testbed.restart_worker();
            let after_idle = throughput::deliver(testbed, EVENTS).per_s;
            testbed.cluster.execute("delete from webhook_delivery.queue");
            testbed.cluster.execute("vacuum (analyze) webhook_delivery.queue");
            after_idle / after_load
        })
        .collect();
    median(&ratios)
}
