//! A customer can try an endpoint without waiting for something to happen.

use serde_json::Value;
use uuid::Uuid;
use webhook_harness::verify::assert_signed;
use webhook_harness::{Application, DEADLINE, Endpoint, Receiver, refusal, refused, sample};

const TEST: &str = "select * from test_webhook(endpoint_id => $1, event_type => $2)";

/// An application with an endpoint of Riverside at this path; every failure would be tried again twice.
fn application(path: &str) -> (Application, Receiver, Endpoint) {
    let receiver = Receiver::by_path();
    let mut application = Application::start(&[("webhook_delivery.retry_schedule", "20ms, 40ms")]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url(path), &["submission.updated"]);
    (application, receiver, endpoint)
}

#[test]
fn a_test_delivers_the_catalogues_example_signed_like_any_other() {
    let (mut application, receiver, endpoint) = application("/");
    let client = &mut application.client;
    // Also a type that the endpoint has not subscribed to: it is to be tried before.
    for event_type in ["submission.created", "submission.updated"] {
        let row = client.query_one(TEST, &[&endpoint.id, &event_type]).unwrap();
        let (id, status, follow): (Uuid, String, String) =
            (row.get("delivery_id"), row.get("status"), row.get("follow"));
        assert_eq!(status, "pending");
        let request = receiver.wait_for(1, DEADLINE).remove(0);
        receiver.clear();
        assert_eq!(request.webhook_id(), Some(id));
        assert_eq!(request.event(), Some(event_type));
        assert_signed(&endpoint.secret, std::slice::from_ref(&request));
        let example: String = client
            .query_one("select example::text from webhook_event_types where event_type = $1", &[&event_type])
            .unwrap()
            .get(0);
        let body = request.json();
        assert_eq!(body["data"], serde_json::from_str::<Value>(&example).unwrap());
        assert!(request.text().contains(&format!("\"data\":{example}")), "{}", request.text());
        assert_eq!(body["auction_id"], sample::RIVERSIDE.to_string());
        endpoint.wait_for(client, 1, "success");
        let followed = client.query_one(&follow, &[]).unwrap();
        assert_eq!(followed.get::<_, Uuid>("id"), id);
        assert_eq!(followed.get::<_, &str>("event_type"), event_type);
        assert!(followed.get::<_, bool>("is_test"));
    }
    // What was no test is not marked as one.
    endpoint_emits_updated(client, &endpoint);
    endpoint.wait_for(client, 3, "success");
    assert_eq!(application.count("select count(*) from webhook_deliveries where is_test"), 2);
    assert_eq!(application.count("select count(*) from webhook_delivery_attempts where is_test"), 2);
}

fn endpoint_emits_updated(client: &mut postgres::Client, endpoint: &Endpoint) {
    client.execute("select webhook_delivery.emit('submission.updated', $1, '{}')", &[&endpoint.auction_id]).unwrap();
}

#[test]
fn a_test_that_fails_is_not_tried_again() {
    let (mut application, receiver, endpoint) = application("/status/503");
    application.client.query_one(TEST, &[&endpoint.id, &"submission.created"]).unwrap();
    let failed = endpoint.wait_for(&mut application.client, 1, "failed");
    assert_eq!((failed[0].attempts, failed[0].response_status_code), (1, Some(503)));
    assert_eq!(failed[0].next_attempt_at, None);
    application.settle();
    assert_eq!(receiver.count(), 1);
    // An event at the same endpoint has all its attempts.
    endpoint_emits_updated(&mut application.client, &endpoint);
    endpoint.wait_for(&mut application.client, 2, "failed");
    assert_eq!(receiver.count(), 4);
}

#[test]
fn a_test_also_goes_to_a_disabled_endpoint_and_to_no_other() {
    let (mut application, receiver, endpoint) = application("/disabled");
    application.endpoint(sample::RIVERSIDE, &receiver.url("/other"), &["*"]);
    let client = &mut application.client;
    let disable = "update webhook_endpoints set is_active = false where id = $1";
    let mut transaction = client.transaction().unwrap();
    transaction.execute("select webhook_delivery.emit('submission.updated', $1, '{}')", &[&sample::RIVERSIDE]).unwrap();
    transaction.execute(disable, &[&endpoint.id]).unwrap();
    transaction.commit().unwrap();
    application.wait_for_deliveries(1, "success");
    receiver.clear();
    application.client.query_one(TEST, &[&endpoint.id, &"submission.created"]).unwrap();
    endpoint.wait_for(&mut application.client, 1, "success");
    let paths: Vec<String> = receiver.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/disabled"]);
    // What was queued before it was disabled still waits.
    assert_eq!(
        application.count("select count(*) from webhook_deliveries where status = 'pending' and not is_test"),
        1
    );
}

