//! Filters by content: an endpoint receives the events whose data matches its condition.

use postgres::{Client, GenericClient};
use uuid::Uuid;
use webhook_harness::{Application, Endpoint, Submission, refusal, sample};

const LARGE_NORTH_LOT: &str = r#"$.total_car_count > 50 && $.location_name == "North Lot""#;

/// A paused application with an endpoint of Riverside for everything, and its filter.
fn scene(filter: &str) -> (Application, Endpoint) {
    let mut application = Application::start(&[]);
    application.client.batch_execute("select webhook_delivery.pause()").unwrap();
    let endpoint = application.endpoint(sample::RIVERSIDE, "https://example.com/", &["*"]);
    set_filter(&mut application.client, &endpoint, Some(filter));
    (application, endpoint)
}

#[track_caller]
fn set_filter(client: &mut impl GenericClient, endpoint: &Endpoint, filter: Option<&str>) {
    let update = "update webhook_endpoints set filter = $2 where id = $1";
    client.execute(update, &[&endpoint.id, &filter]).unwrap();
}

#[track_caller]
fn emit(client: &mut impl GenericClient, event_type: &str, data: &str) {
    let emit = "select webhook_delivery.emit($1, $2, $3::text::json)";
    client.execute(emit, &[&event_type, &sample::RIVERSIDE, &data]).unwrap();
}

