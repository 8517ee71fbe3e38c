//! Locks: open transactions of other sessions do not delay deliveries, and the worker does not
//! delay them.

use std::time::{Duration, Instant};

use postgres::Client;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, wait_until};

/// An event is emitted, committed, delivered and recorded within two seconds.
#[track_caller]
fn assert_delivery_takes_under_two_seconds(cluster: &Cluster) {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut client = cluster.connect();
    client.batch_execute("set statement_timeout = '2s'").unwrap();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    let began = Instant::now();
    endpoint.emit(&mut client, 1);
    receiver.wait_for(1, Duration::from_secs(2));
    wait_until("the history", Duration::from_secs(2), || {
        (endpoint.deliveries(&mut client)[0].status == "success").then_some(())
    });
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
}

/// Drops the newest partitions, so that the next worker has partitions to create as it does every
/// day. Returns the pid of the present worker.
fn drop_newest_partitions(cluster: &Cluster) -> i32 {
    wait_until("the partitions ahead", DEADLINE, || {
        (newest_partitions(&mut cluster.connect()).len() == 3).then_some(())
    });
    for partition in newest_partitions(&mut cluster.connect()) {
        cluster.execute(&format!("drop table {partition}"));
    }
    cluster.wait_for_worker("postgres", None)
}

/// Replaces the worker: a worker creates partitions when it starts, and every hour.
fn replace_worker(cluster: &Cluster, old: i32) {
    cluster.execute(&format!("select pg_terminate_backend({old})"));
    cluster.wait_for_worker("postgres", Some(old));
}

/// The partitions of events and attempts for the last day that is created in advance.
fn newest_partitions(client: &mut Client) -> Vec<String> {
    let sql = "select oid::regclass::text from pg_class
               where relkind = 'r' and relnamespace = 'webhook_delivery'::regnamespace
                   and relname ~ ('^(events|attempts_ended|attempts_retried)_' || to_char(now() at time zone 'UTC' + interval '3 days', 'YYYYMMDD') || '$')";
    client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn uncommitted_endpoint_deletion_delays_no_other_delivery() {
    let slow_receiver = Receiver::by_path();
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let deleted = Endpoint::create(&mut client, &slow_receiver.url("/slow/300"));
    deleted.emit(&mut client, 5);
    slow_receiver.wait_for(5, DEADLINE);
    let mut transaction = client.transaction().unwrap();
    transaction.execute("delete from webhook_endpoints where id = $1", &[&deleted.id]).unwrap();
    // The endpoint's five requests end meanwhile, and the worker has to record them.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert_delivery_takes_under_two_seconds(&cluster);
    }
    transaction.commit().unwrap();
    assert_delivery_takes_under_two_seconds(&cluster);
}

#[test]
fn partition_creation_blocked_by_an_emit_delays_no_delivery() {
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, "http://127.0.0.1:9/");
    let worker = drop_newest_partitions(&cluster);
    let mut transaction = client.transaction().unwrap();
    endpoint.emit(&mut transaction, 1);
    replace_worker(&cluster, worker);
    assert_delivery_takes_under_two_seconds(&cluster);
    transaction.commit().unwrap();
    assert_delivery_takes_under_two_seconds(&cluster);
}

#[test]
fn partition_creation_blocked_by_a_backup_delays_no_delivery() {
    let cluster = Cluster::with_extension(&[]);
    assert_delivery_takes_under_two_seconds(&cluster);
    let worker = drop_newest_partitions(&cluster);
    let mut backup = cluster.connect();
    let mut transaction = backup.transaction().unwrap();
    // pg_dump locks every table like this for its whole run.
    let as_pg_dump = "lock table webhook_delivery.events, webhook_delivery.attempts in access share mode";
    transaction.batch_execute(as_pg_dump).unwrap();
    replace_worker(&cluster, worker);
    assert_delivery_takes_under_two_seconds(&cluster);
    transaction.commit().unwrap();
    assert_delivery_takes_under_two_seconds(&cluster);
}

#[test]
fn worker_that_may_not_write_sends_nothing() {
    let receiver = Receiver::start(|_| Reply::ok().after(Duration::from_millis(500)));
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 3);
    receiver.wait_for(3, DEADLINE);
    // Managed databases set this when their disk is full. Three requests are in flight.
    cluster.set("default_transaction_read_only", "on");
    let wait_for_pause = || {
        wait_until("a worker that reports default_transaction_read_only", DEADLINE, || {
            let sql = "select query from pg_stat_activity where backend_type = 'webhook_delivery worker'";
            let row = cluster.connect().query_opt(sql, &[]).unwrap()?;
            row.get::<_, String>(0).contains("default_transaction_read_only").then_some(())
        });
    };
    wait_for_pause();
    let worker = cluster.wait_for_worker("postgres", None);
    cluster.execute(&format!("select pg_terminate_backend({worker})"));
    cluster.wait_for_worker("postgres", Some(worker));
    wait_for_pause();
    assert_eq!(receiver.count(), 3);

    cluster.set("default_transaction_read_only", "off");
    endpoint.wait_for(&mut client, 3, "success");
    assert!(receiver.count() <= 6, "each delivery was repeated once at most");
}
