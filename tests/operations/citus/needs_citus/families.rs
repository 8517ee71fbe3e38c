//! Built-in families on distributed tables.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;
use webhook_harness::{Cluster, DEADLINE, Receiver, Reply, sample, wait_until};

use crate::citus::nodes::{Nodes, psql};

/// The application's tables without users.
const TABLES: [&str; 13] = [
    "auctions",
    "auction_members",
    "auction_invitations",
    "locations",
    "count_types",
    "submissions",
    "submission_entries",
    "inspections",
    "inspection_defects",
    "problems",
    "problem_actions",
    "channels",
    "messages",
];

/// Transactions that make events of most families. `@` stands for the schema, `$` for the auction;
/// `#` and `%` for the column of the auction, and its value, in tables that have it only in Citus.
const TRANSACTIONS: [&str; 7] = [
    "insert into @submissions (id, auction_id, location_id, user_id, submitted_at)
         values ('00000000-0000-4000-8000-000000000101', $, '00000000-0000-4000-8000-0000000000b1',
             '00000000-0000-4000-8000-0000000000a1', '2026-01-02');
     insert into @submission_entries (# submission_id, type_id, car_count)
         values (% '00000000-0000-4000-8000-000000000101', '00000000-0000-4000-8000-0000000000c1', 42)",
    "update @submission_entries set car_count = 7 where submission_id = '00000000-0000-4000-8000-000000000101'",
    "insert into @inspections (id, auction_id, user_id, submitted_at)
         values ('00000000-0000-4000-8000-000000000102', $, '00000000-0000-4000-8000-0000000000a2', '2026-01-02')",
    "insert into @inspection_defects (# inspection_id, category)
         values (% '00000000-0000-4000-8000-000000000102', 'paint')",
    "insert into @problems (id, auction_id, issue_name, prepared_by, updated_at)
         values ('00000000-0000-4000-8000-000000000103', $, 'Gate', '00000000-0000-4000-8000-0000000000a1', '2026-01-02')",
    "update @problems set status = 'closed' where id = '00000000-0000-4000-8000-000000000103'",
    "delete from @auction_members where user_id = '00000000-0000-4000-8000-0000000000a2'",
];

const EVENTS: [&str; 7] = [
    "submission.created",
    "submission.updated",
    "inspection.created",
    "inspection.defect_added",
    "problem.created",
    "problem.status_changed",
    "member.removed",
];

const RIVERSIDE: &str = "'00000000-0000-4000-8000-000000000001'";

/// Makes the changes in this schema, and returns the type and data of the events that arrive.
#[track_caller]
fn play(node: &Cluster, receiver: &Receiver, schema: &str, has_auctions: bool) -> Vec<(String, Value)> {
    let before = receiver.distinct_ids().len();
    for (number, transaction) in TRANSACTIONS.iter().enumerate() {
        let [column, value] = if has_auctions { ["auction_id,", &format!("{RIVERSIDE},")] } else { ["", ""] };
        let transaction = transaction
            .replace('@', &format!("{schema}."))
            .replace('#', column)
            .replace('%', value)
            .replace('$', RIVERSIDE);
        psql(node, &format!("begin; {transaction}; commit;"));
        receiver.wait_for_distinct(before + number + 1, DEADLINE);
    }
    let mut events: Vec<_> = receiver.requests()[before..]
        .iter()
        .map(|request| {
            let body = request.json();
            let mut data = body["data"].clone();
            // Of the transaction, and of the rows of the sample.
            for time in ["removed_at", "joined_at"] {
                data.as_object_mut().expect("an object").remove(time);
            }
            (body["event"].as_str().expect("a type").to_owned(), data)
        })
        .collect();
    events.sort_by_key(|(event_type, _)| EVENTS.iter().position(|known| known == event_type));
    assert_eq!(events.iter().map(|(event_type, _)| event_type.as_str()).collect::<Vec<_>>(), EVENTS);
    events
}

/// What `install_triggers()` reports.
fn report(node: &Cluster, schema: &str) -> BTreeMap<String, String> {
    let query = format!(
        "select table_name || ' ' || coalesce(trigger_name, ''), result || ': ' || coalesce(detail, '')
         from webhook_delivery.install_triggers('{schema}') where result <> 'access'"
    );
    let lines = psql(node, &query);
    lines
        .lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(name, result)| (name.to_owned(), result.to_owned()))
        .collect()
}

#[track_caller]
fn assert_all_installed(node: &Cluster, schema: &str) {
    let report = report(node, schema);
    assert!(
        report.values().all(|result| result.starts_with("installed") || result.starts_with("found")),
        "{report:#?}"
    );
}

