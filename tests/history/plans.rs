//! A page of the history reads few more rows than it shows, however many rows log and queue hold.
//!
//! The tests count the rows read with `explain (analyze)` instead of measuring time.

use postgres::Client;
use serde_json::Value;
use webhook_harness::{Application, sample, tenant};

/// Deliveries in the log, over eight days.
const DELIVERIES: i64 = 40_000;

/// The endpoint with every tenth delivery. It belongs to Riverside, like half of the others.
const BUSY: &str = "00000000-0000-4000-9000-000000000000";
/// An endpoint with a hundred deliveries.
const QUIET: &str = "00000000-0000-4000-9000-000000000777";

/// The rows of the log that a page of 50 may read, a twentieth: its own rows, the rows that it
/// skips and a few of others between them.
const MAX_ROWS_READ: f64 = 2_000.0;

/// Riverside's history among that of others, and the session of Riverside's admin.
fn scene() -> (Application, Client) {
    let mut application = Application::start(&[]);
    tenant::create_roles(&mut application.client);
    let history = format!(
        "select webhook_delivery.pause();
         select webhook_delivery.create_partition(parent, 'delivery_id', (now() at time zone 'UTC')::date - days)
         from generate_series(0, 8) as days, unnest('{{attempts_ended, attempts_retried}}'::name[]) as parent;
         insert into webhook_delivery.attempts (delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, is_last, status,
             response_status_code, response_time_ms, error_kind, error_message, attempted_at, created_at)
         select (substr(webhook_delivery.uuid_v7_floor(queued_at)::text, 1, 24) || lpad(to_hex(n), 12, '0'))::uuid, 1,
             case when n % 2 = 0 then '{riverside}'::uuid else '{hilltop}'::uuid end,
             case when n % 10 = 0 then '{BUSY}'
                  when n % 400 = 2 then '{QUIET}'
                  else format('00000000-0000-4000-9000-%s', lpad((n % 50 + 1)::text, 12, '0')) end::uuid,
             gen_random_uuid(), 'submission.created',
             true, (case when n % 400 = 0 then 'failed' else 'success' end)::webhook_delivery_status, 200, 5,
             case when n % 400 = 0 then 'http_status'::webhook_error_kind end,
             case when n % 400 = 0 then 'status 500' end, queued_at, queued_at
         from (select n, date_trunc('milliseconds', now()) - ({DELIVERIES} - n) * interval '17 s' as queued_at
               from generate_series(1, {DELIVERIES}) as n) as queued;
         insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, is_parked)
         select now(), webhook_delivery.uuid_v7(), '{hilltop}', '{QUIET}', gen_random_uuid(), 'submission.created', true
         from generate_series(1, 10000);
         analyze webhook_delivery.attempts, webhook_delivery.queue;",
        riverside = sample::RIVERSIDE,
        hilltop = sample::HILLTOP,
    );
    application.client.batch_execute(&history).unwrap_or_else(|e| panic!("no history: {:?}", e.as_db_error()));
    let dana = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    (application, dana)
}

/// The query that PostgREST writes for a `where` clause and a page.
fn page(conditions: &str, page: &str) -> String {
    format!(
        "with pgrst_source as (
             select public.webhook_deliveries.* from public.webhook_deliveries {conditions}
             order by public.webhook_deliveries.created_at desc {page})
         select coalesce(json_agg(_postgrest_t), '[]')::text from (select * from pgrst_source) as _postgrest_t"
    )
}

/// The number of rows that a query shows and the number of rows of the log that it reads.
#[track_caller]
fn shown_and_read(session: &mut Client, query: &str) -> (usize, f64) {
    let shown: String =
        session.query_one(query, &[]).unwrap_or_else(|e| panic!("{query}: {:?}", e.as_db_error())).get(0);
    let shown: Vec<Value> = serde_json::from_str(&shown).unwrap();
    let newest_first = |pair: &[Value]| pair[0]["created_at"].as_str() >= pair[1]["created_at"].as_str();
    assert!(shown.windows(2).all(newest_first), "{query}: {shown:?}");
    assert!(shown.iter().all(|row| row["auction_id"] == sample::RIVERSIDE.to_string()), "{query}: {shown:?}");
    let explain = format!("explain (analyze, timing off, format json) {query}");
    let plan: Value = session.query_one(&explain, &[]).unwrap().get(0);
    (shown.len(), rows_read(&plan[0]["Plan"]))
}

