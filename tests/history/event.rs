//! `webhook_request()` shows the request of a delivery, how to verify it and its timing. A script can
//! wait for the end of a delivery with `wait_for_delivery()`.

use std::process::{Command, Stdio};

use serde_json::Value;
use uuid::Uuid;
use webhook_harness::{Application, DEADLINE, Receiver, Submission, refusal, sample, wait_until};

const EVENT: &str = "select event_type, status::text, url, headers, body, verify, attempts from webhook_request($1)";

#[test]
fn webhook_request_shows_the_exact_body_and_headers() {
    let receiver = Receiver::by_path();
    let mut application = Application::start(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/fail-then-ok/1"), &["*"]);
    let client = &mut application.client;
    client.batch_execute("update webhook_endpoints set headers = '{\"Authorization\": \"Bearer x\"}'").unwrap();
    application.cluster.set("webhook_delivery.retry_schedule", "20ms");
    Submission::of_riverside().insert(&mut application.client);
    let id = endpoint.wait_for(&mut application.client, 1, "success")[0].id;
    let request = receiver.requests().pop().unwrap();
    let mut admin = application.create_tenant(sample::DANA);
    for (session, is_operator) in [(&mut admin, false), (&mut application.client, true)] {
        let row = session.query_one(EVENT, &[&id]).unwrap_or_else(|e| panic!("{:?}", e.as_db_error()));
        assert_eq!(row.get::<_, &str>("body"), request.text());
        assert_eq!((row.get("status"), row.get("event_type")), ("success", "submission.created"));
        assert_eq!(row.get::<_, &str>("url"), receiver.url("/fail-then-ok/1"));
        let headers: Value = row.get("headers");
        for (name, value) in headers.as_object().unwrap() {
            assert_eq!(request.header(name), value.as_str(), "{name}");
        }
        assert_eq!(headers.as_object().unwrap().len(), 10);
        let attempts: Value = row.get("attempts");
        let attempts = attempts.as_array().unwrap();
        assert_eq!(attempts.len(), 2);
        assert_eq!(attempts[0]["error_message"], "status 503");
        for attempt in attempts {
            assert_eq!(attempt.get("address").is_some(), is_operator, "{attempt}");
            assert_eq!(attempt.get("first_byte_ms").is_some(), is_operator, "{attempt}");
        }
        // The shell command in `verify` prints the signature.
        let verify: String = row.get("verify");
        let command = verify.split_once("printf").map(|(_, rest)| rest.split_once(" (").unwrap().0).unwrap();
        let shell = Command::new("sh")
            .args(["-c", &format!("printf{command}")])
            .env("BODY", request.text())
            .env("SECRET", &endpoint.secret)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let printed = String::from_utf8(shell.stdout).unwrap();
        let hex = printed.trim().rsplit(' ').next().unwrap().to_owned();
        assert_eq!(request.header("X-Webhook-Signature"), Some(format!("sha256={hex}").as_str()), "{verify}");
    }
}

#[test]
fn webhook_event_shows_what_remains_and_nothing_to_others() {
    let receiver = Receiver::by_path();
    let mut application = Application::start(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    endpoint.emit(&mut application.client, 1);
    let id = endpoint.wait_for(&mut application.client, 1, "success")[0].id;
    let mut other = application.create_tenant(sample::KIM);
    assert_eq!(refusal(&mut other, EVENT, &[&id]).code().code(), "PT404");
    assert!(other.query("select webhook_delivery.request_of($1)", &[&id]).unwrap().is_empty());
    let shown = |client: &mut postgres::Client| {
        ["url", "headers", "body", "verify"].map(|column| {
            let is_there = format!("select {column} is not null from webhook_request($1)");
            client.query_one(&is_there, &[&id]).unwrap().get::<_, bool>(0)
        })
    };
    assert_eq!(shown(&mut application.client), [true, true, true, true]);
    application.client.batch_execute("delete from webhook_endpoints").unwrap();
    assert_eq!(shown(&mut application.client), [false, false, true, false]);
    application.client.batch_execute("delete from webhook_delivery.events").unwrap();
    assert_eq!(shown(&mut application.client), [false, false, false, false]);
}

#[test]
fn wait_for_delivery_returns_at_the_end_or_the_timeout() {
    let receiver = Receiver::by_path();
    let mut application = Application::start(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/slow/300"), &["*"]);
    let client = &mut application.client;
    let test = "select delivery_id from test_webhook($1, 'submission.created')";
    let id: Uuid = client.query_one(test, &[&endpoint.id]).unwrap().get(0);
    let wait = "select webhook_delivery.wait_for_delivery($1)::text";
    assert_eq!(client.query_one(wait, &[&id]).unwrap().get::<_, &str>(0), "success");
    client.batch_execute("select webhook_delivery.pause()").unwrap();
    wait_until("the pause", DEADLINE, || {
        client.query_opt("select from webhook_delivery.status where state = 'paused'", &[]).unwrap()
    });
    let id: Uuid = client.query_one(test, &[&endpoint.id]).unwrap().get(0);
    let shortly = "select webhook_delivery.wait_for_delivery($1, '100 ms')::text";
    assert_eq!(client.query_one(shortly, &[&id]).unwrap().get::<_, &str>(0), "pending");
    assert_eq!(refusal(client, wait, &[&Uuid::new_v4()]).code().code(), "PT404");
    // The call is refused where the session could never see the end of the delivery.
    let mut transaction = client.transaction().unwrap();
    let id: Uuid = transaction.query_one(test, &[&endpoint.id]).unwrap().get(0);
    assert_eq!(refusal(&mut transaction, wait, &[&id]).code().code(), "55000");
    transaction.rollback().unwrap();
    client.batch_execute("set default_transaction_isolation = 'repeatable read'").unwrap();
    assert_eq!(refusal(client, wait, &[&id]).code().code(), "55000");
}
