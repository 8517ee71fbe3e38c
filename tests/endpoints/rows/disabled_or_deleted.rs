//! Deliveries whose endpoint is disabled or deleted.

use super::*;

#[test]
fn deliveries_of_a_disabled_endpoint_wait_until_it_is_enabled() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (mut application, riverside, hilltop) = two_endpoints(&receiver, &[]);
    let client = &mut application.client;
    let mut transaction = client.transaction().unwrap();
    riverside.emit(&mut transaction, 20);
    transaction.execute(SET_ACTIVE, &[&riverside.id, &false]).unwrap();
    transaction.commit().unwrap();
    // Queued later and delivered earlier: the worker has skipped the waiting deliveries.
    hilltop.emit(client, 20);
    hilltop.wait_for(client, 20, "success");
    let waiting = riverside.deliveries(client);
    assert_eq!(waiting.len(), 20);
    assert!(waiting.iter().all(|delivery| delivery.status == "pending" && delivery.attempts == 0), "{waiting:?}");
    assert_eq!(receiver.requests_to("/riverside").len(), 0);
    // While the endpoint is disabled no deliveries are added.
    riverside.emit(client, 5);
    client.execute(SET_ACTIVE, &[&riverside.id, &true]).unwrap();
    riverside.wait_for(client, 20, "success");
    application.settle();
    assert_eq!(receiver.requests_to("/riverside").len(), 20);
}

#[test]
fn retries_of_a_disabled_endpoint_wait_even_after_a_restart() {
    let receiver = Receiver::by_path();
    let (mut application, _, hilltop) = two_endpoints(&receiver, &[("webhook_delivery.retry_schedule", "300ms")]);
    let failing = application.endpoint(sample::RIVERSIDE, &receiver.url("/fail-then-ok/1"), &["submission.updated"]);
    let client = &mut application.client;
    client.execute("select webhook_delivery.emit('submission.updated', $1, '{}')", &[&sample::RIVERSIDE]).unwrap();
    failing.wait_for(client, 1, "retrying");
    client.execute(SET_ACTIVE, &[&failing.id, &false]).unwrap();
    let attempts = receiver.requests_to("/fail-then-ok/1").len();
    application.cluster.restart(webhook_harness::StopMode::Fast);
    application.client = application.cluster.connect();
    let client = &mut application.client;
    let is_due = "select next_attempt_at < now() from webhook_deliveries where endpoint_id = $1";
    webhook_harness::wait_until("the retry to be due", webhook_harness::DEADLINE, || {
        client.query_one(is_due, &[&failing.id]).unwrap().get::<_, bool>(0).then_some(())
    });
    hilltop.emit(client, 1);
    hilltop.wait_for(client, 1, "success");
    assert_eq!(receiver.requests_to("/fail-then-ok/1").len(), attempts);
    client.execute(SET_ACTIVE, &[&failing.id, &true]).unwrap();
    let delivered = failing.wait_for(client, 1, "success");
    assert_eq!(delivered[0].attempts, 2);
}

#[test]
fn deleted_endpoint_fails_pending_deliveries() {
    let receiver = Receiver::by_path();
    let (mut application, riverside, hilltop) = two_endpoints(&receiver, &[("webhook_delivery.retry_schedule", "1h")]);
    let failing = application.endpoint(sample::RIVERSIDE, &receiver.url("/status/503"), &["*"]);
    let client = &mut application.client;
    let mut transaction = client.transaction().unwrap();
    riverside.emit(&mut transaction, 3);
    transaction.execute(SET_ACTIVE, &[&riverside.id, &false]).unwrap();
    transaction.commit().unwrap();
    failing.wait_for(client, 3, "retrying");
    let disabled_by_hand = "select count(*) from webhook_deliveries where status = 'pending'";
    assert_eq!(client.query_one(disabled_by_hand, &[]).unwrap().get::<_, i64>(0), 3);
    client.execute("delete from webhook_endpoints where auction_id = $1", &[&sample::RIVERSIDE]).unwrap();
    failing.wait_for(client, 3, "retrying");
    // The retries are due in an hour. The operator makes them due now.
    client.batch_execute("update webhook_delivery.queue set due_at = now() where attempts > 0").unwrap();

    for (endpoint, attempts_before) in [(&riverside, 0), (&failing, 1)] {
        let ended = endpoint.wait_for(client, 3, "failed");
        assert_eq!(ended.len(), 3);
        for delivery in ended {
            assert_eq!(delivery.error_message.as_deref(), Some("the endpoint was deleted"), "{delivery:?}");
            assert!(delivery.next_attempt_at.is_none() && delivery.completed_at.is_some(), "{delivery:?}");
            assert_eq!(delivery.response_status_code, None, "{delivery:?}");
        }
        // Earlier attempts stay in the history unchanged.
        let made =
            "select count(*) from webhook_delivery_attempts where endpoint_id = $1 and error_message = 'status 503'";
        assert_eq!(client.query_one(made, &[&endpoint.id]).unwrap().get::<_, i64>(0), 3 * attempts_before);
    }
    hilltop.emit(client, 1);
    application.settle();
    assert_eq!(receiver.requests_to("/status/503").len(), 3);
    assert_eq!(receiver.requests_to("/hilltop").len(), 1);
    assert_eq!(receiver.requests_to("/riverside").len(), 0);
    assert_eq!(application.count("select count(*) from webhook_delivery.endpoint_secrets"), 1);
}

