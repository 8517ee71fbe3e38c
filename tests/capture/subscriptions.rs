//! Subscription cache: a session sees changes of subscriptions at once, without a query for each
//! event.

use postgres::{Client, GenericClient, IsolationLevel};
use uuid::Uuid;
use webhook_harness::{Application, Submission, sample, wait_until};

/// A paused application, and a session whose cache has no subscription of Riverside.
fn scene() -> (Application, Client) {
    let mut application = Application::start(&[("max_prepared_transactions", "5")]);
    application.client.batch_execute("select webhook_delivery.pause()").unwrap();
    let mut session = application.cluster.connect();
    assert!(!emits(&mut session));
    (application, session)
}

/// Whether an event of Riverside has a subscriber.
#[track_caller]
fn emits(session: &mut impl GenericClient) -> bool {
    let emit = "select webhook_delivery.emit('submission.created', $1, '{}')";
    session.query_one(emit, &[&sample::RIVERSIDE]).unwrap().get::<_, Option<Uuid>>(0).is_some()
}

const INSERT: &str = "insert into webhook_endpoints (auction_id, url, events, secret)
    values ('00000000-0000-4000-8000-000000000001', 'https://example.com/', '{submission.created}', 'sixteen characters')";

#[test]
fn subscription_committed_before_a_transaction_is_never_missed() {
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
            // A subscriber of logical replication or a restore does this.
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
fn transaction_sees_its_subscriptions_and_forgets_rolled_back() {
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
fn changes_without_a_subscriber_query_endpoints_only_once() {
    let (mut application, session) = scene();
    let scans = "select (select coalesce(seq_scan, 0) + coalesce(idx_scan, 0) from pg_stat_user_tables where relname = 'webhook_endpoints'),
        (select n_tup_ins from pg_stat_user_tables where relname = 'submissions')";
    // A session reports its statistics when it ends.
    drop(session);
    let mut scans_after = |submissions: i64| -> i64 {
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
        scans_after(if count == 1 { 1 } else { count + 1 })
    };
    let first = insert(1);
    assert_eq!(insert(50) - first, 1, "only the first change of a session queries endpoints");
}

#[test]
fn all_150_endpoints_of_an_auction_get_each_event() {
    let (mut application, mut session) = scene();
    let many = "set webhook_delivery.max_endpoints = 1000;
        insert into webhook_endpoints (auction_id, url, events, secret)
        select '00000000-0000-4000-8000-000000000001', 'https://example.com/' || n, '{*}', 'sixteen characters'
        from generate_series(1, 150) as n";
    application.client.batch_execute(many).unwrap();
    assert!(emits(&mut session) && emits(&mut session));
    assert_eq!(application.count("select count(*) from webhook_delivery.queue"), 300);
}

/// Tests with modules of PostgreSQL's contrib, which not every server has. `tests/run.sh` runs them if the server
/// has them.
mod needs_contrib {
    use super::*;

    #[test]
    #[ignore = "needs dblink of PostgreSQL's contrib"]
    fn subscription_hidden_by_an_old_snapshot_is_not_cached_as_none() {
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
        // The same holds for a statement that began before the subscription.
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
}
