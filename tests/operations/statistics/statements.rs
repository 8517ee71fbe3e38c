//! The statements whose cost is measured: the worker's, tenants' and operators'.

use super::*;

/// A statement of the worker.
pub struct Statement {
    pub file: &'static str,
    case: &'static str,
    arguments: Vec<String>,
}

impl Statement {
    pub fn name(&self) -> String {
        format!("the worker's {}{}", self.file, self.case)
    }

    pub fn prepare(&self, worker: &mut Client, number: usize) {
        let sql = std::fs::read_to_string(folder().join(self.file).with_extension("sql")).expect("a file");
        let prepare = format!("prepare of_worker_{number} as {sql}");
        worker.batch_execute(&prepare).unwrap_or_else(|e| panic!("{}: {:?}", self.name(), e.as_db_error()));
    }

    pub fn cost(&self, worker: &mut Client, number: usize) -> f64 {
        let arguments =
            if self.arguments.is_empty() { String::new() } else { format!("({})", self.arguments.join(", ")) };
        cost(worker, &self.name(), &format!("execute of_worker_{number}{arguments}"))
    }

    /// The statement with null for each argument, which is planned and does nothing.
    pub fn with_null_arguments(&self) -> Statement {
        Statement { arguments: vec!["null".to_owned(); self.arguments.len()], ..*self }
    }
}

pub fn folder() -> PathBuf {
    checkout().join("sql/statements/delivery")
}

/// The worker's statements, each with arguments for 250 deliveries.
pub fn worker_statements(client: &mut Client) -> Vec<Statement> {
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
pub fn tenant_statements(client: &mut Client) -> Vec<(String, String)> {
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
pub const COUNTS_ALL: &str = "the operator's select count(*) from webhook_deliveries";

/// Queries and calls of the operator.
pub fn operator_statements() -> Vec<(String, String)> {
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
