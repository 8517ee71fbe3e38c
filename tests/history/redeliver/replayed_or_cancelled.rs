//! Replay of past events to a new endpoint, backfill for existing rows, and cancelled deliveries.

use super::*;

#[test]
fn new_endpoint_gets_replayed_events_once() {
    let mut scene = Scene::new(&[]);
    scene.end_deliveries(5, "success");
    let client = &mut scene.application.client;
    client
        .execute("select webhook_delivery.emit('inspection.created', $1, '{\"n\" : 6}')", &[&sample::RIVERSIDE])
        .unwrap();
    client.execute("select test_webhook($1, 'message.created')", &[&scene.endpoint.id]).unwrap();
    scene.endpoint.wait_for(client, 7, "success");
    let late = scene.application.endpoint(sample::RIVERSIDE, &scene.receiver.url("/late"), &["submission.*"]);
    scene.application.endpoint(sample::HILLTOP, &scene.receiver.url("/"), &["*"]);
    scene.endpoint = late.clone();
    assert_eq!(scene.returned_number("replay_webhooks($1, now() - interval '1 hour')"), 5);
    assert_eq!(scene.returned_number("replay_webhooks($1, now() - interval '1 hour')"), 0, "the events are queued");
    late.wait_for(&mut scene.application.client, 5, "success");
    assert_eq!(
        scene.returned_number("replay_webhooks($1, now() - interval '1 hour')"),
        0,
        "the endpoint has received them"
    );
    // Named types are replayed even without a subscription, but never a test.
    assert_eq!(scene.returned_number("replay_webhooks($1, now() - interval '1 hour', events => '{*}')"), 1);
    late.wait_for(&mut scene.application.client, 6, "success");
    let requests = scene.receiver.requests_to("/late");
    assert_signed(&late.secret, &requests);
    let mut numbers: Vec<_> = requests.iter().map(|request| request.json()["data"]["n"].as_i64().unwrap()).collect();
    numbers.sort();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    // The bodies are the original ones, except for the webhook_id.
    let of = |requests: &[webhook_harness::Request], n: i64| {
        requests.iter().find(|request| request.json()["data"]["n"] == n).unwrap().json()
    };
    let (now, then) = (of(&requests, 1), of(&scene.receiver.requests_to("/"), 1));
    assert_eq!(now["timestamp"], then["timestamp"]);
    assert_ne!(now["webhook_id"], then["webhook_id"]);
    let error =
        refusal(&mut scene.admin, "select replay_webhooks($1, '-infinity', events => '{no.such}')", &[&late.id]);
    assert_eq!(error.code().code(), "22023", "{error:?}");
}

#[test]
fn cancelled_delivery_is_not_retried_and_can_be_redelivered() {
    let mut scene = Scene::new(&[("webhook_delivery.retry_schedule", "1h")]);
    scene.answer(503);
    scene.endpoint.emit(&mut scene.application.client, 1);
    let id = scene.endpoint.wait_for(&mut scene.application.client, 1, "retrying")[0].id;
    scene.admin.execute("select cancel_webhook($1)", &[&id]).unwrap();
    let delivery = scene.endpoint.wait_for(&mut scene.application.client, 1, "failed").remove(0);
    assert_eq!((delivery.attempts, delivery.error_message.as_deref()), (1, Some("cancelled")));
    assert_eq!((scene.attempts(id).len(), scene.receiver.count()), (1, 1));
    let error = refusal(&mut scene.admin, "select cancel_webhook($1)", &[&id]);
    assert_eq!(error.code().code(), "PT409", "{error:?}");
    // A cancelled delivery can be redelivered.
    scene.answer(200);
    assert_eq!(scene.redeliver(id), "retrying");
    scene.endpoint.wait_for(&mut scene.application.client, 1, "success");
    assert_eq!(scene.attempts(id), [(1, "failed".into()), (2, "success".into())]);
}

