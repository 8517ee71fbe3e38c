//! `emit()` with an idempotency key: a call that is repeated sends its event once.

use postgres::{Client, GenericClient};
use uuid::Uuid;
use webhook_harness::{Application, DEADLINE, Receiver, Reply, refusal, sample};

const EMIT: &str = "select webhook_delivery.emit('submission.created', $1, $2::text::json, $3)";

fn application() -> (Application, Receiver) {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    for auction in [sample::RIVERSIDE, sample::HILLTOP] {
        application.endpoint(auction, &receiver.url("/"), &["*"]);
    }
    (application, receiver)
}

#[track_caller]
fn emit(client: &mut impl GenericClient, auction_id: Uuid, data: &str, key: Option<&str>) -> Option<Uuid> {
    client.query_one(EMIT, &[&auction_id, &data, &key]).unwrap_or_else(|e| panic!("{:?}", e.as_db_error())).get(0)
}

fn events(client: &mut Client) -> i64 {
    client.query_one("select count(*) from webhook_delivery.events", &[]).unwrap().get(0)
}

#[test]
fn same_key_is_the_same_event_of_its_auction() {
    let (mut application, receiver) = application();
    let client = &mut application.client;
    let first = emit(client, sample::RIVERSIDE, "{}", Some("a"));
    assert!(first.is_some());
    assert_eq!(emit(client, sample::RIVERSIDE, "{}", Some("a")), first);
    // Of another key, of another auction, and without a key.
    let others = [
        emit(client, sample::RIVERSIDE, "{}", Some("b")),
        emit(client, sample::HILLTOP, "{}", Some("a")),
        emit(client, sample::RIVERSIDE, "{}", None),
        emit(client, sample::RIVERSIDE, "{}", None),
    ];
    let distinct: std::collections::HashSet<_> = others.iter().chain([&first]).collect();
    assert_eq!(distinct.len(), 5);
    application.settle();
    receiver.wait_for_distinct(5, DEADLINE);
    assert_eq!(receiver.count(), 5);
    assert_eq!(events(&mut application.client), 5);
    // An event that no endpoint wanted stays one.
    let unsubscribed = Uuid::new_v4();
    assert_eq!(emit(&mut application.client, unsubscribed, "{}", Some("a")), None);
    application.endpoint(unsubscribed, &receiver.url("/"), &["*"]);
    assert_eq!(emit(&mut application.client, unsubscribed, "{}", Some("a")), None);
}

#[test]
fn key_of_a_transaction_that_is_rolled_back_does_not_count() {
    let (mut application, _receiver) = application();
    let mut transaction = application.client.transaction().unwrap();
    emit(&mut transaction, sample::RIVERSIDE, "{}", Some("a"));
    transaction.rollback().unwrap();
    let mut transaction = application.client.transaction().unwrap();
    let mut savepoint = transaction.transaction().unwrap();
    emit(&mut savepoint, sample::RIVERSIDE, "{}", Some("a"));
    savepoint.rollback().unwrap();
    let first = emit(&mut transaction, sample::RIVERSIDE, "{}", Some("a"));
    assert_eq!(emit(&mut transaction, sample::RIVERSIDE, "{}", Some("a")), first);
    transaction.commit().unwrap();
    assert_eq!(events(&mut application.client), 1);
}

#[test]
fn sessions_that_send_a_key_at_the_same_time_send_one_event() {
    let (mut application, _receiver) = application();
    let cluster = &application.cluster;
    for round in 0..10 {
        let key = format!("{round}");
        let ids: Vec<Option<Uuid>> = std::thread::scope(|scope| {
            let sessions: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| emit(&mut cluster.connect(), sample::RIVERSIDE, "{}", Some(&key))))
                .collect();
            sessions.into_iter().map(|session| session.join().unwrap()).collect()
        });
        assert!(ids[0].is_some() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
    assert_eq!(events(&mut application.client), 10);
}

#[test]
fn waiting_session_sends_the_event_of_a_session_that_rolls_back() {
    let (mut application, _receiver) = application();
    let cluster = &application.cluster;
    let mut first = cluster.connect();
    let mut transaction = first.transaction().unwrap();
    emit(&mut transaction, sample::RIVERSIDE, "{}", Some("a"));
    std::thread::scope(|scope| {
        let second = scope.spawn(|| emit(&mut cluster.connect(), sample::RIVERSIDE, "{}", Some("a")));
        webhook_harness::wait_until("the second session to wait", DEADLINE, || {
            let waiting = "select count(*) from pg_locks where not granted";
            (cluster.query_one::<i64>(waiting, &[]) == 1).then_some(())
        });
        transaction.rollback().unwrap();
        assert!(second.join().unwrap().is_some());
    });
    assert_eq!(events(&mut application.client), 1);
}

