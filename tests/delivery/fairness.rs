//! Fair share: a hanging, disabled or busy endpoint does not delay the deliveries of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, StopMode, wait_until};

/// Inserts deliveries into the queue with one statement, because `emit()` for each of them would
/// take longer than the test. They are due before everything that is emitted afterwards.
fn queue_backlog(client: &mut Client, endpoint: &Endpoint, deliveries: i32) {
    endpoint.emit(client, 1);
    let sql = "insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
               select queued.due_at, webhook_delivery.uuid_v7(), queued.auction_id, queued.endpoint_id, queued.event_id, queued.event_type
               from (select e.occurred_at as due_at, e.auction_id, $1::uuid as endpoint_id, e.id as event_id, e.event_type
                   from webhook_delivery.events as e where e.auction_id = $2) as queued, generate_series(2, $3::integer)";
    let mut transaction = client.transaction().unwrap();
    transaction.execute(sql, &[&endpoint.id, &endpoint.auction_id, &deliveries]).unwrap();
    transaction.batch_execute("select webhook_delivery.wake_to_rescan()").unwrap();
    transaction.commit().unwrap();
}

/// Emits events one by one and asserts that each arrives promptly.
#[track_caller]
fn assert_prompt(client: &mut Client, endpoint: &Endpoint, receiver: &Receiver, events: usize) {
    for expected in 1..=events {
        let emitted_at = Instant::now();
        endpoint.emit(client, 1);
        receiver.wait_for(expected, Duration::from_secs(5));
        let took = emitted_at.elapsed();
        assert!(took < Duration::from_secs(1), "event {expected} took {took:?}");
    }
}

#[test]
fn hanging_endpoint_does_not_delay_deliveries_to_another() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let hanging = Endpoint::create(&mut client, &hanging_receiver.url("/"));
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    let interleaved = "select webhook_delivery.emit('submission.created',
                           case when n % 11 = 0 then $1::uuid else $2::uuid end, json_build_object('n', n))
                       from generate_series(1, 2200) as n order by n";
    client.execute(interleaved, &[&hanging.auction_id, &good.auction_id]).unwrap();

    let committed_at = Instant::now();
    receiver.wait_for_distinct(2_000, Duration::from_secs(5));
    println!("2,000 deliveries past a hanging endpoint in {:?}", committed_at.elapsed());
    assert!(hanging_receiver.count() >= 1, "the hanging endpoint was tried");
    assert_eq!(hanging.deliveries(&mut client).len(), 200, "its deliveries are still visible");
}

#[test]
fn ten_hanging_endpoints_with_interleaved_events_delay_no_other() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let url = hanging_receiver.url("/");
    let auctions: Vec<_> = (0..10).map(|_| Endpoint::create(&mut client, &url).auction_id).collect();
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    let interleaved = "select webhook_delivery.emit('submission.created', auction_id, '{}')
                       from generate_series(1, 50), unnest($1::uuid[]) as auction_id";
    client.execute(interleaved, &[&auctions]).unwrap();
    hanging_receiver.wait_for(10, DEADLINE);
    assert_prompt(&mut client, &good, &receiver, 10);
}

#[test]
fn endpoints_that_hang_one_after_another_delay_no_other() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    for number in 0..10 {
        // Each endpoint briefly has all threads to itself and takes as many as it may.
        let path = format!("/{number}");
        let hanging = Endpoint::create(&mut client, &hanging_receiver.url(&path));
        hanging.emit(&mut client, 100);
        wait_until(&format!("a request to hanging endpoint {number}"), Duration::from_secs(5), || {
            (!hanging_receiver.requests_to(&path).is_empty()).then_some(())
        });
    }
    assert_prompt(&mut client, &good, &receiver, 10);
}

#[test]
fn backlogs_of_hanging_endpoints_leave_prefetch_for_others() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    for number in 0..16 {
        let hanging = Endpoint::create(&mut client, &hanging_receiver.url(&format!("/{number}")));
        queue_backlog(&mut client, &hanging, 5_000);
    }
    hanging_receiver.wait_for(16, DEADLINE);
    assert_prompt(&mut client, &good, &receiver, 10);
}

#[test]
fn large_events_of_a_hanging_endpoint_leave_memory_for_others() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let hanging = Endpoint::create(&mut client, &hanging_receiver.url("/"));
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    // 150 MB, more than the worker keeps in memory.
    let large = "select webhook_delivery.emit('submission.created', $1, json_build_object('text', repeat('x', 250000)))
                 from generate_series(1, 600)";
    client.execute(large, &[&hanging.auction_id]).unwrap();
    hanging_receiver.wait_for(1, DEADLINE);
    assert_prompt(&mut client, &good, &receiver, 10);
}

