//! An endpoint that keeps failing is disabled.

use super::*;

#[test]
fn ten_failed_deliveries_in_a_row_disable_the_endpoint() {
    let (receiver, answer) = changeable(503);
    let (cluster, mut client) = Cluster::with_client(&[ONCE]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    fail(&mut client, &endpoint, 9);
    wait_until_counted(&mut client, &endpoint, Some(9));
    assert_eq!(state(&mut client, &endpoint), (true, false, None));
    fail(&mut client, &endpoint, 1);
    let reason = wait_until_disabled(&mut client, &endpoint);
    assert_eq!(reason, "10 deliveries in a row have used up all of their attempts; the last: status 503");
    let line =
        format!("webhook.endpoint_disabled: endpoint {} of auction {}: {reason}", endpoint.id, endpoint.auction_id);
    wait_until("the log message", DEADLINE, || cluster.log().contains(&line).then_some(()));

    answer.store(200, Ordering::SeqCst);
    receiver.clear();
    endpoint.emit(&mut client, 5);
    assert_eq!(endpoint.wait_for(&mut client, 5, "pending").len(), 5, "events are still queued for the endpoint");
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect();
    assert!(receiver.requests().is_empty());
    enable(&mut client, &endpoint);
    endpoint.wait_for(&mut client, 5, "success");
    assert_eq!(state(&mut client, &endpoint), (true, false, None));
}

#[test]
fn success_or_change_of_the_endpoint_resets_the_count() {
    let (receiver, answer) = changeable(500);
    let (_cluster, mut client) = Cluster::with_client(&[ONCE, ("webhook_delivery.disable_after_failures", "3")]);
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
fn count_of_failures_survives_a_restart() {
    let (cluster, mut client) = Cluster::with_client(&[ONCE, ("webhook_delivery.disable_after_failures", "4")]);
    let receiver = Receiver::start(|_| Reply::status(500));
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    fail(&mut client, &endpoint, 3);
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect();
    assert_eq!(
        failures_counted(&mut client, &endpoint),
        Some(3),
        "failures that were not written before the stop count too"
    );
    fail(&mut client, &endpoint, 1);
    wait_until_disabled(&mut client, &endpoint);
}

#[test]
fn endpoint_without_success_for_disable_after_is_disabled() {
    let receiver = Receiver::start(|_| Reply::status(500));
    let schedule = vec!["100ms"; 100].join(",");
    let (_cluster, mut client) = Cluster::with_client(&[
        ("webhook_delivery.retry_schedule", &schedule),
        ("webhook_delivery.disable_after", "1s"),
    ]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    let reason = wait_until_disabled(&mut client, &endpoint);
    assert!(
        reason.starts_with("nothing has succeeded since 20") && reason.ends_with("Z; the last: status 500"),
        "{reason}"
    );
    let delivery = endpoint.deliveries(&mut client).remove(0);
    assert_eq!(delivery.status, "retrying", "the delivery waits and is not lost");
}

#[test]
fn endpoint_stays_enabled_if_both_rules_are_off() {
    let receiver = Receiver::start(|_| Reply::status(500));
    let (_cluster, mut client) = Cluster::with_client(&[
        ONCE,
        ("webhook_delivery.disable_after", "0"),
        ("webhook_delivery.disable_after_failures", "0"),
    ]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 50);
    endpoint.wait_for(&mut client, 50, "failed");
    wait_until_counted(&mut client, &endpoint, Some(50));
    assert_eq!(state(&mut client, &endpoint), (true, false, None));
}

#[test]
fn status_410_disables_the_endpoint_and_keeps_the_delivery() {
    let (receiver, answer) = changeable(410);
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.retry_schedule", "10ms, 10ms")]);
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
fn prefetched_deliveries_of_a_disabled_endpoint_wait() {
    let receiver = Receiver::start(|request| {
        Reply::status(if request.attempt > 0 { 410 } else { 200 }).after(Duration::from_millis(20))
    });
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.pool_size", "4")]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 500);
    wait_until_disabled(&mut client, &endpoint);
    let made = wait_until("the requests in flight to be recorded", DEADLINE, || {
        let made = endpoint.deliveries(&mut client).iter().filter(|delivery| delivery.attempts > 0).count();
        (made == receiver.count()).then_some(made)
    });
    assert!(made < 250, "{made} requests were made");
}

#[test]
fn only_the_server_sets_why_an_endpoint_is_disabled() {
    let receiver = Receiver::start(|_| Reply::status(410));
    let (cluster, mut client) = Cluster::with_client(&[ONCE]);
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
    // A page may write back the values that it has read.
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
fn locked_endpoint_row_delays_disabling_but_no_delivery() {
    let receiver = Receiver::by_path();
    let (cluster, mut client) = Cluster::with_client(&[ONCE, ("webhook_delivery.disable_after_failures", "1")]);
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
    let sql = "select description from webhook_endpoints where id = $1";
    let description: Option<String> = client.query_one(sql, &[&failing.id]).unwrap().get(0);
    assert_eq!(description.as_deref(), Some("being changed"));
}

#[test]
fn trigger_of_another_role_gains_no_rights_from_the_worker() {
    let receiver = Receiver::start(|_| Reply::status(410));
    let (_cluster, mut client) = Cluster::with_client(&[ONCE]);
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
             -- The attacker itself is refused: see tests/security/attacks/triggers.rs.
             create trigger steal after update on public.webhook_endpoints for each row execute function steal()",
        )
        .unwrap();
    endpoint.emit(&mut client, 1);
    wait_until_disabled(&mut client, &endpoint);
    let stolen: i64 = client.query_one("select count(*) from stolen", &[]).unwrap().get(0);
    assert_eq!(stolen, 0);
}
