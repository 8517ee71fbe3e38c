//! Deliveries per second while a fifth of the endpoints is unreachable.

use std::time::Instant;

use uuid::Uuid;

use crate::progress::wait_for;
use crate::report::median;
use crate::testbed::Testbed;
use crate::throughput::data;

/// Number of endpoints, each in an auction of its own.
const ENDPOINTS: usize = 50;

/// Number of endpoints that are unreachable.
const UNREACHABLE: usize = ENDPOINTS / 5;

/// Events for each endpoint.
const EVENTS: i32 = 1000;

/// Number of measurements with and without unreachable endpoints, which alternate.
const ROUNDS: usize = 3;

/// No process listens on this port.
const UNREACHABLE_URL: &str = "http://127.0.0.1:1/";

/// Deliveries per second to the reachable endpoints while others are unreachable, as a share of
/// those while all are reachable.
pub fn measure(testbed: &Testbed) -> f64 {
    let ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let all_reachable = per_s(testbed, 0);
            per_s(testbed, UNREACHABLE) / all_reachable
        })
        .collect();
    median(&ratios)
}

fn per_s(testbed: &Testbed, unreachable: usize) -> f64 {
    testbed.set_endpoints(0);
    testbed.receiver.reset();
    testbed.cluster.execute("checkpoint");
    let auctions: Vec<Uuid> = std::iter::repeat_with(Uuid::new_v4).take(ENDPOINTS).collect();
    let mut session = testbed.connect();
    for (number, auction) in auctions.iter().enumerate() {
        let url =
            if number < unreachable { UNREACHABLE_URL.to_owned() } else { testbed.receiver.url(&format!("/{number}")) };
        let endpoint = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}')";
        session.execute(endpoint, &[auction, &url]).expect("an endpoint");
    }
    let mut queueing = session.transaction().expect("a transaction");
    let emit = "select count(webhook_delivery.emit('submission.created', auction, $2::text::json))
                from (select auction from generate_series(1, $3::int) as n, unnest($1::uuid[]) as auction order by n) as events";
    queueing.execute(emit, &[&auctions, &data(), &EVENTS]).expect("events are queued");
    queueing.commit().expect("a commit");
    let began = Instant::now();
    let expected = (ENDPOINTS - unreachable) as u64 * EVENTS.unsigned_abs() as u64;
    wait_for("the last request", expected, || testbed.receiver.stats().distinct_ids);
    let recorded = "select count(*) from webhook_delivery.attempts where status = 'success' and auction_id = any ($1)";
    wait_for("the last history row", expected, || {
        let count: i64 = session.query_one(recorded, &[&auctions]).expect("the history is readable").get(0);
        count.unsigned_abs()
    });
    let took = began.elapsed();
    // Otherwise retries would start in a minute.
    session.batch_execute("delete from webhook_endpoints; truncate webhook_delivery.queue").expect("no endpoints");
    testbed.discard_deliveries();
    expected as f64 / took.as_secs_f64()
}
