//! What a single endpoint or its receiver can override: headers, the retry schedule and the wait
//! before the next attempt.

use std::time::Duration;

use postgres::Client;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, refusal};

/// Creates an endpoint and sets one more column.
fn endpoint_with(client: &mut Client, url: &str, assignment: &str) -> Endpoint {
    let endpoint = Endpoint::create(client, url);
    client.batch_execute(&format!("update webhook_endpoints set {assignment} where id = '{}'", endpoint.id)).unwrap();
    endpoint
}

/// Seconds from the end of the endpoint's only attempt to the next one.
fn wait_after_failure(client: &mut Client, endpoint: &Endpoint) -> f64 {
    endpoint.emit(client, 1);
    endpoint.wait_for(client, 1, "retrying");
    let attempt = endpoint.attempts(client).remove(0);
    let took = Duration::from_millis(attempt.response_time_ms.unsigned_abs().into());
    attempt.next_attempt_at.unwrap().duration_since(attempt.attempted_at + took).unwrap().as_secs_f64()
}

#[test]
fn custom_headers_are_sent_with_each_request() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let headers = r#"headers = '{"Authorization": "Bearer abc", "X-Environment": "test"}'"#;
    let endpoint = endpoint_with(&mut client, &receiver.url("/"), headers);
    endpoint.emit(&mut client, 1);
    let request = receiver.wait_for(1, DEADLINE).remove(0);
    assert_eq!((request.header("Authorization"), request.header("x-environment")), (Some("Bearer abc"), Some("test")));
    assert_eq!(request.event(), Some("submission.created"));
    webhook_harness::verify::assert_signed(&endpoint.secret, &[request]);
}

#[test]
fn reserved_unsafe_and_malformed_headers_are_refused() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    Endpoint::create(&mut client, "https://example.com/");
    let many = format!("{{{}}}", (0..21).map(|n| format!("\"x-{n}\": \"\"")).collect::<Vec<_>>().join(","));
    for (headers, message) in [
        (r#"{"Host": "inside"}"#, "invalid header Host: the sender sets it"),
        (r#"{"content-length": "0"}"#, "invalid header content-length: the sender sets it"),
        (r#"{"X-Webhook-Signature": "sha256=0"}"#, "invalid header X-Webhook-Signature: the sender sets it"),
        (r#"{"a": "b\r\nHost: inside"}"#, "invalid header a: its value must be at most 1,000 characters"),
        (r#"{"a b": "c"}"#, "invalid header a b: its name must be 1 to 100 letters"),
        (r#"{"a": 1}"#, "value of header a must be text"),
        (r#"{"A": "1", "a": "2"}"#, "header a is specified twice"),
        (&many, "there must be at most 20 headers, not 21"),
    ] {
        let error = refusal(&mut client, &format!("update webhook_endpoints set headers = '{headers}'"), &[]);
        assert_eq!(error.code().code(), "22023", "{headers}");
        assert!(error.message().starts_with(message) && error.hint().is_some(), "{headers}: {error:?}");
    }
    let error = refusal(&mut client, "update webhook_endpoints set headers = '[]'", &[]);
    assert_eq!((error.code().code(), error.constraint()), ("23514", Some("headers_is_an_object")));
}

#[test]
fn endpoints_retry_schedule_overrides_the_global_one() {
    let receiver = Receiver::by_path();
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.retry_schedule", "1h, 1h")]);
    let own = endpoint_with(&mut client, &receiver.url("/status/500"), "retry_schedule = '{10 minutes, 1 day}'");
    let wait = wait_after_failure(&mut client, &own);
    assert!((600.0..=661.0).contains(&wait), "{wait}");
    let once = endpoint_with(&mut client, &receiver.url("/status/500"), "retry_schedule = '{}'");
    once.emit(&mut client, 1);
    once.only_failure(&mut client);
    let other = Endpoint::create(&mut client, &receiver.url("/status/500"));
    let wait = wait_after_failure(&mut client, &other);
    assert!((3600.0..=3961.0).contains(&wait), "{wait}");
}

#[test]
fn retry_schedule_with_invalid_waits_is_refused() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    Endpoint::create(&mut client, "https://example.com/");
    let many = format!("{{{}}}", ["1 minute"; 101].join(","));
    for schedule in ["{0 seconds}", "{999 milliseconds}", "{31 days}", "{1 minute, null}", "{{1 minute}}", &many] {
        let error = refusal(&mut client, &format!("update webhook_endpoints set retry_schedule = '{schedule}'"), &[]);
        let constraint = Some("retry_schedule_has_at_most_100_waits_of_1_second_to_30_days");
        assert_eq!(
            (error.code().code(), error.constraint().map(|name| &name[..59])),
            ("23514", constraint.map(|name| &name[..59])),
            "{schedule}"
        );
    }
    client.batch_execute("update webhook_endpoints set retry_schedule = '{1 second, 30 days}'").unwrap();
}

#[test]
fn retry_after_lengthens_a_wait_and_never_shortens_it() {
    let answer = |status, wait: &str| Reply::status(status).header("Retry-After", wait);
    let longer = Receiver::start(move |_| answer(429, "100"));
    let a_date = Receiver::start(move |_| answer(503, "Fri, 31 Dec 9999 23:59:59 GMT"));
    let shorter = Receiver::start(move |_| answer(503, "1"));
    let nonsense = Receiver::start(move |_| answer(503, "soon"));
    let (_cluster, mut client) = Cluster::with_client(&[
        ("webhook_delivery.retry_schedule", "50s"),
        ("webhook_delivery.retry_after_limit", "200s"),
    ]);
    for (receiver, least, most) in
        [(longer, 100., 110.), (a_date, 200., 200.), (shorter, 50., 55.), (nonsense, 50., 55.)]
    {
        let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
        let wait = wait_after_failure(&mut client, &endpoint);
        assert!((least..=most + 0.002).contains(&wait), "{wait} is not in {least} to {most}");
    }
}

#[test]
fn redirect_is_a_failure_that_names_its_target() {
    let receiver = Receiver::start(|_| Reply::redirect("https://example.com/new"));
    let (_cluster, mut client) = Cluster::with_client(&[("webhook_delivery.retry_schedule", "")]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    let failure = endpoint.only_failure(&mut client);
    assert_eq!(
        failure.error_message.as_deref(),
        Some("status 302: redirects are not followed (to https://example.com/new)")
    );
}