#[test]
fn cancelling_in_a_waiting_backlog_sends_nothing() {
    let mut scene = Scene::new(&[("webhook_delivery.retry_schedule", "1h")]);
    for (prepare, status) in [
        ("update webhook_endpoints set is_active = false, disabled_at = now(), disabled_reason = 'a test'", 200),
        ("update webhook_endpoints set is_active = true, ordered = true", 503),
    ] {
        scene.answer(status);
        scene.application.client.batch_execute("delete from webhook_delivery.queue").unwrap();
        scene.application.client.batch_execute(prepare).unwrap();
        scene.endpoint.emit(&mut scene.application.client, 5);
        let queued = "select delivery_id from webhook_delivery.queue order by delivery_id";
        let queued: Vec<Uuid> =
            scene.application.client.query(queued, &[]).unwrap().iter().map(|row| row.get(0)).collect();
        if status == 503 {
            scene.endpoint.wait_for(&mut scene.application.client, 1, "retrying");
        }
        let before = scene.receiver.count();
        let cancelled: i64 =
            scene.admin.query_one("select webhook_delivery.cancel($1)", &[&queued[2..].to_vec()]).unwrap().get(0);
        assert_eq!(cancelled, 3);
        wait_until("the cancelled deliveries to leave the queue", DEADLINE, || {
            (scene.application.count("select count(*) from webhook_delivery.queue") == 2).then_some(())
        });
        assert_eq!(scene.receiver.count(), before);
    }
    assert_eq!(scene.application.count("select count(*) from webhook_deliveries where error_message = 'cancelled'"), 6);
}

#[test]
fn request_in_flight_can_succeed_after_its_cancellation() {
    let mut scene = Scene::new(&[]);
    let update = "update webhook_endpoints set url = $1";
    scene.application.client.execute(update, &[&scene.receiver.url("/hang")]).unwrap();
    scene.endpoint.emit(&mut scene.application.client, 1);
    let id = scene.receiver.wait_for(1, DEADLINE)[0].webhook_id().unwrap();
    scene.admin.execute("select cancel_webhook($1)", &[&id]).unwrap();
    scene.application.settle();
    let delivery = scene.endpoint.deliveries(&mut scene.application.client);
    assert_eq!((delivery.len(), delivery[0].status.as_str(), delivery[0].attempts), (1, "success", 1));
    assert_eq!(scene.receiver.count(), 1);
}

/// The retry would be due in an hour. The poll interval rules out the poll.
#[test]
fn request_that_fails_after_its_cancellation_is_not_retried() {
    let settings = [("webhook_delivery.retry_schedule", "1h"), ("webhook_delivery.poll_interval", "60s")];
    for ordered in [false, true] {
        let mut scene = Scene::new(&settings);
        let update = "update webhook_endpoints set url = $1, ordered = $2";
        let url = scene.receiver.url("/hang-and-fail");
        scene.application.client.execute(update, &[&url, &ordered]).unwrap();
        scene.endpoint.emit(&mut scene.application.client, 1);
        let id = scene.receiver.wait_for(1, DEADLINE)[0].webhook_id().unwrap();
        scene.admin.execute("select cancel_webhook($1)", &[&id]).unwrap();
        let ended = scene.endpoint.wait_for(&mut scene.application.client, 1, "failed").remove(0);
        assert_eq!((ended.attempts, ended.error_message.as_deref()), (1, Some("cancelled")));
        assert_eq!(scene.receiver.count(), 1);
        let kinds = "select string_agg(error_kind::text, ' ' order by attempt) from webhook_delivery.attempts";
        let kinds: String = scene.application.client.query_one(kinds, &[]).unwrap().get(0);
        assert_eq!(kinds, "http_status cancelled");
    }
}

