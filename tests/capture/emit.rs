//! `emit()`: code in the database sends its own events with the same guarantees.

use postgres::{Client, GenericClient};
use uuid::Uuid;
use webhook_harness::verify::assert_signed;
use webhook_harness::{Application, DEADLINE, Endpoint, Receiver, Reply, refusal, sample};

/// An application with an endpoint for all of Riverside's events.
fn application() -> (Application, Receiver, Endpoint) {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    (application, receiver, endpoint)
}

/// Passes the data as text so that the driver does not reformat the JSON.
const EMIT: &str = "select webhook_delivery.emit(event => $1, auction_id => $2, data => $3::text::json)";

#[track_caller]
fn emit(client: &mut impl GenericClient, event: &str, auction_id: Uuid, data: &str) -> Option<Uuid> {
    client
        .query_one(EMIT, &[&event, &auction_id, &data])
        .unwrap_or_else(|e| panic!("{event}: {:?}", e.as_db_error()))
        .get(0)
}

fn add_event_type(client: &mut Client, event_type: &str, example: &str) {
    let insert =
        "insert into webhook_event_types (event_type, description, example) values ($1, 'Of our own', $2::text::json)";
    client.execute(insert, &[&event_type, &example]).unwrap();
}

#[test]
fn data_arrives_byte_for_byte() {
    let (mut application, receiver, endpoint) = application();
    let texts = [
        r#"{"z" : 1,"a":2}"#,
        "{ \"b\":1,\n\t\"b\":2 , \"a\" : [ 1.0, 1e2, 12345678901234567890.123456789 ] }",
        r#"{"text":"a\/b \u00e9 é 車 \ud83d\ude97 🚗"}"#,
        r#"[]"#,
        r#""only a text""#,
        "null",
        "  7  ",
    ];
    for data in texts {
        receiver.clear();
        let event_id = emit(&mut application.client, "submission.created", sample::RIVERSIDE, data);
        let request = receiver.wait_for(1, DEADLINE).remove(0);
        assert!(request.text().ends_with(&format!("\"data\":{data}}}")), "{}", request.text());
        assert_signed(&endpoint.secret, std::slice::from_ref(&request));
        endpoint.wait_for(&mut application.client, 1, "success");
        let of_delivery = "select event_id from webhook_deliveries where id = $1";
        assert_eq!(application.cluster.query_one::<Option<Uuid>>(of_delivery, &[&request.webhook_id()]), event_id);
    }
}

#[test]
fn emit_without_subscribers_returns_null_and_writes_nothing() {
    let (mut application, receiver, _) = application();
    application.endpoint(sample::HILLTOP, &receiver.url("/"), &["submission.updated"]);
    let client = &mut application.client;
    assert_eq!(emit(client, "submission.created", sample::HILLTOP, "{}"), None);
    assert_eq!(emit(client, "submission.created", Uuid::new_v4(), "{}"), None);
    assert!(emit(client, "submission.updated", sample::HILLTOP, "{}").is_some());
    assert!(emit(client, "submission.created", sample::RIVERSIDE, "{}").is_some());
    application.settle();
    assert_eq!(receiver.count(), 2);
    assert_eq!(application.count("select count(*) from webhook_delivery.events"), 2);
}

