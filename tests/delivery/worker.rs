//! The worker's life cycle: which databases have one, what pg_stat_activity shows of it, and that
//! it blocks no DROP DATABASE.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, wait_until};

const CREATE: &str = "create extension webhook_delivery";

/// Enough time for a worker to leave a database, and less than the five seconds after which
/// PostgreSQL gives up.
const PROMPT: Duration = Duration::from_secs(3);

fn in_database(database: &str) -> Cluster {
    Cluster::start(&[("webhook_delivery.databases", database)])
}

/// Creates an endpoint in the database and waits until its deliveries succeed.
#[track_caller]
fn assert_delivers(cluster: &Cluster, database: &str) {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut client = cluster.connect_to(database);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 3);
    receiver.wait_for_distinct(3, Duration::from_secs(5));
    endpoint.wait_for(&mut client, 3, "success");
}

#[test]
fn worker_delivers_soon_after_create_extension() {
    let cluster = in_database("postgres");
    cluster.execute(CREATE);
    assert_delivers(&cluster, "postgres");
}

#[test]
fn worker_survives_drop_and_create_extension() {
    let cluster = in_database("postgres");
    let worker = cluster.wait_for_worker("postgres", None);
    for _ in 0..3 {
        cluster.execute(CREATE);
        assert_delivers(&cluster, "postgres");
        cluster.execute("drop extension webhook_delivery cascade");
        wait_until("the worker to notice DROP EXTENSION", DEADLINE, || {
            let query = "select query from pg_stat_activity where pid = $1";
            let activity: String = cluster.query_one(query, &[&worker]);
            (activity == "webhook_delivery: waiting for CREATE EXTENSION webhook_delivery").then_some(())
        });
    }
    assert_eq!(cluster.worker_pid("postgres"), Some(worker));
}

#[test]
fn worker_survives_drop_and_create_in_one_transaction() {
    let cluster = in_database("postgres");
    cluster.execute(CREATE);
    assert_delivers(&cluster, "postgres");
    let worker = cluster.wait_for_worker("postgres", None);
    cluster.execute("begin; drop extension webhook_delivery cascade; create extension webhook_delivery; commit");
    assert_delivers(&cluster, "postgres");
    assert_eq!(cluster.worker_pid("postgres"), Some(worker));
}

#[test]
fn drop_extension_does_not_wait_for_requests_in_flight() {
    let receiver = Receiver::start(|_| Reply::hang());
    let cluster = in_database("postgres");
    cluster.execute(CREATE);
    let mut client = cluster.connect();
    Endpoint::create(&mut client, &receiver.url("/")).emit(&mut client, 100);
    receiver.wait_for(10, DEADLINE);
    let started = Instant::now();
    cluster.execute("drop extension webhook_delivery cascade");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    cluster.execute(CREATE);
    assert_delivers(&cluster, "postgres");
}

#[test]
fn drop_database_is_not_blocked_and_a_new_one_gets_a_worker() {
    let cluster = in_database("app");
    for _ in 0..2 {
        cluster.execute("create database app");
        cluster.connect_to("app").batch_execute(CREATE).unwrap();
        assert_delivers(&cluster, "app");
        let started = Instant::now();
        cluster.execute("drop database app");
        assert!(started.elapsed() < PROMPT, "DROP DATABASE took {:?}", started.elapsed());
    }
}

#[test]
fn drop_database_is_not_blocked_by_requests_in_flight() {
    let receiver = Receiver::start(|_| Reply::hang());
    let cluster = in_database("app");
    cluster.execute("create database app");
    let mut client = cluster.connect_to("app");
    client.batch_execute(CREATE).unwrap();
    Endpoint::create(&mut client, &receiver.url("/")).emit(&mut client, 100);
    drop(client);
    receiver.wait_for(10, DEADLINE);
    let started = Instant::now();
    cluster.execute("drop database app");
    assert!(started.elapsed() < PROMPT, "DROP DATABASE took {:?}", started.elapsed());
}

#[test]
fn database_with_a_worker_can_be_copied_and_renamed() {
    let cluster = in_database("app");
    cluster.execute("create database app");
    cluster.connect_to("app").batch_execute(CREATE).unwrap();
    assert_delivers(&cluster, "app");
    for statement in ["create database copy template app", "alter database app rename to away"] {
        let started = Instant::now();
        cluster.execute(statement);
        assert!(started.elapsed() < PROMPT, "{statement} took {:?}", started.elapsed());
    }
    wait_until("the workers to leave databases that are not listed", DEADLINE, || {
        (cluster.worker_pid("away").is_none() && cluster.worker_pid("copy").is_none()).then_some(())
    });
    cluster.execute("alter database away rename to app");
    assert_delivers(&cluster, "app");
}