#[test]
fn endpoint_recreated_in_one_transaction_keeps_its_deliveries() {
    let receiver = Receiver::by_path();
    let (mut application, riverside, _) = two_endpoints(&receiver, &[]);
    let client = &mut application.client;
    let mut transaction = client.transaction().unwrap();
    riverside.emit(&mut transaction, 3);
    transaction.execute("delete from webhook_endpoints where id = $1", &[&riverside.id]).unwrap();
    let again = "insert into webhook_endpoints (id, auction_id, url, events, secret) values ($1, $2, $3, '{*}', 'another secret, given again')";
    transaction.execute(again, &[&riverside.id, &riverside.auction_id, &receiver.url("/again")]).unwrap();
    transaction.commit().unwrap();
    riverside.wait_for(client, 3, "success");
    assert_signed("another secret, given again", &receiver.requests_to("/again"));
    assert_eq!(receiver.count(), 3);
}

#[test]
fn reused_id_in_another_auction_receives_no_old_deliveries() {
    let receiver = Receiver::by_path();
    let (mut application, riverside, hilltop) = two_endpoints(&receiver, &[]);
    let client = &mut application.client;
    let mut transaction = client.transaction().unwrap();
    riverside.emit(&mut transaction, 3);
    transaction.execute("delete from webhook_endpoints where id = $1", &[&riverside.id]).unwrap();
    let thief = "insert into webhook_endpoints (id, auction_id, url, events) values ($1, $2, $3, '{*}')";
    transaction.execute(thief, &[&riverside.id, &hilltop.auction_id, &receiver.url("/thief")]).unwrap();
    transaction.commit().unwrap();
    let ended = riverside.wait_for(client, 3, "failed");
    assert!(ended.iter().all(|delivery| delivery.error_message.as_deref() == Some("the endpoint was deleted")));
    assert_eq!(receiver.count(), 0);
}

#[test]
fn request_in_flight_to_a_deleted_endpoint_is_not_repeated() {
    let receiver = Receiver::start(|_| Reply::status(503).after(Duration::from_secs(1)));
    let (mut application, riverside, _) =
        two_endpoints(&receiver, &[("webhook_delivery.retry_schedule", "10ms, 10ms")]);
    let client = &mut application.client;
    riverside.emit(client, 1);
    receiver.wait_for(1, DEADLINE);
    client.execute("delete from webhook_endpoints where id = $1", &[&riverside.id]).unwrap();
    let ended = riverside.wait_for(client, 1, "failed");
    assert_eq!((ended[0].error_message.as_deref(), ended[0].attempts), (Some("the endpoint was deleted"), 1));
    assert_eq!(receiver.count(), 1);
}

#[test]
fn delivery_without_its_event_is_visible_and_ends_as_failed() {
    let receiver = Receiver::by_path();
    let (mut application, riverside, _) = two_endpoints(&receiver, &[]);
    let client = &mut application.client;
    client.execute(SET_ACTIVE, &[&riverside.id, &false]).unwrap();
    let queued = "insert into webhook_delivery.queue (due_at, delivery_id, auction_id, endpoint_id, event_id, event_type)
                  select now() + interval '1 h', webhook_delivery.uuid_v7(), $1, $2, webhook_delivery.uuid_v7(), 'submission.created'";
    client.execute(queued, &[&riverside.auction_id, &riverside.id]).unwrap();
    assert_eq!(riverside.deliveries(client)[0].status, "pending");
    client.batch_execute("update webhook_delivery.queue set due_at = now()").unwrap();
    let ended = riverside.wait_for(client, 1, "failed");
    assert_eq!((ended[0].error_message.as_deref(), ended[0].attempts), (Some("the event was deleted"), 0));
    assert_eq!(receiver.count(), 0);
}

