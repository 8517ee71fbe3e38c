//! Diagnosis: why a webhook did not arrive, and what to do about it.

use std::collections::HashMap;

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Application, DEADLINE, Endpoint, Receiver, Submission, refusal, sample, tenant, wait_until};

/// An application and an administrator's session. Each delivery has one attempt.
fn application_with(settings: &[(&str, &str)]) -> (Application, Client) {
    let usual = [("webhook_delivery.retry_schedule", "")];
    let settings: Vec<_> = usual.iter().chain(settings).copied().collect();
    let mut application = Application::start(&settings);
    let admin = application.create_tenant(sample::DANA);
    (application, admin)
}

struct Finding {
    is_fine: Option<bool>,
    result: String,
    what_to_do: Option<String>,
}

/// The findings of the diagnosis, by check.
fn diagnose(admin: &mut Client, id: Uuid) -> HashMap<String, Finding> {
    let rows = admin
        .query("select code, is_fine, result, what_to_do from diagnose_webhook($1)", &[&id])
        .unwrap_or_else(|e| panic!("{:?}", e.as_db_error()));
    let finding = |row: &postgres::Row| {
        let finding = Finding { is_fine: row.get(1), result: row.get(2), what_to_do: row.get(3) };
        assert!(finding.is_fine != Some(false) || finding.what_to_do.is_some(), "{}: no advice", finding.result);
        (row.get(0), finding)
    };
    rows.iter().map(finding).collect()
}

const ENABLED: &str = "enabled";
const SENDS: &str = "sending";
const EVENTS: &str = "events";
const TRIGGERS: &str = "triggers";
const ADDRESS: &str = "address";
const REQUESTS: &str = "requests";
const SIGNATURE: &str = "signature";
const IN_TIME: &str = "response_time";
const WAITS: &str = "backlog";

#[track_caller]
fn assert_wrong(findings: &HashMap<String, Finding>, check: &str, result: &str, what_to_do: &str) {
    let finding = &findings[check];
    assert_ne!(finding.is_fine, Some(true), "{check}: {}", finding.result);
    assert!(finding.result.contains(result), "{check}: {}", finding.result);
    let advice = finding.what_to_do.as_deref().unwrap_or_default();
    assert!(advice.contains(what_to_do), "{check}: {advice}");
}

#[test]
fn healthy_endpoint_passes_every_check() {
    let receiver = Receiver::by_path();
    let (mut application, mut admin) = application_with(&[]);
    let url = format!("http://localhost:{}/", receiver.address().port());
    let endpoint = application.endpoint(sample::RIVERSIDE, &url, &["*"]);
    Submission::of_riverside().insert(&mut application.client);
    endpoint.wait_for(&mut application.client, 1, "success");
    let findings = diagnose(&mut admin, endpoint.id);
    assert_eq!(findings.len(), 8);
    for (check, finding) in &findings {
        assert_eq!((finding.is_fine, &finding.what_to_do), (Some(true), &None), "{check}: {}", finding.result);
    }
    // A tenant does not learn which address of the operator's networks a name resolves to.
    let address = &findings[ADDRESS].result;
    assert!(address.ends_with("leads to an address that webhook_delivery.allowed_networks opens."), "{address}");
    assert!(findings[SIGNATURE].result.contains("whsec_"));
    assert!(!findings[SIGNATURE].result.contains("Until"), "no secret was replaced: {}", findings[SIGNATURE].result);
    assert!(findings[REQUESTS].result.contains("The last 1 succeeded"));
}

