//! How long a good endpoint waits beside two hundred that never answer.

use std::time::Duration;

use uuid::Uuid;

use crate::latency;
use crate::patience::wait_for;
use crate::report::BesideHanging;
use crate::stand::Stand;

const ENDPOINTS: usize = 200;

/// Events for each of them.
const EVENTS: i32 = 10;

/// How long requests may take until each endpoint has timed out once; the setting as installed would make that minutes.
const TIMEOUT_AT_FIRST: Duration = Duration::from_secs(1);

/// The 99th percentile of the good endpoint's latency, in milliseconds.
pub fn measure(stand: &Stand) -> BesideHanging {
    let one_tenant_200 = beside(stand, &[Uuid::new_v4()], false);
    let tenants: Vec<Uuid> = std::iter::repeat_with(Uuid::new_v4).take(ENDPOINTS).collect();
    let many_tenants_200 = beside(stand, &tenants, true);
    BesideHanging { one_tenant_200, many_tenants_200 }
}

fn beside(stand: &Stand, tenants: &[Uuid], each_has_timed_out: bool) -> f64 {
    stand.set_endpoints(1);
    let mut session = stand.connect();
    if each_has_timed_out {
        stand.cluster.set("webhook_delivery.request_timeout", &format!("{}ms", TIMEOUT_AT_FIRST.as_millis()));
    }
    session.batch_execute("set webhook_delivery.max_endpoints = 1000").expect("a superuser's setting");
    for (tenant, number) in tenants.iter().cycle().zip(0..ENDPOINTS) {
        let endpoint = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}')";
        let url = stand.receiver.url(&format!("/hang/{number}"));
        session.execute(endpoint, &[tenant, &url]).expect("an endpoint");
    }
    session
        .execute(
            "select webhook_delivery.emit('submission.created', tenant, '{}')
             from unnest($1::uuid[]) as tenant, generate_series(1, $2)",
            &[&tenants, &EVENTS],
        )
        .expect("events");
    if each_has_timed_out {
        wait_for("each endpoint's first timeout", ENDPOINTS as u64, || {
            let timed_out = "select count(distinct endpoint_id) from webhook_delivery.attempts
                             where auction_id = any ($1) and error_message like 'timed out%'";
            let count: i64 = session.query_one(timed_out, &[&tenants]).expect("the history is readable").get(0);
            count.unsigned_abs()
        });
        stand.cluster.set("webhook_delivery.request_timeout", "30s");
    }
    let latency = latency::of_the_good_endpoint(stand);
    // Requests in flight would hang on for half a minute, and retries for hours.
    session.batch_execute("delete from webhook_endpoints; truncate webhook_delivery.queue").expect("no endpoints");
    stand.replace_worker();
    latency.p99
}
