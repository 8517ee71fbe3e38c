//! Obstacles for the worker: locks, failing triggers and hostile settings lose no delivery, repeat
//! none, and delay no other endpoint.

use std::time::Duration;

use postgres::Client;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, StopMode, wait_until};

/// A trigger function that always fails.
const REFUSE: &str = "create function public.refuse() returns trigger language plpgsql as
    $$ begin raise 'not here' using hint = 'Go away.'; end $$;";

/// State and problem as `webhook_delivery.status` shows them.
fn status(client: &mut Client) -> (String, Option<String>) {
    let row = client.query_one("select state, problem from webhook_delivery.status", &[]).unwrap();
    (row.get(0), row.get(1))
}

#[track_caller]
fn wait_for_status(client: &mut Client, state: &str, problem: Option<&str>) {
    wait_until(&format!("the status {state:?}, {problem:?}"), DEADLINE, || {
        let found = status(client);
        (found.0 == state && found.1.as_deref() == problem).then_some(())
    });
}

#[track_caller]
fn assert_other_endpoint_receives(client: &mut Client, receiver: &Receiver) {
    let endpoint = Endpoint::create(client, &receiver.url("/others"));
    endpoint.emit(client, 3);
    endpoint.wait_for(client, 3, "success");
}

#[test]
fn deliveries_continue_while_partitions_cannot_be_created() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (cluster, mut client) = Cluster::with_client(&[]);
    client
        .batch_execute(
            "create function public.refuse() returns event_trigger language plpgsql as
                 $$ begin raise 'no tables today' using hint = 'Ask tomorrow.'; end $$;
             create event trigger refuse on ddl_command_start when tag in ('CREATE TABLE') execute function public.refuse()",
        )
        .unwrap();
    let worker = cluster.wait_for_worker("postgres", None);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 3);
    endpoint.wait_for(&mut client, 3, "success");
    wait_for_status(&mut client, "failing", Some("creating partitions fails: no tables today"));
    endpoint.emit(&mut client, 3);
    endpoint.wait_for(&mut client, 6, "success");
    assert_eq!((receiver.count(), cluster.worker_pid("postgres")), (6, Some(worker)));
    let log = cluster.log();
    assert!(log.contains("WARNING:  webhook_delivery: creating partitions fails: no tables today"), "{log}");
    assert!(log.contains("HINT:  Ask tomorrow. The worker tries again"), "{log}");

    client.batch_execute("drop event trigger refuse").unwrap();
    wait_for_status(&mut client, "sending", None);
    let partitions = "select count(*) from pg_inherits where inhparent = 'webhook_delivery.attempts_ended'::regclass";
    assert_eq!(client.query_one(partitions, &[]).unwrap().get::<_, i64>(0), 5);
    assert_eq!(receiver.count(), 6);
}

#[test]
fn unrecordable_attempts_stop_sending_and_are_not_repeated() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 1, "success");
    let worker = cluster.wait_for_worker("postgres", None);
    client.batch_execute(REFUSE).unwrap();
    client
        .batch_execute("create trigger refuse before insert on webhook_delivery.attempts for each row execute function public.refuse()")
        .unwrap();
    endpoint.emit(&mut client, 1);
    wait_for_status(&mut client, "failing", Some("recording finished attempts fails: not here"));
    assert_eq!(receiver.count(), 2);
    endpoint.emit(&mut client, 5);
    assert!(cluster.worker_turns_within(2.0) < 20, "the worker waits before it retries");
    // Several retries of the record send no further request.
    wait_until("three failures to record", DEADLINE, || {
        (cluster.log().matches("recording finished attempts fails: not here").count() >= 3).then_some(())
    });
    assert_eq!(receiver.count(), 2);

    client.batch_execute("drop trigger refuse on webhook_delivery.attempts").unwrap();
    endpoint.wait_for(&mut client, 7, "success");
    assert_eq!((receiver.count(), cluster.worker_pid("postgres")), (7, Some(worker)));
}