/// Data of the events that are queued, in their order.
fn queued(client: &mut Client) -> Vec<String> {
    let query = "select event.data::text from webhook_delivery.queue as queued
        join webhook_delivery.events as event on event.id = queued.event_id order by queued.delivery_id";
    client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn count(client: &mut Client, table: &str) -> i64 {
    client.query_one(&format!("select count(*) from webhook_delivery.{table}"), &[]).unwrap().get(0)
}

fn with_cars(number: i32) -> Submission {
    Submission { entries: vec![(sample::SEDAN, number)], ..Submission::of_riverside() }
}

#[test]
fn only_events_that_match_are_queued() {
    let (mut application, _) = scene(LARGE_NORTH_LOT);
    let client = &mut application.client;
    with_cars(51).insert(client);
    with_cars(50).insert(client);
    assert_eq!(queued(client).len(), 1);
    // The event without a receiver is not written.
    assert_eq!(count(client, "events"), 1);
}

#[test]
fn filter_of_one_endpoint_does_not_concern_another() {
    let (mut application, filtered) = scene(LARGE_NORTH_LOT);
    let other = application.endpoint(sample::RIVERSIDE, "https://example.com/", &["submission.created"]);
    let client = &mut application.client;
    with_cars(50).insert(client);
    assert_eq!((filtered.deliveries(client).len(), other.deliveries(client).len()), (0, 1));
    with_cars(51).insert(client);
    assert_eq!((filtered.deliveries(client).len(), other.deliveries(client).len()), (1, 2));
}

#[test]
fn filter_decides_on_each_event_of_a_transaction() {
    let (mut application, endpoint) = scene("$.n >= 2000");
    let client = &mut application.client;
    let mut transaction = client.transaction().unwrap();
    let emit = "select webhook_delivery.emit('submission.created', $1, json_build_object('n', n)) from generate_series(1, 3000) as n";
    transaction.execute(emit, &[&sample::RIVERSIDE]).unwrap();
    let mut savepoint = transaction.transaction().unwrap();
    savepoint.execute(emit, &[&sample::RIVERSIDE]).unwrap();
    savepoint.rollback().unwrap();
    transaction.commit().unwrap();
    assert_eq!(endpoint.deliveries(client).len(), 1001);
}

#[test]
fn changed_filter_applies_to_the_next_event_of_every_session() {
    let (mut application, endpoint) = scene("$.n > 1");
    let mut session = application.cluster.connect();
    for (filter, queued) in [(None, 1), (Some("$.n > 0"), 2), (Some("$.n > 1"), 2), (None, 3)] {
        set_filter(&mut application.client, &endpoint, filter);
        emit(&mut session, "submission.created", r#"{"n": 1}"#);
        assert_eq!(endpoint.deliveries(&mut application.client).len(), queued, "{filter:?}");
    }
}

#[test]
fn event_is_sent_unless_its_filter_is_false() {
    let cases = [
        // Neither true nor false.
        ("strict $.missing > 1", "{}"),
        ("$.n > 1", r#"{"n": "a text"}"#),
        ("strict $.at > 1", r#"{"at": "2026-01-01T00:00:00Z"}"#),
        // jsonb cannot hold the data.
        ("$.n > 1", r#"{"n": 1, "text": "\u0000"}"#),
        ("$.n > 1", r#"{"n": 1, "text": "\ud800"}"#),
        ("$.n > 1", r#"{"n": 1e1000000}"#),
        // jsonb would store each digit.
        ("$.n > 1", r#"{"n": 1, "large": 1e1000}"#),
    ];
    let (mut application, endpoint) = scene("$.n > 1");
    let client = &mut application.client;
    for (filter, data) in cases {
        set_filter(client, &endpoint, Some(filter));
        emit(client, "submission.created", r#"{"n": 0, "at": "2025-01-01", "id": "7e123456"}"#);
        emit(client, "submission.created", data);
        assert_eq!(queued(client).pop().as_deref(), Some(data), "{filter}");
    }
    // Data that cannot be evaluated does not stop the filter for the events around it.
    let before = queued(client).len();
    set_filter(client, &endpoint, Some("$.n > 1"));
    let mut transaction = client.transaction().unwrap();
    for data in [r#"{"n": 1}"#, r#"{"n": 1, "text": "\u0000"}"#, r#"{"n": 1}"#, r#"{"n": 2}"#] {
        emit(&mut transaction, "submission.created", data);
    }
    transaction.commit().unwrap();
    assert_eq!(queued(client).len(), before + 2);
}

/// An array of 120,000 numbers, about as large as a payload may be.
fn large() -> String {
    format!("[[[[[{}0]]]]]", "0,".repeat(120_000))
}

/// A condition that is accepted and slow: each of its parts visits each of the numbers, and none
/// is true. For the data of one event it takes several times the allowance.
fn slow() -> String {
    let visit = "exists($.deep[*][*][*][*][*].abs().abs() ? (@ == 1))";
    vec![visit; 1000 / (visit.len() + 12)].join(" || ")
}

/// Without the time limit the filter would be false, and the first events would not be sent.
#[test]
fn slow_filter_is_ended_and_its_events_are_sent() {
    let (mut application, endpoint) = scene(&slow());
    let client = &mut application.client;
    // The first events are written during the statement, because they are large. It goes on
    // afterwards: no cancellation is left over.
    let emit = "select webhook_delivery.emit('submission.created', $1, json_build_object('deep', large, 'n', n))
        from (select $2::text::json as large, n from generate_series(1, 10) as n) as data";
    client.execute(emit, &[&sample::RIVERSIDE, &large()]).unwrap();
    assert_eq!(endpoint.deliveries(client).len(), 10);
}

/// The evaluation is cancelled by the same means, so it must not be taken for the other.
#[test]
fn statement_timeout_of_the_user_ends_a_statement_with_a_slow_filter() {
    let (mut application, _) = scene(&slow());
    let client = &mut application.client;
    client.batch_execute("set statement_timeout = '50ms'").unwrap();
    let emit = "select webhook_delivery.emit('submission.created', $1, json_build_object('deep', $2::text::json))
        from generate_series(1, 10)";
    let refused = refusal(client, emit, &[&sample::RIVERSIDE, &large()]);
    assert_eq!(refused.code().code(), "57014");
}

#[test]
fn filter_without_time_left_does_not_stop_those_of_other_auctions() {
    let (mut application, endpoint) = scene(&slow());
    let other = application.endpoint(sample::HILLTOP, "https://example.com/", &["*"]);
    let client = &mut application.client;
    set_filter(client, &other, Some("$.n > 1"));
    let emit = "select webhook_delivery.emit('submission.created', auction_id, json_build_object('n', n, 'deep', $3::text::json))
        from unnest(array[$1, $2]::uuid[]) as auction_id, generate_series(1, 2) as n";
    client.execute(emit, &[&sample::RIVERSIDE, &sample::HILLTOP, &large()]).unwrap();
    assert_eq!((endpoint.deliveries(client).len(), other.deliveries(client).len()), (2, 1));
}

#[test]
fn filter_that_is_no_condition_is_refused() {
    let (mut application, endpoint) = scene("$.n > 1");
    let client = &mut application.client;
    let long = format!("$.a == \"{}\"", "x".repeat(1000));
    let written_out = vec!["$.a == 1"; 83].join("||");
    for (filter, message) in [
        ("$.total_car_count >", "invalid filter: syntax error at end of jsonpath input"),
        ("$.total_car_count", "invalid filter: it must be a condition, which is true or false"),
        ("$.a[*] ? (@ > 20)", "invalid filter: it must be a condition, which is true or false"),
        ("$.a == $.b", "invalid filter: one side of a comparison must be a literal"),
        // Each value of one side would be compared with each of the other, which nothing could end.
        (
            "$[0,0,0][0,0,0].type() == $[0,0,0][0,0,0].size()",
            "invalid filter: a subscript must be a number, last or *, and a field is written $.name",
        ),
        ("$.** == 1", "invalid filter: .** is not supported"),
        ("$limit > 1", "invalid filter: $limit is not a variable, only $event is"),
        (&long, "filter must have at most 1000 characters, not 1009"),
        (&written_out, "filter must have at most 1000 characters as it is stored, not 1322"),
    ] {
        let update = "update webhook_endpoints set filter = $2 where id = $1";
        let refused = refusal(client, update, &[&endpoint.id, &filter]);
        assert_eq!((refused.code().code(), refused.message()), ("22023", message), "{filter}");
        assert!(refused.hint().unwrap().contains(LARGE_NORTH_LOT), "{refused:?}");
    }
    let stored = "select filter from webhook_endpoints where id = $1";
    assert_eq!(client.query_one(stored, &[&endpoint.id]).unwrap().get::<_, String>(0), "($.\"n\" > 1)");
}

#[test]
fn variable_event_is_the_type_of_the_event() {
    let (mut application, endpoint) = scene(r#"$event != "submission.created" || $.n > 1"#);
    let client = &mut application.client;
    for (event_type, data) in [
        ("submission.created", r#"{"n": 1}"#),
        ("submission.created", r#"{"n": 2}"#),
        ("problem.created", r#"{"n": 1}"#),
    ] {
        emit(client, event_type, data);
    }
    assert_eq!(endpoint.deliveries(client).len(), 2);
}

#[test]
fn tests_and_operational_events_are_not_filtered() {
    let (mut application, endpoint) = scene("$.n == 1");
    let client = &mut application.client;
    client.execute("update webhook_endpoints set events = '{*, webhook.*}' where id = $1", &[&endpoint.id]).unwrap();
    client.execute("select test_webhook($1, 'submission.created')", &[&endpoint.id]).unwrap();
    assert_eq!(endpoint.deliveries(client).len(), 1);
    let about = application.endpoint(sample::RIVERSIDE, "https://example.com/", &["problem.created"]);
    let client = &mut application.client;
    let emit = "select webhook_delivery.emit_operational_event('webhook.endpoint_failing', $1, $2, '{}')";
    client.execute(emit, &[&sample::RIVERSIDE, &about.id]).unwrap();
    assert_eq!(endpoint.deliveries(client).len(), 2);
}

#[test]
fn rejected_event_is_recorded_if_all_events_are() {
    let (mut application, endpoint) = scene("$.n == 1");
    application.cluster.set("webhook_delivery.record_all_events", "on");
    let client = &mut application.client;
    emit(client, "submission.created", r#"{"n": 2}"#);
    assert_eq!((count(client, "events"), endpoint.deliveries(client).len()), (1, 0));
}

#[test]
fn replay_applies_the_filter() {
    let (mut application, _) = scene("$.n > 0");
    let client = &mut application.client;
    for n in 1..=4 {
        emit(client, "submission.created", &format!(r#"{{"n": {n}}}"#));
    }
    let new = application.endpoint(sample::RIVERSIDE, "https://example.com/", &["*"]);
    let client = &mut application.client;
    set_filter(client, &new, Some("$.n > 2"));
    let replay = "select replay_webhooks($1, now() - interval '1 hour', now() + interval '1 minute')";
    assert_eq!(client.query_one(replay, &[&new.id]).unwrap().get::<_, i64>(0), 2);
    // What was rejected can still be replayed.
    set_filter(client, &new, None);
    assert_eq!(client.query_one(replay, &[&new.id]).unwrap().get::<_, i64>(0), 2);
}

#[test]
fn preview_tries_a_filter_on_sent_events_and_examples() {
    let mut application = Application::start(&[]);
    let receiver = webhook_harness::Receiver::start(|_| webhook_harness::Reply::ok());
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    for cars in [51, 50] {
        with_cars(cars).insert(&mut application.client);
        application.settle();
    }
    let preview = "select event_type, occurred_at is not null, matches
        from preview_webhook_filter($1, $2, array[$3])";
    let mut tried = |filter: &str, events: &str| -> Vec<(String, bool, Option<bool>)> {
        let rows = application.client.query(preview, &[&sample::RIVERSIDE, &filter, &events]).unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
    };
    let created = "submission.created".to_owned();
    assert_eq!(
        tried(LARGE_NORTH_LOT, &created),
        [
            (created.clone(), true, Some(false)),
            (created.clone(), true, Some(true)),
            (created.clone(), false, Some(true))
        ]
    );
    assert!(tried(r#"$event == "problem.created""#, "problem.*").contains(&(
        "problem.created".into(),
        false,
        Some(true)
    )));
    // Neither true nor false.
    assert!(tried("strict $.missing > 1", "*").iter().all(|(_, _, matches)| matches.is_none()));
}

#[test]
fn preview_is_for_those_who_administer_the_auction() {
    let mut application = Application::start(&[]);
    let mut tenant = application.create_tenant(sample::DANA);
    let preview = "select * from preview_webhook_filter($1, $2)";
    let condition = "$.total_car_count > 50";
    assert!(!tenant.query(preview, &[&sample::RIVERSIDE, &condition]).unwrap().is_empty());
    let refused = refusal(&mut tenant, preview, &[&sample::HILLTOP, &condition]);
    assert_eq!(refused.code().code(), "42501", "{refused:?}");
    let no_auction: Option<Uuid> = None;
    assert_eq!(refusal(&mut tenant, preview, &[&no_auction, &condition]).code().code(), "22004");
    for (invalid, message) in
        [("$.a >", "invalid filter: syntax error"), ("$.a", "invalid filter: it must be a condition")]
    {
        let refused = refusal(&mut tenant, preview, &[&sample::RIVERSIDE, &invalid]);
        assert_eq!(refused.code().code(), "22023", "{invalid}");
        assert!(refused.message().starts_with(message), "{refused:?}");
    }
}
