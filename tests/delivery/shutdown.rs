//! Shutdown of worker, launcher and server, and promotion of a standby: no delivery is lost.

use std::time::{Duration, Instant};

use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, StopMode, wait_until};

fn terminate(cluster: &Cluster, backend_type: &str) -> i32 {
    let sql = "select pid, pg_terminate_backend(pid) from pg_stat_activity where backend_type = $1";
    cluster.query_one(sql, &[&backend_type])
}

fn launcher_pid(cluster: &Cluster) -> Option<i32> {
    let sql = "select pid from pg_stat_activity where backend_type = 'webhook_delivery launcher'";
    cluster.connect().query_opt(sql, &[]).unwrap().map(|row| row.get(0))
}

#[test]
fn terminated_worker_restarts_and_delivers_the_queue() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    cluster.wait_for_worker("postgres", None);
    for round in 1..=3 {
        let old = terminate(&cluster, "webhook_delivery worker");
        endpoint.emit(&mut client, 10);
        cluster.wait_for_worker("postgres", Some(old));
        endpoint.wait_for(&mut client, round * 10, "success");
    }
    assert_eq!(receiver.count(), 30, "a terminated worker repeats no delivery");
}

#[test]
fn terminated_worker_records_requests_that_end_in_time() {
    let receiver = Receiver::start(|_| Reply::ok().after(Duration::from_millis(400)));
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 20);
    receiver.wait_for(20, DEADLINE);
    let old = terminate(&cluster, "webhook_delivery worker");
    cluster.wait_for_worker("postgres", Some(old));
    endpoint.wait_for(&mut client, 20, "success");
    assert_eq!(receiver.count(), 20, "every request in flight is recorded, none is repeated");
}

#[test]
fn terminated_launcher_restarts_and_restarts_workers() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::with_extension(&[]);
    let worker = cluster.wait_for_worker("postgres", None);
    let old = terminate(&cluster, "webhook_delivery launcher");
    wait_until("another launcher", DEADLINE, || launcher_pid(&cluster).filter(|pid| *pid != old));
    assert_eq!(cluster.worker_pid("postgres"), Some(worker), "the worker outlives the launcher");

    terminate(&cluster, "webhook_delivery worker");
    cluster.wait_for_worker("postgres", Some(worker));
    let mut client = cluster.connect();
    Endpoint::create(&mut client, &receiver.url("/")).emit(&mut client, 1);
    receiver.wait_for(1, DEADLINE);
}

#[test]
fn fast_shutdown_takes_under_2_s_and_requests_are_repeated() {
    let receiver = Receiver::start(|_| Reply::hang());
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 50);
    receiver.wait_for(10, DEADLINE);
    drop(client);
    let took = cluster.stop(StopMode::Fast);
    assert!(took < Duration::from_secs(2), "the shutdown took {took:?}");
    let log = cluster.log();
    assert!(!log.contains("PANIC") && !log.contains("was terminated by signal"), "{log}");

    receiver.clear();
    cluster.start_again();
    let requests = receiver.wait_for_distinct(10, DEADLINE);
    let queued: Vec<_> = endpoint.deliveries(&mut cluster.connect()).iter().map(|delivery| delivery.id).collect();
    assert_eq!(queued.len(), 50);
    assert!(requests.iter().all(|request| queued.contains(&request.webhook_id().unwrap())));
}

#[test]
fn idle_server_stops_within_a_second() {
    let cluster = Cluster::with_extension(&[]);
    cluster.wait_for_worker("postgres", None);
    let took = cluster.stop(StopMode::Fast);
    assert!(took < Duration::from_secs(1), "the shutdown took {took:?}");
}

#[test]
fn smart_shutdown_does_not_wait_for_the_worker() {
    let receiver = Receiver::start(|_| Reply::hang());
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    Endpoint::create(&mut client, &receiver.url("/")).emit(&mut client, 10);
    receiver.wait_for(10, DEADLINE);
    drop(client);
    let took = cluster.stop(StopMode::Smart);
    assert!(took < Duration::from_secs(3), "the shutdown took {took:?}");
}

#[test]
fn standby_sends_nothing_until_promoted() {
    let receiver = Receiver::start(|_| Reply::ok());
    let primary = Cluster::with_extension(&[]);
    let mut client = primary.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    let standby = primary.standby();
    // Without a worker on the primary, the standby has to send the following events.
    let worker = primary.wait_for_worker("postgres", None);
    primary.set("webhook_delivery.databases", "");
    wait_until("the primary's worker to leave", DEADLINE, || {
        (primary.worker_pid("postgres") != Some(worker)).then_some(())
    });
    endpoint.emit(&mut client, 25);

    wait_until("the queue on the standby", DEADLINE, || {
        let queued = "select count(*) from webhook_delivery.queue";
        (standby.query_one::<i64>(queued, &[]) == 25).then_some(())
    });
    let ours = "select count(*) from pg_stat_activity where backend_type like 'webhook_delivery%'";
    assert_eq!(standby.query_one::<i64>(ours, &[]), 0);
    assert_eq!(receiver.count(), 0);

    drop(client);
    primary.stop(StopMode::Immediate);
    let promoted_at = Instant::now();
    standby.promote();
    receiver.wait_for_distinct(25, Duration::from_secs(5));
    println!("25 deliveries {:?} after the promotion began", promoted_at.elapsed());
    endpoint.wait_for(&mut standby.connect(), 25, "success");
    assert_eq!(receiver.count(), 25);
}