#[test]
fn diagnosis_names_each_obstacle_and_its_remedy() {
    let receiver = Receiver::by_path();
    let (mut application, mut admin) = application_with(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["problem.*"]);
    let findings = diagnose(&mut admin, endpoint.id);
    assert_wrong(&findings, EVENTS, "Nothing was ever queued", "replay_webhooks()");
    assert_wrong(&findings, REQUESTS, "No request was made", "test_webhook()");
    let client = &mut application.client;

    client.batch_execute("update webhook_endpoints set is_active = false").unwrap();
    assert_wrong(&diagnose(&mut admin, endpoint.id), ENABLED, "is_active is false", "set is_active = true");
    client.batch_execute("update webhook_endpoints set disabled_at = now(), disabled_reason = 'it was gone'").unwrap();
    assert_wrong(&diagnose(&mut admin, endpoint.id), ENABLED, "it was gone", "set is_active = true");
    client.batch_execute("update webhook_endpoints set is_active = true").unwrap();

    client
        .batch_execute("select webhook_delivery.pause('abuse', auction_id => auction_id) from webhook_endpoints")
        .unwrap();
    let findings = diagnose(&mut admin, endpoint.id);
    assert_wrong(&findings, SENDS, "paused by the operator", "resume()");
    assert!(!findings[SENDS].result.contains("abuse"), "the tenant must not see why the operator paused");
    client.batch_execute("select webhook_delivery.resume(auction_id => auction_id) from webhook_endpoints").unwrap();

    client.batch_execute("select webhook_delivery.remove_triggers()").unwrap();
    assert_wrong(&diagnose(&mut admin, endpoint.id), TRIGGERS, "problem.created", "install_triggers()");

    client.batch_execute("update webhook_endpoints set url = 'http://no-such-host.invalid/'").unwrap();
    assert_wrong(&diagnose(&mut admin, endpoint.id), ADDRESS, "could not resolve no-such-host.invalid", "DNS");
    // Bypasses the validation, like a URL that was written under earlier rules.
    client
        .batch_execute(
            "alter table webhook_endpoints disable trigger user; update webhook_endpoints set url = 'http://10.0.0.1/'",
        )
        .unwrap();
    assert_wrong(&diagnose(&mut admin, endpoint.id), ADDRESS, "10.0.0.1", "public internet");

    application.cluster.set("webhook_delivery.databases", "");
    wait_until("the worker to exit", DEADLINE, || {
        let findings = diagnose(&mut admin, endpoint.id);
        findings[SENDS]
            .result
            .contains("no worker")
            .then(|| assert_wrong(&findings, SENDS, "no worker", "webhook_delivery.status"))
    });
}

