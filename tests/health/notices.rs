//! Other endpoints of the auction receive events about it.

use super::*;

#[test]
fn endpoints_of_the_same_auction_that_name_them_hear_of_failures_and_of_the_recovery_and_never_of_their_own() {
    let (receiver, answer) = changeable(500);
    let (_cluster, mut client) = started(&[ONCE, ("webhook_delivery.disable_after_failures", "4")]);
    let failing = Endpoint::create(&mut client, &receiver.url("/"));
    client
        .execute("update webhook_endpoints set events = '{submission.*,webhook.*}' where id = $1", &[&failing.id])
        .unwrap();
    let watcher = Watcher::beside(&mut client, &failing, &["webhook.*"]);
    let only_some = Watcher::beside(&mut client, &failing, &["webhook.endpoint_disabled"]);
    let of_all = Watcher::beside(&mut client, &failing, &["*"]);
    let elsewhere = Endpoint::create(&mut client, "https://example.com/");
    let elsewhere = Watcher::beside(&mut client, &elsewhere, &["webhook.*"]);

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

    let told: Vec<String> = watcher.told().into_iter().map(|(event, _)| event).collect();
    let states: Vec<&String> = told.iter().filter(|event| *event != "webhook.delivery_failed").collect();
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
    assert_eq!(only_some.told().len(), 1);
    assert!(
        of_all.told().iter().all(|(event, _)| event == "submission.created"),
        "* is all of the application's events"
    );
    assert!(
        receiver.requests().iter().all(|request| request.event() == Some("submission.created")),
        "nobody hears of himself"
    );
    assert!(elsewhere.told().is_empty());
    assert!(
        !watcher
            .receiver
            .requests()
            .iter()
            .any(|request| String::from_utf8_lossy(&request.body).contains(&receiver.url("")))
    );
}

#[test]
fn each_delivery_is_told_of_also_where_many_fail_at_once() {
    let receiver = Receiver::start(|_| Reply::status(500));
    let (_cluster, mut client) = started(&[ONCE, ("webhook_delivery.disable_after_failures", "0")]);
    let failing = Endpoint::create(&mut client, &receiver.url("/"));
    let watcher = Watcher::beside(&mut client, &failing, &["webhook.delivery_failed"]);
    failing.emit(&mut client, 300);
    watcher.receiver.wait_for_distinct(300, DEADLINE);
    let ids: HashSet<String> = watcher.told().iter().map(|(_, data)| data["delivery_id"].to_string()).collect();
    assert_eq!(ids.len(), 300);
}

#[test]
fn two_failing_endpoints_that_hear_of_each_other_fall_silent() {
    let receiver = Receiver::start(|_| Reply::status(500));
    let (_cluster, mut client) = started(&[ONCE, ("webhook_delivery.disable_after_failures", "0")]);
    let one = Endpoint::create(&mut client, &receiver.url("/one"));
    let other = Watcher::beside(&mut client, &one, &["*", "webhook.*"]).endpoint;
    let urls = "update webhook_endpoints set url = $1, events = '{*,webhook.*}'";
    client.execute(urls, &[&receiver.url("/both")]).unwrap();
    one.emit(&mut client, 1);
    wait_until("each has heard of the other", DEADLINE, || {
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
    assert_eq!(events, 2, "of what was told, nothing is told");
}

#[test]
fn of_deliveries_whose_endpoint_was_deleted_nobody_is_told() {
    let receiver = Receiver::start(|_| Reply::status(500));
    let (cluster, mut client) = started(&[ONCE]);
    let deleted = Endpoint::create(&mut client, "https://example.com/");
    client.execute("update webhook_endpoints set is_active = false, disabled_at = now(), disabled_reason = 'it fails' where id = $1", &[&deleted.id]).unwrap();
    deleted.emit(&mut client, 20);
    client.execute("delete from webhook_endpoints where id = $1", &[&deleted.id]).unwrap();
    deleted.wait_for(&mut client, 20, "failed");
    // What is told of another one afterwards shows that there was time to tell.
    let failing = Endpoint::create(&mut client, &receiver.url("/"));
    failing.emit(&mut client, 1);
    let line = |endpoint: &Endpoint| format!("webhook.delivery_failed: 1 of endpoint {}", endpoint.id);
    wait_until("the log says so", DEADLINE, || cluster.log().contains(&line(&failing)).then_some(()));
    assert!(!cluster.log().contains(&format!("of endpoint {}", deleted.id)));
}

#[test]
fn each_is_a_notification_that_gives_nothing_away_but_ids() {
    let receiver = Receiver::start(|_| Reply::status(410));
    let (cluster, mut client) = started(&[ONCE]);
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
    wait_until("the log says so", DEADLINE, || cluster.log().contains(&line).then_some(()));
}
