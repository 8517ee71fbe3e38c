//! A standby: everything can be read, and what writes fails with a hint.

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Application, Cluster, DEADLINE, Endpoint, Receiver, Reply, refusal, sample, tenant, wait_until};

struct Scene {
    application: Application,
    standby: Cluster,
    endpoint: Endpoint,
    delivery: Uuid,
}

/// A primary with a successful delivery, and a standby that has replayed it.
fn scene() -> Scene {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    tenant::create_roles(&mut application.client);
    let client = &mut application.client;
    client.batch_execute("create role monitor login; select webhook_delivery.grant_monitor('monitor')").unwrap();
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    let client = &mut application.client;
    endpoint.emit(client, 1);
    let delivery = endpoint.wait_for(client, 1, "success")[0].id;
    let standby = application.cluster.standby();
    let lsn: String = client.query_one("select pg_current_wal_flush_lsn()::text", &[]).unwrap().get(0);
    let mut on_standby = standby.connect();
    wait_until("the standby to replay the delivery", DEADLINE, || {
        let sql = "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        on_standby.query_one(sql, &[&lsn]).unwrap().get::<_, bool>(0).then_some(())
    });
    Scene { application, standby, endpoint, delivery }
}

#[test]
fn standby_reports_its_state_and_triggers_no_alert() {
    let Scene { standby, mut application, .. } = scene();
    let mut monitor = standby.connect_as("monitor", "postgres");
    let status = "select state, hint, since is null, queued from webhook_delivery.status";
    let row = monitor.query_one(status, &[]).unwrap();
    let (state, hint): (&str, &str) = (row.get(0), row.get(1));
    assert_eq!((state, row.get(2), row.get(3)), ("standby", true, 0_i64));
    assert!(hint.contains("promoted"), "{hint}");
    let metrics = |client: &mut Client| -> Vec<String> {
        let rows = client.query("select distinct metric from webhook_delivery.metrics order by 1", &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let of_standby = metrics(&mut monitor);
    assert!(!of_standby.contains(&"webhook_delivery_up".to_owned()), "{of_standby:?}");
    assert!(of_standby.contains(&"webhook_delivery_queued".to_owned()), "{of_standby:?}");
    assert!(metrics(&mut application.client).contains(&"webhook_delivery_up".to_owned()));
}

#[test]
fn reading_functions_and_views_work_on_a_standby() {
    let Scene { standby, endpoint, delivery, .. } = scene();
    let (id, auction) = (endpoint.id, endpoint.auction_id);
    let mut dana = tenant::session_of(&standby, "tenant", sample::DANA);
    for (read, rows) in [
        ("select * from webhook_endpoints".to_owned(), 1),
        ("select *, webhook_deliveries(webhook_endpoints) from webhook_endpoints".to_owned(), 1),
        ("select * from webhook_deliveries".to_owned(), 1),
        ("select * from webhook_delivery_attempts".to_owned(), 1),
        ("select * from webhook_endpoint_health where success_rate_24h = 1".to_owned(), 1),
        ("select * from webhook_event_types where event_type = 'submission.created'".to_owned(), 1),
        ("select * from webhook_auctions()".to_owned(), 1),
        (format!("select * from webhook_request('{delivery}') where body is not null"), 1),
        ("select * from webhook_activity(now() - interval '1 hour')".to_owned(), 1),
        ("select check_webhook_url('https://example.com/')".to_owned(), 1),
        (format!("select recover_webhooks('{id}', '-infinity', only_failed => false, dry_run => true)"), 1),
        (
            format!(
                "select from diagnose_webhook('{id}') where code = 'sending' and is_fine and result like '%standby%'"
            ),
            1,
        ),
        ("select webhook_admin()".to_owned(), 1),
    ] {
        let found = dana.query(&read, &[]).unwrap_or_else(|e| panic!("{read}: {:?}", e.as_db_error()));
        assert_eq!(found.len(), rows, "{read}");
    }
    let mut operator = standby.connect();
    for read in [
        "select * from webhook_delivery.status".to_owned(),
        "select * from webhook_delivery.metrics".to_owned(),
        "select webhook_delivery.admin_page('https://example.com/rest/v1')".to_owned(),
        format!("select webhook_delivery.wait_for_delivery('{delivery}')"),
        "select * from webhook_delivery.endpoint_targets".to_owned(),
        format!("select from webhook_delivery.events where auction_id = '{auction}'"),
    ] {
        let found = operator.query(&read, &[]).unwrap_or_else(|e| panic!("{read}: {:?}", e.as_db_error()));
        assert!(!found.is_empty(), "{read}");
    }
}

#[test]
fn writing_functions_give_a_hint_on_a_standby_or_read_only() {
    let Scene { mut application, standby, endpoint, delivery } = scene();
    let (id, auction) = (endpoint.id, endpoint.auction_id);
    let calls = [
        format!("test_webhook('{id}', 'submission.created')"),
        format!("redeliver_webhook('{delivery}')"),
        format!("recover_webhooks('{id}', '-infinity', only_failed => false)"),
        format!("replay_webhooks('{id}', '-infinity')"),
        format!("cancel_webhook('{delivery}')"),
        format!("rotate_webhook_secret('{id}')"),
        format!("expunge_webhook_data('{auction}', everything => true)"),
        format!("webhook_delivery.redeliver(array['{delivery}']::uuid[])"),
        format!("webhook_delivery.cancel(array['{delivery}']::uuid[])"),
        "webhook_delivery.pause()".to_owned(),
        format!("webhook_delivery.resume(endpoint_id => '{id}')"),
        format!("webhook_delivery.emit('submission.created', '{auction}', '{{}}')"),
        "webhook_delivery.backfill('submission.created', '{}')".to_owned(),
        "webhook_delivery.recapture(1)".to_owned(),
        "webhook_delivery.set_payload_function('submission.created', null)".to_owned(),
    ];
    let primary = &mut application.client;
    primary.batch_execute("set default_transaction_read_only = on").unwrap();
    for (client, where_to) in [(&mut standby.connect(), "primary"), (primary, "READ WRITE")] {
        for call in &calls {
            let error = refusal(client, &format!("select {call}"), &[]);
            assert_eq!(error.code().code(), "25006", "{call}: {error:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains(where_to)), "{call}: {error:?}");
        }
    }
}