#[test]
fn a_test_rolled_back_is_not_sent() {
    let (mut application, receiver, endpoint) = application("/");
    let mut transaction = application.client.transaction().unwrap();
    transaction.query_one(TEST, &[&endpoint.id, &"submission.created"]).unwrap();
    transaction.rollback().unwrap();
    let kept: Uuid = application.client.query_one(TEST, &[&endpoint.id, &"submission.created"]).unwrap().get(0);
    application.settle();
    let ids: Vec<_> = receiver.requests().iter().map(|request| request.webhook_id()).collect();
    assert_eq!(ids, [Some(kept)]);
}

#[test]
fn what_cannot_be_tested_is_refused_with_a_status_that_postgrest_understands() {
    let (mut application, receiver, endpoint) = application("/");
    let client = &mut application.client;
    let nobodys = Uuid::new_v4();
    let error = refusal(client, TEST, &[&nobodys, &"submission.created"]);
    assert_eq!(error.code().code(), "PT404");
    assert_eq!(error.message(), format!("there is no webhook endpoint {nobodys}"));
    assert!(error.hint().unwrap_or_default().contains("webhook_endpoints"), "{error:?}");
    assert_eq!(refusal(client, TEST, &[&None::<Uuid>, &"submission.created"]).code().code(), "PT404");

    for unknown in ["submission.deleted", "submission.*", "*", "", "Submission.Created"] {
        let error = refusal(client, TEST, &[&endpoint.id, &unknown]);
        assert_eq!(error.code().code(), "22023", "{unknown}");
        assert_eq!(error.message(), format!("unknown event type: {unknown}"));
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("problem.status_changed, submission.created, submission.updated, webhook."), "{hint}");
    }
    let error = refusal(client, TEST, &[&endpoint.id, &None::<&str>]);
    assert_eq!(error.code().code(), "22023");
    assert!(error.message().starts_with("unknown event type"), "{error}");
    application.settle();
    assert_eq!(receiver.count(), 0);
}

#[test]
fn another_auctions_endpoint_does_not_exist_for_a_tenant() {
    let (mut application, receiver, riverside) = application("/riverside");
    let hilltop = application.endpoint(sample::HILLTOP, &receiver.url("/hilltop"), &["*"]);
    let tenant =
        "create role tenant login; grant usage on schema public to tenant; select webhook_delivery.grant_api('tenant')";
    application.client.batch_execute(tenant).unwrap();
    let mut dana = application.cluster.connect_as("tenant", "postgres");
    let claims = format!("{{\"sub\": \"{}\"}}", sample::DANA);
    dana.execute("select set_config('request.jwt.claims', $1, false)", &[&claims]).unwrap();
    dana.query_one(TEST, &[&riverside.id, &"submission.created"]).unwrap();
    let nobodys = Uuid::new_v4();
    let [others, none] = [hilltop.id, nobodys].map(|id| {
        let error = refused(dana.query(TEST, &[&id, &"submission.created"]).unwrap_err());
        let text = format!("{} {} {:?} {:?}", error.code().code(), error.message(), error.detail(), error.hint());
        text.replace(&id.to_string(), "<id>")
    });
    // In the same words, so that nobody learns that it is there.
    assert_eq!(others, none);
    assert!(others.starts_with("PT404 there is no webhook endpoint <id>"), "{others}");
    // Nor by asking for a type that is not known.
    assert_eq!(refusal(&mut dana, TEST, &[&hilltop.id, &"no.such"]).code().code(), "PT404");
    application.settle();
    assert_eq!((receiver.requests_to("/riverside").len(), receiver.requests_to("/hilltop").len()), (1, 0));
}

#[test]
fn it_can_be_called_as_a_remote_procedure() {
    let (mut application, _receiver, endpoint) = application("/");
    let client = &mut application.client;
    let signature = "select provolatile::text, pg_get_function_arguments(oid), proretset from pg_proc where proname = 'test_webhook'";
    // One function: PostgREST finds it by the arguments' names and could not choose between overloads. One object, not a list.
    let row = client.query_one(signature, &[]).unwrap();
    let arguments = "endpoint_id uuid, event_type text, OUT delivery_id uuid, OUT status text, OUT follow text";
    assert_eq!((row.get(0), row.get(1), row.get(2)), ("v", arguments, false));
    // What PostgREST sends for POST rpc/test_webhook, in a transaction that may write.
    let call = "with pgrst_body as (select $1::json as body),
            arguments as (select * from json_to_record((select body from pgrst_body)) as _ (endpoint_id uuid, event_type text))
        select result.* from arguments, lateral public.test_webhook(endpoint_id => arguments.endpoint_id, event_type => arguments.event_type) as result";
    let body = serde_json::json!({ "endpoint_id": endpoint.id, "event_type": "submission.created" });
    let row = client.query_one(call, &[&body]).unwrap();
    assert_eq!(
        row.columns().iter().map(|column| column.name()).collect::<Vec<_>>(),
        ["delivery_id", "status", "follow"]
    );
    endpoint.wait_for(client, 1, "success");
}