#[test]
fn backlog_of_100_000_does_not_delay_a_single_delivery() {
    let (slow_receiver, receiver) = (Receiver::by_path(), Receiver::start(|_| Reply::ok()));
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let busy = Endpoint::create(&mut client, &slow_receiver.url("/slow/250"));
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    queue_backlog(&mut client, &busy, 100_000);
    assert_prompt(&mut client, &good, &receiver, 1);
    slow_receiver.wait_for(100, DEADLINE);
    assert_prompt(&mut client, &good, &receiver, 10);
    let left: i64 = client.query_one("select count(*) from webhook_delivery.queue", &[]).unwrap().get(0);
    assert!(left > 90_000, "only {left} deliveries of the backlog are left");
}

#[test]
fn backlog_of_a_disabled_endpoint_delays_no_other_and_is_kept() {
    let (waiting_receiver, receiver) = (Receiver::start(|_| Reply::ok()), Receiver::start(|_| Reply::ok()));
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let disabled = Endpoint::create(&mut client, &waiting_receiver.url("/"));
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    disabled.emit(&mut client, 1);
    waiting_receiver.wait_for(1, DEADLINE);
    client.execute("update webhook_endpoints set is_active = false where id = $1", &[&disabled.id]).unwrap();
    let sql = "insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
               select now(), webhook_delivery.uuid_v7(), auction_id, $1, id, event_type
               from webhook_delivery.events, generate_series(1, 20000) where auction_id = $2";
    client.execute(sql, &[&disabled.id, &disabled.auction_id]).unwrap();
    assert_prompt(&mut client, &good, &receiver, 10);
    assert_eq!(waiting_receiver.count(), 1);

    client.execute("update webhook_endpoints set is_active = true where id = $1", &[&disabled.id]).unwrap();
    waiting_receiver.wait_for_distinct(20_001, DEADLINE);
}

/// Creates endpoints that never answer, spread evenly over the auctions, and emits events to them.
fn hanging_endpoints(client: &mut Client, receiver: &Receiver, endpoints: usize, auctions: &[Uuid], events: i32) {
    client.batch_execute("set webhook_delivery.max_endpoints = 1000").unwrap();
    for (auction_id, number) in auctions.iter().cycle().zip(0..endpoints) {
        let sql = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}')";
        client.execute(sql, &[auction_id, &receiver.url(&format!("/{number}"))]).unwrap();
    }
    let sql = "select webhook_delivery.emit('submission.created', auction_id, '{}')
               from unnest($1::uuid[]) as auction_id, generate_series(1, $2)";
    client.execute(sql, &[&auctions, &events]).unwrap();
}

#[test]
fn hanging_endpoints_of_one_auction_do_not_delay_another() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    hanging_endpoints(&mut client, &hanging_receiver, 200, &[Uuid::new_v4()], 10);
    hanging_receiver.wait_for(16, DEADLINE);
    assert_prompt(&mut client, &good, &receiver, 20);
    assert!(hanging_receiver.count() <= 32, "an auction uses at most half of the threads");
}

#[test]
fn endpoints_that_timed_out_once_delay_no_other_auction() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let (cluster, mut client) = Cluster::with_client(&[("webhook_delivery.request_timeout", "400ms")]);
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    let auctions: Vec<Uuid> = std::iter::repeat_with(Uuid::new_v4).take(200).collect();
    hanging_endpoints(&mut client, &hanging_receiver, 200, &auctions, 50);
    wait_until("each to have timed out once", DEADLINE, || {
        let timed_out = "select count(distinct endpoint_id) from webhook_delivery_attempts";
        (client.query_one(timed_out, &[]).unwrap().get::<_, i64>(0) == 200).then_some(())
    });
    cluster.set("webhook_delivery.request_timeout", "30s");
    let are_in_flight = "select requests_in_flight = 16 from webhook_delivery.status";
    wait_until("16 hanging requests in flight", DEADLINE, || {
        client.query_one(are_in_flight, &[]).unwrap().get::<_, bool>(0).then_some(())
    });
    assert_prompt(&mut client, &good, &receiver, 20);

    // The next worker already knows which endpoints hang.
    let worker = cluster.wait_for_worker("postgres", None);
    hanging_receiver.clear();
    receiver.clear();
    client.execute("select pg_terminate_backend($1)", &[&worker]).unwrap();
    cluster.wait_for_worker("postgres", Some(worker));
    hanging_receiver.wait_for(16, DEADLINE);
    assert_prompt(&mut client, &good, &receiver, 20);
    // The receiver may have counted requests of the previous worker, too.
    wait_until("16 hanging requests of this worker", DEADLINE, || {
        client.query_one(are_in_flight, &[]).unwrap().get::<_, bool>(0).then_some(())
    });
}