#[test]
fn key_of_another_event_and_invalid_keys_are_refused() {
    let (mut application, _receiver) = application();
    let client = &mut application.client;
    emit(client, sample::RIVERSIDE, "{}", Some("a"));
    let other = "select webhook_delivery.emit('submission.updated', $1, '{}', 'a')";
    let data = "select webhook_delivery.emit('submission.created', $1, '{\"a\": 1}', 'a')";
    for statement in [other, data] {
        let error = refusal(client, statement, &[&sample::RIVERSIDE]);
        assert_eq!(error.code().code(), "22023");
        assert_eq!(error.message(), "idempotency key 'a' was used for another event");
    }
    for key in [String::new(), "x".repeat(256)] {
        let error = refusal(client, EMIT, &[&sample::RIVERSIDE, &"{}", &key]);
        assert_eq!(error.code().code(), "22023");
        assert!(error.message().starts_with("idempotency_key must have 1 to 255 characters"), "{error}");
    }
    let error = refusal(client, "select webhook_delivery.emit(null, $1, '{}', 'a')", &[&sample::RIVERSIDE]);
    assert_eq!(error.code().code(), "22004", "as without a key");
    assert_eq!(events(client), 1);
}

#[test]
fn key_counts_for_a_day() {
    let (mut application, _receiver) = application();
    let client = &mut application.client;
    let first = emit(client, sample::RIVERSIDE, "{}", Some("a"));
    let age = |client: &mut Client, age: &str| {
        let update = "update webhook_delivery.idempotency_keys set created_at = now() - $1::text::interval";
        client.execute(update, &[&age]).unwrap();
    };
    let kept = |client: &mut Client| -> i64 {
        client.query_one("select webhook_delivery.drop_expired()", &[]).unwrap();
        client.query_one("select count(*) from webhook_delivery.idempotency_keys", &[]).unwrap().get(0)
    };
    age(client, "23 hours 59 minutes");
    assert_eq!((emit(client, sample::RIVERSIDE, "{}", Some("a")), kept(client)), (first, 1));
    age(client, "24 hours 1 minute");
    let second = emit(client, sample::RIVERSIDE, r#"{"a": 1}"#, Some("a"));
    assert!(second.is_some() && second != first);
    assert_eq!((emit(client, sample::RIVERSIDE, r#"{"a": 1}"#, Some("a")), kept(client)), (second, 1));
    age(client, "24 hours 1 minute");
    assert_eq!(kept(client), 0, "the worker deletes old keys");
}

#[test]
fn repeated_key_takes_no_lock_and_holds_up_no_clean_up() {
    let (mut application, _receiver) = application();
    let first = emit(&mut application.client, sample::RIVERSIDE, "{}", Some("a"));
    let age = "update webhook_delivery.idempotency_keys set created_at = now() - interval '23 hours 59 minutes'";
    application.client.batch_execute(age).unwrap();
    let mut other = application.cluster.connect();
    let mut open = other.transaction().unwrap();
    assert_eq!(emit(&mut open, sample::RIVERSIDE, "{}", Some("a")), first);
    application.client.batch_execute("set lock_timeout = '1s'").unwrap();
    assert_eq!(emit(&mut application.client, sample::RIVERSIDE, "{}", Some("a")), first);
    application.client.batch_execute("update webhook_delivery.idempotency_keys set idempotency_key = 'a'").unwrap();
    open.rollback().unwrap();

    // A transaction that sends an expired key again does not keep the worker from its work.
    application
        .client
        .batch_execute("update webhook_delivery.idempotency_keys set created_at = now() - interval '2 days'")
        .unwrap();
    let mut open = other.transaction().unwrap();
    emit(&mut open, sample::RIVERSIDE, "{}", Some("a"));
    let is_locked = "select is_locked from webhook_delivery.drop_expired()";
    // The worker itself may hold a lock for a moment.
    webhook_harness::wait_until("a clean-up", DEADLINE, || {
        (!application.cluster.query_one::<bool>(is_locked, &[])).then_some(())
    });
    open.commit().unwrap();
    assert_eq!(application.count("select count(*) from webhook_delivery.idempotency_keys"), 1);
}

#[test]
fn keys_are_expunged_with_their_events() {
    let (mut application, _receiver) = application();
    emit(&mut application.client, sample::RIVERSIDE, r#"{"mail": "sam@example.com"}"#, Some("a"));
    emit(&mut application.client, sample::RIVERSIDE, "{}", Some("invite sam@example.com"));
    emit(&mut application.client, sample::RIVERSIDE, "{}", Some("b"));
    let expunge = "select expunge_webhook_data($1, containing => 'sam@example.com')";
    application.client.execute(expunge, &[&sample::RIVERSIDE]).unwrap();
    assert_eq!(application.count("select count(*) from webhook_delivery.idempotency_keys"), 1);
    application.client.execute("select expunge_webhook_data($1, everything => true)", &[&sample::RIVERSIDE]).unwrap();
    assert_eq!(application.count("select count(*) from webhook_delivery.idempotency_keys"), 0);
}