/// `now()` is the start of the transaction: the key of a row in flight must not change.
#[test]
fn cancellation_in_an_older_transaction_leaves_a_delivery_in_flight_its_row() {
    let mut scene = Scene::new(&[]);
    let url = scene.receiver.url("/hang");
    scene.application.client.execute("update webhook_endpoints set url = $1", &[&url]).unwrap();
    let mut transaction = scene.admin.transaction().unwrap();
    transaction.execute("select 1", &[]).unwrap();
    scene.endpoint.emit(&mut scene.application.client, 1);
    let id = scene.receiver.wait_for(1, DEADLINE)[0].webhook_id().unwrap();
    transaction.execute("select cancel_webhook($1)", &[&id]).unwrap();
    transaction.commit().unwrap();
    scene.endpoint.wait_for(&mut scene.application.client, 1, "success");
    assert_eq!(scene.application.count("select count(*) from webhook_delivery.attempts"), 1);
}

#[test]
fn cancelled_delivery_sends_no_failure_alert() {
    let mut scene = Scene::new(&[("webhook_delivery.retry_schedule", "1h")]);
    let alerted = scene.application.endpoint(sample::RIVERSIDE, &scene.receiver.url("/alerts"), &["webhook.*"]);
    scene.answer(503);
    scene.endpoint.emit(&mut scene.application.client, 2);
    let waiting = scene.endpoint.wait_for(&mut scene.application.client, 2, "retrying");
    scene.admin.execute("select cancel_webhook($1)", &[&waiting[0].id]).unwrap();
    scene.endpoint.wait_for(&mut scene.application.client, 1, "failed");
    // The alert of a later failure shows that there was time for one of the cancelled delivery.
    scene.application.cluster.set("webhook_delivery.retry_schedule", "");
    scene.redeliver(waiting[1].id);
    wait_until("the alert of the failure", DEADLINE, || {
        scene
            .receiver
            .requests_to("/alerts")
            .iter()
            .any(|request| request.json()["data"]["delivery_id"] == waiting[1].id.to_string())
            .then_some(())
    });
    let of_cancelled = alerted.deliveries(&mut scene.application.client).len();
    assert_eq!(of_cancelled, 1);
}

#[test]
fn backfilled_events_equal_those_of_the_triggers() {
    let mut scene = Scene::new(&[]);
    let client = &mut scene.application.client;
    let insert = "insert into inspections (auction_id, location_id, user_id, vin_number)
        select $1, $2, $3, n::text from generate_series(1, 300) as n returning id";
    let rows = client.query(insert, &[&sample::RIVERSIDE, &sample::NORTH_LOT, &sample::DANA]).unwrap();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    scene.endpoint.wait_for(client, 300, "success");
    let captured = scene.receiver.requests();
    scene.receiver.clear();
    let emit = "select webhook_delivery.backfill('inspection.created', $1)";
    let unknown = [Uuid::new_v4()];
    assert_eq!(client.query_one(emit, &[&unknown.as_slice()]).unwrap().get::<_, i64>(0), 0);
    assert_eq!(client.query_one(emit, &[&ids]).unwrap().get::<_, i64>(0), 300);
    scene.endpoint.wait_for(client, 600, "success");
    let emitted = scene.receiver.requests();
    let data = |requests: &[webhook_harness::Request]| {
        let mut data: Vec<_> = requests.iter().map(|request| request.json()["data"].to_string()).collect();
        data.sort();
        data
    };
    assert_eq!(data(&emitted), data(&captured));
    // An event without a table, an unknown event, and schemas without the tables.
    for (call, code) in [
        ("'webhook.endpoint_failing', $1", "0A000"),
        ("'no.such', $1", "22023"),
        ("'inspection.created', $1, schema => 'nowhere'", "3F000"),
        ("'inspection.created', $1, schema => 'pg_catalog'", "42P01"),
    ] {
        let error = refusal(client, &format!("select webhook_delivery.backfill({call})"), &[&ids]);
        assert_eq!(error.code().code(), code, "{call}: {error:?}");
        assert!(error.hint().is_some(), "{error:?}");
    }
    assert_eq!(scene.application.count("select count(*) from webhook_delivery.capture_errors"), 0);
}
