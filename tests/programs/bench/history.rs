//! How long a page of the history takes a tenant with one auction among many.

use std::time::Instant;

use postgres::Client;
use postgres::types::ToSql;
use uuid::Uuid;
use webhook_harness::{sample, tenant};

use crate::patience::wait_for;
use crate::report::{History, median};
use crate::stand::Stand;

/// Deliveries in the log, over thirty days.
const DELIVERIES: i64 = 1_000_000;

/// Deliveries of everybody that wait for another attempt.
const WAITING: i64 = 1_000_000;

/// So often each page is asked for.
const PAGES: usize = 25;

/// The tenant's busiest endpoint, which has a tenth of them. He has another, and ninety-nine auctions have ten each.
const BUSY: &str = "00000000-0000-4000-9000-000000000000";

pub fn measure(stand: &Stand) -> History {
    stand.wait_until_queue_is_empty();
    let mut owner = stand.connect();
    owner
        .batch_execute("select webhook_delivery.pause(); truncate webhook_delivery.attempts, webhook_delivery.events")
        .expect("an empty log");
    tenant::create_roles(&mut owner);
    owner.batch_execute(&log()).expect("a log");
    owner.batch_execute("vacuum analyze").expect("statistics");
    let mut dana = tenant::session_of(&stand.cluster, "tenant", sample::DANA);
    let busy = Uuid::parse_str(BUSY).expect("a uuid");
    let (of_endpoint, of_all) = (page("where endpoint_id = $1"), page(""));
    let endpoint = millis(&mut dana, &of_endpoint, &[&busy]);
    let all = millis(&mut dana, &of_all, &[]);
    let count = "select status, count(*) from webhook_deliveries where endpoint_id = $1 group by status";
    let count = millis(&mut dana, count, &[&busy]);

    owner.batch_execute(&queue()).expect("a queue");
    owner.batch_execute("vacuum analyze webhook_delivery.queue").expect("statistics");
    let with_queue = millis(&mut dana, &of_endpoint, &[&busy]).max(millis(&mut dana, &of_all, &[]));
    stand.restart_worker();
    wait_for("counts of the deliveries that wait", WAITING as u64, || {
        let counted = "select coalesce(sum(deliveries), 0)::bigint from webhook_delivery.parked_counts";
        owner.query_one(counted, &[]).expect("the counts are readable").get::<_, i64>(0).unsigned_abs()
    });
    let status = millis(&mut owner, "select * from webhook_delivery.status", &[]);
    owner
        .batch_execute("truncate webhook_delivery.attempts, webhook_delivery.queue; select webhook_delivery.resume()")
        .expect("an empty log");
    History { endpoint, all, count, with_queue, status }
}

/// The latest fifty.
fn page(conditions: &str) -> String {
    format!(
        "select coalesce(json_agg(page), '[]')::text
         from (select * from webhook_deliveries {conditions} order by created_at desc limit 50) as page"
    )
}

/// The median of the milliseconds that a query takes; prepared, as PostgREST does.
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

/// Whose the nth delivery is: the tenant's, by his busy endpoint every tenth, or one of the others'.
const WHOSE: &str = "
    case when n % 10 = 0 or n % 1000 = 7 then '00000000-0000-4000-8000-000000000001'
         else format('00000000-0000-4000-a000-%s', lpad((n % 99 + 1)::text, 12, '0')) end::uuid as auction_id,
    case when n % 10 = 0 then '00000000-0000-4000-9000-000000000000'
         when n % 1000 = 7 then '00000000-0000-4000-9000-000000000001'
         else format('00000000-0000-4000-a000-%s', lpad((n % 990 + 1)::text, 12, '0')) end::uuid as endpoint_id";

fn log() -> String {
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
         from (select n, {WHOSE}, date_trunc('milliseconds', now()) - ({DELIVERIES} - n) * interval '2.5 s' as queued_at
               from generate_series(1, {DELIVERIES}) as n) as queued"
    )
}

fn queue() -> String {
    format!(
        "insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, is_parked)
         select now() + interval '1 hour', webhook_delivery.uuid_v7(), auction_id, endpoint_id, webhook_delivery.uuid_v7(),
             'submission.created', true
         from (select {WHOSE} from generate_series(1, {WAITING}) as n) as queued"
    )
}
