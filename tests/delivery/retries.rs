//! Retries: the retry schedule of a failed delivery, its unchanged body and id, and its history.

use std::time::{Duration, SystemTime};

use postgres::Client;
use webhook_harness::{AttemptRow, Cluster, DEADLINE, Delivery, Endpoint, Receiver, Reply, Request, wait_until};

fn with_schedule(schedule: &str) -> Cluster {
    Cluster::with_extension(&[("webhook_delivery.retry_schedule", schedule)])
}

fn queued(client: &mut Client) -> i64 {
    client.query_one("select count(*) from webhook_delivery.queue", &[]).unwrap().get(0)
}

/// Time from the end of the attempt until the next one is due.
fn waiting_time(attempt: &AttemptRow) -> Duration {
    let ended_at = attempt.attempted_at + Duration::from_millis(attempt.response_time_ms.unsigned_abs().into());
    attempt.next_attempt_at.expect("a next attempt").duration_since(ended_at).expect("a time after the end")
}

/// Asserts at least the scheduled time and at most a tenth more. The history rounds an attempt's
/// end down to a millisecond.
fn assert_jitter_only_adds(attempt: &AttemptRow, scheduled: Duration) {
    let waited = waiting_time(attempt);
    let longest = scheduled.mul_f64(1.1) + Duration::from_millis(1);
    assert!(waited >= scheduled && waited <= longest, "the delivery waits {waited:?}, scheduled are {scheduled:?}");
}

#[test]
fn every_attempt_has_the_same_body_and_id_and_its_own_time() {
    let receiver = Receiver::by_path();
    let cluster = with_schedule("1100ms, 20ms, 20ms");
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/fail-then-ok/2"));
    endpoint.emit(&mut client, 1);

    let delivery = endpoint.wait_for(&mut client, 1, "success").remove(0);
    let (requests, attempts) = (receiver.requests(), endpoint.attempts(&mut client));
    assert_eq!((requests.len(), attempts.len()), (3, 3));
    for (request, attempt) in requests.iter().zip(&attempts) {
        assert_eq!(request.body, requests[0].body);
        assert_eq!(request.webhook_id(), Some(delivery.id));
        assert_eq!(request.header("X-Webhook-Timestamp"), Some(&*unix_seconds(attempt.attempted_at).to_string()));
        assert_eq!(request.header("webhook-timestamp"), request.header("X-Webhook-Timestamp"));
        assert_eq!(request.header("X-Webhook-Signature"), requests[0].header("X-Webhook-Signature"));
    }
    assert!(timestamp(&requests[1]) > timestamp(&requests[0]), "the second attempt is sent more than a second later");
    webhook_harness::verify::assert_signed(&endpoint.secret, &requests);
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn timestamp(request: &Request) -> u64 {
    request.header("X-Webhook-Timestamp").unwrap().parse().unwrap()
}

#[test]
fn history_has_one_row_per_delivery_and_one_per_attempt() {
    let receiver = Receiver::by_path();
    let cluster = with_schedule("20ms, 40ms, 60ms");
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/fail-then-ok/2"));
    endpoint.emit(&mut client, 50);

    let deliveries = endpoint.wait_for(&mut client, 50, "success");
    assert_eq!(deliveries.len(), 50);
    let attempts = endpoint.attempts(&mut client);
    assert_eq!(attempts.len(), 150);
    for (delivery, attempts) in deliveries.iter().zip(attempts.chunks(3)) {
        assert_eq!((delivery.attempts, delivery.response_status_code, &delivery.error_message), (3, Some(200), &None));
        assert_eq!(delivery.last_attempt_at, Some(attempts[2].attempted_at));
        assert!(delivery.next_attempt_at.is_none() && delivery.completed_at >= delivery.last_attempt_at);
        for (attempt, number) in attempts.iter().zip(1..) {
            assert_eq!((attempt.delivery_id, attempt.attempt), (delivery.id, number));
        }
        for (failed, scheduled) in [(&attempts[0], 20), (&attempts[1], 40)] {
            assert_eq!((failed.status.as_str(), failed.response_status_code), ("failed", Some(503)));
            assert_eq!(failed.error_message.as_deref(), Some("status 503"));
            assert_eq!(failed.response_excerpt.as_deref(), Some("not yet"));
            assert_jitter_only_adds(failed, Duration::from_millis(scheduled));
        }
        assert_eq!((attempts[2].status.as_str(), attempts[2].response_status_code), ("success", Some(200)));
        assert!(attempts[2].error_message.is_none() && attempts[2].next_attempt_at.is_none());
        assert!(
            attempts[1].attempted_at >= attempts[0].next_attempt_at.unwrap(),
            "no attempt is sent before it is due"
        );
        assert!(
            attempts[2].attempted_at >= attempts[1].next_attempt_at.unwrap(),
            "no attempt is sent before it is due"
        );
    }
    assert_eq!(queued(&mut client), 0);
}

#[test]
fn delivery_is_pending_until_its_first_attempt_fails() {
    let receiver = Receiver::start(|_| Reply::status(500).after(Duration::from_secs(1)));
    let cluster = with_schedule("1h");
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);

    receiver.wait_for(1, DEADLINE);
    let delivery = endpoint.deliveries(&mut client).remove(0);
    assert_eq!((delivery.status.as_str(), delivery.attempts, delivery.last_attempt_at), ("pending", 0, None));
    assert!(delivery.next_attempt_at.is_some() && delivery.completed_at.is_none());

    let delivery = endpoint.wait_for(&mut client, 1, "retrying").remove(0);
    assert_eq!((delivery.attempts, delivery.error_message.as_deref()), (1, Some("status 500")));
    let attempt = endpoint.attempts(&mut client).remove(0);
    assert_eq!(
        (delivery.last_attempt_at, delivery.next_attempt_at),
        (Some(attempt.attempted_at), attempt.next_attempt_at)
    );
    assert!(delivery.completed_at.is_none());
    assert!((1000..2000).contains(&attempt.response_time_ms));
    assert_jitter_only_adds(&attempt, Duration::from_secs(3600));
}