#[test]
fn endpoint_that_recovers_is_served_while_others_hang() {
    let hanging_receiver = Receiver::start(|_| Reply::hang());
    let has_recovered = Arc::new(AtomicBool::new(false));
    let recovered = Arc::clone(&has_recovered);
    let receiver =
        Receiver::start(move |_| if recovered.load(Ordering::Relaxed) { Reply::ok() } else { Reply::hang() });
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.request_timeout", "200ms")]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 500);
    hanging_endpoints(&mut client, &hanging_receiver, 50, &[Uuid::new_v4()], 10);
    wait_until("the endpoint to have timed out", DEADLINE, || {
        endpoint.deliveries(&mut client).iter().any(|delivery| delivery.status == "retrying").then_some(())
    });
    has_recovered.store(true, Ordering::Relaxed);
    // Except those that timed out, which are retried in a minute.
    wait_until("the first attempt of every delivery", DEADLINE, || {
        endpoint.deliveries(&mut client).iter().all(|delivery| delivery.status != "pending").then_some(())
    });
    endpoint.wait_for(&mut client, 400, "success");
}

#[test]
fn backlog_of_a_day_is_sent_in_turns_by_auction() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    // One endpoint has 20,000 deliveries, which are due first. Ten endpoints have 100 each, and two
    // have five each. Each endpoint belongs to an auction of its own.
    let much = Endpoint::create(&mut client, &receiver.url("/much"));
    let several_paths: [String; 10] = std::array::from_fn(|number| format!("/several/{number}"));
    let several = several_paths.each_ref().map(|path| Endpoint::create(&mut client, &receiver.url(path)));
    let little = ["/little", "/other"].map(|path| Endpoint::create(&mut client, &receiver.url(path)));
    queue_backlog(&mut client, &much, 20_000);
    several.iter().for_each(|endpoint| queue_backlog(&mut client, endpoint, 100));
    little.iter().for_each(|endpoint| queue_backlog(&mut client, endpoint, 5));
    let yesterday = "update webhook_delivery.queue set attempts = 1, attempted_at = now() - interval '1 day',
        due_at = now() - interval '1 day' + case endpoint_id when $1 then interval '0'
            else interval '20 hours' + hashtext(delivery_id::text) % 3600 * interval '1 second' end";
    client.execute(yesterday, &[&much.id]).unwrap();
    cluster.restart(StopMode::Fast);
    cluster.execute("select webhook_delivery.resume()");

    let requests = receiver.wait_for(21_010, DEADLINE);
    let last = |path: &str| requests.iter().rposition(|request| request.path.starts_with(path)).unwrap();
    for path in ["/little", "/other"] {
        assert!(last(path) < 5_000, "{path} was finished after {} requests", last(path));
    }
    assert!(last("/several") < 10_000, "the ten endpoints were finished after {} requests", last("/several"));
    // Each of the ten has its share of their first 500 requests. Served one after another, the last
    // five would have none.
    let half: Vec<&str> = requests
        .iter()
        .map(|request| request.path.as_str())
        .filter(|path| path.starts_with("/several"))
        .take(500)
        .collect();
    let of_each = several_paths.map(|wanted| half.iter().filter(|path| **path == wanted).count());
    assert!(of_each.iter().all(|count| *count >= 10), "{of_each:?}");
}

/// Each such call makes the worker read everything due again, including the backlog.
#[test]
fn endless_wakeups_do_not_delay_other_deliveries() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let hanging = Endpoint::create(&mut client, &hanging_receiver.url("/"));
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    queue_backlog(&mut client, &hanging, 20_000);
    hanging_receiver.wait_for(1, DEADLINE);
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (mut session, is_over) = (cluster.connect(), Arc::clone(&is_over));
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    session.batch_execute("select webhook_delivery.wake_to_rescan()").unwrap();
                }
            })
        })
        .collect();
    assert_prompt(&mut client, &good, &receiver, 50);
    is_over.store(true, Ordering::Relaxed);
    callers.into_iter().for_each(|caller| caller.join().unwrap());
}