#[test]
fn rolled_back_events_are_not_sent() {
    let (mut application, receiver, _) = application();
    let mut transaction = application.client.transaction().unwrap();
    emit(&mut transaction, "submission.created", sample::RIVERSIDE, r#"{"kept":false}"#);
    transaction.rollback().unwrap();
    let mut transaction = application.client.transaction().unwrap();
    emit(&mut transaction, "submission.created", sample::RIVERSIDE, r#"{"kept":true}"#);
    let mut savepoint = transaction.transaction().unwrap();
    emit(&mut savepoint, "submission.created", sample::RIVERSIDE, r#"{"kept":false}"#);
    savepoint.rollback().unwrap();
    transaction.commit().unwrap();
    application.settle();
    let kept: Vec<_> = receiver.requests().iter().map(|request| request.json()["data"]["kept"].take()).collect();
    assert_eq!(kept, [true]);
}

#[test]
fn unknown_events_and_null_arguments_are_refused() {
    let (mut application, _receiver, _) = application();
    let client = &mut application.client;
    let refuse = |client: &mut Client, event: Option<&str>, auction: Option<Uuid>, data: Option<&str>| {
        refusal(client, EMIT, &[&event, &auction, &data])
    };
    let riverside = Some(sample::RIVERSIDE);
    for unknown in ["sale.closed", "submission.*", "*", ""] {
        let error = refuse(client, Some(unknown), riverside, Some("{}"));
        assert_eq!(
            (error.code().code(), error.message()),
            ("22023", format!("unknown event type: {unknown}").as_str())
        );
        let hint = error.hint().unwrap_or_default();
        assert!(
            hint.contains("register_event_type()") && hint.contains("submission.created, submission.updated"),
            "{hint}"
        );
    }
    for (event, auction, data) in [
        (None, riverside, Some("{}")),
        (Some("submission.created"), None, Some("{}")),
        (Some("submission.created"), riverside, None),
    ] {
        assert_eq!(refuse(client, event, auction, data).code().code(), "22004");
    }
}

#[test]
fn custom_event_type_can_be_subscribed_emitted_and_tested() {
    let (mut application, receiver, _) = application();
    let client = &mut application.client;
    add_event_type(client, "sale.closed", r#"{"lot" : 7,"price":"12500.00"}"#);
    add_event_type(client, "sale.opened", "{}");
    let exact =
        webhook_harness::application::endpoint(client, sample::HILLTOP, &receiver.url("/exact"), &["sale.closed"]);
    webhook_harness::application::endpoint(client, sample::HILLTOP, &receiver.url("/family"), &["sale.*"]);
    emit(client, "sale.closed", sample::HILLTOP, r#"{"lot":1}"#);
    emit(client, "sale.opened", sample::HILLTOP, r#"{"lot":2}"#);
    application.wait_for_deliveries(3, "success");
    assert_eq!(receiver.requests_to("/exact").len(), 1);
    assert_eq!(receiver.requests_to("/family").len(), 2);
    assert_eq!(receiver.requests_to("/exact")[0].event(), Some("sale.closed"));
    receiver.clear();
    application.client.execute("select test_webhook($1, 'sale.closed')", &[&exact.id]).unwrap();
    let request = receiver.wait_for(1, DEADLINE).remove(0);
    assert!(request.text().ends_with(r#""data":{"lot" : 7,"price":"12500.00"}}"#), "{}", request.text());
}

#[test]
fn catalogue_refuses_malformed_and_duplicate_event_names() {
    let (mut application, _receiver, _) = application();
    let insert = "insert into webhook_event_types (event_type, description, example) values ($1, 'x', '{}')";
    for name in [
        "sale",
        "sale.*",
        "*",
        "Sale.closed",
        "sale.closed.twice",
        ".closed",
        "sale.",
        "sale closed",
        "sale.clo\nsed",
        "sale.closed\n",
    ] {
        let error = refusal(&mut application.client, insert, &[&name]);
        assert_eq!(
            (error.code().code(), error.constraint()),
            ("23514", Some("event_type_is_family_dot_what_happened")),
            "{name:?}"
        );
    }
    let error = refusal(&mut application.client, insert, &[&"submission.created"]);
    assert_eq!((error.code().code(), error.constraint()), ("23505", Some("event_types_are_unique")));
}

#[test]
fn role_with_execute_on_emit_can_emit_but_not_read() {
    let (mut application, receiver, _) = application();
    let grants = "create role job login;
        grant usage on schema webhook_delivery to job;
        grant execute on function webhook_delivery.emit(text, uuid, json) to job";
    application.client.batch_execute(grants).unwrap();
    let mut job = application.cluster.connect_as("job", "postgres");
    emit(&mut job, "submission.created", sample::RIVERSIDE, "{}");
    receiver.wait_for(1, DEADLINE);
    assert_eq!(refusal(&mut job, "select * from webhook_delivery.events", &[]).code().code(), "42501");
    assert_eq!(refusal(&mut job, "select * from webhook_endpoints", &[]).code().code(), "42501");
}

#[test]
fn only_events_outside_rolled_back_savepoints_arrive() {
    let (mut application, receiver, _) = application();
    let mut transaction = application.client.transaction().unwrap();
    let emit_many = |client: &mut postgres::Transaction<'_>, kept: bool, count: i32| {
        let sql =
            "select count(webhook_delivery.emit('submission.created', $1, json_build_object('kept', $2::boolean)))
                   from generate_series(1, $3)";
        let emitted: i64 = client.query_one(sql, &[&sample::RIVERSIDE, &kept, &count]).unwrap().get(0);
        assert_eq!(emitted, i64::from(count));
    };
    emit_many(&mut transaction, true, 600);
    // More events than a session keeps in memory.
    let mut undone = transaction.transaction().unwrap();
    emit_many(&mut undone, false, 1700);
    undone.rollback().unwrap();
    let mut released = transaction.transaction().unwrap();
    emit_many(&mut released, true, 600);
    released.commit().unwrap();
    let mut around = transaction.transaction().unwrap();
    let mut inside = around.transaction().unwrap();
    emit_many(&mut inside, false, 1200);
    inside.commit().unwrap();
    around.rollback().unwrap();
    emit_many(&mut transaction, true, 1100);
    transaction.commit().unwrap();
    application.settle();
    assert_eq!(receiver.count(), 2300);
    assert!(receiver.requests().iter().all(|request| request.json()["data"]["kept"] == true));
}

#[test]
fn emit_in_a_read_only_transaction_is_refused() {
    let (mut application, _receiver, _) = application();
    let mut transaction = application.client.build_transaction().read_only(true).start().unwrap();
    let error = transaction.query_one(EMIT, &[&"submission.created", &sample::RIVERSIDE, &"{}"]).unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("25006"));
}
