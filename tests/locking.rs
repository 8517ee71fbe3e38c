//! An open transaction of others does not hold up deliveries, and we do not hold up theirs.

use std::time::{Duration, Instant};

use postgres::Client;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, wait_until};

fn started(settings: &[(&str, &str)]) -> Cluster {
    let cluster = Cluster::start(settings);
    cluster.execute("create extension webhook_delivery");
    cluster
}

/// An event gets through within two seconds: emitted, committed, delivered, recorded.
#[track_caller]
fn assert_gets_through(cluster: &Cluster) {
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

/// Leaves the worker a partition to make when it next looks, as there is one every day. Gives the worker that is there now.
fn on_the_day_before_a_new_partition(cluster: &Cluster) -> i32 {
    wait_until("the partitions ahead", DEADLINE, || {
        (newest_partitions(&mut cluster.connect()).len() == 3).then_some(())
    });
    for partition in newest_partitions(&mut cluster.connect()) {
        cluster.execute(&format!("drop table {partition}"));
    }
    cluster.wait_for_worker("postgres", None)
}

/// A worker looks after the partitions when it begins, and every hour.
fn have_a_new_worker_begin(cluster: &Cluster, old: i32) {
    cluster.execute(&format!("select pg_terminate_backend({old})"));
    cluster.wait_for_worker("postgres", Some(old));
}

/// Of events and attempts, those of the last day that was made ahead.
fn newest_partitions(client: &mut Client) -> Vec<String> {
    let sql = "select oid::regclass::text from pg_class
               where relkind = 'r' and relnamespace = 'webhook_delivery'::regnamespace
                   and relname ~ ('^(events|attempts_ended|attempts_retried)_' || to_char(now() at time zone 'UTC' + interval '3 days', 'YYYYMMDD') || '$')";
    client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn an_open_transaction_that_has_deleted_an_endpoint_does_not_hold_up_the_others() {
    let slow_receiver = Receiver::by_path();
    let cluster = started(&[]);
    let mut client = cluster.connect();
    let deleted = Endpoint::create(&mut client, &slow_receiver.url("/slow/300"));
    deleted.emit(&mut client, 5);
    slow_receiver.wait_for(5, DEADLINE);
    let mut transaction = client.transaction().unwrap();
    transaction.execute("delete from webhook_endpoints where id = $1", &[&deleted.id]).unwrap();
    // Its five requests end meanwhile, and are to be recorded.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert_gets_through(&cluster);
    }
    transaction.commit().unwrap();
    assert_gets_through(&cluster);
}

#[test]
fn new_partitions_wait_for_an_open_transaction_that_has_emitted_and_nobody_else_does() {
    let cluster = started(&[]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, "http://127.0.0.1:9/");
    let worker = on_the_day_before_a_new_partition(&cluster);
    let mut transaction = client.transaction().unwrap();
    endpoint.emit(&mut transaction, 1);
    have_a_new_worker_begin(&cluster, worker);
    assert_gets_through(&cluster);
    transaction.commit().unwrap();
    assert_gets_through(&cluster);
}

#[test]
fn new_partitions_wait_for_a_backup_that_is_running_and_nobody_else_does() {
    let cluster = started(&[]);
    assert_gets_through(&cluster);
    let worker = on_the_day_before_a_new_partition(&cluster);
    let mut backup = cluster.connect();
    let mut transaction = backup.transaction().unwrap();
    // As pg_dump does for every table, for as long as it takes.
    let as_pg_dump = "lock table webhook_delivery.events, webhook_delivery.attempts in access share mode";
    transaction.batch_execute(as_pg_dump).unwrap();
    have_a_new_worker_begin(&cluster, worker);
    assert_gets_through(&cluster);
    transaction.commit().unwrap();
    assert_gets_through(&cluster);
}

#[test]
fn a_worker_that_may_not_write_sends_nothing_because_it_would_send_it_again_and_again() {
    let receiver = Receiver::start(|_| Reply::ok().after(Duration::from_millis(500)));
    let cluster = started(&[]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 3);
    receiver.wait_for(3, DEADLINE);
    // What a full disk makes of a managed database. Three requests are under way.
    cluster.set("default_transaction_read_only", "on");
    let wait_for_pause = || {
        wait_until("a worker that says why it pauses", DEADLINE, || {
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
    assert!(receiver.count() <= 6, "each was sent once more at most");
}
