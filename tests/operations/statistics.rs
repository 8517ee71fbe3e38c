//! Statistics: a statement's cost does not depend on what VACUUM and ANALYZE last saw in a table.
//!
//! The same rows are read and written with different statistics in the catalogue. The test compares
//! the number of blocks and rows that a statement touches, not its time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use postgres::Client;
use serde_json::Value;
use webhook_harness::{Application, DEADLINE, checkout, sample, tenant, wait_until};

mod statements;

use statements::*;

/// The number of waiting deliveries, of their events, and of ended deliveries.
const ROWS: i32 = 13_000;

/// Endpoints, four for each auction.
const ENDPOINTS: i32 = 2_000;

/// Deliveries of a deep queue, due tomorrow.
const DEEP: i32 = 1_000_000;

/// Statistics of the tables: none yet, one row in many pages as VACUUM finds it after all is
/// delivered, true ones, and those of a deep queue.
const STATES: [(&str, &str); 4] = [
    ("never looked at", "select"),
    (
        "with one row in many pages",
        "update pg_class set reltuples = 1, relpages = pg_relation_size(oid) / 8192 where oid = any ($1)",
    ),
    (TRUE, "vacuum analyze"),
    (DEEP_QUEUE, "vacuum analyze webhook_delivery.queue"),
];
const TRUE: &str = "as they are";
const DEEP_QUEUE: &str = "with a deep queue";

/// The ordinary tables of the extension.
const TABLES: &str = "select array_agg(oid) from pg_class where relkind = 'r'
    and (relnamespace = 'webhook_delivery'::regnamespace or oid = 'public.webhook_endpoints'::regclass)";

/// Inserts endpoints, events, waiting and ended deliveries, evenly for Riverside and the others.
fn fill(application: &mut Application) {
    let rows = format!(
        "create table endpoint as
             select n, ('00000000-0000-4000-9000-' || lpad(n::text, 12, '0'))::uuid as id,
                 case when n <= 4 then '{riverside}' else '00000000-0000-4000-a000-' || lpad((n / 4)::text, 12, '0') end::uuid as auction_id
             from generate_series(1, {ENDPOINTS}) as n;
         insert into webhook_endpoints (id, auction_id, url, events)
         select id, auction_id, 'https://127.0.0.1/' || n, '{{*}}' from endpoint;
         select webhook_delivery.pause(), webhook_delivery.create_partitions();
         create table made as
             select row.n, endpoint.id as endpoint_id, endpoint.auction_id, webhook_delivery.uuid_v7() as event_id,
                 webhook_delivery.uuid_v7() as waiting_id, webhook_delivery.uuid_v7() as ended_id
             from generate_series(1, {ROWS}) as row (n) join endpoint on endpoint.n = row.n % {ENDPOINTS} + 1;
         insert into webhook_delivery.events (id, auction_id, event_type, occurred_at, data)
         select event_id, auction_id, 'submission.created', now(), '{{\"a\": 1}}' from made;
         insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
         select now() - n * interval '1 ms', waiting_id, auction_id, endpoint_id, event_id, 'submission.created' from made;
         insert into webhook_delivery.attempts (delivery_id, attempt, auction_id, endpoint_id, event_id, event_type, is_last, status,
             response_status_code, response_time_ms, error_kind, error_message, attempted_at, created_at)
         select ended_id, 1, auction_id, endpoint_id, event_id, 'submission.created',
             true, (case when n % 10 = 0 then 'failed' else 'success' end)::webhook_delivery_status, 200, 5,
             case when n % 10 = 0 then 'http_status'::webhook_error_kind end, case when n % 10 = 0 then 'status 500' end, now(), now()
         from made;
         insert into webhook_delivery.endpoint_health (endpoint_id, failing_since, failed_deliveries)
         select id, now(), 1 from endpoint where n % 2 = 0;",
        riverside = sample::RIVERSIDE,
    );
    application.client.batch_execute(&rows).unwrap_or_else(|e| panic!("rows are not inserted: {:?}", e.as_db_error()));
}

/// Undoes `fill`.
const EMPTY: &str = "drop table endpoint, made; delete from webhook_endpoints;
    truncate webhook_delivery.queue, webhook_delivery.events, webhook_delivery.attempts, webhook_delivery.endpoint_health";

/// Inserts parked deliveries of all auctions' endpoints, due tomorrow.
fn deepen(application: &mut Application) {
    let rows = format!(
        "insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type, attempts, is_parked)
         select now() + interval '1 day', webhook_delivery.uuid_v7(), auction_id, endpoint_id, event_id, 'submission.created', 1, true
         from made, generate_series(1, {DEEP} / {ROWS})"
    );
    application.client.batch_execute(&rows).unwrap_or_else(|e| panic!("rows are not inserted: {:?}", e.as_db_error()));
    // A new worker counts the parked deliveries when it starts.
    application.cluster.restart_worker();
    wait_until("the counts", DEADLINE, || {
        (application.count("select count(*) from webhook_delivery.parked_counts") > 0).then_some(())
    });
}

/// The worker's fixed planner settings.
fn worker_settings() -> String {
    let pins =
        std::fs::read_to_string(checkout().join("src/postgres/worker_settings.rs")).expect("the worker's settings");
    let (_, list) = pins.split_once("const SETTINGS").expect("the list of settings");
    let (list, _) = list.split_once("];").expect("the end of the list");
    let settings = list.lines().filter_map(|line| line.trim().strip_prefix("(c\"")?.strip_suffix("\"),"));
    let planning = settings.filter_map(|setting| setting.split_once("\", c\"")).filter(|(name, _)| {
        ["enable_", "jit", "max_parallel", "plan_cache_mode"].iter().any(|start| name.starts_with(start))
    });
    let settings: String = planning.map(|(name, value)| format!("set {name} = {value};")).collect();
    assert!(settings.contains("enable_seqscan") && settings.contains("plan_cache_mode"), "{settings}");
    settings
}

