//! A malicious tenant cannot harm the deliveries of others.

use std::time::{Duration, Instant};

use webhook_harness::{Application, DEADLINE, Endpoint, Receiver, Reply, Submission, sample, tenant, wait_until};

/// More than the attempts that may wait to be recorded in all, and far more than those of one auction.
const MANY: i32 = 20_000;

/// So soon a delivery of somebody else goes out and is recorded; alone it takes some milliseconds.
const PROMPT: Duration = Duration::from_secs(2);

/// Locks the rows of all that waits for his endpoint, keeps the transaction open, and has all of it sent.
#[test]
fn idle_transaction_of_a_tenant_stops_deliveries_of_its_own_auction_only() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    let mine = application.endpoint(sample::RIVERSIDE, &receiver.url("/mine"), &["*"]);
    let neighbour = application.endpoint(sample::HILLTOP, &receiver.url("/neighbour"), &["*"]);
    tenant::create_roles(&mut application.client);
    let mut dana = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    dana.batch_execute("update webhook_endpoints set is_active = false").unwrap();
    // As many as were queued before it was disabled.
    application
        .client
        .batch_execute("update webhook_endpoints set disabled_at = now(), disabled_reason = 'x' where not is_active")
        .unwrap();
    mine.emit(&mut application.client, MANY);
    let mut idle = dana.transaction().unwrap();
    let cancel = "select webhook_delivery.cancel(array_agg(delivery_id)) from webhook_delivery.queue";
    assert_eq!(idle.query_one(cancel, &[]).unwrap().get::<_, i64>(0), i64::from(MANY));
    let mut elsewhere = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    elsewhere.batch_execute("update webhook_endpoints set is_active = true").unwrap();

    let client = &mut application.client;
    let blocked = "select blocked from webhook_delivery.status where attempts_to_record >= 256";
    let blocked = wait_until("what waits for the transaction", DEADLINE, || client.query_opt(blocked, &[]).unwrap());
    let blocked: Option<String> = blocked.get(0);
    let blocked = blocked.expect("it is said what waits");
    let holder: i32 = idle.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    assert!(blocked.contains(&sample::RIVERSIDE.to_string()), "{blocked}");
    assert!(blocked.contains(&format!("process {holder}")), "{blocked}");
    for n in 1..=10 {
        neighbour.emit(client, 10);
        wait_until("the neighbour's deliveries", PROMPT, || {
            let sent = neighbour.deliveries(client).iter().filter(|delivery| delivery.status == "success").count();
            (sent == n * 10).then_some(())
        });
    }
    let of_mine = receiver.requests_to("/mine").len();
    assert!((256..2_000).contains(&of_mine), "{of_mine} were sent though they cannot be recorded");

    // Then it goes on where it was.
    idle.rollback().unwrap();
    let left = "select count(*) from webhook_delivery.queue";
    wait_until("an empty queue", DEADLINE * 2, || {
        (client.query_one(left, &[]).unwrap().get::<_, i64>(0) == 0).then_some(())
    });
    let mut ids: Vec<_> = receiver.requests_to("/mine").iter().map(|request| request.webhook_id()).collect();
    let sent = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), sent), (MANY as usize, MANY as usize), "each was sent, and none twice");
    let status = client.query_one("select state, blocked from webhook_delivery.status", &[]).unwrap();
    assert_eq!((status.get::<_, String>(0), status.get(1)), ("sending".to_owned(), None::<String>));
}

/// Nor do transactions of several auctions at once, each with fewer rows.
#[test]
fn idle_transactions_of_many_tenants_stop_nobody_else() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    let client = &mut application.client;
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    let tenants: Vec<_> = (0..20).map(|n| Endpoint::create(client, &receiver.url(&format!("/{n}")))).collect();
    tenants.iter().for_each(|endpoint| endpoint.emit(client, 400));
    let mut locking = application.cluster.connect();
    let mut locking = locking.transaction().unwrap();
    locking.batch_execute("select from webhook_delivery.queue for update").unwrap();
    client.batch_execute("select webhook_delivery.resume()").unwrap();
    wait_until("all of them to be held", DEADLINE, || {
        let locked = client.query_one("select attempts_to_record from webhook_delivery.status", &[]).unwrap();
        (locked.get::<_, i32>(0) >= 20 * 256).then_some(())
    });
    let neighbour = Endpoint::create(client, &receiver.url("/neighbour"));
    neighbour.emit(client, 100);
    wait_until("the neighbour's deliveries", PROMPT, || {
        neighbour.deliveries(client).iter().all(|delivery| delivery.status == "success").then_some(())
    });
    locking.rollback().unwrap();
    tenants.iter().for_each(|endpoint| drop(endpoint.wait_for(client, 400, "success")));
    assert_eq!(receiver.count(), 20 * 400 + 100);
}

