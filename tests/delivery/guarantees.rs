//! At least once: no delivery is lost when processes are killed or the server stops.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, ReceiverProgram, Reply, StopMode, wait_until};

/// After a kill only the requests that were in flight are repeated: one for each of the pool's 64
/// threads. Successes are kept in the journal, a file that survives the kill.
const MAX_IN_FLIGHT: u64 = 64;

#[test]
fn killed_workers_and_an_immediate_stop_lose_no_event() {
    const EVENTS: usize = 20_000;
    let receiver = ReceiverProgram::start();
    let cluster = Cluster::with_extension(&[]);
    let mut clients: Vec<_> = (0..4).map(|_| cluster.connect()).collect();
    let endpoint = Endpoint::create(&mut clients[0], &receiver.url("/slow/2"));
    // Four concurrent transactions, so that the queue is long when the worker is killed.
    let emitting = |client: &mut postgres::Client| {
        let mut transaction = client.transaction().unwrap();
        endpoint.emit(&mut transaction, (EVENTS / 4) as i32);
        transaction.commit().unwrap();
    };
    std::thread::scope(|scope| {
        clients.iter_mut().for_each(|client| drop(scope.spawn(|| emitting(client))));
    });
    drop(clients);

    let mut killed = None;
    for (kill, arrived) in [(true, 0.5), (true, 0.65), (false, 0.8)] {
        let arrived = (arrived * EVENTS as f64) as u64;
        wait_until(&format!("{arrived} deliveries"), DEADLINE, || {
            (receiver.stats().distinct_ids >= arrived).then_some(())
        });
        if kill {
            let worker = cluster.wait_for_worker("postgres", killed);
            cluster.kill9(worker);
            killed = Some(worker);
        } else {
            cluster.stop(StopMode::Immediate);
            cluster.start_again();
        }
        let at_least = receiver.stats().distinct_ids;
        println!("{} when {at_least} had arrived", if kill { "kill -9 of the worker" } else { "immediate stop" });
        assert!(at_least < EVENTS as u64, "the kill came before the last delivery");
    }

    wait_until("all deliveries", DEADLINE, || (receiver.stats().distinct_ids == EVENTS as u64).then_some(()));
    let mut client = cluster.connect();
    wait_until("an empty queue", DEADLINE, || {
        let left: i64 = client.query_one("select count(*) from webhook_delivery.queue", &[]).unwrap().get(0);
        (left == 0).then_some(())
    });
    let arrived: HashSet<Uuid> = receiver.arrivals().into_keys().collect();
    let history = endpoint.deliveries(&mut client);
    assert_eq!((history.len(), arrived.len()), (EVENTS, EVENTS));
    assert!(history.iter().all(|delivery| delivery.status == "success" && arrived.contains(&delivery.id)));
    let events: i64 = client.query_one("select count(*) from webhook_delivery.events", &[]).unwrap().get(0);
    assert_eq!(events, EVENTS as i64);

    let duplicates = receiver.stats().duplicates;
    println!("{EVENTS} events, 0 lost, {duplicates} duplicates; at most {} were in flight", 3 * MAX_IN_FLIGHT);
    assert!(duplicates <= 3 * MAX_IN_FLIGHT, "{duplicates} duplicates");
}

#[test]
fn unrecorded_successes_are_recorded_after_a_kill_not_resent() {
    let (receiver, last_receiver) = (Receiver::start(|_| Reply::ok()), Receiver::start(|_| Reply::ok()));
    let cluster = Cluster::with_extension(&[]);
    let (mut client, mut lock) = (cluster.connect(), cluster.connect());
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    // A worker without cached plans would wait for the lock and send nothing.
    let first = Endpoint::create(&mut client, &last_receiver.url("/first"));
    first.emit(&mut client, 1);
    first.wait_for(&mut client, 1, "success");
    lock.batch_execute("begin; lock table webhook_delivery.attempts in share mode").unwrap();
    endpoint.emit(&mut client, 20);
    receiver.wait_for_distinct(20, DEADLINE);
    wait_until("all requests to end", DEADLINE, || {
        let status = "select attempts_to_record = 20 and requests_in_flight = 0 from webhook_delivery.status";
        client.query_one(status, &[]).unwrap().get::<_, bool>(0).then_some(())
    });
    let history = "select count(*) from webhook_delivery.attempts";
    assert_eq!(cluster.query_one::<i64>(history, &[]), 1);

    let worker = cluster.wait_for_worker("postgres", None);
    cluster.kill9(worker);
    cluster.wait_for_worker("postgres", Some(worker));
    let mut client = cluster.connect();
    let deliveries = endpoint.wait_for(&mut client, 20, "success");
    assert_eq!(deliveries.len(), 20);
    let of_before = "select count(*) from webhook_deliveries where response_status_code = 200 and response_time_ms >= 0
        and last_attempt_at < (select backend_start from pg_stat_activity where application_name = 'webhook_delivery worker')";
    assert_eq!(client.query_one(of_before, &[]).unwrap().get::<_, i64>(0), 21);
    let last = Endpoint::create(&mut client, &last_receiver.url("/"));
    last.emit(&mut client, 1);
    last.wait_for(&mut client, 1, "success");
    assert_eq!(receiver.count(), 20, "nothing was sent again");
}

