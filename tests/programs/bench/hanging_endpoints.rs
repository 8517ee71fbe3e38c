//! Latency of a healthy endpoint while two hundred others never answer.

use std::time::Duration;

use uuid::Uuid;

use crate::latency;
use crate::progress::wait_for;
use crate::report::WithHanging;
use crate::testbed::Testbed;

const ENDPOINTS: usize = 200;

/// Events for each hanging endpoint.
const EVENTS: i32 = 10;

/// The request timeout until each endpoint has timed out once. With the default this would take
/// minutes.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);

/// The 99th percentile of the healthy endpoint's latency, in milliseconds.
pub fn measure(testbed: &Testbed) -> WithHanging {
    let one_tenant_200 = latency_with_hanging(testbed, &[Uuid::new_v4()], false);
    let tenants: Vec<Uuid> = std::iter::repeat_with(Uuid::new_v4).take(ENDPOINTS).collect();
    let many_tenants_200 = latency_with_hanging(testbed, &tenants, true);
    WithHanging { one_tenant_200, many_tenants_200 }
}

fn latency_with_hanging(testbed: &Testbed, tenants: &[Uuid], wait_for_timeouts: bool) -> f64 {
    testbed.set_endpoints(1);
    let mut session = testbed.connect();
    if wait_for_timeouts {
        testbed.cluster.set("webhook_delivery.request_timeout", &format!("{}ms", FIRST_TIMEOUT.as_millis()));
    }
    session.batch_execute("set webhook_delivery.max_endpoints = 1000").expect("a superuser's setting");
    for (tenant, number) in tenants.iter().cycle().zip(0..ENDPOINTS) {
        let endpoint = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}')";
        let url = testbed.receiver.url(&format!("/hang/{number}"));
        session.execute(endpoint, &[tenant, &url]).expect("an endpoint");
    }
    session
        .execute(
            "select webhook_delivery.emit('submission.created', tenant, '{}')
             from unnest($1::uuid[]) as tenant, generate_series(1, $2)",
            &[&tenants, &EVENTS],
        )
        .expect("events");
    if wait_for_timeouts {
        wait_for("each endpoint's first timeout", ENDPOINTS as u64, || {
            let timed_out = "select count(distinct endpoint_id) from webhook_delivery.attempts
                             where auction_id = any ($1) and error_message like 'timed out%'";
            let count: i64 = session.query_one(timed_out, &[&tenants]).expect("the history is readable").get(0);
            count.unsigned_abs()
        });
        testbed.cluster.set("webhook_delivery.request_timeout", "30s");
    }
    let latency = latency::of_the_healthy_endpoint(testbed);
    // Otherwise requests in flight would hang for half a minute, and retries would follow for
    // hours.
    session.batch_execute("delete from webhook_endpoints; truncate webhook_delivery.queue").expect("no endpoints");
    testbed.discard_deliveries();
    latency.p99
}