#[test]
fn missing_database_logs_nothing_and_gets_a_worker_once_created() {
    let cluster = in_database("postgres, later, \"never\"");
    cluster.wait_for_worker("postgres", None);
    wait_until("the launcher to search several times", DEADLINE, || {
        let uptime = "select now() - pg_postmaster_start_time() > interval '4 s'";
        cluster.query_one::<bool>(uptime, &[]).then_some(())
    });
    let log = cluster.log();
    assert!(!log.contains("later") && !log.contains("FATAL") && !log.contains("ERROR"), "{log}");
    cluster.execute("create database later");
    cluster.connect_to("later").batch_execute(CREATE).unwrap();
    assert_delivers(&cluster, "later");
}

#[test]
fn reload_adds_and_removes_workers_of_databases() {
    let cluster = in_database("postgres");
    cluster.execute(CREATE);
    cluster.execute("create database second");
    cluster.connect_to("second").batch_execute(CREATE).unwrap();
    assert_delivers(&cluster, "postgres");
    assert_eq!(cluster.worker_pid("second"), None);

    cluster.set("webhook_delivery.databases", "postgres, second");
    assert_delivers(&cluster, "second");
    assert_delivers(&cluster, "postgres");
    assert_ne!(cluster.worker_pid("postgres"), cluster.worker_pid("second"));

    cluster.set("webhook_delivery.databases", "second");
    wait_until("the worker to leave", DEADLINE, || cluster.worker_pid("postgres").is_none().then_some(()));
    assert_delivers(&cluster, "second");
}

#[test]
fn idle_worker_uses_no_transaction_ids() {
    let cluster = Cluster::start(&[("webhook_delivery.poll_interval", "50ms"), ("autovacuum", "off")]);
    cluster.execute(CREATE);
    assert_delivers(&cluster, "postgres");
    let mut client = cluster.connect();
    let mut next_id =
        || -> String { client.query_one("select pg_snapshot_xmax(pg_current_snapshot())::text", &[]).unwrap().get(0) };
    let before = next_id();
    let mut observer = cluster.connect();
    let mut turns: HashSet<SystemTime> = HashSet::new();
    wait_until("twenty turns of the worker", DEADLINE, || {
        let sql = "select state_change from pg_stat_activity where backend_type = 'webhook_delivery worker'";
        turns.insert(observer.query_one(sql, &[]).unwrap().get(0));
        (turns.len() >= 20).then_some(())
    });
    assert_eq!(next_id(), before);
}

#[test]
fn pg_stat_activity_shows_launcher_and_worker() {
    let receiver = Receiver::start(|_| Reply::hang());
    let cluster = in_database("postgres");
    let mut client = cluster.connect();
    let mut look = |backend_type: &str| {
        let sql = "select datname::text, application_name, query, state from pg_stat_activity where backend_type = $1";
        let row = client.query_opt(sql, &[&backend_type]).unwrap()?;
        Some((
            row.get::<_, Option<String>>(0),
            row.get::<_, String>(1),
            row.get::<_, String>(2),
            row.get::<_, Option<String>>(3),
        ))
    };
    let mut wait_for = |backend_type: &str, query: &str| {
        wait_until(&format!("{backend_type}: {query}"), DEADLINE, || {
            look(backend_type).filter(|(_, _, activity, state)| activity == query && state.as_deref() == Some("idle"))
        })
    };
    let launcher = wait_for(
        "webhook_delivery launcher",
        "webhook_delivery: keeping a worker in each of webhook_delivery.databases",
    );
    assert_eq!((launcher.0, launcher.1.as_str()), (None, "webhook_delivery launcher"));
    let worker = wait_for("webhook_delivery worker", "webhook_delivery: waiting for CREATE EXTENSION webhook_delivery");
    assert_eq!((worker.0.as_deref(), worker.1.as_str()), (Some("postgres"), "webhook_delivery worker"));

    let mut writer = cluster.connect();
    writer.batch_execute(CREATE).unwrap();
    wait_for("webhook_delivery worker", "webhook_delivery: waiting for the first endpoint");
    let endpoint = Endpoint::create(&mut writer, &receiver.url("/"));
    wait_for("webhook_delivery worker", "webhook_delivery: 0 requests in flight, 0 waiting");
    endpoint.emit(&mut writer, 2);
    wait_for("webhook_delivery worker", "webhook_delivery: 2 requests in flight, 0 waiting");
}

#[test]
fn deleted_queue_rows_are_counted_in_table_statistics() {
    let cluster = in_database("postgres");
    cluster.execute(CREATE);
    assert_delivers(&cluster, "postgres");
    wait_until("the deleted rows in the statistics", DEADLINE, || {
        let sql = "select n_tup_del from pg_stat_user_tables where schemaname = 'webhook_delivery' and relname = 'queue_recent'";
        (cluster.query_one::<i64>(sql, &[]) >= 3).then_some(())
    });
}

/// The number of workers of this database in `pg_stat_activity`.
fn workers(cluster: &Cluster, database: &str) -> i64 {
    let sql = "select count(*) from pg_stat_activity where datname = $1 and backend_type = 'webhook_delivery worker'";
    cluster.query_one(sql, &[&database])
}

