//! Notices about a failing endpoint go to other endpoints of its auction.

use super::*;

#[test]
fn subscribers_in_the_auction_receive_notices_about_others() {
    let (receiver, answer) = changeable(500);
    let (_cluster, mut client) = Cluster::with_client(&[ONCE, ("webhook_delivery.disable_after_failures", "4")]);
    let failing = Endpoint::create(&mut client, &receiver.url("/"));
    client
        .execute("update webhook_endpoints set events = '{submission.*,webhook.*}' where id = $1", &[&failing.id])
        .unwrap();
    let watcher = Watcher::in_auction_of(&mut client, &failing, &["webhook.*"]);
    let only_some = Watcher::in_auction_of(&mut client, &failing, &["webhook.endpoint_disabled"]);
    let of_all = Watcher::in_auction_of(&mut client, &failing, &["*"]);
    let elsewhere = Endpoint::create(&mut client, "https://example.com/");
    let elsewhere = Watcher::in_auction_of(&mut client, &elsewhere, &["webhook.*"]);

    fail(&mut client, &failing, 2);
    let data = watcher.wait_for("webhook.endpoint_failing");
    assert_eq!((&data["endpoint_id"], &data["failed_deliveries"]), (&failing.id.to_string().into(), &2.into()));
    assert_eq!(data["error_message"], "status 500");
    fail(&mut client, &failing, 2);
    let data = only_some.wait_for("webhook.endpoint_disabled");
    assert_eq!(data["reason"], "4 deliveries in a row have used up all of their attempts; the last: status 500");
    answer.store(200, Ordering::SeqCst);
    failing.emit(&mut client, 1);
    enable(&mut client, &failing);
    let data = watcher.wait_for("webhook.endpoint_recovered");
    assert_eq!(data["endpoint_id"], failing.id.to_string());

    let received: Vec<String> = watcher.received().into_iter().map(|(event, _)| event).collect();
    let states: Vec<&String> = received.iter().filter(|event| *event != "webhook.delivery_failed").collect();
    assert_eq!(
        states,
        ["webhook.endpoint_failing", "webhook.endpoint_disabled", "webhook.endpoint_recovered"],
        "each once, in order"
    );
    let schemas =
        client.query("select event_type, schema from webhook_event_types where family = 'webhook'", &[]).unwrap();
    for row in schemas {
        let (event, schema): (String, Value) = (row.get(0), row.get(1));
        assert_valid(&event, &schema, &watcher.wait_for(&event));
    }
    let failed = watcher.wait_for("webhook.delivery_failed");
    assert_eq!((&failed["event_type"], &failed["attempts"]), (&"submission.created".into(), &1.into()));
    assert_eq!(watcher.count("webhook.delivery_failed"), 4);
    assert_eq!(only_some.received().len(), 1);
    assert!(
        of_all.received().iter().all(|(event, _)| event == "submission.created"),
        "* covers only the application's events"
    );
    assert!(
        receiver.requests().iter().all(|request| request.event() == Some("submission.created")),
        "an endpoint receives no notices about itself"
    );
    assert!(elsewhere.received().is_empty());
    assert!(
        !watcher
            .receiver
            .requests()
            .iter()
            .any(|request| String::from_utf8_lossy(&request.body).contains(&receiver.url("")))
    );
}

#[test]
fn each_of_many_failed_deliveries_sends_a_notice() {
    let receiver = Receiver::start(|_| Reply::status(500));
    let (_cluster, mut client) = Cluster::with_client(&[ONCE, ("webhook_delivery.disable_after_failures", "0")]);
    let failing = Endpoint::create(&mut client, &receiver.url("/"));
    let watcher = Watcher::in_auction_of(&mut client, &failing, &["webhook.delivery_failed"]);
    failing.emit(&mut client, 300);
    watcher.receiver.wait_for_distinct(300, DEADLINE);
    let ids: HashSet<String> = watcher.received().iter().map(|(_, data)| data["delivery_id"].to_string()).collect();
    assert_eq!(ids.len(), 300);
}

