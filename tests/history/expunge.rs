//! Expunging deletes a customer's data and keeps the record of its delivery.

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Application, Receiver, Reply, Submission, refusal, sample, tenant};

/// Endpoints of Riverside and Hilltop. Their receiver returns the body of the request.
fn application_with_schedule(retry_schedule: &str) -> (Application, Receiver, Client) {
    let receiver = Receiver::start(|request| match request.path.as_str() {
        "/redirect" => Reply::redirect("https://example.com/?email=dana@example.com"),
        _ => Reply::status(422).body(request.body.clone()),
    });
    let mut application = Application::start(&[
        ("webhook_delivery.retry_schedule", retry_schedule),
        ("webhook_delivery.disable_after_failures", "0"),
    ]);
    tenant::create_roles(&mut application.client);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    application.endpoint(sample::HILLTOP, &receiver.url("/"), &["*"]);
    let admin = tenant::session_of(&application.cluster, "tenant", sample::DANA);
    (application, receiver, admin)
}

fn expunge(session: &mut Client, arguments: &str) -> i64 {
    let sql = format!("select expunge_webhook_data({arguments})");
    session.query_one(&sql, &[]).unwrap_or_else(|e| panic!("{sql}: {:?}", e.as_db_error())).get(0)
}

/// The rows of the private schema's tables that contain this text in any column.
fn traces(application: &mut Application, text: &str) -> Vec<String> {
    let tables = ["events", "queue", "attempts", "capture_errors"];
    let mut found = Vec::new();
    for table in tables {
        let sql = format!(
            "select row_to_json(content)::text from webhook_delivery.{table} as content where position($1 in content::text) > 0"
        );
        found.extend(application.client.query(&sql, &[&text]).unwrap().iter().map(|row| row.get::<_, String>(0)));
    }
    found
}

#[test]
fn expunge_deletes_data_and_answers_but_keeps_deliveries() {
    let (mut application, _receiver, mut admin) = application_with_schedule("");
    let submission = Submission::of_riverside().insert(&mut application.client);
    Submission::of_riverside().insert(&mut application.client);
    application.wait_for_deliveries(2, "failed");
    assert_eq!(traces(&mut application, &submission.to_string()).len(), 2, "the event and the answer");
    let riverside = sample::RIVERSIDE;
    assert_eq!(expunge(&mut admin, &format!("'{riverside}', row_id => '{submission}'")), 1);
    assert_eq!(traces(&mut application, &submission.to_string()), [""; 0]);
    assert_eq!(traces(&mut application, "Dana Reyes").len(), 2, "the data of the other submission remains");
    let kept = "select count(*) from webhook_deliveries where status = 'failed' and error_message = 'status 422' and attempts = 1";
    assert_eq!(application.count(kept), 2);
    // Expunges by text.
    assert_eq!(expunge(&mut admin, &format!("'{riverside}', containing => 'Dana Reyes'")), 1);
    assert_eq!(traces(&mut application, "Dana Reyes"), [""; 0]);
}

#[test]
fn expunge_deletes_redirect_targets_and_finds_escaped_quotes() {
    let (mut application, receiver, mut admin) = application_with_schedule("");
    application.client.execute("update webhook_endpoints set url = $1", &[&receiver.url("/redirect")]).unwrap();
    let emit = "select webhook_delivery.emit('submission.created', $1, json_build_object('name', 'Dana \"D\" Reyes'))";
    application.client.execute(emit, &[&sample::RIVERSIDE]).unwrap();
    application.wait_for_deliveries(1, "failed");
    assert_eq!(traces(&mut application, "dana@example.com").len(), 1);
    assert_eq!(expunge(&mut admin, &format!("'{}', containing => 'Dana \"D\" Reyes'", sample::RIVERSIDE)), 1);
    assert_eq!(traces(&mut application, "dana@example.com"), [""; 0]);
    assert_eq!(
        application.count(
            "select count(*) from webhook_deliveries where error_message = 'status 302: redirects are not followed'"
        ),
        1
    );
}

#[test]
fn queued_delivery_with_expunged_data_is_never_sent_again() {
    let (mut application, receiver, mut admin) = application_with_schedule("1h");
    let submission = Submission::of_riverside().insert(&mut application.client);
    application.wait_for_deliveries(1, "retrying");
    assert_eq!(expunge(&mut admin, &format!("'{}', everything => true", sample::RIVERSIDE)), 1);
    application.wait_for_deliveries(1, "failed");
    assert_eq!(
        application.count("select count(*) from webhook_deliveries where error_message = 'the event was deleted'"),
        1
    );
    assert_eq!(traces(&mut application, &submission.to_string()), [""; 0]);
    let id: Uuid = application.client.query_one("select id from webhook_deliveries", &[]).unwrap().get(0);
    assert_eq!(refusal(&mut admin, "select redeliver_webhook($1)", &[&id]).code().code(), "PT410");
    assert_eq!(receiver.count(), 1);
}

#[test]
fn tenant_can_expunge_only_own_data_with_an_explicit_scope() {
    let (mut application, _receiver, mut admin) = application_with_schedule("");
    Submission::of_hilltop().insert(&mut application.client);
    Submission::of_riverside().insert(&mut application.client);
    application.wait_for_deliveries(2, "failed");
    let hilltop = format!("select expunge_webhook_data('{}', everything => true)", sample::HILLTOP);
    assert_eq!(refusal(&mut admin, &hilltop, &[]).code().code(), "PT404");
    let hilltop_too = format!("select webhook_delivery.expunge('{}', null, null)", sample::HILLTOP);
    assert_eq!(admin.query_one(&hilltop_too, &[]).unwrap().get::<_, Option<i64>>(0), None);
    for arguments in ["", ", containing => ''", ", containing => 'x', everything => true"] {
        let sql = format!("select expunge_webhook_data('{}'{arguments})", sample::RIVERSIDE);
        let error = refusal(&mut admin, &sql, &[]);
        assert_eq!(error.code().code(), "22023", "{arguments}");
        assert!(error.hint().is_some());
    }
    assert_eq!(application.count("select count(*) from webhook_delivery.events"), 2);
    // An operator can expunge every auction, including its dead letters.
    application.client.batch_execute("alter table public.users rename full_name to fullname").unwrap();
    let submission = Submission::of_hilltop().insert(&mut application.client);
    application.client.batch_execute("alter table public.users rename fullname to full_name").unwrap();
    assert_eq!(application.count("select count(*) from webhook_delivery.capture_errors"), 1);
    expunge(&mut application.client, &format!("'{}', row_id => '{submission}'", sample::HILLTOP));
    assert_eq!(application.count("select count(*) from webhook_delivery.capture_errors"), 0);
    assert_eq!(expunge(&mut application.client, &format!("'{}', everything => true", sample::HILLTOP)), 1);
}