/// A tenant may lock the table of endpoints, because UPDATE and DELETE are granted: whoever commits an event waits, but not for long.
#[test]
fn locked_table_of_endpoints_delays_a_commit_for_a_moment_and_loses_no_event() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    application.endpoint(sample::HILLTOP, &receiver.url("/neighbour"), &["*"]);
    tenant::create_roles(&mut application.client);
    let mut dana = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    let mut locking = dana.transaction().unwrap();
    // From PostgreSQL 16 on the strongest of modes is the owner's; what is locked by one is locked for all.
    let mut owner = application.cluster.connect();
    let mut owner = owner.transaction().unwrap();
    let lock = "lock table webhook_endpoints in access exclusive mode";
    if locking.batch_execute(lock).is_err() {
        owner.batch_execute(lock).unwrap();
    }

    // A session that has asked before and one that has not; with limits of its own, and without.
    for settings in ["", "set lock_timeout = '50ms'; set statement_timeout = '10s'", "set lock_timeout = '1h'"] {
        let mut neighbour = application.cluster.connect();
        neighbour.batch_execute(settings).unwrap();
        let began = Instant::now();
        let mut transaction = neighbour.transaction().unwrap();
        Submission::of_hilltop().insert(&mut transaction);
        Submission::of_hilltop().insert(&mut transaction);
        let emitted: Option<uuid::Uuid> = transaction
            .query_one("select webhook_delivery.emit('message.created', $1, '{\"n\" : 1}')", &[&sample::HILLTOP])
            .unwrap()
            .get(0);
        assert_eq!(emitted, None);
        transaction.commit().unwrap();
        assert!(began.elapsed() < Duration::from_secs(4), "{settings}: {:?}", began.elapsed());
    }
    let dead =
        "select count(*) from webhook_delivery.capture_errors where error_code = '55P03' and recaptures_left = 3";
    assert!(application.count(dead) >= 3);
    assert_eq!(receiver.count(), 0);

    // Nobody has to do anything.
    locking.rollback().unwrap();
    owner.rollback().unwrap();
    let requests = receiver.wait_for_distinct(9, DEADLINE);
    let of = |event: &str| requests.iter().filter(|request| request.event() == Some(event)).count();
    assert_eq!((of("submission.created"), of("message.created")), (6, 3));
    let emitted = requests.iter().find(|request| request.event() == Some("message.created")).unwrap();
    assert!(emitted.text().ends_with("\"data\":{\"n\" : 1}}"), "{}", emitted.text());
    assert_eq!(application.count("select count(*) from webhook_delivery.capture_errors"), 0);
}

/// The application's own code runs when events are captured again: in a process of its own, which is ended in the end.
#[test]
fn event_whose_data_takes_for_ever_keeps_no_delivery_waiting() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    let neighbour = application.endpoint(sample::HILLTOP, &receiver.url("/neighbour"), &["message.created"]);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/slow"), &["submission.created"]);
    let client = &mut application.client;
    // Not even to be cancelled ends it.
    client
        .batch_execute(
            "create function slow(uuid[]) returns table (id uuid, auction_id uuid, data json) language plpgsql volatile as $$ begin
                 loop begin perform pg_sleep(3600); exception when query_canceled then null; end; end loop; end $$",
        )
        .unwrap();
    let id = Submission::of_riverside().insert(client);
    receiver.wait_for(1, DEADLINE);
    client.batch_execute("select webhook_delivery.set_payload_function('submission.created', 'slow(uuid[])')").unwrap();
    let letter = "insert into webhook_delivery.capture_errors (event_type, schema_name, row_ids, error_code, error_message, recaptures_left)
        values ('submission.created', 'public', array[$1]::uuid[], '55P03', 'canceling statement due to lock timeout', 1)";
    client.execute(letter, &[&id]).unwrap();
    let process = "select count(*) from pg_stat_activity where backend_type = 'webhook_delivery recapture' and wait_event = 'PgSleep'";
    let is_there = |client: &mut postgres::Client| client.query_one(process, &[]).unwrap().get::<_, i64>(0) == 1;
    wait_until("the process that captures again", DEADLINE, || is_there(client).then_some(()));
    for n in 1..=3 {
        client.execute("select webhook_delivery.emit('message.created', $1, '{}')", &[&sample::HILLTOP]).unwrap();
        wait_until("the neighbour's delivery", PROMPT, || {
            let sent = neighbour.deliveries(client).iter().filter(|delivery| delivery.status == "success").count();
            (sent == n).then_some(())
        });
    }
    // It is ended, and the letter stays and is not tried again by itself.
    wait_until("the process to be ended", DEADLINE * 2, || (!is_there(client)).then_some(()));
    let stays = "select count(*) from webhook_delivery.capture_errors where recaptures_left = 0";
    assert_eq!(client.query_one(stays, &[]).unwrap().get::<_, i64>(0), 1);
    // Nor does it stand in the way of who drops the extension.
    client.batch_execute("update webhook_delivery.capture_errors set recaptures_left = 1").unwrap();
    wait_until("the process that captures again", DEADLINE, || is_there(client).then_some(()));
    client.batch_execute("drop extension webhook_delivery cascade").unwrap();
    wait_until("the process to be gone", DEADLINE, || (!is_there(client)).then_some(()));
}

/// A function may raise any SQLSTATE.
#[test]
fn lock_error_that_the_application_raises_is_not_taken_for_a_lock() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["submission.created"]);
    let client = &mut application.client;
    client
        .batch_execute(
            "create function locked(uuid[]) returns table (id uuid, auction_id uuid, data json) language plpgsql volatile as $$ begin
                 raise exception 'canceling statement due to lock timeout' using errcode = '55P03'; end $$;
             select webhook_delivery.set_payload_function('submission.created', 'locked(uuid[])')",
        )
        .unwrap();
    Submission::of_riverside().insert(client);
    let letters = "select count(*) filter (where recaptures_left > 0), count(*) from webhook_delivery.capture_errors";
    let row = client.query_one(letters, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, 1));
}