#[test]
fn restarted_launcher_starts_no_second_worker() {
    let cluster = in_database("postgres");
    cluster.execute(CREATE);
    assert_delivers(&cluster, "postgres");
    let worker = cluster.wait_for_worker("postgres", None);
    let launcher = "select pid from pg_stat_activity where backend_type = 'webhook_delivery launcher'";
    let before: i32 = cluster.query_one(launcher, &[]);
    cluster.execute(&format!("select pg_terminate_backend({before})"));
    let mut client = cluster.connect();
    wait_until("a new launcher that has run for over a second", DEADLINE, || {
        let sql = "select from pg_stat_activity where backend_type = 'webhook_delivery launcher' and pid <> $1
                   and backend_start < now() - interval '1.5 s'";
        client.query_opt(sql, &[&before]).unwrap()
    });
    assert_eq!((workers(&cluster, "postgres"), cluster.worker_pid("postgres")), (1, Some(worker)));
    client.execute("select pg_terminate_backend($1)", &[&worker]).unwrap();
    cluster.wait_for_worker("postgres", Some(worker));
    assert_delivers(&cluster, "postgres");
    assert_eq!(workers(&cluster, "postgres"), 1);
}

#[test]
fn worker_restarts_at_once_after_repeated_terminations() {
    let cluster = in_database("postgres");
    cluster.execute(CREATE);
    assert_delivers(&cluster, "postgres");
    let mut worker = cluster.wait_for_worker("postgres", None);
    for _ in 0..6 {
        let terminated = Instant::now();
        cluster.execute(&format!("select pg_terminate_backend({worker})"));
        worker = cluster.wait_for_worker("postgres", Some(worker));
        assert!(
            terminated.elapsed() < Duration::from_secs(2),
            "after pg_terminate_backend: {:?}",
            terminated.elapsed()
        );
    }
    for _ in 0..6 {
        cluster.set("webhook_delivery.databases", "");
        wait_until("the worker to leave", DEADLINE, || (workers(&cluster, "postgres") == 0).then_some(()));
        let enabled = Instant::now();
        cluster.set("webhook_delivery.databases", "postgres");
        cluster.wait_for_worker("postgres", Some(worker));
        assert!(enabled.elapsed() < Duration::from_secs(2), "after the setting: {:?}", enabled.elapsed());
    }
    assert_delivers(&cluster, "postgres");
}

#[test]
fn failing_worker_is_restarted_with_growing_delays() {
    let cluster = in_database("postgres");
    // An interrupted DROP DATABASE leaves a database like this, which refuses connections.
    cluster.execute("create database broken");
    cluster.execute("update pg_database set datconnlimit = -2 where datname = 'broken'");
    cluster.set("webhook_delivery.databases", "postgres, broken");
    let failures: Vec<Instant> = (1..=4)
        .map(|count| {
            wait_until(&format!("failure {count}"), DEADLINE, || {
                let log = cluster.log();
                (log.matches("cannot connect to invalid database \"broken\"").count() >= count).then(Instant::now)
            })
        })
        .collect();
    let waits: Vec<Duration> = failures.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.windows(2).all(|pair| pair[1] > pair[0]) && waits[2] > Duration::from_millis(3500), "{waits:?}");
}

#[test]
fn reload_changes_the_workers_settings() {
    let receiver = Receiver::start(|_| Reply::hang());
    let cluster = Cluster::start(&[("webhook_delivery.retry_schedule", "")]);
    cluster.execute(CREATE);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    cluster.set("webhook_delivery.request_timeout", "150ms");
    // A request sent before the reload keeps the old time limit.
    wait_until("a request with the new time limit", DEADLINE, || {
        endpoint.emit(&mut client, 1);
        let attempts = endpoint.attempts(&mut client);
        attempts.iter().find_map(|attempt| attempt.error_message.clone()).map(|message| {
            assert_eq!(message, "timed out after 150 ms");
        })
    });
}

#[test]
fn extension_is_refused_in_a_database_not_in_utf8() {
    let cluster = in_database("latin");
    cluster.execute("create database latin encoding 'LATIN1' locale 'C' template template0");
    let error = cluster.connect_to("latin").batch_execute(CREATE).unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "0A000");
    assert!(error.hint().unwrap().contains("UTF8"), "{error:?}");
}

/// This is the state between a new library and `ALTER EXTENSION ... UPDATE`.
#[test]
fn worker_waits_while_extension_and_library_versions_differ() {
    let cluster = in_database("postgres");
    let mut client = cluster.connect();
    let version: String = client
        .query_one("select default_version from pg_available_extensions where name = 'webhook_delivery'", &[])
        .unwrap()
        .get(0);
    let set =
        |version: &str| format!("update pg_extension set extversion = '{version}' where extname = 'webhook_delivery'");
    client.batch_execute(&format!("begin; {CREATE}; {}; commit", set("0.0.1"))).unwrap();
    let state = "select from webhook_delivery.status where state = 'waiting' and hint ilike '%alter extension webhook_delivery update%'";
    wait_until("the worker to wait for the update", DEADLINE, || client.query_opt(state, &[]).unwrap());
    client.batch_execute(&set(&version)).unwrap();
    assert_delivers(&cluster, "postgres");
}
