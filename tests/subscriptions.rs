//! A session knows at once which endpoints want which events, though it does not ask each time.

use postgres::{Client, GenericClient, IsolationLevel};
use uuid::Uuid;
use webhook_harness::{Application, Submission, installation, sample, wait_until};

/// An application from which nothing is sent, and a session that remembers that nobody wants anything of Riverside.
fn scene() -> (Application, Client) {
    let mut application = Application::start(&[("max_prepared_transactions", "5")]);
    application.client.batch_execute("select webhook_delivery.pause()").unwrap();
    let mut session = application.cluster.connect();
    assert!(!emits(&mut session));
    (application, session)
}

/// Whether an event of Riverside is wanted.
#[track_caller]
fn emits(session: &mut impl GenericClient) -> bool {
    let emit = "select webhook_delivery.emit('submission.created', $1, '{}')";
    session.query_one(emit, &[&sample::RIVERSIDE]).unwrap().get::<_, Option<Uuid>>(0).is_some()
}

const INSERT: &str = "insert into webhook_endpoints (auction_id, url, events, secret)
    values ('00000000-0000-4000-8000-000000000001', 'https://example.com/', '{submission.created}', 'sixteen characters')";

#[test]
fn a_subscription_committed_before_the_transaction_began_is_never_missed() {
    let (mut application, mut session) = scene();
    let client = &mut application.client;
    for round in 0..20 {
        for (change, is_wanted) in [
            (INSERT, true),
            ("update webhook_endpoints set is_active = false", false),
            ("update webhook_endpoints set is_active = true", true),
            ("update webhook_endpoints set events = '{submission.updated}'", false),
            ("update webhook_endpoints set events = '{submission.*}'", true),
            ("delete from webhook_endpoints", false),
            (INSERT, true),
            ("truncate webhook_endpoints", false),
            (
                "begin; insert into webhook_endpoints (auction_id, url, events, secret)
                  values ('00000000-0000-4000-8000-000000000001', 'https://example.com/', '{*}', 'sixteen characters');
              prepare transaction 'subscribed'",
                false,
            ),
            ("commit prepared 'subscribed'", true),
            // As a subscriber of logical replication, or a restore.
            (
                "set session_replication_role = replica; update webhook_endpoints set is_active = false; reset session_replication_role",
                false,
            ),
            ("delete from webhook_endpoints", false),
        ] {
            client.batch_execute(change).unwrap_or_else(|e| panic!("{change}: {:?}", e.as_db_error()));
            assert_eq!(emits(&mut session), is_wanted, "round {round}: {change}");
            let before = events(client);
            Submission::of_riverside().insert(&mut session);
            assert_eq!(events(client) > before, is_wanted, "round {round}: {change}");
        }
    }
}

fn events(client: &mut Client) -> i64 {
    client.query_one("select count(*) from webhook_delivery.events", &[]).unwrap().get(0)
}

#[test]
fn a_transaction_knows_its_own_subscriptions_and_forgets_those_that_it_rolls_back() {
    let (_application, mut session) = scene();
    let mut transaction = session.transaction().unwrap();
    let mut savepoint = transaction.transaction().unwrap();
    savepoint.batch_execute(INSERT).unwrap();
    assert!(emits(&mut savepoint));
    savepoint.rollback().unwrap();
    assert!(!emits(&mut transaction));
    transaction.batch_execute(INSERT).unwrap();
    assert!(emits(&mut transaction));
    transaction.rollback().unwrap();
    assert!(!emits(&mut session));
}

#[test]
fn what_an_old_snapshot_does_not_show_is_not_remembered_as_absent() {
    if !installation().has_module("dblink") {
        return;
    }
    let (mut application, mut session) = scene();
    for isolation in [IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
        let mut transaction = session.build_transaction().isolation_level(isolation).start().unwrap();
        transaction.query_one("select count(*) from webhook_endpoints", &[]).unwrap();
        application.client.batch_execute(INSERT).unwrap();
        emits(&mut transaction);
        transaction.commit().unwrap();
        assert!(emits(&mut session));
        application.client.batch_execute("delete from webhook_endpoints").unwrap();
    }
    // Nor in a statement that began before.
    application
        .client
        .batch_execute(&format!(
            "create extension dblink; create function subscribe() returns text language sql volatile
                 as $$ select dblink_exec('host=' || current_setting('unix_socket_directories') || ' dbname=postgres user=postgres', $insert${INSERT}$insert$) $$"
        ))
        .unwrap();
    let both = "with subscribed as materialized (select subscribe() as done)
        select webhook_delivery.emit('submission.created', $1, '{}') from subscribed where done is not null";
    session.query_one(both, &[&sample::RIVERSIDE]).unwrap();
    assert!(emits(&mut session));
}

#[test]
fn a_change_that_nobody_wants_to_hear_of_asks_nobody() {
    let (mut application, session) = scene();
    let scans = "select (select coalesce(seq_scan, 0) + coalesce(idx_scan, 0) from pg_stat_user_tables where relname = 'webhook_endpoints'),
        (select n_tup_ins from pg_stat_user_tables where relname = 'submissions')";
    // A session tells its statistics when it ends.
    drop(session);
    let mut told = |submissions: i64| -> i64 {
        wait_until("statistics", webhook_harness::DEADLINE, || {
            let row = application.client.query_one(scans, &[]).unwrap();
            (row.get::<_, i64>(1) == submissions).then(|| row.get(0))
        })
    };
    let mut insert = |count: i64| -> i64 {
        let mut session = application.cluster.connect();
        for _ in 0..count {
            Submission::of_riverside().insert(&mut session);
        }
        drop(session);
        told(if count == 1 { 1 } else { count + 1 })
    };
    let first = insert(1);
    assert_eq!(insert(50) - first, 1, "the first of a session asks, and no other");
}

#[test]
fn of_an_auction_with_very_many_endpoints_each_gets_the_event() {
    let (mut application, mut session) = scene();
    let many = "set webhook_delivery.max_endpoints = 1000;
        insert into webhook_endpoints (auction_id, url, events, secret)
        select '00000000-0000-4000-8000-000000000001', 'https://example.com/' || n, '{*}', 'sixteen characters'
        from generate_series(1, 150) as n";
    application.client.batch_execute(many).unwrap();
    assert!(emits(&mut session) && emits(&mut session));
    assert_eq!(application.count("select count(*) from webhook_delivery.queue"), 300);
}
