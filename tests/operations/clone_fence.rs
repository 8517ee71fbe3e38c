//! The clone fence: a copy of the database sends nothing until the operator calls `resume()`.

use std::time::Duration;

use postgres::Client;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, StopMode, wait_until};

/// Starts a server that also runs a worker in the database `copy` as soon as it exists.
/// A copy of the database has a worker as well.
const WORKER_FOR_A_COPY: &[(&str, &str)] = &[("webhook_delivery.databases", "postgres, copy")];

#[track_caller]
fn wait_for_state(client: &mut Client, state: &str) {
    wait_until(&format!("the state {state:?}"), DEADLINE, || {
        let found: String = client.query_one("select state from webhook_delivery.status", &[]).unwrap().get(0);
        (found == state).then_some(())
    });
}

fn queued(client: &mut Client) -> i64 {
    client.query_one("select count(*) from webhook_delivery.queue", &[]).unwrap().get(0)
}

/// Pauses the database and queues deliveries there, so that only the copy can send them.
fn queue_while_paused(client: &mut Client, receiver: &Receiver, deliveries: i32) -> Endpoint {
    let endpoint = Endpoint::create(client, &receiver.url("/"));
    wait_for_state(client, "sending");
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    wait_for_state(client, "paused");
    endpoint.emit(client, deliveries);
    endpoint
}

#[track_caller]
fn run(command: &mut std::process::Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Asserts that the copy sends nothing and reports why, and sends everything once after `resume()`.
#[track_caller]
fn assert_fenced_until_resumed(cluster: &Cluster, receiver: &Receiver, endpoint: &Endpoint, deliveries: usize) {
    let mut copy = cluster.connect_to("copy");
    wait_for_state(&mut copy, "fenced");
    assert_eq!((receiver.count(), queued(&mut copy)), (0, deliveries as i64));
    let said = "WARNING:  webhook_delivery does not send from this database because it is a copy of another one";
    wait_until("the log message", DEADLINE, || cluster.log().contains(said).then_some(()));
    let hint: String = copy.query_one("select hint from webhook_delivery.status", &[]).unwrap().get(0);
    assert!(hint.contains("webhook_delivery.resume()"), "{hint}");

    copy.batch_execute("select webhook_delivery.resume()").unwrap();
    endpoint.wait_for(&mut copy, deliveries, "success");
    wait_for_state(&mut copy, "sending");
    assert_eq!(receiver.count(), deliveries);
}

#[test]
fn parallel_restore_sends_nothing_until_it_is_resumed() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (cluster, mut client) = Cluster::with_client(WORKER_FOR_A_COPY);
    let endpoint = queue_while_paused(&mut client, &receiver, 50);
    let dump = cluster.socket_dir().join("dump");
    run(cluster.client_command("pg_dump").args(["--format=custom", "--file"]).arg(&dump));
    cluster.execute("create database copy template template0");
    cluster.wait_for_worker("copy", None);
    run(cluster.client_command("pg_restore").args(["--exit-on-error", "--jobs=2", "--dbname=copy"]).arg(&dump));
    assert_fenced_until_resumed(&cluster, &receiver, &endpoint, 50);
    assert_eq!(queued(&mut client), 50, "the queue of the original is unchanged");
}

#[test]
fn partly_restored_dump_sends_nothing_until_it_is_resumed() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (cluster, mut client) = Cluster::with_client(WORKER_FOR_A_COPY);
    let endpoint = queue_while_paused(&mut client, &receiver, 5);
    // pg_restore --jobs restores each table in its own transaction and in any order. Here the rows
    // of `installations`, which identify the original, are missing.
    let dump = cluster.socket_dir().join("dump");
    run(cluster
        .client_command("pg_dump")
        .args(["--format=custom", "--exclude-table-data=webhook_delivery.installations", "--file"])
        .arg(&dump));
    cluster.execute("create database copy template template0");
    let mut copy = cluster.connect_to("copy");
    let restore = |arguments: &[&str]| {
        let mut pg_restore = cluster.client_command("pg_restore");
        run(pg_restore.args(["--exit-on-error", "--dbname=copy"]).args(arguments).arg(&dump));
    };
    restore(&["--section=pre-data"]);
    let contents = cluster.client_command("pg_restore").arg("--list").arg(&dump).output().unwrap().stdout;
    let contents = String::from_utf8(contents).unwrap();
    let backwards: Vec<&str> = contents.lines().filter(|entry| entry.contains(" TABLE DATA ")).rev().collect();
    assert!(backwards.len() > 3, "{contents}");
    let list = cluster.socket_dir().join("list");
    std::fs::write(&list, backwards.join("\n")).unwrap();
    restore(&["--use-list", list.to_str().unwrap()]);
    restore(&["--section=post-data"]);
    wait_for_state(&mut copy, "fenced");
    // An endpoint that is created now does not lift the fence.
    let new = Endpoint::create(&mut copy, &receiver.url("/new"));
    new.emit(&mut copy, 1);
    wait_for_state(&mut copy, "fenced");
    assert_eq!((receiver.count(), queued(&mut copy)), (0, 6));
    copy.batch_execute("select webhook_delivery.resume()").unwrap();
    endpoint.wait_for(&mut copy, 5, "success");
    new.wait_for(&mut copy, 1, "success");
}