/// The application's tables in schema `app`, distributed by the auction: those that have none get
/// the column.
fn distribute(nodes: &Nodes) {
    let mut sql = "create schema app; create table app.users (like public.users including all);
        insert into app.users select * from public.users; select create_reference_table('app.users');"
        .to_owned();
    for table in TABLES {
        sql += &format!("create table app.{table} (like public.{table} including defaults);");
        let by = match table {
            "auctions" => "id",
            "submission_entries" | "inspection_defects" | "problem_actions" => {
                sql += &format!("alter table app.{table} add column auction_id uuid not null;");
                "auction_id"
            }
            _ => "auction_id",
        };
        sql += &format!(
            "select create_distributed_table('app.{table}', '{by}', colocate_with => '{}');",
            if table == "auctions" { "default" } else { "app.auctions" }
        );
        if matches!(table, "auctions" | "auction_members" | "locations" | "count_types") {
            sql += &format!("insert into app.{table} select * from public.{table};");
        }
    }
    // The local rows have made their events already.
    sql += &format!("insert into app.auction_members values ('{}', {RIVERSIDE}, '{}');", sample::SAM, sample::SAM);
    psql(&nodes.coordinator, &sql);
}

/// Nodes with the application's local tables in schema public of the coordinator, and an endpoint
/// of Riverside that receives their events.
fn with_local_tables(receiver: &Receiver) -> (Nodes, Vec<(String, Value)>) {
    let nodes = Nodes::start(&[]);
    webhook_harness::application::install_tables(&mut nodes.coordinator.connect());
    nodes.endpoint(sample::RIVERSIDE, &receiver.url("/"));
    assert_all_installed(&nodes.coordinator, "public");
    let events = play(&nodes.coordinator, receiver, "public", false);
    (nodes, events)
}

fn assert_no_dead_letters(nodes: &Nodes) {
    let query = "select result from run_command_on_all_nodes(
        $$ select coalesce(string_agg(error_message, '; '), '') from webhook_delivery.capture_errors $$)";
    assert_eq!(psql(&nodes.coordinator, query).trim(), "");
}

#[test]
#[ignore = "needs Citus"]
fn events_of_distributed_tables_are_those_of_local_ones() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (nodes, expected) = with_local_tables(&receiver);
    distribute(&nodes);
    assert_all_installed(&nodes.coordinator, "app");
    assert_eq!(play(&nodes.coordinator, &receiver, "app", true), expected);
    assert_no_dead_letters(&nodes);
    let on_workers: i64 =
        nodes.workers.iter().map(|node| node.query_one::<i64>("select count(*) from webhook_deliveries", &[])).sum();
    assert_eq!(on_workers, 7, "the nodes of the shards deliver them");
    // A second call changes nothing, and all triggers can be removed.
    assert!(report(&nodes.coordinator, "app").values().all(|result| !result.starts_with("installed")));
    psql(&nodes.coordinator, "select webhook_delivery.remove_triggers()");
    let left = "select result from run_command_on_all_nodes($$ select count(*) from pg_trigger
        where tgfoid = 'webhook_delivery.capture_row_change'::regproc $$)";
    assert_eq!(psql(&nodes.coordinator, left).split_whitespace().collect::<Vec<_>>(), ["0", "0", "0"]);
}

#[test]
#[ignore = "needs Citus"]
fn events_of_a_distributed_schema_are_those_of_local_tables() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (nodes, expected) = with_local_tables(&receiver);
    let schema = include_str!("../../../../sql/auction/schema.sql").replace("public.", "app.");
    let rows = include_str!("../../../../sql/auction/sample.sql").replace("public.", "app.");
    psql(
        &nodes.coordinator,
        &format!("set citus.enable_schema_based_sharding = on; create schema app; {schema}; {rows}"),
    );
    assert_all_installed(&nodes.coordinator, "app");
    assert_eq!(play(&nodes.coordinator, &receiver, "app", false), expected);
    assert_no_dead_letters(&nodes);
}

#[test]
#[ignore = "needs Citus"]
fn local_tables_that_refer_to_a_reference_table_go_on_making_events() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (nodes, expected) = with_local_tables(&receiver);
    let clean = "delete from submissions; delete from inspections; delete from problems;
        insert into auction_members (auction_id, user_id) values
            ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-0000000000a2');";
    let before = receiver.distinct_ids().len();
    psql(&nodes.coordinator, clean);
    receiver.wait_for_distinct(before + 1, DEADLINE);
    // Citus brings the tables that refer to it into its catalogue, with their triggers.
    psql(&nodes.coordinator, "select create_reference_table('users')");
    let events = play(&nodes.coordinator, &receiver, "public", false);
    let without_id =
        |events: &[(String, Value)]| -> Vec<Value> { events.iter().map(|(_, data)| data.clone()).take(6).collect() };
    assert_eq!(without_id(&events), without_id(&expected));
    assert_no_dead_letters(&nodes);
}

