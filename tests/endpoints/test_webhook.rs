//! test_webhook: a customer sends a test event to an endpoint.

use serde_json::Value;
use uuid::Uuid;
use webhook_harness::verify::assert_signed;
use webhook_harness::{Application, DEADLINE, Endpoint, Receiver, refusal, sample, server_error};

const TEST: &str = "select delivery_id, status::text, follow from test_webhook(endpoint_id => $1, event_type => $2)";

/// An application with an endpoint of Riverside at this path. Events have two retries.
fn application(path: &str) -> (Application, Receiver, Endpoint) {
    let receiver = Receiver::by_path();
    let mut application = Application::start(&[("webhook_delivery.retry_schedule", "20ms, 40ms")]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url(path), &["submission.updated"]);
    (application, receiver, endpoint)
}

#[test]
fn test_event_is_the_signed_example_from_the_catalogue() {
    let (mut application, receiver, endpoint) = application("/");
    let client = &mut application.client;
    // A test works for types that the endpoint does not subscribe to as well.
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
    // Ordinary events are not marked as tests.
    emit_updated(client, &endpoint);
    endpoint.wait_for(client, 3, "success");
    assert_eq!(application.count("select count(*) from webhook_deliveries where is_test"), 2);
    assert_eq!(application.count("select count(*) from webhook_delivery_attempts where is_test"), 2);
}

fn emit_updated(client: &mut postgres::Client, endpoint: &Endpoint) {
    client.execute("select webhook_delivery.emit('submission.updated', $1, '{}')", &[&endpoint.auction_id]).unwrap();
}

#[test]
fn failed_test_is_not_retried() {
    let (mut application, receiver, endpoint) = application("/status/503");
    application.client.query_one(TEST, &[&endpoint.id, &"submission.created"]).unwrap();
    let failed = endpoint.wait_for(&mut application.client, 1, "failed");
    assert_eq!((failed[0].attempts, failed[0].response_status_code), (1, Some(503)));
    assert_eq!(failed[0].next_attempt_at, None);
    application.settle();
    assert_eq!(receiver.count(), 1);
    // An ordinary event of the same endpoint has all its attempts.
    emit_updated(&mut application.client, &endpoint);
    endpoint.wait_for(&mut application.client, 2, "failed");
    assert_eq!(receiver.count(), 4);
}

#[test]
fn test_reaches_a_disabled_endpoint_and_no_other() {
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
    // The event queued before still waits.
    assert_eq!(
        application.count("select count(*) from webhook_deliveries where status = 'pending' and not is_test"),
        1
    );
}

#[test]
fn rolled_back_test_is_not_sent() {
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
fn unknown_endpoint_or_event_type_is_refused() {
    let (mut application, receiver, endpoint) = application("/");
    let client = &mut application.client;
    let unknown_id = Uuid::new_v4();
    let error = refusal(client, TEST, &[&unknown_id, &"submission.created"]);
    assert_eq!(error.code().code(), "PT404");
    assert_eq!(error.message(), format!("webhook endpoint {unknown_id} does not exist"));
    assert!(error.hint().unwrap_or_default().contains("webhook_endpoints"), "{error:?}");
    assert_eq!(refusal(client, TEST, &[&None::<Uuid>, &"submission.created"]).code().code(), "PT404");

    for family in ["submission.*", "*"] {
        let error = refusal(client, TEST, &[&endpoint.id, &family]);
        assert_eq!((error.code().code(), error.message()), ("22023", &*format!("{family} is not a single event type")));
    }
    for unknown in ["submission.deleted", "", "Submission.Created"] {
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
fn endpoint_of_another_auction_does_not_exist_for_a_tenant() {
    let (mut application, receiver, riverside) = application("/riverside");
    let hilltop = application.endpoint(sample::HILLTOP, &receiver.url("/hilltop"), &["*"]);
    let tenant =
        "create role tenant login; grant usage on schema public to tenant; select webhook_delivery.grant_api('tenant')";
    application.client.batch_execute(tenant).unwrap();
    let mut dana = application.cluster.connect_as("tenant", "postgres");
    let claims = format!("{{\"sub\": \"{}\"}}", sample::DANA);
    dana.execute("select set_config('request.jwt.claims', $1, false)", &[&claims]).unwrap();
    dana.query_one(TEST, &[&riverside.id, &"submission.created"]).unwrap();
    let unknown_id = Uuid::new_v4();
    let [others, none] = [hilltop.id, unknown_id].map(|id| {
        let error = server_error(dana.query(TEST, &[&id, &"submission.created"]).unwrap_err());
        let text = format!("{} {} {:?} {:?}", error.code().code(), error.message(), error.detail(), error.hint());
        text.replace(&id.to_string(), "<id>")
    });
    // The same words do not reveal that the endpoint exists.
    assert_eq!(others, none);
    assert!(others.starts_with("PT404 webhook endpoint <id> does not exist"), "{others}");
    // An unknown event type does not reveal it either.
    assert_eq!(refusal(&mut dana, TEST, &[&hilltop.id, &"no.such"]).code().code(), "PT404");
    application.settle();
    assert_eq!((receiver.requests_to("/riverside").len(), receiver.requests_to("/hilltop").len()), (1, 0));
}

#[test]
fn test_webhook_can_be_called_as_a_remote_procedure() {
    let (mut application, _receiver, endpoint) = application("/");
    let client = &mut application.client;
    let signature = "select provolatile::text, pg_get_function_arguments(oid), proretset from pg_proc where proname = 'test_webhook'";
    // There is one function without overloads, because PostgREST finds it by its argument names.
    // It returns one object, not a list.
    let row = client.query_one(signature, &[]).unwrap();
    let arguments = "endpoint_id uuid, event_type text";
    assert_eq!((row.get(0), row.get(1), row.get(2)), ("v", arguments, false));
    // PostgREST runs this for POST rpc/test_webhook, in a read-write transaction.
    let call = "with pgrst_body as (select $1::json as body),
            arguments as (select * from json_to_record((select body from pgrst_body)) as _ (endpoint_id uuid, event_type text))
        select result.delivery_id, result.status::text, result.follow, result.note from arguments, lateral public.test_webhook(endpoint_id => arguments.endpoint_id, event_type => arguments.event_type) as result";
    let body = serde_json::json!({ "endpoint_id": endpoint.id, "event_type": "submission.created" });
    let row = client.query_one(call, &[&body]).unwrap();
    assert_eq!(
        row.columns().iter().map(|column| column.name()).collect::<Vec<_>>(),
        ["delivery_id", "status", "follow", "note"]
    );
    assert_eq!(row.get::<_, Option<String>>("note"), None);
    endpoint.wait_for(client, 1, "success");
}