#[test]
fn failed_notices_cause_no_further_notices() {
    let receiver = Receiver::start(|_| Reply::status(500));
    let (_cluster, mut client) = Cluster::with_client(&[ONCE, ("webhook_delivery.disable_after_failures", "0")]);
    let one = Endpoint::create(&mut client, &receiver.url("/one"));
    let other = Watcher::in_auction_of(&mut client, &one, &["*", "webhook.*"]).endpoint;
    let urls = "update webhook_endpoints set url = $1, events = '{*,webhook.*}'";
    client.execute(urls, &[&receiver.url("/both")]).unwrap();
    one.emit(&mut client, 1);
    wait_until("each endpoint to receive a notice about the other", DEADLINE, || {
        let heard = |endpoint: &Endpoint, client: &mut Client| {
            let sql = "select count(*) from webhook_deliveries where endpoint_id = $1 and event_type = 'webhook.delivery_failed' and status = 'failed'";
            client.query_one(sql, &[&endpoint.id]).unwrap().get::<_, i64>(0)
        };
        (heard(&one, &mut client) == 1 && heard(&other, &mut client) == 1).then_some(())
    });
    wait_until_counted(&mut client, &one, Some(2));
    wait_until_counted(&mut client, &other, Some(2));
    let events: i64 = client
        .query_one("select count(*) from webhook_delivery.events where event_type = 'webhook.delivery_failed'", &[])
        .unwrap()
        .get(0);
    assert_eq!(events, 2, "a failed notice causes no further notice");
}

#[test]
fn deliveries_of_a_deleted_endpoint_send_no_notice() {
    let receiver = Receiver::start(|_| Reply::status(500));
    let (cluster, mut client) = Cluster::with_client(&[ONCE]);
    let deleted = Endpoint::create(&mut client, "https://example.com/");
    client.execute("update webhook_endpoints set is_active = false, disabled_at = now(), disabled_reason = 'it fails' where id = $1", &[&deleted.id]).unwrap();
    deleted.emit(&mut client, 20);
    client.execute("delete from webhook_endpoints where id = $1", &[&deleted.id]).unwrap();
    deleted.wait_for(&mut client, 20, "failed");
    // The later notice about another endpoint shows that there was enough time for one.
    let failing = Endpoint::create(&mut client, &receiver.url("/"));
    failing.emit(&mut client, 1);
    let line = |endpoint: &Endpoint| format!("webhook.delivery_failed: 1 of endpoint {}", endpoint.id);
    wait_until("the log message", DEADLINE, || cluster.log().contains(&line(&failing)).then_some(()));
    assert!(!cluster.log().contains(&format!("of endpoint {}", deleted.id)));
}

#[test]
fn notifications_contain_only_ids() {
    let receiver = Receiver::start(|_| Reply::status(410));
    let (cluster, mut client) = Cluster::with_client(&[ONCE]);
    let mut listening = cluster.connect();
    listening.batch_execute("listen webhook_delivery").unwrap();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    let mut heard = Vec::new();
    let mut notifications = listening.notifications();
    let mut coming = notifications.timeout_iter(DEADLINE);
    while heard.len() < 2 {
        let notification = coming.next().unwrap().expect("two notifications");
        heard.push(serde_json::from_str::<Value>(notification.payload()).unwrap());
    }
    let delivery = endpoint.deliveries(&mut client).remove(0);
    let of = |event: &str, delivery_id: Option<Uuid>| serde_json::json!({ "event": event, "auction_id": endpoint.auction_id, "endpoint_id": endpoint.id, "delivery_id": delivery_id });
    assert_eq!(heard, [of("webhook.delivery_failed", Some(delivery.id)), of("webhook.endpoint_disabled", None)]);
    let line = format!(
        "webhook.delivery_failed: 1 of endpoint {} of auction {}; the last: status 410",
        endpoint.id, endpoint.auction_id
    );
    wait_until("the log message", DEADLINE, || cluster.log().contains(&line).then_some(()));
}
