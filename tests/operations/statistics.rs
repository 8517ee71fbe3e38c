//! Statistics: a statement's cost does not depend on what VACUUM and ANALYZE last saw in a table.
//!
//! The same rows are read and written with different statistics in the catalogue. The test compares
//! the number of blocks and rows that a statement touches, not its time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use postgres::Client;
use serde_json::Value;
use webhook_harness::{Application, DEADLINE, checkout, sample, tenant, wait_until};

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

/// A statement of the worker.
struct Statement {
    file: &'static str,
    case: &'static str,
    arguments: Vec<String>,
}

impl Statement {
    fn name(&self) -> String {
        format!("the worker's {}{}", self.file, self.case)
    }

    fn prepare(&self, worker: &mut Client, number: usize) {
        let sql = std::fs::read_to_string(folder().join(self.file).with_extension("sql")).expect("a file");
        let prepare = format!("prepare of_worker_{number} as {sql}");
        worker.batch_execute(&prepare).unwrap_or_else(|e| panic!("{}: {:?}", self.name(), e.as_db_error()));
    }

    fn cost(&self, worker: &mut Client, number: usize) -> f64 {
        let arguments =
            if self.arguments.is_empty() { String::new() } else { format!("({})", self.arguments.join(", ")) };
        cost(worker, &self.name(), &format!("execute of_worker_{number}{arguments}"))
    }

    /// The statement with null for each argument, which is planned and does nothing.
    fn with_null_arguments(&self) -> Statement {
        Statement { arguments: vec!["null".to_owned(); self.arguments.len()], ..*self }
    }
}

fn folder() -> PathBuf {
    checkout().join("sql/statements/delivery")
}

/// The worker's statements, each with arguments for 250 deliveries.
fn worker_statements(client: &mut Client) -> Vec<Statement> {
    let mut column = |sql: &str| {
        literal(
            client,
            &format!(
                "select array_agg({sql} order by n) from made join webhook_delivery.queue on delivery_id = waiting_id where n <= 250"
            ),
        )
    };
    let endpoints = column("made.endpoint_id");
    let (due_at, ids) = (column("due_at"), column("delivery_id"));
    let events = column("made.event_id");
    let first_attempt = column("1");
    let outcomes = vec![column(
        "row(due_at, delivery_id, 1, made.auction_id, made.endpoint_id, made.event_id, event_type,
             200, 5, case when n % 10 = 0 then 'http_status' end, case when n % 10 = 0 then 'status 500' end, null, false,
             now(), case when n % 10 = 0 then now() + interval '1 minute' end, false, 1, 1, 1, 1, '127.0.0.1',
             webhook_delivery.uuid_v7_time(delivery_id))::webhook_delivery.outcome",
    )];
    let failed = vec![
        ids.clone(),
        column("made.auction_id"),
        endpoints.clone(),
        column("event_type"),
        first_attempt.clone(),
        column("500"),
        column("'status 500'::text"),
        column("now()"),
    ];
    let health = vec![
        endpoints.clone(),
        column("n % 2 = 0"),
        column("now()"),
        column("1"),
        column("false"),
        column("'status 500'::text"),
        "10".into(),
        "1000".into(),
    ];
    let counts = ["made.endpoint_id", "made.auction_id", "false", "n::bigint", "n::bigint", "now()", "now()"];
    let counts = counts.map(&mut column).into();
    let [first_event, last_event] = ["min", "max"]
        .map(|which| literal(client, &format!("select {which}(event_id::text) from made where n <= 250")));
    let text = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let from_start = |leave_out: &str, only: &str| {
        text(&["'-infinity'", "'00000000-0000-0000-0000-000000000000'", "now()", leave_out, only, "250"])
    };
    let long =
        |number| text(&["'-infinity'", "now() - interval '1 minute'", "now() + interval '1 minute'", "200"][..number]);
    let file = |file, case, arguments| Statement { file, case, arguments };
    vec![
        file("send_state", "", vec![]),
        file("read_due", "", from_start("'{}'", "null")),
        file("read_due", ", all but many endpoints", from_start(&endpoints, "null")),
        file("read_due", ", of one endpoint", from_start("'{}'", "'00000000-0000-4000-9000-000000000001'")),
        file("read_events", "", vec![events, first_event, last_event, "1000000".into()]),
        file("targets", "", vec![endpoints.clone()]),
        file("next_due", "", text(&["now()"])),
        file("unrecorded", "", vec![due_at, ids, first_attempt]),
        file("record", "", outcomes.clone()),
        file("record_carefully", "", outcomes),
        file("slow_endpoints", "", vec![]),
        file("remember_slow", "", vec![endpoints.clone(), endpoints]),
        file("failing_endpoints", "", vec![]),
        file("record_endpoint_health", "", health),
        file("notify_failed_deliveries", "", failed),
        file("expire", "", text(&["webhook_delivery.uuid_v7_floor(now() - interval '30 days')"])),
        file("has_locked_errors", "", vec![]),
        file("take_locked_error", "", text(&["0"])),
        file("has_to_park", "", long(3)),
        file("park", "", long(4)),
        file("parked_size", "", vec![]),
        file("count_parked", "", text(&["0", "4"])),
        file("publish_counts", "", counts),
    ]
}

