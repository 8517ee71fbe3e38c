//! Server settings that change how statements are read and how values are written: everything works
//! as it does under the default settings.

use postgres::Client;
use postgres::types::ToSql;
use serde_json::json;
use uuid::Uuid;
use webhook_harness::verify::assert_signed;
use webhook_harness::{
    Application, Cluster, DEADLINE, Endpoint, Receiver, Submission, application, installation, sample, tenant,
    wait_until,
};

/// Settings that an administrator may have in postgresql.conf.
const HOSTILE: &[(&str, &str)] = &[
    // How statements are read.
    ("standard_conforming_strings", "off"),
    ("escape_string_warning", "off"),
    ("backslash_quote", "off"),
    ("transform_null_equals", "on"),
    ("array_nulls", "off"),
    ("xmloption", "document"),
    ("check_function_bodies", "off"),
    ("plpgsql.variable_conflict", "use_column"),
    ("plpgsql.extra_errors", "all"),
    // How values are written and read.
    ("quote_all_identifiers", "on"),
    ("datestyle", "SQL, DMY"),
    ("intervalstyle", "sql_standard"),
    ("timezone", "Pacific/Chatham"),
    ("bytea_output", "escape"),
    ("extra_float_digits", "-15"),
    ("xmlbinary", "hex"),
    // How transactions and statements run.
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("enable_seqscan", "off"),
    ("enable_indexscan", "off"),
    ("enable_indexonlyscan", "off"),
    ("enable_nestloop", "off"),
    ("enable_hashjoin", "off"),
    ("plan_cache_mode", "force_custom_plan"),
    // Disabled plan nodes have such a high cost that the server would compile every statement,
    // which takes minutes.
    ("jit", "off"),
    ("webhook_delivery.retry_schedule", "1s"),
];

fn hostile_cluster(settings: &[(&str, &str)]) -> Cluster {
    let parallel = if installation().major() < 16 { "force_parallel_mode" } else { "debug_parallel_query" };
    let settings = [HOSTILE, &[(parallel, "regress")], settings].concat();
    Cluster::start(&settings)
}