/// The original sends its deliveries first. The copy sends the same ones after its own `resume()`.
#[test]
fn restored_base_backup_sends_nothing_until_it_is_resumed() {
    for recovers_to_a_point_in_time in [false, true] {
        let receiver = Receiver::start(|_| Reply::ok());
        let (cluster, mut client) = Cluster::with_client(WORKER_FOR_A_COPY);
        let endpoint = queue_while_paused(&mut client, &receiver, 20);
        // The fence of the copy does not depend on the pause of the original.
        let copy = cluster.base_backup(&[]);
        if recovers_to_a_point_in_time {
            std::fs::write(copy.data_dir().join("recovery.signal"), "").unwrap();
            let settings = "restore_command = 'false'\nrecovery_target_timeline = 'current'\n";
            let conf = copy.data_dir().join("postgresql.auto.conf");
            let before = std::fs::read_to_string(&conf).unwrap();
            std::fs::write(conf, before + settings).unwrap();
        }
        copy.start_again();
        let mut session = copy.connect();
        wait_for_state(&mut session, "fenced");
        // The copy stays fenced after further restarts, when no trace of the backup is left.
        drop(session);
        copy.restart(StopMode::Fast);
        copy.restart(StopMode::Immediate);
        let mut session = copy.connect();
        wait_for_state(&mut session, "fenced");
        assert_eq!((receiver.count(), queued(&mut session)), (0, 20));
        client.batch_execute("select webhook_delivery.resume()").unwrap();
        endpoint.wait_for(&mut client, 20, "success");
        assert_eq!((receiver.count(), queued(&mut session)), (20, 20));

        session.batch_execute("select webhook_delivery.resume()").unwrap();
        endpoint.wait_for(&mut session, 20, "success");
        assert_eq!(receiver.count(), 40);
        // The copy is now an installation of its own: its standby sends after a promotion.
        let standby = copy.standby();
        copy.stop(StopMode::Immediate);
        standby.promote();
        let mut session = standby.connect();
        wait_for_state(&mut session, "sending");
        endpoint.emit(&mut session, 1);
        endpoint.wait_for(&mut session, 21, "success");
    }
}

/// A fenced copy may receive rows by logical replication, which fails if a partition of the
/// publisher is missing in the copy.
#[test]
fn fenced_or_paused_database_creates_its_partitions() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (cluster, mut client) = Cluster::with_client(WORKER_FOR_A_COPY);
    let endpoint = queue_while_paused(&mut client, &receiver, 3);
    let partitions = "select count(*) from pg_inherits
        where inhparent in ('webhook_delivery.events'::regclass, 'webhook_delivery.attempts_ended'::regclass, 'webhook_delivery.attempts_retried'::regclass)";
    let all = |client: &mut Client| {
        let count: i64 = client.query_one(partitions, &[]).unwrap().get(0);
        (count == 3 + 3 * 4).then_some(())
    };
    let drop_partitions = "do $$ declare made text; begin
        for made in select inhrelid::regclass from pg_inherits where inhrelid::regclass::text ~ '^webhook_delivery.*_[0-9]{8}$' loop
            execute 'drop table ' || made;
        end loop; end $$";
    client.batch_execute(drop_partitions).unwrap();
    cluster.reload();
    wait_until("the partitions of the paused database", DEADLINE, || all(&mut client));
    wait_for_state(&mut client, "paused");

    client.batch_execute(drop_partitions).unwrap();
    cluster.execute("create database copy template template0");
    let dump = cluster.client_command("pg_dump").output().unwrap();
    let path = cluster.socket_dir().join("dump");
    std::fs::write(&path, dump.stdout).unwrap();
    run(cluster.client_command("psql").args(["--quiet", "--dbname=copy", "--file"]).arg(&path));
    let mut copy = cluster.connect_to("copy");
    wait_for_state(&mut copy, "fenced");
    wait_until("the partitions of the copy", DEADLINE, || all(&mut copy));
    wait_for_state(&mut copy, "fenced");
    assert_eq!((receiver.count(), endpoint.deliveries(&mut copy).len()), (0, 3));
}

