//! Deliveries per second where a fifth of the endpoints is dead.

use std::time::Instant;

use uuid::Uuid;

use crate::patience::wait_for;
use crate::report::median;
use crate::stand::Stand;
use crate::throughput::data;

/// Each of an auction of its own.
const ENDPOINTS: usize = 50;

/// Of these nobody listens.
const DEAD: usize = ENDPOINTS / 5;

/// For each of them.
const EVENTS: i32 = 1000;

/// Each way so often, by turns.
const ROUNDS: usize = 3;

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1/";

/// Deliveries to living endpoints per second where some are dead, as a share of those where none is.
pub fn measure(stand: &Stand) -> f64 {
    let ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let alive = per_s(stand, 0);
            per_s(stand, DEAD) / alive
        })
        .collect();
    median(&ratios)
}

fn per_s(stand: &Stand, dead: usize) -> f64 {
    stand.set_endpoints(0);
    stand.receiver.reset();
    stand.cluster.execute("checkpoint");
    let auctions: Vec<Uuid> = std::iter::repeat_with(Uuid::new_v4).take(ENDPOINTS).collect();
    let mut session = stand.connect();
    for (number, auction) in auctions.iter().enumerate() {
        let url = if number < dead { NOWHERE.to_owned() } else { stand.receiver.url(&format!("/{number}")) };
        let endpoint = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}')";
        session.execute(endpoint, &[auction, &url]).expect("an endpoint");
    }
    let mut queueing = session.transaction().expect("a transaction");
    let emit = "select count(webhook_delivery.emit('submission.created', auction, $2::text::json))
                from (select auction from generate_series(1, $3::int) as n, unnest($1::uuid[]) as auction order by n) as events";
    queueing.execute(emit, &[&auctions, &data(), &EVENTS]).expect("events are queued");
    queueing.commit().expect("a commit");
    let began = Instant::now();
    let living = (ENDPOINTS - dead) as u64 * EVENTS.unsigned_abs() as u64;
    wait_for("the last request", living, || stand.receiver.stats().distinct_ids);
    let recorded = "select count(*) from webhook_delivery.attempts where status = 'success' and auction_id = any ($1)";
    wait_for("the last history row", living, || {
        let count: i64 = session.query_one(recorded, &[&auctions]).expect("the history is readable").get(0);
        count.unsigned_abs()
    });
    let took = began.elapsed();
    // Retries would come in a minute.
    session.batch_execute("delete from webhook_endpoints; truncate webhook_delivery.queue").expect("no endpoints");
    stand.replace_worker();
    living as f64 / took.as_secs_f64()
}