/// The single value that a statement returns.
#[track_caller]
fn value<T: postgres::types::FromSqlOwned>(client: &mut Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> T {
    let row = client.query_one(sql, parameters);
    row.unwrap_or_else(|e| panic!("{sql}\nfailed: {e}: {:?}", e.as_db_error())).get(0)
}

#[test]
fn main_path_works_under_hostile_server_settings() {
    let receiver = Receiver::by_path();
    let mut application = Application::on(hostile_cluster(&[]));
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    let failing = application.endpoint(sample::RIVERSIDE, &receiver.url("/fail-then-ok/1"), &["submission.created"]);
    let client = &mut application.client;
    let submission = Submission::of_riverside().insert(client);

    // A submission with its entries.
    let first = endpoint.wait_for(client, 1, "success");
    let requests = receiver.requests_to("/");
    assert_signed(&endpoint.secret, &requests);
    let body = requests[0].json();
    let expected = json!({
        "event": "submission.created", "timestamp": body["timestamp"], "webhook_id": first[0].id, "auction_id": sample::RIVERSIDE,
        "data": {
            "id": submission, "location_id": sample::NORTH_LOT, "location_name": "North Lot", "user_id": sample::DANA,
            "submitted_by": "Dana Reyes", "submitted_at": body["data"]["submitted_at"],
            "entries": [
                { "type_id": sample::SEDAN, "type_name": "Sedan", "car_count": 42, "image_url": null },
                { "type_id": sample::TRUCK, "type_name": "Truck", "car_count": 17, "image_url": null },
            ],
            "total_car_count": 59, "image_url": null,
        },
    });
    assert_eq!(body.to_string(), expected.to_string());
    for time in [&body["timestamp"], &body["data"]["submitted_at"]] {
        let time = time.as_str().unwrap();
        assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    }

    // A failure and the next attempt.
    let retried = failing.wait_for(client, 1, "success");
    assert_eq!((retried[0].attempts, failing.attempts(client).len()), (2, 2));

    // A test event.
    client.execute("select * from test_webhook($1, 'problem.created')", &[&endpoint.id]).unwrap();
    endpoint.wait_for(client, 2, "success");

    // Redelivers one delivery, recovers all, replays past events to a new endpoint and cancels a
    // waiting delivery.
    client.execute("select redeliver_webhook($1)", &[&first[0].id]).unwrap();
    receiver.wait_for_distinct(3, DEADLINE);
    wait_until("the redelivery", DEADLINE, || {
        (endpoint.deliveries(client)[0].attempts == 2 && endpoint.deliveries(client)[0].status == "success")
            .then_some(())
    });
    let again: i64 =
        value(client, "select recover_webhooks($1, now() - interval '1 hour', only_failed => false)", &[&endpoint.id]);
    assert_eq!(again, 1);
    wait_until("the recovered delivery", DEADLINE, || {
        (endpoint.deliveries(client)[0].attempts == 3 && endpoint.deliveries(client)[0].status == "success")
            .then_some(())
    });
    let late = application::endpoint(client, sample::RIVERSIDE, &receiver.url("/late"), &["*"]);
    assert_eq!(value::<i64>(client, "select replay_webhooks($1, now() - interval '1 hour')", &[&late.id]), 1);
    late.wait_for(client, 1, "success");
    client.execute("select webhook_delivery.pause('a rest', endpoint_id => $1)", &[&late.id]).unwrap();
    Submission::of_riverside().insert(client);
    let waiting = late.wait_for(client, 1, "pending");
    let waiting = waiting.iter().find(|delivery| delivery.status == "pending").unwrap();
    client.execute("select cancel_webhook($1)", &[&waiting.id]).unwrap();
    let cancelled = late.wait_for(client, 1, "failed");
    assert!(cancelled.iter().any(|delivery| delivery.error_message.as_deref() == Some("cancelled")), "{cancelled:?}");
    client.execute("select webhook_delivery.resume(endpoint_id => $1)", &[&late.id]).unwrap();

    // Rotates the secret and shows the request that was sent.
    let secret: String = value(client, "select rotate_webhook_secret($1)", &[&endpoint.id]);
    let hint: String = value(client, "select secret from webhook_endpoints where id = $1", &[&endpoint.id]);
    assert_eq!(hint, format!("...{}", &secret[secret.len() - 4..]));
    let sent: String = value(client, "select body from webhook_request($1)", &[&first[0].id]);
    assert_eq!(sent, requests[0].text());
    assert_everything_answers(client, &endpoint);

    // Reads as a tenant and expunges a customer's data.
    tenant::create_roles(client);
    let mut admin = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    let seen: i64 = value(&mut admin, "select count(*) from webhook_deliveries", &[]);
    assert!(seen >= 5, "{seen}");
    assert_eq!(value::<i64>(&mut admin, "select count(*) from webhook_endpoints", &[]), 3);
    let expunged = "select expunge_webhook_data($1, containing => 'North Lot')";
    assert!(value::<i64>(&mut admin, expunged, &[&sample::RIVERSIDE]) >= 2);
    let client = &mut application.client;
    let removed: i64 = value(client, "select count(*) from webhook_delivery.remove_triggers()", &[]);
    assert!(removed > 15, "{removed}");
    let log = application.cluster.log();
    assert!(!log.contains("ERROR:") && !log.contains("WARNING:"), "{log}");
}

/// Runs the queries of operators, tenants and the page.
#[track_caller]
fn assert_everything_answers(client: &mut Client, endpoint: &Endpoint) {
    wait_until("the status", DEADLINE, || {
        client.query_opt("select from webhook_delivery.status where state = 'sending' and queued = 0", &[]).unwrap()
    });
    let diagnosis =
        client.query("select is_fine, result, what_to_do from diagnose_webhook($1)", &[&endpoint.id]).unwrap();
    assert_eq!(diagnosis.len(), 8);
    for row in diagnosis {
        let (is_fine, result): (Option<bool>, String) = (row.get(0), row.get(1));
        assert_eq!(is_fine, Some(true), "{result}");
    }
    assert!(value::<i64>(client, "select count(*) from webhook_delivery.metrics where value is not null", &[]) > 15);
    let health = "select success_rate_24h from webhook_endpoint_health where endpoint_id = $1";
    assert_eq!(value::<f64>(client, health, &[&endpoint.id]), 1.0);
    let attempts = "select count(*) from webhook_delivery_attempts where endpoint_id = $1 and status = 'success'";
    assert!(value::<i64>(client, attempts, &[&endpoint.id]) >= 5);
    assert_eq!(value::<i64>(client, "select count(*) from webhook_auctions()", &[]), 1);
    assert_eq!(value::<String>(client, "select check_webhook_url('https://Example.com')", &[]), "https://example.com/");
    let activity = "select sum(delivered)::bigint from webhook_activity(now() - interval '1 hour', '1 minute') where endpoint_id = $1";
    assert!(value::<i64>(client, activity, &[&endpoint.id]) >= 3);
    assert!(value::<String>(client, "select webhook_admin()", &[]).starts_with("<!doctype html>"));
    let page = "select webhook_delivery.admin_page('https://example.com/rest/v1')";
    assert!(value::<String>(client, page, &[]).starts_with("<!doctype html>"));
}

/// An event type, payload functions and tables of the application.
const OWN: &str = "
    create table orders (id uuid primary key default gen_random_uuid(), house uuid not null, cars integer, note text);
    select webhook_delivery.register_event_type('order.created', 'An order is made',
        webhook_delivery.schema_of('{\"cars\": \"integer\"}'), '{\"cars\": 1}');
    create trigger order_created after insert on orders
        for each row execute function webhook_delivery.row_event('order.created', 'house', 'note');
    create table lot_counts (id uuid primary key default gen_random_uuid(), house uuid not null, cars integer);
    create function lot_count_payload(ids uuid[]) returns table (id uuid, auction_id uuid, data json) language sql stable as
        $$ select id, house, json_build_object('cars', cars) from public.lot_counts where id = any (ids) $$;
    create trigger lot_count_created after insert on lot_counts
        for each row execute function webhook_delivery.capture_row_change('submission.created', 'id', 'house');
    create function broken(ids uuid[], previous json[]) returns table (id uuid, auction_id uuid, data json) language sql stable as
        $$ select null::uuid, null::uuid, to_json(1 / cardinality('{}'::uuid[])) $$;
    select webhook_delivery.set_payload_function('submission.created', 'broken(uuid[], json[])', 'lot_counts')";

#[test]
fn custom_events_are_sent_under_hostile_server_settings() {
    let receiver = Receiver::by_path();
    let mut application = Application::on(hostile_cluster(&[]));
    let client = &mut application.client;
    client.batch_execute(OWN).unwrap_or_else(|e| panic!("{:?}", e.as_db_error()));
    let endpoint =
        application::endpoint(client, sample::RIVERSIDE, &receiver.url("/"), &["order.created", "submission.*"]);
    let sent = |place: usize| {
        let request = &receiver.wait_for(place, DEADLINE)[place - 1];
        (request.event().unwrap().to_owned(), request.json()["data"].clone())
    };
    client.execute("insert into orders (house, cars, note) values ($1, 3, 'ours')", &[&sample::RIVERSIDE]).unwrap();
    let (event, data) = sent(1);
    assert_eq!(
        (event.as_str(), data),
        ("order.created", json!({ "id": data_id(client, "orders"), "house": sample::RIVERSIDE, "cars": 3 }))
    );

    let emit = "select webhook_delivery.emit('order.created', $1, '{\"cars\": 4}')";
    client.execute(emit, &[&sample::RIVERSIDE]).unwrap();
    assert_eq!(sent(2), ("order.created".to_owned(), json!({ "cars": 4 })));

    // A dead letter is recaptured with another payload function.
    client.execute("insert into lot_counts (house, cars) values ($1, 5)", &[&sample::RIVERSIDE]).unwrap();
    let lost: i64 = value(client, "select id from webhook_delivery.capture_errors where error_code = '22012'", &[]);
    client.batch_execute("select webhook_delivery.set_payload_function('submission.created', 'lot_count_payload(uuid[])', 'lot_counts')").unwrap();
    assert_eq!(value::<i64>(client, "select webhook_delivery.recapture($1)", &[&lost]), 1);
    assert_eq!(sent(3), ("submission.created".to_owned(), json!({ "cars": 5 })));
    endpoint.wait_for(client, 3, "success");

    // A row that was inserted without triggers is backfilled.
    client.batch_execute("select webhook_delivery.set_payload_function('submission.created', null)").unwrap();
    client.batch_execute("select * from webhook_delivery.remove_triggers()").unwrap();
    let submission = Submission::of_riverside().insert(client);
    let emitted: i64 =
        value(client, "select webhook_delivery.backfill('submission.created', array[$1]::uuid[])", &[&submission]);
    assert_eq!((emitted, sent(4).1["id"].clone()), (1, json!(submission)));
}

fn data_id(client: &mut Client, table: &str) -> Uuid {
    value(client, &format!("select id from {table}"), &[])
}

#[test]
fn retention_drops_partitions_under_hostile_server_settings() {
    let cluster = hostile_cluster(&[("webhook_delivery.retention", "36h")]);
    let mut client = cluster.connect();
    client.batch_execute("create extension webhook_delivery").unwrap();
    Endpoint::create(&mut client, "https://example.com/");
    let old = "select count(*) from unnest('{events, attempts_ended, attempts_retried}'::name[]) as parent,
        webhook_delivery.partitions(parent) as found where found.ends_at < now() - interval '30 days'";
    let made = "select count(*) from unnest('{events, attempts_ended, attempts_retried}'::name[]) as parent,
        webhook_delivery.partitions(parent) as found where found.begins_at < now() and now() < found.ends_at";
    let make = "select webhook_delivery.create_partitions();
        select webhook_delivery.create_partition(parent, key, (now() at time zone 'UTC')::date - 40)
        from (values ('events', 'id'), ('attempts_ended', 'delivery_id'), ('attempts_retried', 'delivery_id')) as known (parent, key)";
    client.batch_execute(make).unwrap_or_else(|e| panic!("{:?}", e.as_db_error()));
    let names = "select count(*) from pg_class where relname like '%' || to_char((now() at time zone 'UTC')::date - 40, 'YYYYMMDD') and relkind = 'r'";
    wait_until("the partitions of today", DEADLINE, || (value::<i64>(&mut client, made, &[]) == 3).then_some(()));
    cluster.reload();
    wait_until("the old partitions to be dropped", DEADLINE, || {
        (value::<i64>(&mut client, names, &[]) == 0).then_some(())
    });
    assert_eq!(value::<i64>(&mut client, old, &[]), 0);
    // A parallel worker may meet the locks of the statements above. The partitions are then created
    // or dropped later.
    let log = cluster.log();
    let is_wrong = |line: &&str| line.contains("ERROR:") && !line.contains("canceling statement due to lock timeout");
    let wrong: Vec<_> = log.lines().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{log}");
}

#[test]
fn tables_ignore_the_sessions_access_method_and_tablespace() {
    let cluster = hostile_cluster(&[("webhook_delivery.databases", ""), ("allow_in_place_tablespaces", "on")]);
    let mut client = cluster.connect();
    client.batch_execute("create access method other type table handler heap_tableam_handler").unwrap();
    client.batch_execute("create tablespace elsewhere location ''").unwrap();
    client.batch_execute("set default_table_access_method = other").unwrap();
    client.batch_execute("create extension webhook_delivery; set default_tablespace = elsewhere").unwrap();
    client.batch_execute("select webhook_delivery.create_partitions()").unwrap();
    let relations =
        "select count(*), count(*) filter (where amname <> 'heap'), count(*) filter (where reltablespace <> 0)
        from pg_class join pg_am on pg_am.oid = relam
        where relkind = 'r' and (relnamespace = 'webhook_delivery'::regnamespace or relname like 'webhook%')";
    let row = client.query_one(relations, &[]).unwrap();
    let (all, others, elsewhere): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert!(all > 20 && (others, elsewhere) == (0, 0), "{all} tables, {others} of another kind, {elsewhere} elsewhere");
}

#[test]
fn worker_survives_a_caught_error_with_exit_on_error() {
    let receiver = Receiver::by_path();
    let cluster = Cluster::start(&[("exit_on_error", "on")]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "create extension webhook_delivery;
             create function public.refuse() returns event_trigger language plpgsql as $$ begin raise 'no tables'; end $$;
             create event trigger refuse on ddl_command_start when tag in ('CREATE TABLE') execute function public.refuse()",
        )
        .unwrap();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    let worker = cluster.wait_for_worker("postgres", None);
    wait_until("the failure to appear in the status", DEADLINE, || {
        client.query_opt("select from webhook_delivery.status where problem like '%no tables'", &[]).unwrap()
    });
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 1, "success");
    assert_eq!(cluster.worker_pid("postgres"), Some(worker));
}