#[test]
fn delivery_fails_after_its_last_attempt_and_stays_failed() {
    let receiver = Receiver::by_path();
    let cluster = with_schedule("20ms, 30ms");
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/status/500"));
    endpoint.emit(&mut client, 1);

    let delivery = endpoint.wait_for(&mut client, 1, "failed").remove(0);
    assert_eq!((delivery.attempts, delivery.response_status_code), (3, Some(500)));
    assert_eq!(delivery.error_message.as_deref(), Some("status 500"));
    assert!(delivery.next_attempt_at.is_none() && delivery.completed_at.is_some());
    assert_eq!(queued(&mut client), 0);
    // A later delivery makes all its attempts, so that the first one had time for another.
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 2, "failed");
    assert_eq!(receiver.count(), 6);
}

#[test]
fn default_schedule_is_1_min_5_min_30_min_2_h_and_12_h() {
    let receiver = Receiver::by_path();
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/status/503"));
    endpoint.emit(&mut client, 1);

    let minutes = [1, 5, 30, 120, 720];
    for (made, scheduled) in (1..).zip(minutes) {
        let delivery = wait_for_attempts(&endpoint, &mut client, made);
        assert_eq!(delivery.status, "retrying");
        let last = endpoint.attempts(&mut client).pop().unwrap();
        assert_eq!(last.next_attempt_at, delivery.next_attempt_at);
        assert_jitter_only_adds(&last, Duration::from_secs(scheduled * 60));
        let bring_forward =
            "update webhook_delivery.queue set due_at = now(); select webhook_delivery.wake_to_rescan()";
        client.batch_execute(bring_forward).unwrap();
    }
    let delivery = wait_for_attempts(&endpoint, &mut client, 6);
    assert_eq!(delivery.status, "failed");
    assert_eq!((endpoint.attempts(&mut client).len(), receiver.count(), queued(&mut client)), (6, 6, 0));
}

fn wait_for_attempts(endpoint: &Endpoint, client: &mut Client, made: i32) -> Delivery {
    wait_until(&format!("attempt {made}"), DEADLINE, || {
        endpoint.deliveries(client).into_iter().find(|delivery| delivery.attempts == made)
    })
}

#[test]
fn empty_schedule_allows_one_attempt() {
    let receiver = Receiver::by_path();
    let cluster = with_schedule("");
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/status/500"));
    endpoint.emit(&mut client, 10);
    let failed = endpoint.wait_for(&mut client, 10, "failed");
    assert!(failed.iter().all(|delivery| delivery.attempts == 1));
    assert_eq!(receiver.count(), 10);
}

#[test]
fn reloaded_schedule_applies_to_the_next_failure() {
    let receiver = Receiver::by_path();
    let cluster = with_schedule("1h");
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/status/500"));
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 1, "retrying");

    cluster.set("webhook_delivery.retry_schedule", "");
    wait_until("a delivery that fails with its first attempt", DEADLINE, || {
        endpoint.emit(&mut client, 1);
        endpoint.deliveries(&mut client).into_iter().find(|delivery| delivery.status == "failed")
    });
    assert_eq!(endpoint.deliveries(&mut client)[0].status, "retrying", "a scheduled attempt keeps its time");
}

#[test]
fn invalid_schedule_is_refused_by_alter_system() {
    let cluster = Cluster::with_extension(&[]);
    let refused = cluster.connect().batch_execute("alter system set webhook_delivery.retry_schedule = '1m, soon'");
    let error = refused.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "22023");
    assert!(error.detail().unwrap().contains("\"soon\" is not a waiting time"), "{error:?}");
}

#[test]
fn retries_of_one_endpoint_do_not_hinder_another() {
    let receiver = Receiver::by_path();
    let cluster = with_schedule("50ms, 50ms");
    let mut client = cluster.connect();
    let failing = Endpoint::create(&mut client, &receiver.url("/fail-then-ok/1"));
    let good = Endpoint::create(&mut client, &receiver.url("/ok"));
    failing.emit(&mut client, 200);
    good.emit(&mut client, 200);
    good.wait_for(&mut client, 200, "success");
    failing.wait_for(&mut client, 200, "success");
    assert_eq!((receiver.requests_to("/ok").len(), receiver.requests_to("/fail-then-ok/1").len()), (200, 400));
}

#[test]
fn retry_due_before_it_is_recorded_does_not_wait_for_a_poll() {
    let receiver = Receiver::by_path();
    // The delays are shorter than the completer's batch time, so that the next attempt is due when
    // the previous one is recorded.
    let cluster = Cluster::with_extension(&[
        ("webhook_delivery.retry_schedule", "1ms, 1ms, 1ms"),
        ("webhook_delivery.poll_interval", "60s"),
    ]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/fail-then-ok/3"));
    cluster.wait_for_worker("postgres", None);
    endpoint.emit(&mut client, 20);
    endpoint.wait_for(&mut client, 20, "success");
    assert_eq!(receiver.count(), 80);
}