#[test]
fn sent_attempts_are_recorded_while_the_queue_is_unreadable() {
    let receiver = Receiver::start(|_| Reply::ok().after(Duration::from_millis(400)));
    let (cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    let worker = cluster.wait_for_worker("postgres", None);
    endpoint.emit(&mut client, 3);
    receiver.wait_for(3, DEADLINE);
    client.batch_execute("alter table webhook_delivery.events rename data to something_else").unwrap();
    client.batch_execute("select webhook_delivery.wake_to_rescan()").unwrap();
    wait_until("a status that names the failure", DEADLINE, || {
        let (state, problem) = status(&mut client);
        (state == "failing" && problem?.contains("reading the queue fails: column \"data\"")).then_some(())
    });
    endpoint.wait_for(&mut client, 3, "success");

    client.batch_execute("alter table webhook_delivery.events rename something_else to data").unwrap();
    endpoint.emit(&mut client, 3);
    endpoint.wait_for(&mut client, 6, "success");
    assert_eq!((receiver.count(), cluster.worker_pid("postgres")), (6, Some(worker)));
}

#[test]
fn paused_worker_does_not_spin_when_deliveries_come_due() {
    let receiver = Receiver::start(|_| Reply::status(503));
    let (cluster, mut client) = Cluster::with_client(&[("webhook_delivery.retry_schedule", "1s")]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 1, "retrying");
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    endpoint.emit(&mut client, 1);
    assert!(cluster.worker_turns_within(3.0) < 20);
    assert_eq!(receiver.count(), 1);
}

#[test]
fn database_and_role_settings_do_not_affect_the_worker() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::start(&[("webhook_delivery.databases", "app")]);
    cluster.execute("create database app");
    cluster.execute("create role nobody");
    // These sessions begin before the settings are changed.
    let (mut client, mut other) = (cluster.connect_to("app"), cluster.connect_to("app"));
    client.batch_execute("create extension webhook_delivery").unwrap();
    let settings = [
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_deferrable", "on"),
        ("lock_timeout", "1"),
        ("statement_timeout", "1"),
        ("idle_in_transaction_session_timeout", "1"),
        ("search_path", "elsewhere"),
        ("enable_nestloop", "off"),
        ("enable_tidscan", "off"),
        ("role", "nobody"),
    ];
    for (name, value) in settings {
        cluster.execute(&format!("alter database app set {name} = '{value}'"));
        cluster.execute(&format!("alter role postgres in database app set {name} = '{value}'"));
    }
    let before = cluster.wait_for_worker("app", None);
    cluster.execute(&format!("select pg_terminate_backend({before})"));
    let worker = cluster.wait_for_worker("app", Some(before));

    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    let partitions = "select count(*) from pg_inherits where inhparent = 'webhook_delivery.attempts_ended'::regclass";
    wait_until("the partitions", DEADLINE, || {
        (client.query_one(partitions, &[]).unwrap().get::<_, i64>(0) == 5).then_some(())
    });

    // A serializable worker would keep predicate locks as long as this transaction is open.
    let mut reader = other.build_transaction().isolation_level(postgres::IsolationLevel::Serializable).start().unwrap();
    reader.query_one("select count(*) from webhook_delivery.attempts", &[]).unwrap();
    reader.query_one("select count(*) from webhook_delivery.queue", &[]).unwrap();
    endpoint.emit(&mut reader, 1);
    endpoint.emit(&mut client, 20);
    endpoint.wait_for(&mut client, 20, "success");
    let predicate_locks = "select count(*) from pg_locks where mode = 'SIReadLock' and pid = $1";
    assert_eq!(client.query_one(predicate_locks, &[&worker]).unwrap().get::<_, i64>(0), 0);
    reader.commit().unwrap();
    endpoint.wait_for(&mut client, 21, "success");

    // The worker waits for this lock longer than the lock_timeout of a millisecond, and gets it.
    let mut locking = other.transaction().unwrap();
    locking.batch_execute("lock table webhook_delivery.attempts in share row exclusive mode").unwrap();
    endpoint.emit(&mut client, 1);
    let waiting = "select from pg_locks where pid = $1 and clock_timestamp() - waitstart > interval '20 ms'";
    wait_until("a worker that waits for the lock", DEADLINE, || client.query_opt(waiting, &[&worker]).unwrap());
    locking.commit().unwrap();
    endpoint.wait_for(&mut client, 22, "success");
    assert_eq!((receiver.count(), cluster.worker_pid("app")), (22, Some(worker)));

    wait_for_status(&mut client, "sending", None);
}