/// Cost of a statement in a transaction that is rolled back: blocks touched, including those of the
/// functions that it calls, and rows read by the statement itself.
#[track_caller]
fn cost(session: &mut Client, name: &str, statement: &str) -> f64 {
    let mut transaction = session.transaction().unwrap();
    let explain = format!("explain (analyze, buffers, timing off, format json) {statement}");
    let plan: Value =
        transaction.query_one(&explain, &[]).unwrap_or_else(|e| panic!("{name}: {:?}", e.as_db_error())).get(0);
    transaction.rollback().unwrap();
    let plan = &plan[0]["Plan"];
    sum(plan, &["Shared Hit Blocks", "Shared Read Blocks"]) + rows(plan)
}

fn sum(node: &Value, figures: &[&str]) -> f64 {
    figures.iter().filter_map(|figure| node[figure].as_f64()).sum()
}

fn rows(node: &Value) -> f64 {
    let of_a_loop =
        ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck"];
    let children = node["Plans"].as_array().into_iter().flatten();
    sum(node, &of_a_loop) * sum(node, &["Actual Loops"]) + children.map(rows).sum::<f64>()
}

/// The value of a query as an SQL literal.
#[track_caller]
fn literal(client: &mut Client, query: &str) -> String {
    let text: String = client
        .query_one(&format!("select quote_literal(({query})::text)"), &[])
        .unwrap_or_else(|e| panic!("{query}: {:?}", e.as_db_error()))
        .get(0);
    text
}

/// A session with the worker's planner settings.
fn worker_session(application: &Application) -> Client {
    let mut worker = application.cluster.connect();
    worker.batch_execute(&worker_settings()).unwrap();
    worker
}

/// Cost of each statement in a new session.
fn measure(application: &mut Application) -> BTreeMap<String, f64> {
    let mut measured = BTreeMap::new();
    let mut worker = worker_session(application);
    for (number, statement) in worker_statements(&mut application.client).into_iter().enumerate() {
        statement.prepare(&mut worker, number);
        measured.insert(statement.name(), statement.cost(&mut worker, number));
    }
    for (name, call) in tenant_statements(&mut application.client) {
        let mut dana = tenant::session_of(&application.cluster, "tenant", sample::DANA);
        measured.insert(name.clone(), cost(&mut dana, &name, &call));
    }
    for (name, call) in operator_statements() {
        measured.insert(name.clone(), cost(&mut application.cluster.connect(), &name, &call));
    }
    measured
}

/// Cost of the worker's statements in a session that planned them while all tables were empty.
fn measure_planned_early(application: &mut Application, worker: &mut Client) -> BTreeMap<String, f64> {
    let statements = worker_statements(&mut application.client).into_iter().enumerate();
    statements.map(|(number, statement)| (statement.name(), statement.cost(worker, number))).collect()
}

#[test]
fn statements_cost_the_same_whatever_the_statistics_say() {
    let mut application = Application::start(&[("autovacuum", "off"), ("webhook_delivery.max_endpoints", "1000")]);
    tenant::create_roles(&mut application.client);
    fill(&mut application);
    let statements = worker_statements(&mut application.client);
    for file in std::fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        assert!(
            statements.iter().any(|known| path.file_stem() == Some(known.file.as_ref())),
            "{path:?} is not measured"
        );
    }

    application.client.batch_execute(EMPTY).unwrap();
    let mut early = worker_session(&application);
    for (number, statement) in statements.iter().enumerate() {
        statement.prepare(&mut early, number);
        statement.with_null_arguments().cost(&mut early, number);
    }
    fill(&mut application);
    let mut measured = vec![("empty when they were planned", measure_planned_early(&mut application, &mut early))];
    for (says, statement) in STATES {
        if says == DEEP_QUEUE {
            deepen(&mut application);
        }
        if statement.contains("$1") {
            let tables: Vec<u32> = application.client.query_one(TABLES, &[]).unwrap().get(0);
            application.client.execute(statement, &[&tables]).unwrap();
        } else {
            application.client.batch_execute(statement).unwrap();
        }
        measured.push((says, measure(&mut application)));
    }

    let (_, expected) = measured.iter().find(|(says, _)| *says == TRUE).expect("one of the states");
    let mut worse = Vec::new();
    for (says, measured) in &measured {
        for (name, cost) in measured {
            let mut at_most = 3.0 * expected[name] + 500.0;
            if *says == DEEP_QUEUE && name == COUNTS_ALL {
                at_most += 3.0 * f64::from(DEEP);
            }
            // It reads the worker's count of each endpoint's parked deliveries.
            if *says == DEEP_QUEUE && name.contains("from webhook_endpoint_health") {
                at_most += 2.0 * f64::from(ENDPOINTS);
            }
            // It sends the endpoint's waiting deliveries too, each of which moves to another partition.
            if *says == DEEP_QUEUE && name.contains("only_failed => false") {
                at_most += 200.0 * f64::from(DEEP / ENDPOINTS);
            }
            println!("{says}: {cost}, at most {at_most}: {name}");
            if *cost > at_most {
                worse.push(format!(
                    "{name}\n  costs {cost} with tables {says}, and {} with these {TRUE}",
                    expected[name]
                ));
            }
        }
    }
    assert!(worse.is_empty(), "{}", worse.join("\n"));
}