#[test]
fn long_transaction_is_delivered_as_soon_as_it_commits() {
    let (late_receiver, receiver) = (Receiver::start(|_| Reply::ok()), Receiver::start(|_| Reply::ok()));
    // Only the commit can wake the worker in time: it polls once a minute.
    let cluster = Cluster::with_extension(&[("webhook_delivery.poll_interval", "60s")]);
    let (mut slow, mut busy) = (cluster.connect(), cluster.connect());
    let late = Endpoint::create(&mut busy, &late_receiver.url("/"));
    let others = Endpoint::create(&mut busy, &receiver.url("/"));
    let mut transaction = slow.transaction().unwrap();
    late.emit(&mut transaction, 5);

    for _ in 0..10 {
        others.emit(&mut busy, 300);
    }
    receiver.wait_for_distinct(3_000, DEADLINE);
    others.wait_for(&mut busy, 3_000, "success");
    assert_eq!(late_receiver.count(), 0);
    transaction.commit().unwrap();
    late_receiver.wait_for_distinct(5, Duration::from_secs(1));
    late.wait_for(&mut busy, 5, "success");
    assert_eq!((late_receiver.count(), receiver.count()), (5, 3_000), "reading the older rows sends nothing twice");
}

#[test]
fn commit_prepared_of_another_session_delivers_the_events() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::with_extension(&[("max_prepared_transactions", "2")]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    client.batch_execute("begin").unwrap();
    endpoint.emit(&mut client, 3);
    client.batch_execute("prepare transaction 'later'").unwrap();
    cluster.restart(StopMode::Immediate);
    assert_eq!(receiver.count(), 0);
    cluster.execute("commit prepared 'later'");
    receiver.wait_for_distinct(3, Duration::from_secs(5));
}

#[test]
fn commit_prepared_of_the_preparing_session_wakes_the_worker() {
    let receiver = Receiver::start(|_| Reply::ok());
    // Without a wakeup the worker polls only after more than `DEADLINE`.
    let cluster =
        Cluster::with_extension(&[("max_prepared_transactions", "2"), ("webhook_delivery.poll_interval", "60s")]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 1, "success");
    client.batch_execute("begin").unwrap();
    endpoint.emit(&mut client, 3);
    client.batch_execute("prepare transaction 'later'").unwrap();
    client.batch_execute("select 1 / 0").unwrap_err();
    client.batch_execute("commit prepared 'later'").unwrap();
    receiver.wait_for_distinct(4, DEADLINE);
}

#[test]
fn backend_killed_in_its_transaction_affects_no_others() {
    let (lost_receiver, receiver) = (Receiver::start(|_| Reply::ok()), Receiver::by_path());
    let cluster = Cluster::with_extension(&[]);
    let (mut victim, mut client) = (cluster.connect(), cluster.connect());
    let unfinished = Endpoint::create(&mut client, &lost_receiver.url("/"));
    let committed = Endpoint::create(&mut client, &receiver.url("/slow/20"));
    let victim_pid: i32 = victim.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    victim.batch_execute("begin").unwrap();
    unfinished.emit(&mut victim, 10);
    committed.emit(&mut client, 1_000);
    receiver.wait_for(100, DEADLINE);

    cluster.kill9(victim_pid);
    receiver.wait_for_distinct(1_000, DEADLINE);
    let mut client = cluster.connect();
    let history = committed.wait_for(&mut client, 1_000, "success");
    assert_eq!(history.len(), 1_000);
    assert_eq!(lost_receiver.count(), 0, "what was never committed is never sent");
    assert!(unfinished.deliveries(&mut client).is_empty());
    let duplicates = receiver.count() as u64 - 1_000;
    assert!(duplicates <= MAX_IN_FLIGHT, "{duplicates} duplicates");
}