#[test]
fn uncommitted_queue_update_delays_no_other_delivery() {
    let receiver = Receiver::start(|_| Reply::ok().after(Duration::from_secs(1)));
    let (cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 5);
    receiver.wait_for(5, DEADLINE);
    let mut operator = cluster.connect();
    let mut update = operator.transaction().unwrap();
    assert_eq!(update.execute("update webhook_delivery.queue set attempts = attempts", &[]).unwrap(), 5);
    assert_other_endpoint_receives(&mut client, &receiver);
    wait_until("the attempts that cannot be recorded", DEADLINE, || {
        let sql = "select attempts_to_record = 5 from webhook_delivery.status";
        client.query_one(sql, &[]).unwrap().get::<_, bool>(0).then_some(())
    });
    assert!(endpoint.deliveries(&mut client).iter().all(|delivery| delivery.status == "pending"));
    update.rollback().unwrap();
    endpoint.wait_for(&mut client, 5, "success");
    assert_eq!(receiver.count(), 8, "attempts that waited to be recorded were not repeated");
}

#[test]
fn many_locked_queue_rows_delay_no_other_delivery() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    endpoint.emit(&mut client, 500);
    let mut operator = cluster.connect();
    let mut locking = operator.transaction().unwrap();
    locking.batch_execute("select from webhook_delivery.queue for update").unwrap();
    client.batch_execute("select webhook_delivery.resume()").unwrap();
    // This many unrecorded attempts stop sending for this auction.
    receiver.wait_for(256, DEADLINE);
    assert_other_endpoint_receives(&mut client, &receiver);
    locking.rollback().unwrap();
    endpoint.wait_for(&mut client, 500, "success");
    assert_eq!(receiver.count(), 503, "attempts that waited to be recorded were not repeated");
}

