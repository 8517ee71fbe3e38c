//! A bad or a busy endpoint harms no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, StopMode, wait_until};

fn started() -> Cluster {
    let cluster = Cluster::start(&[]);
    cluster.execute("create extension webhook_delivery");
    cluster
}

/// So many deliveries, made as an operator could: writing them one by one through emit() would take longer than the test.
/// They come before whatever is emitted afterwards.
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

/// Emits events one by one and sees each arrive promptly.
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
fn two_hundred_deliveries_to_a_hanging_endpoint_do_not_hold_up_2_000_to_a_good_one() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = started();
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
    assert_eq!(hanging.deliveries(&mut client).len(), 200, "and what it did not take is still there to see");
}

#[test]
fn ten_hanging_endpoints_whose_deliveries_come_interleaved_leave_room_for_a_good_one() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = started();
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
fn ten_endpoints_that_begin_to_hang_one_after_the_other_leave_room_for_a_good_one() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = started();
    let mut client = cluster.connect();
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    for number in 0..10 {
        // Each has the pool for itself for a moment, and takes what it may.
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
fn backlogs_of_many_hanging_endpoints_do_not_fill_the_memory_that_a_good_one_needs() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = started();
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
fn large_events_for_a_hanging_endpoint_do_not_fill_the_memory_that_a_good_one_needs() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = started();
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
fn a_backlog_of_100_000_does_not_hide_another_endpoints_single_delivery() {
    let (slow_receiver, receiver) = (Receiver::by_path(), Receiver::start(|_| Reply::ok()));
    let cluster = started();
    let mut client = cluster.connect();
    let busy = Endpoint::create(&mut client, &slow_receiver.url("/slow/250"));
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    queue_backlog(&mut client, &busy, 100_000);
    assert_prompt(&mut client, &good, &receiver, 1);
    slow_receiver.wait_for(100, DEADLINE);
    assert_prompt(&mut client, &good, &receiver, 10);
    let left: i64 = client.query_one("select count(*) from webhook_delivery.queue", &[]).unwrap().get(0);
    assert!(left > 90_000, "the backlog is far from done: {left} are left");
}

#[test]
fn the_backlog_of_a_disabled_endpoint_does_not_hide_another_endpoints_single_delivery_and_goes_on_later() {
    let (waiting_receiver, receiver) = (Receiver::start(|_| Reply::ok()), Receiver::start(|_| Reply::ok()));
    let cluster = started();
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

/// So many endpoints that never answer, dealt out to the auctions in turn, each with so many events waiting.
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
fn two_hundred_hanging_endpoints_of_one_auction_do_not_hold_up_another_auction() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = started();
    let mut client = cluster.connect();
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    hanging_endpoints(&mut client, &hanging_receiver, 200, &[Uuid::new_v4()], 10);
    hanging_receiver.wait_for(16, DEADLINE);
    assert_prompt(&mut client, &good, &receiver, 20);
    assert!(hanging_receiver.count() <= 32, "an auction has half of the threads at most");
}

#[test]
fn two_hundred_hanging_endpoints_of_as_many_auctions_hold_up_nobody_once_each_has_timed_out() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = Cluster::start(&[("webhook_delivery.request_timeout", "400ms")]);
    cluster.execute("create extension webhook_delivery");
    let mut client = cluster.connect();
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    let auctions: Vec<Uuid> = std::iter::repeat_with(Uuid::new_v4).take(200).collect();
    hanging_endpoints(&mut client, &hanging_receiver, 200, &auctions, 50);
    wait_until("each to have timed out once", DEADLINE, || {
        let timed_out = "select count(distinct endpoint_id) from webhook_delivery_attempts";
        (client.query_one(timed_out, &[]).unwrap().get::<_, i64>(0) == 200).then_some(())
    });
    cluster.set("webhook_delivery.request_timeout", "30s");
    wait_until("requests that hang as long as they may", DEADLINE, || {
        let sql = "select requests_in_flight = 16 from webhook_delivery.status";
        client.query_one(sql, &[]).unwrap().get::<_, bool>(0).then_some(())
    });
    assert_prompt(&mut client, &good, &receiver, 20);

    // The next worker does not have to find out again.
    let worker = cluster.wait_for_worker("postgres", None);
    hanging_receiver.clear();
    receiver.clear();
    client.execute("select pg_terminate_backend($1)", &[&worker]).unwrap();
    cluster.wait_for_worker("postgres", Some(worker));
    hanging_receiver.wait_for(16, DEADLINE);
    assert_prompt(&mut client, &good, &receiver, 20);
    assert_eq!(hanging_receiver.count(), 16);
}

#[test]
fn an_endpoint_that_answers_again_is_served_again_although_others_go_on_hanging() {
    let hanging_receiver = Receiver::start(|_| Reply::hang());
    let has_recovered = Arc::new(AtomicBool::new(false));
    let recovered = Arc::clone(&has_recovered);
    let receiver =
        Receiver::start(move |_| if recovered.load(Ordering::Relaxed) { Reply::ok() } else { Reply::hang() });
    let cluster = Cluster::start(&[("webhook_delivery.request_timeout", "200ms")]);
    cluster.execute("create extension webhook_delivery");
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 500);
    hanging_endpoints(&mut client, &hanging_receiver, 50, &[Uuid::new_v4()], 10);
    wait_until("the endpoint to have timed out", DEADLINE, || {
        endpoint.deliveries(&mut client).iter().any(|delivery| delivery.status == "retrying").then_some(())
    });
    has_recovered.store(true, Ordering::Relaxed);
    // But for those that have timed out and are tried again in a minute.
    wait_until("what has not been tried yet to be delivered", DEADLINE, || {
        endpoint.deliveries(&mut client).iter().all(|delivery| delivery.status != "pending").then_some(())
    });
    endpoint.wait_for(&mut client, 400, "success");
}

#[test]
fn what_a_database_that_was_down_for_a_day_owes_goes_out_by_turns() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = started();
    let mut client = cluster.connect();
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    // One owes 20,000, and first; another has ten endpoints with 100 each, and two have five.
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
        assert!(last(path) < 5_000, "{path} was through after {} requests", last(path));
    }
    assert!(last("/several") < 10_000, "those of ten endpoints were through after {} requests", last("/several"));
    // Of the first half of what the ten are sent, each has had its part. Served one after another, the last five would have had none.
    let half: Vec<&str> = requests
        .iter()
        .map(|request| request.path.as_str())
        .filter(|path| path.starts_with("/several"))
        .take(500)
        .collect();
    let of_each = several_paths.map(|wanted| half.iter().filter(|path| **path == wanted).count());
    assert!(of_each.iter().all(|count| *count >= 10), "{of_each:?}");
}

/// Each such call has the worker look through all that is due again, a backlog included.
#[test]
fn whoever_has_things_sent_again_without_end_holds_up_nobody_elses() {
    let (hanging_receiver, receiver) = (Receiver::start(|_| Reply::hang()), Receiver::start(|_| Reply::ok()));
    let cluster = started();
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
