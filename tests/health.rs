//! What becomes of an endpoint that keeps failing, and who hears of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use fallible_iterator::FallibleIterator;
use postgres::Client;
use serde_json::Value;
use uuid::Uuid;
use webhook_harness::listener::assert_valid;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, StopMode, refusal, wait_until};

/// One attempt for each delivery.
const ONCE: (&str, &str) = ("webhook_delivery.retry_schedule", "");

fn started(settings: &[(&str, &str)]) -> (Cluster, Client) {
    let cluster = Cluster::start(settings);
    let mut client = cluster.connect();
    client.batch_execute("create extension webhook_delivery").unwrap();
    (cluster, client)
}

/// A receiver whose answer the test changes.
fn changeable(status: u16) -> (Receiver, Arc<AtomicU16>) {
    let answer = Arc::new(AtomicU16::new(status));
    let said = Arc::clone(&answer);
    (Receiver::start(move |_| Reply::status(said.load(Ordering::SeqCst))), answer)
}

fn state(client: &mut Client, endpoint: &Endpoint) -> (bool, bool, Option<String>) {
    let sql = "select is_active, disabled_at is not null, disabled_reason from webhook_endpoints where id = $1";
    let row = client.query_one(sql, &[&endpoint.id]).unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[track_caller]
fn wait_until_disabled(client: &mut Client, endpoint: &Endpoint) -> String {
    wait_until("the endpoint is disabled", DEADLINE, || {
        let (is_active, is_said, reason) = state(client, endpoint);
        assert_eq!(!is_active, is_said);
        reason
    })
}

/// One delivery after the other fails for good.
fn fail(client: &mut Client, endpoint: &Endpoint, times: i32) {
    for _ in 0..times {
        let before = endpoint.deliveries(client).iter().filter(|delivery| delivery.status == "failed").count();
        endpoint.emit(client, 1);
        endpoint.wait_for(client, before + 1, "failed");
    }
}

fn failures_counted(client: &mut Client, endpoint: &Endpoint) -> Option<i32> {
    let sql = "select failed_deliveries from webhook_delivery.endpoint_health where endpoint_id = $1";
    client.query_opt(sql, &[&endpoint.id]).unwrap().map(|row| row.get(0))
}

fn wait_until_counted(client: &mut Client, endpoint: &Endpoint, failures: Option<i32>) {
    wait_until(&format!("{failures:?} failures are counted"), DEADLINE, || {
        (failures_counted(client, endpoint) == failures).then_some(())
    });
}

fn enable(client: &mut Client, endpoint: &Endpoint) {
    client.execute("update webhook_endpoints set is_active = true where id = $1", &[&endpoint.id]).unwrap();
}

#[test]
fn ten_deliveries_in_a_row_that_fail_disable_the_endpoint_and_what_happens_meanwhile_goes_out_when_it_is_enabled() {
    let (receiver, answer) = changeable(503);
    let (cluster, mut client) = started(&[ONCE]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    fail(&mut client, &endpoint, 9);
    wait_until_counted(&mut client, &endpoint, Some(9));
    assert_eq!(state(&mut client, &endpoint), (true, false, None));
    fail(&mut client, &endpoint, 1);
    let reason = wait_until_disabled(&mut client, &endpoint);
    assert_eq!(reason, "10 deliveries in a row have used up all of their attempts; the last: status 503");
    let line =
        format!("webhook.endpoint_disabled: endpoint {} of auction {}: {reason}", endpoint.id, endpoint.auction_id);
    wait_until("the log says so", DEADLINE, || cluster.log().contains(&line).then_some(()));

    answer.store(200, Ordering::SeqCst);
    receiver.clear();
    endpoint.emit(&mut client, 5);
    assert_eq!(endpoint.wait_for(&mut client, 5, "pending").len(), 5, "events are queued for it nevertheless");
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect();
    assert!(receiver.requests().is_empty());
    enable(&mut client, &endpoint);
    endpoint.wait_for(&mut client, 5, "success");
    assert_eq!(state(&mut client, &endpoint), (true, false, None));
}

#[test]
fn a_success_begins_the_count_anew_and_so_does_a_change_of_the_endpoint() {
    let (receiver, answer) = changeable(500);
    let (_cluster, mut client) = started(&[ONCE, ("webhook_delivery.disable_after_failures", "3")]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    fail(&mut client, &endpoint, 2);
    wait_until_counted(&mut client, &endpoint, Some(2));
    answer.store(200, Ordering::SeqCst);
    endpoint.emit(&mut client, 1);
    wait_until_counted(&mut client, &endpoint, None);
    answer.store(500, Ordering::SeqCst);
    fail(&mut client, &endpoint, 2);
    wait_until_counted(&mut client, &endpoint, Some(2));
    client.execute("update webhook_endpoints set description = 'mended' where id = $1", &[&endpoint.id]).unwrap();
    fail(&mut client, &endpoint, 1);
    wait_until_counted(&mut client, &endpoint, Some(1));
    fail(&mut client, &endpoint, 1);
    wait_until_counted(&mut client, &endpoint, Some(2));
    fail(&mut client, &endpoint, 1);
    wait_until_disabled(&mut client, &endpoint);
}

#[test]
fn the_count_survives_a_restart() {
    let (cluster, mut client) = started(&[ONCE, ("webhook_delivery.disable_after_failures", "4")]);
    let receiver = Receiver::start(|_| Reply::status(500));
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    fail(&mut client, &endpoint, 3);
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect();
    assert_eq!(
        failures_counted(&mut client, &endpoint),
        Some(3),
        "also what was not noted yet when the server was stopped"
    );
    fail(&mut client, &endpoint, 1);
    wait_until_disabled(&mut client, &endpoint);
}

#[test]
fn an_endpoint_with_which_nothing_succeeds_for_long_is_disabled_whatever_its_schedule() {
    let receiver = Receiver::start(|_| Reply::status(500));
    let schedule = vec!["100ms"; 100].join(",");
    let (_cluster, mut client) =
        started(&[("webhook_delivery.retry_schedule", &schedule), ("webhook_delivery.disable_after", "1s")]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    let reason = wait_until_disabled(&mut client, &endpoint);
    assert!(
        reason.starts_with("nothing has succeeded since 20") && reason.ends_with("Z; the last: status 500"),
        "{reason}"
    );
    let delivery = endpoint.deliveries(&mut client).remove(0);
    assert_eq!(delivery.status, "retrying", "it waits, and nothing of it is lost");
}

#[test]
fn neither_rule_disables_where_it_is_switched_off() {
    let receiver = Receiver::start(|_| Reply::status(500));
    let (_cluster, mut client) =
        started(&[ONCE, ("webhook_delivery.disable_after", "0"), ("webhook_delivery.disable_after_failures", "0")]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 50);
    endpoint.wait_for(&mut client, 50, "failed");
    wait_until_counted(&mut client, &endpoint, Some(50));
    assert_eq!(state(&mut client, &endpoint), (true, false, None));
}

#[test]
fn status_410_disables_the_endpoint_at_once_and_its_delivery_goes_on_when_it_is_enabled() {
    let (receiver, answer) = changeable(410);
    let (_cluster, mut client) = started(&[("webhook_delivery.retry_schedule", "10ms, 10ms")]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    client
        .execute("update webhook_endpoints set retry_schedule = '{1 second, 1 second}' where id = $1", &[&endpoint.id])
        .unwrap();
    endpoint.emit(&mut client, 1);
    assert_eq!(wait_until_disabled(&mut client, &endpoint), "the receiver has answered 410 Gone");
    let delivery = endpoint.deliveries(&mut client).remove(0);
    assert_eq!((delivery.status.as_str(), delivery.attempts), ("retrying", 1));
    answer.store(200, Ordering::SeqCst);
    enable(&mut client, &endpoint);
    endpoint.wait_for(&mut client, 1, "success");
    assert_eq!(receiver.count(), 2);
}

#[test]
fn deliveries_in_memory_wait_too_when_their_endpoint_is_disabled() {
    let receiver = Receiver::start(|request| {
        Reply::status(if request.attempt > 0 { 410 } else { 200 }).after(Duration::from_millis(20))
    });
    let (_cluster, mut client) = started(&[("webhook_delivery.pool_size", "4")]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 500);
    wait_until_disabled(&mut client, &endpoint);
    let made = wait_until("what was under way is recorded", DEADLINE, || {
        let made = endpoint.deliveries(&mut client).iter().filter(|delivery| delivery.attempts > 0).count();
        (made == receiver.count()).then_some(made)
    });
    assert!(made < 250, "{made} requests were made");
}

/// Receives what it is told of others.
struct Watcher {
    receiver: Receiver,
    endpoint: Endpoint,
}

impl Watcher {
    /// In the auction of that endpoint.
    fn beside(client: &mut Client, watched: &Endpoint, events: &[&str]) -> Watcher {
        let receiver = Receiver::start(|_| Reply::ok());
        let sql = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, $3) returning id";
        let id = client.query_one(sql, &[&watched.auction_id, &receiver.url("/"), &events]).unwrap().get(0);
        Watcher { receiver, endpoint: Endpoint { id, ..watched.clone() } }
    }

    /// Event and data of what it was told.
    fn told(&self) -> Vec<(String, Value)> {
        let requests = self.receiver.requests();
        requests.iter().map(|request| (request.event().unwrap().to_owned(), request.json()["data"].clone())).collect()
    }

    fn wait_for(&self, event: &str) -> Value {
        wait_until(event, DEADLINE, || self.told().into_iter().find_map(|(name, data)| (name == event).then_some(data)))
    }

    fn count(&self, event: &str) -> usize {
        self.told().iter().filter(|(name, _)| name == event).count()
    }
}

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

#[test]
fn why_an_endpoint_is_disabled_only_the_server_says_and_who_wants_no_events_meanwhile_takes_it_away() {
    let receiver = Receiver::start(|_| Reply::status(410));
    let (cluster, mut client) = started(&[ONCE]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    webhook_harness::tenant::create_roles(&mut client);
    client
        .batch_execute(&format!(
            "create function my_auctions() returns setof uuid language sql stable as $$ select '{}'::uuid $$;
             alter database postgres set webhook_delivery.access_function = 'public.my_auctions'",
            endpoint.auction_id
        ))
        .unwrap();
    let mut admin = webhook_harness::tenant::session_of(&cluster, "tenant", Uuid::new_v4());
    for sql in [
        "update webhook_endpoints set is_active = false, disabled_at = now(), disabled_reason = 'mine'",
        "insert into webhook_endpoints (auction_id, url, events, is_active, disabled_at, disabled_reason)
         select auction_id, 'https://example.com/', '{*}', false, now(), 'mine' from webhook_endpoints",
    ] {
        let error = refusal(&mut admin, sql, &[]);
        assert_eq!(
            (error.code().code(), error.message()),
            ("22023", "disabled_at and disabled_reason are set by the server")
        );
    }
    endpoint.emit(&mut client, 1);
    wait_until_disabled(&mut client, &endpoint);
    // As a page writes back what it has read.
    admin
        .batch_execute("update webhook_endpoints set disabled_at = disabled_at, disabled_reason = disabled_reason")
        .unwrap();
    let upsert = "insert into webhook_endpoints as known
        (id, auction_id, url, events, is_active, disabled_at, disabled_reason)
        select id, auction_id, url, events, is_active, disabled_at, disabled_reason from webhook_endpoints
        on conflict (id) do update set is_active = excluded.is_active, disabled_at = excluded.disabled_at,
            disabled_reason = excluded.disabled_reason || $1";
    admin.execute(upsert, &[&""]).unwrap();
    assert_eq!(refusal(&mut admin, upsert, &[&", I say"]).code().code(), "22023");
    let emit = "select webhook_delivery.emit('submission.created', $1, '{}') is not null";
    assert!(client.query_one(emit, &[&endpoint.auction_id]).unwrap().get::<_, bool>(0));
    admin.batch_execute("update webhook_endpoints set disabled_at = null, disabled_reason = null").unwrap();
    assert_eq!(state(&mut client, &endpoint), (false, false, None));
    assert!(!client.query_one(emit, &[&endpoint.auction_id]).unwrap().get::<_, bool>(0));
}

#[test]
fn whoever_is_just_changing_the_endpoint_holds_nobody_up_and_is_not_overwritten() {
    let receiver = Receiver::by_path();
    let (cluster, mut client) = started(&[ONCE, ("webhook_delivery.disable_after_failures", "1")]);
    let failing = Endpoint::create(&mut client, &receiver.url("/status/500"));
    let good = Endpoint::create(&mut client, &receiver.url("/ok"));
    let mut changing = cluster.connect();
    let mut transaction = changing.transaction().unwrap();
    transaction
        .execute("update webhook_endpoints set description = 'being changed' where id = $1", &[&failing.id])
        .unwrap();
    fail(&mut client, &failing, 1);
    wait_until_counted(&mut client, &failing, Some(1));
    good.emit(&mut client, 50);
    good.wait_for(&mut client, 50, "success");
    assert_eq!(state(&mut client, &failing), (true, false, None));
    transaction.commit().unwrap();
    fail(&mut client, &failing, 1);
    wait_until_disabled(&mut client, &failing);
}

#[test]
fn a_trigger_that_somebody_has_attached_to_the_endpoints_does_not_run_with_our_rights() {
    let receiver = Receiver::start(|_| Reply::status(410));
    let (_cluster, mut client) = started(&[ONCE]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    client
        .batch_execute(
            "create table stolen (who text);
             grant insert on stolen to public;
             create role attacker;
             grant usage, create on schema public to attacker;
             grant all on public.webhook_endpoints to attacker;
             set role attacker;
             create function steal() returns trigger language plpgsql as $$
             begin insert into public.stolen values (current_user); return null; end $$;
             reset role;
             -- The attacker itself is refused: see tests/attacks/triggers.rs.
             create trigger steal after update on public.webhook_endpoints for each row execute function steal()",
        )
        .unwrap();
    endpoint.emit(&mut client, 1);
    wait_until_disabled(&mut client, &endpoint);
    let stolen: i64 = client.query_one("select count(*) from stolen", &[]).unwrap().get(0);
    assert_eq!(stolen, 0);
}
