//! A malicious tenant cannot harm the deliveries of others.

use std::time::{Duration, Instant};

use webhook_harness::{Application, DEADLINE, Endpoint, Receiver, Reply, Submission, sample, tenant, wait_until};

/// More than all attempts that may wait to be recorded, and far more than those of one auction.
const MANY: i32 = 20_000;

/// Deadline for another tenant's delivery to be sent and recorded. Alone it takes milliseconds.
const PROMPT: Duration = Duration::from_secs(2);

/// The tenant locks all queued rows of its endpoint, keeps the transaction open and has them sent.
#[test]
fn idle_transaction_of_a_tenant_blocks_only_its_own_auction() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    let mine = application.endpoint(sample::RIVERSIDE, &receiver.url("/mine"), &["*"]);
    let neighbour = application.endpoint(sample::HILLTOP, &receiver.url("/neighbour"), &["*"]);
    let mut dana = application.create_tenant(sample::DANA);
    dana.batch_execute("update webhook_endpoints set is_active = false").unwrap();
    // Events are still queued for an endpoint that the server disabled.
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
    let blocked =
        wait_until("attempts that wait for the transaction", DEADLINE, || client.query_opt(blocked, &[]).unwrap());
    let blocked: Option<String> = blocked.get(0);
    let blocked = blocked.expect("the status names what is blocked");
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

    // After the rollback the worker continues where it stopped.
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

/// The rows of several auctions are locked at once, with fewer rows of each.
#[test]
fn locked_rows_of_many_tenants_block_no_other_tenant() {
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
    wait_until("256 unrecorded attempts of each tenant", DEADLINE, || {
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

/// A tenant may lock the table of endpoints because UPDATE and DELETE are granted. A transaction
/// that commits an event then waits, but not for long.
#[test]
fn locked_endpoints_table_delays_a_commit_and_loses_no_event() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    application.endpoint(sample::HILLTOP, &receiver.url("/neighbour"), &["*"]);
    let mut dana = application.create_tenant(sample::DANA);
    let mut locking = dana.transaction().unwrap();
    // From PostgreSQL 16 on only the owner may take the strongest lock. Its effect is the same.
    let mut owner = application.cluster.connect();
    let mut owner = owner.transaction().unwrap();
    let lock = "lock table webhook_endpoints in access exclusive mode";
    if locking.batch_execute(lock).is_err() {
        owner.batch_execute(lock).unwrap();
    }

    // Each session inserts twice: before and after it has read the endpoints once. The sessions
    // differ in their timeouts.
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

    // The dead letters are recaptured automatically.
    locking.rollback().unwrap();
    owner.rollback().unwrap();
    let requests = receiver.wait_for_distinct(9, DEADLINE);
    let of = |event: &str| requests.iter().filter(|request| request.event() == Some(event)).count();
    assert_eq!((of("submission.created"), of("message.created")), (6, 3));
    let emitted = requests.iter().find(|request| request.event() == Some("message.created")).unwrap();
    assert!(emitted.text().ends_with("\"data\":{\"n\" : 1}}"), "{}", emitted.text());
    assert_eq!(application.count("select count(*) from webhook_delivery.capture_errors"), 0);
}

/// Recapture runs the application's code, in a process of its own that is terminated after a while.
#[test]
fn endless_recapture_delays_no_delivery() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    let neighbour = application.endpoint(sample::HILLTOP, &receiver.url("/neighbour"), &["message.created"]);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/slow"), &["submission.created"]);
    let client = &mut application.client;
    // The function ignores cancellation.
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
    wait_until("the recapture process", DEADLINE, || is_there(client).then_some(()));
    for n in 1..=3 {
        client.execute("select webhook_delivery.emit('message.created', $1, '{}')", &[&sample::HILLTOP]).unwrap();
        wait_until("the neighbour's delivery", PROMPT, || {
            let sent = neighbour.deliveries(client).iter().filter(|delivery| delivery.status == "success").count();
            (sent == n).then_some(())
        });
    }
    // The process is terminated. The dead letter stays and is not recaptured automatically.
    wait_until("the end of the recapture process", DEADLINE * 2, || (!is_there(client)).then_some(()));
    let stays = "select count(*) from webhook_delivery.capture_errors where recaptures_left = 0";
    assert_eq!(client.query_one(stays, &[]).unwrap().get::<_, i64>(0), 1);
    // The recapture process does not block DROP EXTENSION either.
    client.batch_execute("update webhook_delivery.capture_errors set recaptures_left = 1").unwrap();
    wait_until("the recapture process", DEADLINE, || is_there(client).then_some(()));
    client.batch_execute("drop extension webhook_delivery cascade").unwrap();
    wait_until("the end of the recapture process", DEADLINE, || (!is_there(client)).then_some(()));
}

/// A function may raise any SQLSTATE.
#[test]
fn lock_error_raised_by_the_application_is_not_recaptured() {
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
