//! The time that a page of the history takes for a tenant with one auction among many.

use std::time::Instant;

use postgres::Client;
use postgres::types::ToSql;
use uuid::Uuid;
use webhook_harness::{sample, tenant};

use crate::progress::wait_for;
use crate::report::{History, median};
use crate::testbed::Testbed;

/// Deliveries in the history, over thirty days.
const DELIVERIES: i64 = 1_000_000;

/// Deliveries of all tenants that wait for another attempt.
const WAITING: i64 = 1_000_000;

/// Number of times that each page is requested.
const PAGES: usize = 25;

/// The tenant's busiest endpoint, with a tenth of the deliveries. The tenant has one more endpoint,
/// and 99 other auctions have ten each.
const BUSY: &str = "00000000-0000-4000-9000-000000000000";

/// Measures pages of the history and `webhook_delivery.status`, in milliseconds.
pub fn measure(testbed: &Testbed) -> History {
    testbed.wait_until_queue_is_empty();
    let mut owner = testbed.connect();
    owner
        .batch_execute("select webhook_delivery.pause(); truncate webhook_delivery.attempts, webhook_delivery.events")
        .expect("an empty history");
    tenant::create_roles(&mut owner);
    owner.batch_execute(&insert_history()).expect("a history");
    owner.batch_execute("vacuum analyze").expect("statistics");
    let mut dana = tenant::session_of(&testbed.cluster, "tenant", sample::DANA);
    let busy = Uuid::parse_str(BUSY).expect("a uuid");
    let (of_endpoint, of_all) = (page("where endpoint_id = $1"), page(""));
    let endpoint = millis(&mut dana, &of_endpoint, &[&busy]);
    let all = millis(&mut dana, &of_all, &[]);
    let count = "select status, count(*) from webhook_deliveries where endpoint_id = $1 group by status";
    let count = millis(&mut dana, count, &[&busy]);

    owner.batch_execute(&insert_queue()).expect("a queue");
    owner.batch_execute("vacuum analyze webhook_delivery.queue").expect("statistics");
    let with_queue = millis(&mut dana, &of_endpoint, &[&busy]).max(millis(&mut dana, &of_all, &[]));
    testbed.restart_worker();
    wait_for("counts of the deliveries that wait", WAITING as u64, || {
        let counted = "select coalesce(sum(deliveries), 0)::bigint from webhook_delivery.parked_counts";
        owner.query_one(counted, &[]).expect("the counts are readable").get::<_, i64>(0).unsigned_abs()
    });
    let status = millis(&mut owner, "select * from webhook_delivery.status", &[]);
    owner
        .batch_execute("truncate webhook_delivery.attempts, webhook_delivery.queue; select webhook_delivery.resume()")
        .expect("an empty history");
    History { endpoint, all, count, with_queue, status }
}

/// A query for the latest fifty deliveries.
fn page(conditions: &str) -> String {
    format!(
        "select coalesce(json_agg(page), '[]')::text
         from (select * from webhook_deliveries {conditions} order by created_at desc limit 50) as page"
    )
}

/// The median of the milliseconds that a query takes. It is prepared, as PostgREST does.
fn millis(session: &mut Client, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> f64 {
    let query = session.prepare(query).expect("a query");
    let times: Vec<f64> = (0..PAGES)
        .map(|_| {
            let began = Instant::now();
            let rows = session.query(&query, parameters).expect("the history is readable");
            assert!(!rows.is_empty());
            began.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    median(&times)
}

/// Auction and endpoint of the nth delivery. Every tenth belongs to the tenant's busy endpoint,
/// every thousandth to its other one, all others to other tenants.
const OWNER: &str = "
    case when n % 10 = 0 or n % 1000 = 7 then '00000000-0000-4000-8000-000000000001'
         else format('00000000-0000-4000-a000-%s', lpad((n % 99 + 1)::text, 12, '0')) end::uuid as auction_id,
    case when n % 10 = 0 then '00000000-0000-4000-9000-000000000000'
         when n % 1000 = 7 then '00000000-0000-4000-9000-000000000001'
         else format('00000000-0000-4000-a000-%s', lpad((n % 990 + 1)::text, 12, '0')) end::uuid as endpoint_id";

fn insert_history() -> String {
    format!(
        "select webhook_delivery.create_partition(parent, 'delivery_id', (now() at time zone 'UTC')::date - days)
         from generate_series(1, 30) as days, unnest('{{attempts_ended, attempts_retried}}'::name[]) as parent;
         insert into webhook_delivery.attempts (delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, is_last, status,
             response_status_code, response_time_ms, error_kind, error_message, attempted_at, created_at)
         select (substr(webhook_delivery.uuid_v7_floor(queued_at)::text, 1, 24) || lpad(to_hex(n), 12, '0'))::uuid, 1,
             auction_id, endpoint_id, gen_random_uuid(), 'submission.created',
             true, (case when n % 400 = 0 then 'failed' else 'success' end)::webhook_delivery_status, 200, 5,
             case when n % 400 = 0 then 'http_status'::webhook_error_kind end,
             case when n % 400 = 0 then 'status 500' end, queued_at, queued_at
         from (select n, {OWNER}, date_trunc('milliseconds', now()) - ({DELIVERIES} - n) * interval '2.5 s' as queued_at
               from generate_series(1, {DELIVERIES}) as n) as queued"
    )
}

fn insert_queue() -> String {
    format!(
        "insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, is_parked)
         select now() + interval '1 hour', webhook_delivery.uuid_v7(), auction_id, endpoint_id, webhook_delivery.uuid_v7(),
             'submission.created', true
         from (select {OWNER} from generate_series(1, {WAITING}) as n) as queued"
    )
}