/// Queries and calls of a tenant.
fn tenant_statements(client: &mut Client) -> Vec<(String, String)> {
    let endpoint = "'00000000-0000-4000-9000-000000000002'";
    let mut id = |column: &str| {
        literal(client, &format!("select {column} from made where endpoint_id = {endpoint} order by n limit 1"))
    };
    let (waiting, ended) = (id("waiting_id"), id("ended_id"));
    let hour = "now() - interval '1 hour'";
    [
        "select * from webhook_deliveries order by created_at desc limit 50".to_owned(),
        format!("select * from webhook_deliveries where endpoint_id = {endpoint} order by created_at desc limit 50"),
        "select * from webhook_deliveries where status = 'failed' order by created_at desc limit 50".to_owned(),
        format!("select status, count(*) from webhook_deliveries where endpoint_id = {endpoint} group by status"),
        format!("select * from webhook_deliveries where id = {waiting}"),
        format!("select * from webhook_deliveries where id = {ended}"),
        format!("select * from webhook_delivery_attempts where delivery_id = {ended}"),
        "select * from webhook_endpoints left join lateral (
            select * from webhook_deliveries(webhook_endpoints) order by created_at desc limit 10) as delivery on true"
            .to_owned(),
        "select sum(queued) from webhook_endpoint_health".to_owned(),
        format!("select * from diagnose_webhook({endpoint})"),
        format!("select * from webhook_request({ended})"),
        format!("select redeliver_webhook({waiting})"),
        format!("select redeliver_webhook({ended})"),
        format!("select cancel_webhook({waiting})"),
        format!("select recover_webhooks({endpoint}, {hour}, dry_run => true)"),
        format!("select recover_webhooks({endpoint}, {hour}, only_failed => false)"),
        format!("select replay_webhooks({endpoint}, {hour})"),
        format!("select test_webhook({endpoint}, 'submission.created')"),
        "select * from webhook_auctions()".to_owned(),
        format!("select * from webhook_activity({hour})"),
        format!("select expunge_webhook_data('{}', containing => 'nothing')", sample::RIVERSIDE),
        format!("update webhook_endpoints set description = 'x' where id = {endpoint}"),
        format!("delete from webhook_endpoints where id = {endpoint}"),
        format!(
            "insert into webhook_endpoints (auction_id, url, events) values ('{}', 'https://127.0.0.1/', '{{*}}')",
            sample::RIVERSIDE
        ),
    ]
    .map(|call| (format!("a tenant's {call}"), call))
    .into()
}

/// The statement that must read every row.
const COUNTS_ALL: &str = "the operator's select count(*) from webhook_deliveries";

/// Queries and calls of the operator.
fn operator_statements() -> Vec<(String, String)> {
    [
        "select * from webhook_delivery.status",
        "select * from webhook_delivery.metrics",
        "select sum(queued) from webhook_endpoint_health",
        "select * from webhook_deliveries order by created_at desc limit 50",
        "select count(*) from webhook_deliveries",
        "select webhook_delivery.redeliver(array(select ended_id from made where n <= 250))",
        "select webhook_delivery.redeliver(array(select waiting_id from made where n <= 250))",
        "select webhook_delivery.cancel(array(select waiting_id from made where n <= 250))",
        "select webhook_delivery.emit('submission.created', auction_id, '{}') from made where n <= 250",
    ]
    .map(|call| (format!("the operator's {call}"), call.to_owned()))
    .into()
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