#[test]
fn delivery_postponed_during_its_request_is_sent_again_later() {
    let receiver = Receiver::start(|_| Reply::ok().after(Duration::from_secs(1)));
    let (cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    receiver.wait_for(1, DEADLINE);
    cluster.execute("update webhook_delivery.queue set due_at = now() + interval '3 s'");
    receiver.wait_for(2, DEADLINE);
    endpoint.wait_for(&mut client, 1, "success");
    wait_until("an empty queue", DEADLINE, || {
        let left = "select count(*) from webhook_delivery.queue";
        (client.query_one(left, &[]).unwrap().get::<_, i64>(0) == 0).then_some(())
    });
}

#[test]
fn worker_waits_for_a_locked_queue_and_sends_nothing_twice() {
    let receiver = Receiver::start(|_| Reply::ok().after(Duration::from_secs(1)));
    let (cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    let worker = cluster.wait_for_worker("postgres", None);
    for (round, mode) in [(1, "share"), (2, "access exclusive")] {
        endpoint.emit(&mut client, 5);
        receiver.wait_for(round * 5, DEADLINE);
        let mut operator = cluster.connect();
        // The status view must answer while the queue is locked.
        client.batch_execute("set lock_timeout = '5s'").unwrap();
        let mut locking = operator.transaction().unwrap();
        locking.batch_execute(&format!("lock table webhook_delivery.queue in {mode} mode")).unwrap();
        wait_until("a worker that reports the lock timeout", DEADLINE, || {
            status(&mut client).1.is_some_and(|problem| problem.contains("lock timeout")).then_some(())
        });
        locking.commit().unwrap();
        endpoint.wait_for(&mut client, round * 5, "success");
        wait_for_status(&mut client, "sending", None);
    }
    assert_eq!((receiver.count(), cluster.worker_pid("postgres")), (10, Some(worker)));
}

#[test]
fn pg_cancel_backend_ends_no_worker_and_sends_nothing_twice() {
    let receiver = Receiver::start(|_| Reply::ok().after(Duration::from_millis(5)));
    let (cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    let worker = cluster.wait_for_worker("postgres", None);
    endpoint.emit(&mut client, 2_000);
    let mut canceller = cluster.connect();
    for _ in 0..300 {
        canceller.execute("select pg_cancel_backend($1)", &[&worker]).unwrap();
    }
    endpoint.wait_for(&mut client, 2_000, "success");
    assert_eq!((receiver.count(), cluster.worker_pid("postgres")), (2_000, Some(worker)));
}

#[test]
fn shutdown_during_partition_creation_records_sent_attempts() {
    let receiver = Receiver::start(|_| Reply::ok().after(Duration::from_millis(300)));
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    // One transaction makes the worker send and create partitions in the same turn.
    client
        .batch_execute(
            "begin;
             create extension webhook_delivery;
             create function public.dawdle() returns event_trigger language plpgsql as $$ begin perform pg_sleep(20); end $$;
             create event trigger dawdle on ddl_command_start when tag in ('CREATE TABLE') execute function public.dawdle()",
        )
        .unwrap();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 5);
    client.batch_execute("commit").unwrap();
    receiver.wait_for(5, DEADLINE);
    wait_until("a worker that creates partitions", DEADLINE, || {
        let sql =
            "select from pg_stat_activity where backend_type = 'webhook_delivery worker' and wait_event = 'PgSleep'";
        client.query_opt(sql, &[]).unwrap()
    });
    let took = cluster.stop(StopMode::Fast);
    assert!(took < Duration::from_secs(5), "the shutdown took {took:?}");
    cluster.start_again();
    let mut client = cluster.connect();
    client.batch_execute("drop event trigger dawdle").unwrap();
    endpoint.wait_for(&mut client, 5, "success");
    assert_eq!(receiver.count(), 5);
}

/// A worker that cannot read does not know whether it is still paused.
#[test]
fn worker_that_cannot_read_reports_failing_not_paused() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    Endpoint::create(&mut client, "https://example.com/");
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    wait_for_status(&mut client, "paused", None);
    client.batch_execute("drop owned by webhook_delivery_worker; select webhook_delivery.resume()").unwrap();
    let failing = "select hint from webhook_delivery.status where state = 'failing' and problem like 'reading the queue fails: permission denied%'";
    let row = wait_until("the state failing", DEADLINE, || client.query_opt(failing, &[]).unwrap());
    assert!(!row.get::<_, &str>(0).contains("paused"));
    client.batch_execute("select webhook_delivery.grant_worker('webhook_delivery_worker')").unwrap();
    wait_for_status(&mut client, "sending", None);
}

#[test]
fn hint_for_no_worker_names_the_cause() {
    for (settings, named) in [
        ([("webhook_delivery.databases", "other, another")].as_slice(), "Add postgres to webhook_delivery.databases"),
        (&[("max_worker_processes", "1"), ("max_logical_replication_workers", "0")], "max_worker_processes"),
        (&[("max_worker_processes", "0")], "max_worker_processes"),
    ] {
        let (_cluster, mut client) = Cluster::with_client(settings);
        let hint = "select hint from webhook_delivery.status where state = 'no worker' and hint not like 'The worker is being started%'";
        let row = wait_until("the hint", DEADLINE, || client.query_opt(hint, &[]).unwrap());
        assert!(row.get::<_, &str>(0).contains(named), "{settings:?}: {}", row.get::<_, &str>(0));
    }
}