#[test]
#[ignore = "needs Citus"]
fn tables_that_citus_keeps_apart_are_reported() {
    let nodes = Nodes::start(&[]);
    webhook_harness::application::install_tables(&mut nodes.coordinator.connect());
    psql(
        &nodes.coordinator,
        "create schema app;
         create table app.submissions (like public.submissions);
         create table app.submission_entries (like public.submission_entries);
         create table app.locations (like public.locations);
         create table app.users (like public.users);
         create table app.count_types (like public.count_types);
         select create_distributed_table('app.submissions', 'auction_id');
         select create_distributed_table('app.submission_entries', 'submission_id', colocate_with => 'none');
         select create_distributed_table('app.locations', 'auction_id', colocate_with => 'app.submissions');
         select create_reference_table('app.users');
         create table app.problems (like public.problems);
         create table app.problem_actions (like public.problem_actions);
         select create_distributed_table('app.problems', 'auction_id');
         select create_reference_table('app.problem_actions');",
    );
    let report = report(&nodes.coordinator, "app");
    for table in ["submission_entries", "count_types"] {
        let result = &report[&format!("{table} ")];
        assert!(result.starts_with("unreadable: app."), "{result}");
        assert!(result.contains("keep its rows with those of app.submissions"), "{result}");
    }
    // Its triggers would fire where the problems are not.
    let actions = &report["problem_actions "];
    assert!(
        actions.ends_with("keep its rows with those of app.problems: distribute it with colocate_with."),
        "{actions}"
    );
    for table in ["locations", "users"] {
        assert!(report[&format!("{table} ")].starts_with("found"), "{report:#?}");
    }
}

#[test]
#[ignore = "needs Citus"]
fn event_of_a_shard_that_failed_is_recaptured_there_and_rows_of_all_shards_can_be_backfilled() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (nodes, _) = with_local_tables(&receiver);
    distribute(&nodes);
    assert_all_installed(&nodes.coordinator, "app");
    let before = receiver.distinct_ids().len();
    // A column that the payload query reads is not there for a while.
    psql(&nodes.coordinator, "alter table app.submissions rename column image_url to picture");
    let id = Uuid::new_v4();
    psql(&nodes.coordinator, &format!("insert into app.submissions (id, auction_id) values ('{id}', {RIVERSIDE})"));
    psql(&nodes.coordinator, "alter table app.submissions rename column picture to image_url");
    let recapture = "select result from run_command_on_all_nodes(
        $$ select coalesce(sum(webhook_delivery.recapture(id)), 0) from webhook_delivery.capture_errors $$) order by result";
    assert_eq!(psql(&nodes.coordinator, recapture).split_whitespace().collect::<Vec<_>>(), ["0", "0", "1"]);
    receiver.wait_for_distinct(before + 1, DEADLINE);
    let last = |receiver: &Receiver| receiver.requests().last().expect("a request").json()["data"]["id"].clone();
    assert_eq!(last(&receiver), id.to_string());

    let backfill = format!(
        "select result from run_command_on_all_nodes(
             $$ select webhook_delivery.backfill('submission.created', '{{{id}}}', 'app') $$) order by result"
    );
    assert_eq!(psql(&nodes.coordinator, &backfill).split_whitespace().collect::<Vec<_>>(), ["0", "0", "1"]);
    receiver.wait_for_distinct(before + 2, DEADLINE);
    assert_eq!(last(&receiver), id.to_string());
}

#[test]
#[ignore = "needs Citus"]
fn row_with_copies_on_several_nodes_makes_one_event() {
    let nodes = Nodes::start(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    nodes.endpoint(sample::RIVERSIDE, &receiver.url("/"));
    let mut expected = 0;
    for (table, distribute) in [
        ("everywhere", "select create_reference_table('everywhere')"),
        ("twice", "set citus.shard_replication_factor = 2; select create_distributed_table('twice', 'auction_id')"),
        // The trigger is there before the table has copies.
        ("afterwards", ""),
    ] {
        psql(
            &nodes.coordinator,
            &format!(
                "set citus.enable_unsafe_triggers = on; create table {table} (auction_id uuid, number integer); {distribute};
                 create trigger made after insert on {table} for each row
                     execute function webhook_delivery.row_event('order.created', 'auction_id')"
            ),
        );
        if table == "afterwards" {
            psql(
                &nodes.coordinator,
                "set citus.enable_unsafe_triggers = on; select create_reference_table('afterwards')",
            );
        }
        for number in 0..5 {
            psql(&nodes.coordinator, &format!("insert into {table} values ({RIVERSIDE}, {number})"));
        }
        expected += 5;
        receiver.wait_for_distinct(expected, DEADLINE);
    }
    wait_until("the history", DEADLINE, || {
        (nodes.deliveries() == BTreeMap::from([("success".to_owned(), 15)])).then_some(())
    });
    assert_eq!(receiver.count(), 15, "each row is delivered once");
}