#[test]
fn secret_is_deleted_with_its_endpoint_unless_recreated() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = Endpoint::create(&mut client, "https://example.com");
    let secrets = "select count(*) from webhook_delivery.endpoint_secrets";
    let again = "with gone as (delete from webhook_endpoints where id = $1 returning auction_id)
                 insert into webhook_endpoints (auction_id, url, events) select auction_id, 'https://example.org', '{*}' from gone";
    assert_eq!(client.execute(again, &[&endpoint.id]).unwrap(), 1);
    assert_eq!(client.query_one(secrets, &[]).unwrap().get::<_, i64>(0), 1);
    client.execute("delete from webhook_endpoints", &[]).unwrap();
    assert_eq!(client.query_one(secrets, &[]).unwrap().get::<_, i64>(0), 0);
    Endpoint::create(&mut client, "https://example.com");
    client.execute("truncate webhook_endpoints", &[]).unwrap();
    assert_eq!(client.query_one(secrets, &[]).unwrap().get::<_, i64>(0), 0);
}

#[test]
fn events_of_the_transaction_that_disables_an_endpoint_wait() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    for round in 1..=100 {
        let endpoint = application.endpoint(Uuid::new_v4(), &receiver.url("/"), &["*"]);
        let client = &mut application.client;
        // The worker has just read the endpoint as active.
        endpoint.emit(client, 1);
        endpoint.wait_for(client, 1, "success");
        let mut transaction = client.transaction().unwrap();
        endpoint.emit(&mut transaction, 1);
        transaction.execute("update webhook_endpoints set is_active = false where id = $1", &[&endpoint.id]).unwrap();
        transaction.commit().unwrap();
        assert_eq!(receiver.count(), round);
    }
    // This delivery gives requests that must not be sent enough time to arrive.
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]).emit(&mut application.client, 1);
    application.wait_for_deliveries(101, "success");
    assert_eq!(receiver.count(), 101);
}

#[test]
fn latest_100_deleted_endpoints_of_an_auction_keep_their_names() {
    let mut application = Application::start(&[("webhook_delivery.max_endpoints", "200")]);
    tenant::create_roles(&mut application.client);
    let create = "insert into webhook_endpoints (auction_id, url, events, description)
        select $1::text::uuid, 'https://example.com/' || n, '{*}', 'number ' || n from generate_series(1, $2::int) as n";
    for (auction, number) in [(sample::HILLTOP, 1), (sample::RIVERSIDE, 101)] {
        application.client.execute(create, &[&auction.to_string(), &number]).unwrap();
    }
    // Each in a transaction of its own, so that the first was deleted first.
    let ids = "select id from webhook_endpoints order by auction_id, length(url), url";
    let ids: Vec<Uuid> = application.client.query(ids, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    for id in ids {
        application.client.execute("delete from webhook_endpoints where id = $1", &[&id]).unwrap();
    }
    let mut dana = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    let seen = "select count(*), min(auction_id::text), bool_or(url like '%/1'), max(description) from webhook_deleted_endpoints";
    let row = dana.query_one(seen, &[]).unwrap();
    let seen = (row.get::<_, i64>(0), row.get::<_, &str>(1), row.get::<_, bool>(2), row.get::<_, &str>(3));
    assert_eq!(seen, (100, &*sample::RIVERSIDE.to_string(), false, "number 99"));
    let refused = refusal(&mut dana, "delete from webhook_deleted_endpoints", &[]);
    assert_eq!(refused.code().code(), "42501");

    // An id that another auction's endpoint has had belongs to that auction from then on.
    let reused = "with used as (select id from webhook_deleted_endpoints where description = 'number 99')
        insert into webhook_endpoints (id, auction_id, url, events) select id, $1::text::uuid, 'https://example.com/', '{*}' from used";
    application.client.execute(reused, &[&sample::HILLTOP.to_string()]).unwrap();
    application.client.execute("delete from webhook_endpoints", &[]).unwrap();
    assert_eq!(dana.query_one("select count(*) from webhook_deleted_endpoints", &[]).unwrap().get::<_, i64>(0), 99);

    let mut dana = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    let expunge = "select expunge_webhook_data($1, containing => 'number 98')";
    dana.query(expunge, &[&sample::RIVERSIDE]).unwrap();
    assert_eq!(dana.query_one("select count(*) from webhook_deleted_endpoints", &[]).unwrap().get::<_, i64>(0), 98);
    application
        .client
        .execute("update webhook_deleted_endpoints set deleted_at = now() - interval '31 days'", &[])
        .unwrap();
    // It does not wait for a table that another session uses.
    wait_until("the expiry", DEADLINE, || {
        application.client.query("select webhook_delivery.drop_expired()", &[]).unwrap();
        (application.count("select count(*) from webhook_deleted_endpoints") == 0).then_some(())
    });
}