#[test]
fn database_from_a_template_sends_nothing_until_resumed() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::start(&[("webhook_delivery.databases", "app, copy")]);
    cluster.execute("create database app");
    let mut client = cluster.connect_to("app");
    client.batch_execute("create extension webhook_delivery").unwrap();
    let endpoint = queue_while_paused(&mut client, &receiver, 10);
    drop(client);
    cluster.execute("create database copy template app");
    assert_fenced_until_resumed(&cluster, &receiver, &endpoint, 10);

    let mut client = cluster.connect_to("app");
    client.batch_execute("select webhook_delivery.resume()").unwrap();
    endpoint.wait_for(&mut client, 10, "success");
    assert_eq!(receiver.count(), 20);
}

#[test]
fn promoted_standby_is_not_fenced_and_sends() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (primary, mut client) = Cluster::with_client(WORKER_FOR_A_COPY);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    let standby = primary.standby();
    drop(client);
    primary.stop(StopMode::Immediate);
    standby.promote();
    let mut client = standby.connect();
    wait_until("the promoted server to accept writes", DEADLINE, || {
        let standing = "select not pg_is_in_recovery()";
        client.query_one(standing, &[]).unwrap().get::<_, bool>(0).then_some(())
    });
    endpoint.emit(&mut client, 3);
    endpoint.wait_for(&mut client, 3, "success");
    wait_for_state(&mut client, "sending");
}

#[test]
fn paused_database_records_and_queues_but_sends_nothing() {
    let receiver = Receiver::start(|_| Reply::ok().after(Duration::from_millis(300)));
    let (cluster, mut client) = Cluster::with_client(WORKER_FOR_A_COPY);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    // More deliveries than the worker sends at once.
    endpoint.emit(&mut client, 100);
    receiver.wait_for(10, DEADLINE);
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    wait_for_state(&mut client, "paused");
    let left = wait_until("the requests in flight to end and be recorded", DEADLINE, || {
        let left = queued(&mut client);
        (left + receiver.count() as i64 == 100).then_some(left)
    });
    let sent = receiver.count();
    assert!(left > 0, "everything was sent before the pause");
    endpoint.emit(&mut client, 1);

    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect();
    wait_for_state(&mut client, "paused");
    assert_eq!((receiver.count(), queued(&mut client)), (sent, left + 1));
    client.batch_execute("select webhook_delivery.resume()").unwrap();
    endpoint.wait_for(&mut client, 101, "success");
    assert_eq!(receiver.count(), 101);
}

#[test]
fn pause_and_resume_are_transactional_and_idempotent() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (cluster, mut client) = Cluster::with_client(WORKER_FOR_A_COPY);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    let mut other = cluster.connect();
    let mut pausing = other.transaction().unwrap();
    pausing.batch_execute("select webhook_delivery.pause()").unwrap();
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 1, "success");
    pausing.rollback().unwrap();

    let paused_at = "select paused_at::text from webhook_delivery.status";
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    let first: String = client.query_one(paused_at, &[]).unwrap().get(0);
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    assert_eq!(client.query_one(paused_at, &[]).unwrap().get::<_, String>(0), first);
    for _ in 0..2 {
        client.batch_execute("select webhook_delivery.resume()").unwrap();
    }
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 2, "success");
}

#[test]
fn status_reports_a_missing_endpoint_and_a_missing_worker() {
    let (cluster, mut client) = Cluster::with_client(WORKER_FOR_A_COPY);
    let hint = "select hint from webhook_delivery.status";
    wait_until("a worker that waits for an endpoint", DEADLINE, || {
        (client.query_one(hint, &[]).unwrap().get::<_, String>(0) == "waiting for the first endpoint").then_some(())
    });
    wait_for_state(&mut client, "waiting");
    cluster.set("webhook_delivery.databases", "");
    wait_for_state(&mut client, "no worker");
    assert!(client.query_one(hint, &[]).unwrap().get::<_, String>(0).contains("webhook_delivery.databases"));
}