/// The number of rows that the scans of the log read.
fn rows_read(node: &Value) -> f64 {
    let of_log = node["Relation Name"].as_str().is_some_and(|name| name.starts_with("attempts_"));
    let rows = ["Actual Rows", "Rows Removed by Filter"].into_iter().filter_map(|key| node[key].as_f64()).sum::<f64>();
    let own = if of_log { rows * node["Actual Loops"].as_f64().unwrap() } else { 0.0 };
    let children = node["Plans"].as_array().into_iter().flatten();
    own + children.map(rows_read).sum::<f64>()
}

#[test]
fn history_page_reads_few_more_rows_than_it_shows() {
    let (_application, mut dana) = scene();
    let column = |name: &str| format!("public.webhook_deliveries.{name}");
    let (endpoint, auction, status) = (column("endpoint_id"), column("auction_id"), column("status"));
    let busy = format!("where {endpoint} = '{BUSY}'");
    let riverside = format!("{auction} = '{}'", sample::RIVERSIDE);
    let earlier = "now() - interval '3 days'";
    for (conditions, which, expected) in [
        (String::new(), "limit 50", 50),
        (String::new(), "limit 50 offset 100", 50),
        (format!("where {} < {earlier}", column("created_at")), "limit 50", 50),
        (busy.clone(), "limit 50", 50),
        (busy.clone(), "limit 50 offset 100", 50),
        (format!("{busy} and {} < {earlier}", column("created_at")), "limit 50", 50),
        (format!("{busy} and {status} = 'failed'"), "limit 50", 50),
        (format!("{busy} and {status} = 'pending'"), "limit 50", 0),
        (format!("where {endpoint} = '{QUIET}'"), "limit 50", 50),
        (format!("where {endpoint} = '{QUIET}' and {status} in ('failed', 'retrying')"), "limit 50", 0),
        (format!("where {riverside}"), "limit 50", 50),
        (format!("where {riverside} and {status} = 'failed'"), "limit 50", 50),
        (format!("where {status} = 'failed'"), "limit 50", 50),
        (format!("where {status} in ('pending', 'retrying')"), "limit 50", 0),
    ] {
        let query = page(&conditions, which);
        let (shown, read) = shown_and_read(&mut dana, &query);
        assert_eq!(shown, expected, "{conditions} {which}");
        assert!(read <= MAX_ROWS_READ, "{conditions} {which} reads {read} rows");
    }
}

#[test]
fn embedded_deliveries_of_an_endpoint_are_read_by_index() {
    let (mut application, mut dana) = scene();
    let endpoint = format!(
        "insert into webhook_endpoints (id, auction_id, url, events) values ('{BUSY}', '{}', 'https://example.com/', '{{*}}')",
        sample::RIVERSIDE
    );
    application.client.batch_execute(&endpoint).unwrap();
    let query = "select json_agg(delivery)::text from public.webhook_endpoints left join lateral (
            select * from public.webhook_deliveries(webhook_endpoints) order by created_at desc limit 10) as delivery on true";
    let (shown, read) = shown_and_read(&mut dana, query);
    assert_eq!(shown, 10);
    assert!(read <= MAX_ROWS_READ, "{read} rows are read");
}

#[test]
fn delivery_and_its_attempts_are_found_by_id() {
    let (mut application, mut dana) = scene();
    // A delivery of a complete day: of an incomplete one all rows may be read because they are few.
    let sql = format!(
        "select delivery_id::text from webhook_delivery.attempts
         where endpoint_id = '{BUSY}' and created_at < now() - interval '3 days' order by created_at desc limit 1"
    );
    let id: String = application.client.query_one(&sql, &[]).unwrap().get(0);
    for (relation, column) in [("webhook_deliveries", "id"), ("webhook_delivery_attempts", "delivery_id")] {
        let query =
            format!("select json_agg(found)::text from (select * from {relation} where {column} = '{id}') as found");
        let shown: String = dana.query_one(&query, &[]).unwrap().get(0);
        assert!(shown.contains(&id), "{shown}");
        let plan: Value = dana.query_one(&format!("explain (analyze, format json) {query}"), &[]).unwrap().get(0);
        assert_eq!(rows_read(&plan[0]["Plan"]), 1.0, "{relation}");
    }
}