#[test]
fn each_kind_of_failure_has_its_own_advice() {
    let receiver = Receiver::by_path();
    let (mut application, mut admin) = application_with(&[
        ("webhook_delivery.request_timeout", "400ms"),
        ("webhook_delivery.disable_after_failures", "0"),
    ]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    let mut failed = 0;
    for (path, result, advice) in [
        ("/status/401", "status 401", "verify the signature"),
        ("/status/404", "status 404", "correct url"),
        ("/status/503", "status 503", "see its log"),
        ("/redirect", "redirects are not followed", "set url to where it leads"),
        ("/hang", "timed out", "Answer first"),
    ] {
        application.client.execute("update webhook_endpoints set url = $1", &[&receiver.url(path)]).unwrap();
        endpoint.emit(&mut application.client, 1);
        failed += 1;
        endpoint.wait_for(&mut application.client, failed, "failed");
        let findings = diagnose(&mut admin, endpoint.id);
        assert_wrong(&findings, REQUESTS, result, advice);
        if path == "/status/401" {
            assert_wrong(&findings, SIGNATURE, "whsec_", "webhook_request()");
        }
    }
    application.client.execute("update webhook_endpoints set url = $1", &[&receiver.url("/slow/300")]).unwrap();
    endpoint.emit(&mut application.client, 8);
    endpoint.wait_for(&mut application.client, 8, "success");
    let findings = diagnose(&mut admin, endpoint.id);
    assert_wrong(&findings, IN_TIME, "After 0.4 s", "comes twice");
    assert_eq!(findings[REQUESTS].is_fine, Some(true), "the last requests succeeded");
}

#[test]
fn backlog_behind_a_failed_ordered_delivery_is_reported() {
    let receiver = Receiver::by_path();
    let (mut application, mut admin) = application_with(&[("webhook_delivery.retry_schedule", "1h")]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/status/503"), &["*"]);
    application
        .client
        .batch_execute("update webhook_endpoints set ordered = true, secret = 'a secret of our own'")
        .unwrap();
    endpoint.emit(&mut application.client, 5);
    endpoint.wait_for(&mut application.client, 1, "retrying");
    // Makes the deliveries behind the failed one overdue.
    application
        .client
        .batch_execute("update webhook_delivery.queue set due_at = due_at - interval '1 hour' where attempts = 0")
        .unwrap();
    let findings = diagnose(&mut admin, endpoint.id);
    assert_wrong(&findings, WAITS, "5 deliveries", "redeliver_webhook()");
    assert!(findings[SIGNATURE].result.contains("its bytes are the key"), "{}", findings[SIGNATURE].result);
}

fn health(client: &mut Client, endpoint: &Endpoint, columns: &str) -> postgres::Row {
    let sql = format!("select {columns} from webhook_endpoint_health where endpoint_id = $1");
    client.query_one(&sql, &[&endpoint.id]).unwrap()
}

#[test]
fn health_covers_the_last_24_hours_and_the_queue() {
    let receiver = Receiver::by_path();
    let (mut application, mut admin) = application_with(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/slow/50"), &["*"]);
    let columns = "success_rate_24h is null and failing_since is null and queued = 0 and next_attempt_at is null and consecutive_failures = 0";
    assert!(health(&mut admin, &endpoint, columns).get::<_, bool>(0));
    endpoint.emit(&mut application.client, 6);
    endpoint.wait_for(&mut application.client, 6, "success");
    application.client.execute("update webhook_endpoints set url = $1", &[&receiver.url("/status/503")]).unwrap();
    endpoint.emit(&mut application.client, 2);
    endpoint.wait_for(&mut application.client, 2, "failed");
    wait_until("the failures to be counted", DEADLINE, || {
        (health(&mut admin, &endpoint, "consecutive_failures").get::<_, i32>(0) == 2).then_some(())
    });
    let row = health(
        &mut admin,
        &endpoint,
        "success_rate_24h, delivered_24h, failed_24h, response_time_p50_ms, failing_since is not null",
    );
    assert_eq!((row.get(0), row.get(1), row.get(2), row.get(4)), (0.75, 6_i64, 2_i64, true));
    assert!(row.get::<_, i32>(3) >= 50);
    // Attempts older than 24 hours do not count.
    let age = "update webhook_delivery.attempts_ended set created_at = created_at - interval '25 hours' where status = 'failed'";
    application.client.batch_execute(age).unwrap();
    assert_eq!(health(&mut admin, &endpoint, "success_rate_24h").get::<_, f64>(0), 1.0);
    // Deliveries in the queue count.
    application
        .client
        .batch_execute("select webhook_delivery.pause(endpoint_id => id) from webhook_endpoints")
        .unwrap();
    endpoint.emit(&mut application.client, 3);
    assert!(
        health(&mut admin, &endpoint, "queued = 3 and paused_at is not null and next_attempt_at <= now()")
            .get::<_, bool>(0)
    );
}

#[test]
fn tenant_cannot_see_or_diagnose_endpoints_of_others() {
    let receiver = Receiver::by_path();
    let (mut application, mut admin) = application_with(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/status/503"), &["*"]);
    endpoint.emit(&mut application.client, 2);
    endpoint.wait_for(&mut application.client, 2, "failed");
    application
        .client
        .batch_execute("select webhook_delivery.pause('x', endpoint_id => id) from webhook_endpoints")
        .unwrap();
    wait_until("the failures to be counted", DEADLINE, || {
        (application.count("select count(*) from webhook_delivery.endpoint_health") == 1).then_some(())
    });
    let mut other = tenant::session_of(&application.cluster, "tenant", sample::KIM);
    for relation in ["webhook_endpoint_health", "webhook_delivery.endpoint_health"] {
        let count = format!("select count(*) from {relation}");
        assert_eq!(other.query_one(&count, &[]).unwrap().get::<_, i64>(0), 0, "{relation}");
        assert_eq!(admin.query_one(&count, &[]).unwrap().get::<_, i64>(0), 1, "{relation}");
    }
    assert_eq!(
        other.query_one("select count(paused_at) from webhook_delivery.pauses", &[]).unwrap().get::<_, i64>(0),
        0
    );
    assert_eq!(refusal(&mut admin, "select reason from webhook_delivery.pauses", &[]).code().code(), "42501");
    assert_eq!(refusal(&mut other, "select diagnose_webhook($1)", &[&endpoint.id]).code().code(), "PT404");
    assert!(other.query("select webhook_delivery.diagnose_endpoint($1)", &[&endpoint.id]).unwrap().is_empty());
    let view_is_not_updatable = refusal(&mut admin, "delete from webhook_endpoint_health", &[]);
    assert_eq!(view_is_not_updatable.code().code(), "55000");
    let no_privilege = refusal(&mut admin, "update webhook_delivery.pauses set reason = null", &[]);
    assert_eq!(no_privilege.code().code(), "42501");
}

const BUILT: &str = "capture";

/// The diagnosis is the same for an administrator of the auction and for a superuser.
#[test]
fn custom_events_without_trigger_or_with_errors_are_named() {
    let receiver = Receiver::by_path();
    let (mut application, mut admin) = application_with(&[]);
    let client = &mut application.client;
    client
        .batch_execute(
            "create table sales (id bigint primary key, auction_id uuid, price integer);
             select webhook_delivery.register_event_type('sale.closed', 'A sale is closed', 'true', '{}');
             create trigger closed after insert on sales for each row execute function webhook_delivery.row_event('sale.closed', 'auction_id')",
        )
        .unwrap();
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["sale.closed"]);
    let other = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["submission.created"]);
    let client = &mut application.client;
    client.execute("insert into sales values (1, $1, 1)", &[&sample::RIVERSIDE]).unwrap();
    endpoint.wait_for(client, 1, "success");
    let findings = |client: &mut Client, admin: &mut Client, id: Uuid| [diagnose(admin, id), diagnose(client, id)];
    for findings in findings(client, &mut admin, endpoint.id) {
        assert!(!findings.contains_key(TRIGGERS) && !findings.contains_key(BUILT), "{:?}", findings.keys());
    }
    for disabled in ["disable trigger closed", "enable replica trigger closed"] {
        client.batch_execute(&format!("alter table sales {disabled}")).unwrap();
        for findings in findings(client, &mut admin, endpoint.id) {
            assert_wrong(&findings, TRIGGERS, "A trigger of sale.closed is disabled.", "enable trigger");
            assert_eq!(findings[TRIGGERS].is_fine, Some(false));
        }
    }
    client.batch_execute("drop trigger closed on sales").unwrap();
    for findings in findings(client, &mut admin, endpoint.id) {
        assert_wrong(&findings, TRIGGERS, "No trigger makes sale.closed.", "row_event()");
        assert_eq!(findings[TRIGGERS].is_fine, None, "emit() may send them");
    }
    // An endpoint that subscribes to `*` does not name this event.
    let all = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    assert!(!diagnose(&mut admin, all.id).contains_key(TRIGGERS));
    let client = &mut application.client;
    // Dead letters of this auction, of another one, and of an unknown one.
    for (auctions, is_reported) in [
        (format!("array['{}']::uuid[]", sample::RIVERSIDE), true),
        (format!("array['{}']::uuid[]", sample::HILLTOP), false),
        ("array[null]::uuid[]".to_owned(), true),
        ("null".to_owned(), true),
    ] {
        let letter = format!(
            "delete from webhook_delivery.capture_errors;
             insert into webhook_delivery.capture_errors (event_type, row_ids, auction_ids, error_code, error_message)
             values ('sale.closed', '{{}}', {auctions}, '42703', 'a column that nobody has heard of')"
        );
        client.batch_execute(&letter).unwrap();
        for findings in findings(client, &mut admin, endpoint.id) {
            assert_eq!(findings.contains_key(BUILT), is_reported, "{auctions}");
            if is_reported {
                assert_wrong(&findings, BUILT, "sale.closed", "capture_errors");
                assert!(!findings[BUILT].result.contains("nobody has heard of"));
            }
        }
        assert!(!diagnose(&mut admin, other.id).contains_key(BUILT));
    }
}

#[test]
fn advice_to_update_names_the_endpoint() {
    let receiver = Receiver::by_path();
    let (mut application, mut admin) = application_with(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    application
        .client
        .batch_execute("update webhook_endpoints set is_active = false; delete from webhook_delivery.endpoint_secrets")
        .unwrap();
    let findings = diagnose(&mut admin, endpoint.id);
    let mut changing = 0;
    for finding in findings.values() {
        let advice = finding.what_to_do.as_deref().unwrap_or_default();
        if advice.contains("update ") || advice.contains("rotate_webhook_secret(") {
            assert!(advice.contains(&endpoint.id.to_string()), "{advice}");
            changing += 1;
        }
    }
    assert_eq!(changing, 2);
    // The statements in the advice can be run.
    for (check, begins, ends) in [(ENABLED, "update ", ". Queued"), (SIGNATURE, "select ", "")] {
        let advice = findings[check].what_to_do.clone().unwrap();
        let statement = &advice[advice.find(begins).unwrap()..];
        let statement = if ends.is_empty() { statement } else { &statement[..statement.find(ends).unwrap()] };
        admin.batch_execute(statement).unwrap_or_else(|e| panic!("{statement}: {:?}", e.as_db_error()));
    }
    assert!(diagnose(&mut admin, endpoint.id)[ENABLED].is_fine.unwrap());
}
