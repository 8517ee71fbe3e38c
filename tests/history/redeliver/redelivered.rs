//! Redelivery of one delivery, and recovery of the failed deliveries of a period.

use super::*;

#[test]
fn redelivery_of_a_success_has_the_same_id_and_bytes() {
    let mut scene = Scene::new(&[]);
    let id = scene.end_deliveries(1, "success")[0];
    assert_eq!(scene.redeliver(id), "retrying");
    let requests = scene.receiver.wait_for(2, DEADLINE);
    scene.application.settle();
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[1].webhook_id(), Some(id));
    assert_signed(&scene.endpoint.secret, &requests);
    // The history has one row for the delivery and one for each request.
    let deliveries = scene.endpoint.deliveries(&mut scene.application.client);
    assert_eq!((deliveries.len(), deliveries[0].status.as_str(), deliveries[0].attempts), (1, "success", 2));
    assert_eq!(scene.attempts(id), [(1, "success".into()), (2, "success".into())]);
}

#[test]
fn redelivery_of_a_failure_has_a_full_retry_schedule() {
    let mut scene = Scene::new(&[]);
    let id = scene.end_deliveries(1, "failed")[0];
    for made in [2, 4] {
        assert_eq!(scene.attempts(id).len(), made);
        scene.answer(503);
        assert_eq!(scene.redeliver(id), "retrying");
        scene.application.settle();
    }
    assert_eq!(scene.attempts(id).len(), 6);
    let delivery = scene.endpoint.deliveries(&mut scene.application.client).remove(0);
    assert_eq!((delivery.status.as_str(), delivery.attempts), ("failed", 6));
    let bodies: Vec<_> = scene.receiver.requests().into_iter().map(|request| request.body).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[test]
fn redelivery_of_a_retrying_delivery_makes_its_attempt_now() {
    let mut scene = Scene::new(&[("webhook_delivery.retry_schedule", "1h, 1h")]);
    scene.answer(503);
    scene.endpoint.emit(&mut scene.application.client, 1);
    let id = scene.endpoint.wait_for(&mut scene.application.client, 1, "retrying")[0].id;
    assert_eq!(scene.redeliver(id), "retrying");
    scene.receiver.wait_for(2, DEADLINE);
    // It has a full retry schedule afterwards, one attempt more than without redelivery.
    for made in 2..4 {
        wait_until("the attempt to be recorded", DEADLINE, || (scene.attempts(id).len() == made).then_some(()));
        let queued = "select attempts, earlier_attempts from webhook_delivery.queue";
        let row = scene.application.client.query_one(queued, &[]).unwrap();
        assert_eq!((row.get::<_, i16>(0), row.get::<_, i16>(1)), (made as i16, if made == 2 { 1 } else { 2 }));
        scene.redeliver(id);
    }
}

#[test]
fn redelivery_of_an_ordered_endpoints_head_releases_the_rest() {
    let mut scene = Scene::new(&[("webhook_delivery.retry_schedule", "1h, 1h")]);
    scene.application.client.batch_execute("update webhook_endpoints set ordered = true").unwrap();
    scene.answer(503);
    scene.endpoint.emit(&mut scene.application.client, 3);
    let id = scene.endpoint.wait_for(&mut scene.application.client, 1, "retrying")[0].id;
    scene.answer(200);
    scene.redeliver(id);
    scene.endpoint.wait_for(&mut scene.application.client, 3, "success");
    let ids: Vec<_> = scene.receiver.requests().iter().map(|request| request.webhook_id()).collect();
    assert_eq!((ids[0], ids[1]), (Some(id), Some(id)));
}

#[test]
fn unknown_and_foreign_ids_are_refused_in_the_same_words() {
    let mut scene = Scene::new(&[]);
    let id = scene.end_deliveries(1, "success")[0];
    let mut other = tenant::session_of(&scene.application.cluster, "tenant", sample::KIM);
    for call in ["redeliver_webhook($1)", "cancel_webhook($1)"] {
        let sql = format!("select {call}");
        for (session, id) in [(&mut scene.admin, Uuid::new_v4()), (&mut other, id)] {
            let error = refusal(session, &sql, &[&id]);
            assert_eq!(error.code().code(), "PT404", "{call}");
            assert_eq!(error.message(), format!("webhook delivery {id} does not exist"));
        }
    }
    for call in ["recover_webhooks($1, '-infinity')", "replay_webhooks($1, '-infinity')"] {
        let sql = format!("select {call}");
        for (session, id) in [(&mut scene.admin, Uuid::new_v4()), (&mut other, scene.endpoint.id)] {
            let error = refusal(session, &sql, &[&id]);
            assert_eq!(error.code().code(), "PT404", "{call}");
            assert_eq!(error.message(), format!("webhook endpoint {id} does not exist"));
        }
    }
    // The functions below them refuse too.
    for call in ["redeliver(array[$1]::uuid[])", "cancel(array[$1]::uuid[])"] {
        let number: i64 = other.query_one(&format!("select webhook_delivery.{call}"), &[&id]).unwrap().get(0);
        assert_eq!(number, 0, "{call}");
    }
    let replay = "select webhook_delivery.replay($1, '-infinity', 'infinity', '{*}')";
    assert_eq!(other.query_one(replay, &[&scene.endpoint.id]).unwrap().get::<_, Option<i64>>(0), None);
    scene.application.settle();
    assert_eq!(scene.receiver.count(), 1);
}

#[test]
fn delivery_without_its_event_or_endpoint_is_not_redelivered() {
    let mut scene = Scene::new(&[]);
    let ids = scene.end_deliveries(2, "success");
    let gone = "delete from webhook_delivery.events where id = (select event_id from webhook_deliveries where id = $1)";
    scene.application.client.execute(gone, &[&ids[0]]).unwrap();
    let error = refusal(&mut scene.admin, "select redeliver_webhook($1)", &[&ids[0]]);
    assert_eq!(error.code().code(), "PT410", "{error:?}");
    scene.admin.execute("delete from webhook_endpoints where id = $1", &[&scene.endpoint.id]).unwrap();
    let error = refusal(&mut scene.admin, "select redeliver_webhook($1)", &[&ids[1]]);
    assert_eq!(error.code().code(), "PT410", "{error:?}");
    assert_eq!(scene.application.count("select count(*) from webhook_deliveries where status = 'success'"), 2);
}

#[test]
fn failures_of_a_period_are_recovered_and_a_dry_run_counts() {
    let mut scene = Scene::new(&[]);
    let failed = scene.end_deliveries(20, "failed");
    scene.end_deliveries(5, "success");
    let test = "select delivery_id from test_webhook($1, 'submission.created')";
    scene.answer(503);
    let test: Uuid = scene.admin.query_one(test, &[&scene.endpoint.id]).unwrap().get(0);
    scene.endpoint.wait_for(&mut scene.application.client, 21, "failed");
    scene.answer(200);
    scene.receiver.clear();
    assert_eq!(scene.returned_number("recover_webhooks($1, now() - interval '1 hour', dry_run => true)"), 20);
    assert_eq!(scene.returned_number("recover_webhooks($1, now() - interval '2 hours', now() - interval '1 hour')"), 0);
    assert_eq!(
        scene.returned_number("recover_webhooks($1, now() - interval '1 hour', only_failed => false, dry_run => true)"),
        25
    );
    assert_eq!(scene.receiver.count(), 0);
    assert_eq!(scene.returned_number("recover_webhooks($1, now() - interval '1 hour')"), 20);
    // The deliveries are queued now, so that a second call finds none.
    assert_eq!(scene.returned_number("recover_webhooks($1, now() - interval '1 hour')"), 0);
    scene.endpoint.wait_for(&mut scene.application.client, 25, "success");
    let mut recovered: Vec<_> = scene.receiver.distinct_ids().into_iter().collect();
    recovered.sort();
    assert_eq!(recovered, failed);
    assert!(!recovered.contains(&test));
    // Tests have their own limit per minute, which redelivery must not exceed.
    assert_eq!(refusal(&mut scene.admin, "select redeliver_webhook($1)", &[&test]).code().code(), "PT409");
}

#[test]
fn recovery_sends_retrying_deliveries_now_and_only_once() {
    let mut scene = Scene::new(&[("webhook_delivery.redeliveries_per_second", "10")]);
    scene.application.client.batch_execute("update webhook_endpoints set retry_schedule = '{1 hour}'").unwrap();
    scene.answer(503);
    scene.endpoint.emit(&mut scene.application.client, 12);
    scene.endpoint.wait_for(&mut scene.application.client, 12, "retrying");
    scene.answer(200);
    scene.application.client.batch_execute("select webhook_delivery.pause()").unwrap();
    assert_eq!(scene.returned_number("recover_webhooks($1, now() - interval '1 hour', dry_run => true)"), 12);
    assert_eq!(scene.returned_number("recover_webhooks($1, now() - interval '1 hour')"), 12);
    // They become due one after the other, also after a second call.
    let spread = "select extract(epoch from max(due_at) - min(due_at)) >= 0.8 from webhook_delivery.queue";
    assert!(scene.application.client.query_one(spread, &[]).unwrap().get::<_, bool>(0));
    assert!(
        scene.returned_number("recover_webhooks($1, now() - interval '1 hour')") < 6,
        "most are due within a second"
    );
    assert!(scene.application.client.query_one(spread, &[]).unwrap().get::<_, bool>(0));
    scene.application.client.batch_execute("select webhook_delivery.resume()").unwrap();
    scene.endpoint.wait_for(&mut scene.application.client, 12, "success");
    assert_eq!(scene.receiver.count(), 24);
}

#[test]
fn null_argument_is_refused() {
    let mut scene = Scene::new(&[]);
    scene.end_deliveries(1, "failed");
    for call in [
        "recover_webhooks($1, null)",
        "recover_webhooks($1, '-infinity', dry_run => null)",
        "recover_webhooks($1, '-infinity', only_failed => null)",
        "replay_webhooks($1, '-infinity', until => null)",
    ] {
        let error = refusal(&mut scene.admin, &format!("select {call}"), &[&scene.endpoint.id]);
        assert_eq!(error.code().code(), "22004", "{call}: {error:?}");
    }
    for call in ["recover_webhooks($1, now(), now() - interval '1 day')", "replay_webhooks($1, now(), '2026-01-01')"] {
        let error = refusal(&mut scene.admin, &format!("select {call}"), &[&scene.endpoint.id]);
        assert_eq!((error.code().code(), error.hint()), ("22023", Some("Exchange the two times.")), "{call}");
    }
    assert_eq!(scene.application.count("select count(*) from webhook_delivery.queue"), 0);
    // A wait without a limit would never end, so that the function returns null.
    let wait = "select webhook_delivery.wait_for_delivery(id, null) is null from webhook_deliveries";
    assert!(scene.application.client.query_one(wait, &[]).unwrap().get::<_, bool>(0));
}

#[test]
fn large_recovery_sends_oldest_first_and_delays_no_new_event() {
    let mut scene = Scene::new(&[]);
    scene.end_deliveries(3_000, "success");
    scene.receiver.clear();
    assert_eq!(scene.returned_number("recover_webhooks($1, '-infinity', only_failed => false)"), 3_000);
    scene.endpoint.emit(&mut scene.application.client, 1);
    let newest: Uuid = scene
        .application
        .client
        .query_one("select max(delivery_id::text)::uuid from webhook_delivery.queue", &[])
        .unwrap()
        .get(0);
    wait_until("the new event", DEADLINE, || scene.receiver.distinct_ids().contains(&newest).then_some(()));
    assert!(scene.receiver.count() < 1_500, "{} requests arrived before the new event", scene.receiver.count());
    // Without a rate limit all are sent at once.
    let client = &mut scene.application.client;
    client.batch_execute("set webhook_delivery.redeliveries_per_second = 0").unwrap();
    client.query("select webhook_delivery.redeliver(array(select id from webhook_deliveries))", &[]).unwrap();
    scene.application.settle();
    let order: Vec<_> = scene.receiver.requests().iter().filter_map(|request| request.webhook_id()).take(50).collect();
    let oldest = "select id from webhook_deliveries order by id limit 200";
    let oldest: Vec<Uuid> = scene.application.client.query(oldest, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(order.iter().filter(|id| oldest.contains(id)).count() >= 40, "the oldest deliveries are sent first");
}

#[test]
fn list_of_deliveries_is_redelivered_without_foreign_ones_and_tests() {
    let mut scene = Scene::new(&[]);
    let hilltop = scene.application.endpoint(sample::HILLTOP, &scene.receiver.url("/"), &["*"]);
    scene.endpoint.emit(&mut scene.application.client, 3);
    let client = &mut scene.application.client;
    client.execute("select webhook_delivery.emit('submission.created', $1, '{}')", &[&sample::HILLTOP]).unwrap();
    client.query("select test_webhook($1, 'submission.created')", &[&scene.endpoint.id]).unwrap();
    scene.endpoint.wait_for(client, 4, "success");
    hilltop.wait_for(client, 1, "success");
    let ids: Vec<Option<Uuid>> =
        client.query("select id from webhook_deliveries", &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(ids.len(), 5);
    scene.receiver.clear();
    let given: Vec<_> = ids.iter().chain(&ids).copied().chain([None]).collect();
    let mut redeliver = |ids: Option<Vec<Option<Uuid>>>| -> i64 {
        scene.admin.query_one("select redeliver_webhooks($1)", &[&ids]).unwrap().get(0)
    };
    assert_eq!([Some(given), Some(Vec::new()), None].map(&mut redeliver), [3, 0, 0]);
    scene.application.settle();
    assert_eq!((scene.receiver.count(), scene.receiver.distinct_ids().len()), (3, 3));
}

#[test]
fn operator_redelivers_what_a_query_finds_in_any_auction() {
    let mut scene = Scene::new(&[]);
    let hilltop = scene.application.endpoint(sample::HILLTOP, &scene.receiver.url("/"), &["*"]);
    scene.answer(503);
    let client = &mut scene.application.client;
    for (event, auction) in [
        ("inspection.created", sample::RIVERSIDE),
        ("inspection.defect_added", sample::HILLTOP),
        ("submission.created", sample::HILLTOP),
    ] {
        client.execute("select webhook_delivery.emit($1, $2, '{}')", &[&event, &auction]).unwrap();
    }
    hilltop.wait_for(client, 2, "failed");
    scene.endpoint.wait_for(client, 1, "failed");
    scene.answer(200);
    scene.receiver.clear();
    let statement = "select webhook_delivery.redeliver(array_agg(id)) from webhook_deliveries
        where event_type like 'inspection.%' and status = 'failed' and created_at >= date_trunc('month', now())";
    assert_eq!(scene.application.count(statement), 2);
    scene.application.settle();
    let mut events: Vec<_> =
        scene.receiver.requests().iter().map(|request| request.event().unwrap().to_owned()).collect();
    events.sort();
    assert_eq!(events, ["inspection.created", "inspection.defect_added"]);
}

#[test]
fn tenant_redelivers_no_more_per_minute_than_allowed() {
    let mut scene = Scene::new(&[("webhook_delivery.redeliveries_per_minute", "3")]);
    let ids = scene.end_deliveries(4, "success");
    for (call, code) in [
        ("recover_webhooks($1, '-infinity', only_failed => false)", "PT429"),
        // Ids of no delivery count too, because they are looked up.
        ("redeliver_webhooks(array[$1, gen_random_uuid(), gen_random_uuid(), gen_random_uuid()])", "PT429"),
        ("replay_webhooks($1, '-infinity')", "PT429"),
        // The functions below them write nothing either.
        ("webhook_delivery.replay($1, '-infinity', 'infinity', '{*}')", "53400"),
    ] {
        if call.starts_with("replay") {
            scene.admin.execute("update webhook_endpoints set is_active = false", &[]).unwrap();
            scene.endpoint = scene.application.endpoint(sample::RIVERSIDE, &scene.receiver.url("/second"), &["*"]);
        }
        let error = refusal(&mut scene.admin, &format!("select {call}"), &[&scene.endpoint.id]);
        assert_eq!(error.code().code(), code, "{call}: {error:?}");
        assert!(error.hint().unwrap().contains("redeliveries_per_minute"), "{error:?}");
    }
    assert_eq!(scene.application.count("select count(*) from webhook_delivery.queue"), 0);
    // The limit counts single redeliveries too, also of a delivery that waits. Otherwise a tenant
    // could cause requests as fast as they are answered.
    scene.application.client.batch_execute("select webhook_delivery.pause()").unwrap();
    let once = "select redeliver_webhook($1)";
    for _ in 0..3 {
        scene.admin.execute(once, &[&ids[0]]).unwrap();
    }
    let error = refusal(&mut scene.admin, once, &[&ids[0]]);
    assert_eq!(error.code().code(), "PT429", "{error:?}");
    assert!(error.hint().unwrap().contains("redeliveries_per_minute"), "{error:?}");
    assert_eq!(refusal(&mut scene.admin, once, &[&ids[1]]).code().code(), "PT429", "another delivery of the auction");
    let earlier = "update webhook_delivery.auction_usage set since = since - interval '61 seconds'";
    scene.application.client.batch_execute(earlier).unwrap();
    scene.admin.execute(once, &[&ids[0]]).unwrap();
    // Operators have no limit.
    let all: i64 = scene.application.client.query_one("select webhook_delivery.redeliver($1)", &[&ids]).unwrap().get(0);
    assert_eq!(all, 3, "one delivery is queued already");
}
