//! Deliveries that are sent again, one by one or for a period.

use super::*;

#[test]
fn a_delivery_is_sent_again_with_the_same_id_and_bytes_also_where_it_had_succeeded() {
    let mut scene = Scene::new(&[]);
    let id = scene.ended(1, "success")[0];
    assert_eq!(scene.redeliver(id), "retrying");
    let requests = scene.receiver.wait_for(2, DEADLINE);
    scene.application.settle();
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[1].webhook_id(), Some(id));
    assert_signed(&scene.endpoint.secret, &requests);
    // The history has one row of it, and both requests.
    let deliveries = scene.endpoint.deliveries(&mut scene.application.client);
    assert_eq!((deliveries.len(), deliveries[0].status.as_str(), deliveries[0].attempts), (1, "success", 2));
    assert_eq!(scene.attempts(id), [(1, "success".into()), (2, "success".into())]);
}

#[test]
fn a_delivery_that_is_sent_again_has_a_whole_schedule_of_attempts() {
    let mut scene = Scene::new(&[]);
    let id = scene.ended(1, "failed")[0];
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
fn a_delivery_that_waits_for_another_attempt_has_it_now() {
    let mut scene = Scene::new(&[("webhook_delivery.retry_schedule", "1h, 1h")]);
    scene.answer(503);
    scene.endpoint.emit(&mut scene.application.client, 1);
    let id = scene.endpoint.wait_for(&mut scene.application.client, 1, "retrying")[0].id;
    assert_eq!(scene.redeliver(id), "retrying");
    scene.receiver.wait_for(2, DEADLINE);
    // And a whole schedule after it: one attempt more than it would have had.
    for made in 2..4 {
        wait_until("the attempt to be recorded", DEADLINE, || (scene.attempts(id).len() == made).then_some(()));
        let queued = "select attempts, earlier_attempts from webhook_delivery.queue";
        let row = scene.application.client.query_one(queued, &[]).unwrap();
        assert_eq!((row.get::<_, i16>(0), row.get::<_, i16>(1)), (made as i16, if made == 2 { 1 } else { 2 }));
        scene.redeliver(id);
    }
}

#[test]
fn an_ordered_endpoints_head_that_waits_is_sent_now_and_those_behind_it_follow() {
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
fn what_is_not_there_is_refused_and_what_is_anothers_in_the_same_words() {
    let mut scene = Scene::new(&[]);
    let id = scene.ended(1, "success")[0];
    let mut other = tenant::session_of(&scene.application.cluster, "tenant", sample::KIM);
    for call in ["redeliver_webhook($1)", "cancel_webhook($1)"] {
        let sql = format!("select {call}");
        for (session, id) in [(&mut scene.admin, Uuid::new_v4()), (&mut other, id)] {
            let error = refusal(session, &sql, &[&id]);
            assert_eq!(error.code().code(), "PT404", "{call}");
            assert_eq!(error.message(), format!("there is no webhook delivery {id}"));
        }
    }
    for call in ["recover_webhooks($1, '-infinity')", "replay_webhooks($1, '-infinity')"] {
        let sql = format!("select {call}");
        for (session, id) in [(&mut scene.admin, Uuid::new_v4()), (&mut other, scene.endpoint.id)] {
            let error = refusal(session, &sql, &[&id]);
            assert_eq!(error.code().code(), "PT404", "{call}");
            assert_eq!(error.message(), format!("there is no webhook endpoint {id}"));
        }
    }
    // Not by the functions below them either.
    for call in ["resend(array[$1]::uuid[])", "cancel(array[$1]::uuid[])"] {
        let number: i64 = other.query_one(&format!("select webhook_delivery.{call}"), &[&id]).unwrap().get(0);
        assert_eq!(number, 0, "{call}");
    }
    let replay = "select webhook_delivery.replay($1, '-infinity', 'infinity', '{*}')";
    assert_eq!(other.query_one(replay, &[&scene.endpoint.id]).unwrap().get::<_, Option<i64>>(0), None);
    scene.application.settle();
    assert_eq!(scene.receiver.count(), 1);
}

#[test]
fn what_has_no_endpoint_or_event_any_more_is_not_sent_again_and_keeps_its_history() {
    let mut scene = Scene::new(&[]);
    let ids = scene.ended(2, "success");
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
fn what_failed_within_a_time_is_recovered_and_a_dry_run_only_counts_it() {
    let mut scene = Scene::new(&[]);
    let failed = scene.ended(20, "failed");
    scene.ended(5, "success");
    let test = "select delivery_id from test_webhook($1, 'submission.created')";
    scene.answer(503);
    let test: Uuid = scene.admin.query_one(test, &[&scene.endpoint.id]).unwrap().get(0);
    scene.endpoint.wait_for(&mut scene.application.client, 21, "failed");
    scene.answer(200);
    scene.receiver.clear();
    assert_eq!(scene.number("recover_webhooks($1, now() - interval '1 hour', dry_run => true)"), 20);
    assert_eq!(scene.number("recover_webhooks($1, now() - interval '2 hours', now() - interval '1 hour')"), 0);
    assert_eq!(
        scene.number("recover_webhooks($1, now() - interval '1 hour', only_failed => false, dry_run => true)"),
        25
    );
    assert_eq!(scene.receiver.count(), 0);
    assert_eq!(scene.number("recover_webhooks($1, now() - interval '1 hour')"), 20);
    // They are on their way: a second call finds nothing.
    assert_eq!(scene.number("recover_webhooks($1, now() - interval '1 hour')"), 0);
    scene.endpoint.wait_for(&mut scene.application.client, 25, "success");
    let mut recovered: Vec<_> = scene.receiver.distinct_ids().into_iter().collect();
    recovered.sort();
    assert_eq!(recovered, failed);
    assert!(!recovered.contains(&test));
    // Of tests there are so many a minute, and no more by this.
    assert_eq!(refusal(&mut scene.admin, "select redeliver_webhook($1)", &[&test]).code().code(), "PT409");
}

#[test]
fn a_null_is_refused_rather_than_taken_for_something() {
    let mut scene = Scene::new(&[]);
    scene.ended(1, "failed");
    for call in [
        "recover_webhooks($1, null)",
        "recover_webhooks($1, '-infinity', dry_run => null)",
        "recover_webhooks($1, '-infinity', only_failed => null)",
        "replay_webhooks($1, '-infinity', until => null)",
    ] {
        let error = refusal(&mut scene.admin, &format!("select {call}"), &[&scene.endpoint.id]);
        assert_eq!(error.code().code(), "22004", "{call}: {error:?}");
    }
    assert_eq!(scene.application.count("select count(*) from webhook_delivery.queue"), 0);
    // It would never end.
    let wait = "select webhook_delivery.wait_for_delivery(id, null) is null from webhook_deliveries";
    assert!(scene.application.client.query_one(wait, &[]).unwrap().get::<_, bool>(0));
}

#[test]
fn of_a_large_recovery_the_oldest_come_first_and_what_happens_meanwhile_does_not_wait_behind_it() {
    let mut scene = Scene::new(&[]);
    scene.ended(3_000, "success");
    scene.receiver.clear();
    assert_eq!(scene.number("recover_webhooks($1, '-infinity', only_failed => false)"), 3_000);
    scene.endpoint.emit(&mut scene.application.client, 1);
    let newest: Uuid = scene
        .application
        .client
        .query_one("select max(delivery_id::text)::uuid from webhook_delivery.queue", &[])
        .unwrap()
        .get(0);
    wait_until("the new event", DEADLINE, || scene.receiver.distinct_ids().contains(&newest).then_some(()));
    assert!(scene.receiver.count() < 1_500, "{} came before the new event", scene.receiver.count());
    // At once, where the operator wants it so.
    let client = &mut scene.application.client;
    client.batch_execute("set webhook_delivery.resend_per_second = 0").unwrap();
    client.query("select webhook_delivery.resend(array(select id from webhook_deliveries))", &[]).unwrap();
    scene.application.settle();
    let order: Vec<_> = scene.receiver.requests().iter().filter_map(|request| request.webhook_id()).take(50).collect();
    let oldest = "select id from webhook_deliveries order by id limit 200";
    let oldest: Vec<Uuid> = scene.application.client.query(oldest, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(order.iter().filter(|id| oldest.contains(id)).count() >= 40, "the oldest come first");
}

#[test]
fn an_operator_sends_again_what_any_query_finds_of_any_auction() {
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
    let statement = "select webhook_delivery.resend(array_agg(id)) from webhook_deliveries
        where event_type like 'inspection.%' and status = 'failed' and created_at >= date_trunc('month', now())";
    assert_eq!(scene.application.count(statement), 2);
    scene.application.settle();
    let mut events: Vec<_> =
        scene.receiver.requests().iter().map(|request| request.event().unwrap().to_owned()).collect();
    events.sort();
    assert_eq!(events, ["inspection.created", "inspection.defect_added"]);
}

#[test]
fn tenant_sends_no_more_again_within_a_minute_than_is_allowed() {
    let mut scene = Scene::new(&[("webhook_delivery.resends_per_minute", "3")]);
    let ids = scene.ended(4, "success");
    for (call, code) in [
        ("recover_webhooks($1, '-infinity', only_failed => false)", "PT429"),
        ("replay_webhooks($1, '-infinity')", "PT429"),
        // Nor do the functions below them leave anything written.
        ("webhook_delivery.replay($1, '-infinity', 'infinity', '{*}')", "53400"),
    ] {
        if call.starts_with("replay") {
            scene.admin.execute("update webhook_endpoints set is_active = false", &[]).unwrap();
            scene.endpoint = scene.application.endpoint(sample::RIVERSIDE, &scene.receiver.url("/second"), &["*"]);
        }
        let error = refusal(&mut scene.admin, &format!("select {call}"), &[&scene.endpoint.id]);
        assert_eq!(error.code().code(), code, "{call}: {error:?}");
        assert!(error.hint().unwrap().contains("resends_per_minute"), "{error:?}");
    }
    assert_eq!(scene.application.count("select count(*) from webhook_delivery.queue"), 0);
    // One by one, too, and also what waits: whoever has it tried again and again makes requests as fast as they are answered.
    scene.application.client.batch_execute("select webhook_delivery.pause()").unwrap();
    let once = "select redeliver_webhook($1)";
    for _ in 0..3 {
        scene.admin.execute(once, &[&ids[0]]).unwrap();
    }
    let error = refusal(&mut scene.admin, once, &[&ids[0]]);
    assert_eq!(error.code().code(), "PT429", "{error:?}");
    assert!(error.hint().unwrap().contains("resends_per_minute"), "{error:?}");
    assert_eq!(refusal(&mut scene.admin, once, &[&ids[1]]).code().code(), "PT429", "another one of the auction");
    let earlier = "update webhook_delivery.auction_usage set since = since - interval '61 seconds'";
    scene.application.client.batch_execute(earlier).unwrap();
    scene.admin.execute(once, &[&ids[0]]).unwrap();
    // Operators have no limit.
    let all: i64 = scene.application.client.query_one("select webhook_delivery.resend($1)", &[&ids]).unwrap().get(0);
    assert_eq!(all, 3, "one waits already");
}
