//! Capture: which events a committed transaction sends and what they contain.

use std::collections::HashSet;

use postgres::Client;
use serde_json::{Value, json};
use uuid::{Uuid, uuid};
use webhook_harness::{Application, DEADLINE, Receiver, Reply, Request, Submission, sample};

const ALL: &[&str] = &["*"];

/// An application with an endpoint for all of Riverside's events.
fn riverside(settings: &[(&str, &str)]) -> (Application, Receiver) {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(settings);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/riverside"), ALL);
    (application, receiver)
}

/// Waits until nothing is left to send, then returns everything sent since the last call as event
/// type and submission.
#[track_caller]
fn sent(application: &mut Application, receiver: &Receiver) -> Vec<(String, Uuid)> {
    application.settle();
    let requests = receiver.requests();
    receiver.clear();
    let mut sent: Vec<_> = requests.iter().map(event_and_submission).collect();
    sent.sort();
    sent
}

fn event_and_submission(request: &Request) -> (String, Uuid) {
    let body = request.json();
    (body["event"].as_str().unwrap().to_owned(), submission_of(&body))
}

fn submission_of(body: &Value) -> Uuid {
    body["data"]["id"].as_str().unwrap().parse().unwrap()
}

fn created(id: Uuid) -> (String, Uuid) {
    ("submission.created".to_owned(), id)
}

fn updated(id: Uuid) -> (String, Uuid) {
    ("submission.updated".to_owned(), id)
}

#[track_caller]
fn execute(client: &mut Client, sql: &str) {
    client.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
}

#[test]
fn body_has_every_field_and_the_entries_inserted_later() {
    const SUBMISSION: Uuid = uuid!("7b2f8a14-52cb-4f0e-9d2a-1f5be0a3c601");
    let (mut application, receiver) = riverside(&[]);
    let mut transaction = application.client.transaction().unwrap();
    let submission = format!(
        "insert into public.submissions values ('{SUBMISSION}', '{}', '{}', '{}', '2026-01-15 09:30:00.123456-05', 'https://img.example.com/lot.jpg')",
        sample::RIVERSIDE,
        sample::NORTH_LOT,
        sample::DANA
    );
    transaction.batch_execute(&submission).unwrap();
    // The order of the inserts differs from the order of the positions.
    for (position, type_id, cars, image) in
        [(2, sample::TRUCK, 17, "null"), (1, sample::SEDAN, 42, "'https://img.example.com/sedans.jpg'")]
    {
        let entry = format!(
            "insert into public.submission_entries values (default, '{SUBMISSION}', '{type_id}', {position}, {cars}, {image})"
        );
        transaction.batch_execute(&entry).unwrap();
    }
    transaction.commit().unwrap();

    let request = &receiver.wait_for(1, DEADLINE)[0];
    let stored = "select to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') from webhook_delivery.events";
    let occurred_at: String = application.cluster.query_one(stored, &[]);
    let expected = json!({
        "event": "submission.created",
        "timestamp": occurred_at,
        "webhook_id": request.webhook_id(),
        "auction_id": sample::RIVERSIDE,
        "data": {
            "id": SUBMISSION,
            "location_id": sample::NORTH_LOT,
            "location_name": "North Lot",
            "user_id": sample::DANA,
            "submitted_by": "Dana Reyes",
            "submitted_at": "2026-01-15T14:30:00.123Z",
            "entries": [
                { "type_id": sample::SEDAN, "type_name": "Sedan", "car_count": 42, "image_url": "https://img.example.com/sedans.jpg" },
                { "type_id": sample::TRUCK, "type_name": "Truck", "car_count": 17, "image_url": null }
            ],
            "total_car_count": 59,
            "image_url": "https://img.example.com/lot.jpg"
        }
    });
    assert_eq!(request.json(), expected);
    assert_eq!(sent(&mut application, &receiver), [created(SUBMISSION)]);
}

#[test]
fn missing_values_are_null_and_missing_entries_count_as_zero() {
    let (mut application, receiver) = riverside(&[]);
    let nameless = Submission {
        location_id: None,
        user_id: Some(sample::NAMELESS),
        entries: Vec::new(),
        ..Submission::of_riverside()
    };
    let id = nameless.insert(&mut application.client);
    let mut data = receiver.wait_for(1, DEADLINE)[0].json()["data"].take();
    assert!(data["submitted_at"].take().is_string());
    let expected = json!({
        "id": id, "location_id": null, "location_name": null, "user_id": sample::NAMELESS, "submitted_by": null,
        "submitted_at": null, "entries": [], "total_car_count": 0, "image_url": null
    });
    assert_eq!(data, expected);

    receiver.clear();
    let without_user = Submission { user_id: None, ..nameless };
    without_user.insert(&mut application.client);
    let data = receiver.wait_for(1, DEADLINE)[0].json()["data"].take();
    assert_eq!((&data["user_id"], &data["submitted_by"]), (&Value::Null, &Value::Null));
}

#[test]
fn created_submission_sends_no_update_in_its_transaction() {
    let (mut application, receiver) = riverside(&[]);
    let mut transaction = application.client.transaction().unwrap();
    let id = Submission::of_riverside().insert(&mut transaction);
    let changes = "update public.submissions set image_url = 'https://img.example.com/late.jpg';
        insert into public.submission_entries (submission_id, car_count, position) select id, 3, 9 from public.submissions;
        update public.submission_entries set car_count = 40 where car_count = 42;
        delete from public.submission_entries where car_count = 17";
    transaction.batch_execute(changes).unwrap();
    transaction.commit().unwrap();
    let data = receiver.wait_for(1, DEADLINE)[0].json()["data"].take();
    assert_eq!(data["total_car_count"], 43, "{data}");
    assert_eq!(data["image_url"], "https://img.example.com/late.jpg");
    assert_eq!(sent(&mut application, &receiver), [created(id)]);
}

#[test]
fn trigger_supersedes_an_event_only_for_its_own_rows() {
    let (mut application, receiver) = riverside(&[]);
    execute(
        &mut application.client,
        "create table imports (id uuid primary key, auction_id uuid);
         create trigger imported after insert on imports for each row
             execute function webhook_delivery.capture_row_change('submission.created', 'id', 'auction_id', '', 'submission.created')",
    );
    let mut transaction = application.client.transaction().unwrap();
    let id = Submission::of_riverside().insert(&mut transaction);
    transaction.batch_execute("insert into imports values (gen_random_uuid(), gen_random_uuid())").unwrap();
    transaction.commit().unwrap();
    assert_eq!(sent(&mut application, &receiver), [created(id)]);
}

#[test]
fn submission_deleted_before_the_commit_sends_nothing() {
    let (mut application, receiver) = riverside(&[]);
    let mut transaction = application.client.transaction().unwrap();
    Submission::of_riverside().insert(&mut transaction);
    transaction.batch_execute("delete from public.submissions").unwrap();
    transaction.commit().unwrap();

    let id = Submission::of_riverside().insert(&mut application.client);
    execute(&mut application.client, "delete from public.submissions");
    assert_eq!(sent(&mut application, &receiver), [created(id)]);
    assert_eq!(application.count("select count(*) from webhook_delivery.capture_errors"), 0);
}

#[test]
fn changed_submission_sends_one_update_with_committed_values() {
    let (mut application, receiver) = riverside(&[]);
    let id = Submission::of_riverside().insert(&mut application.client);
    assert_eq!(sent(&mut application, &receiver), [created(id)]);
    let mut transaction = application.client.transaction().unwrap();
    for lot in [sample::SOUTH_LOT, sample::NORTH_LOT, sample::SOUTH_LOT] {
        transaction.execute("update public.submissions set location_id = $1", &[&lot]).unwrap();
    }
    transaction.commit().unwrap();
    assert_eq!(receiver.wait_for(1, DEADLINE)[0].json()["data"]["location_name"], "South Lot");
    assert_eq!(sent(&mut application, &receiver), [updated(id)]);
}

#[test]
fn entry_changes_in_a_transaction_send_one_submission_update() {
    let (mut application, receiver) = riverside(&[]);
    let id = Submission::of_riverside().insert(&mut application.client);
    sent(&mut application, &receiver);
    let add =
        format!("insert into public.submission_entries (submission_id, car_count, position) values ('{id}', 3, 9)");
    let change = "update public.submission_entries set car_count = 40 where car_count = 42";
    let remove = "delete from public.submission_entries where car_count = 17";
    execute(&mut application.client, &format!("begin; {add}; {change}; {remove}; commit"));
    let data = receiver.wait_for(1, DEADLINE)[0].json()["data"].take();
    assert_eq!(data["total_car_count"], 43, "{data}");
    assert_eq!(sent(&mut application, &receiver), [updated(id)]);

    let each = [
        add.as_str(),
        "update public.submission_entries set car_count = 4 where car_count = 3",
        "delete from public.submission_entries where car_count = 4",
    ];
    for statement in each {
        execute(&mut application.client, statement);
        assert_eq!(sent(&mut application, &receiver), [updated(id)], "{statement}");
    }
}

#[test]
fn entry_moved_to_another_submission_updates_both() {
    let (mut application, receiver) = riverside(&[]);
    let mut ids = [(), ()].map(|()| Submission::of_riverside().insert(&mut application.client));
    sent(&mut application, &receiver);
    let moved = "update public.submission_entries set submission_id = $2 where submission_id = $1";
    application.client.execute(moved, &[&ids[0], &ids[1]]).unwrap();
    ids.sort();
    assert_eq!(sent(&mut application, &receiver), ids.map(updated));
}

#[test]
fn update_that_changes_nothing_sends_nothing() {
    let (mut application, receiver) = riverside(&[]);
    let id = Submission::of_riverside().insert(&mut application.client);
    execute(
        &mut application.client,
        "update public.submissions set image_url = image_url, submitted_at = submitted_at",
    );
    execute(&mut application.client, "update public.submission_entries set car_count = car_count");
    assert_eq!(sent(&mut application, &receiver), [created(id)]);
}

#[test]
fn transaction_with_10_000_submissions_sends_each_once() {
    let (mut application, receiver) = riverside(&[]);
    let bulk = "insert into public.submissions (auction_id, location_id) select $1, $2 from generate_series(1, 10000)";
    application.client.execute(bulk, &[&sample::RIVERSIDE, &sample::NORTH_LOT]).unwrap();
    receiver.wait_for_distinct(10_000, DEADLINE);
    application.settle();
    let requests = receiver.requests();
    assert_eq!(requests.len(), 10_000);
    let submissions: HashSet<Uuid> = requests.iter().map(|request| submission_of(&request.json())).collect();
    assert_eq!(submissions.len(), 10_000);
    let in_history =
        "select count(distinct event_id) from webhook_deliveries where status = 'success' and attempts = 1";
    assert_eq!(application.count(in_history), 10_000);
    assert_eq!(application.count("select count(*) from webhook_deliveries"), 10_000);
}

#[test]
fn prepared_transaction_is_delivered_after_commit_prepared() {
    let (mut application, receiver) = riverside(&[("max_prepared_transactions", "2")]);
    let ids = ["kept", "dropped"].map(|name| {
        execute(&mut application.client, "begin");
        let id = Submission::of_riverside().insert_without_transaction(&mut application.client).unwrap();
        execute(&mut application.client, &format!("prepare transaction '{name}'"));
        id
    });
    let later = Submission::of_riverside().insert(&mut application.client);
    assert_eq!(sent(&mut application, &receiver), [created(later)]);
    execute(&mut application.client, "rollback prepared 'dropped'");
    execute(&mut application.client, "commit prepared 'kept'");
    receiver.wait_for(1, DEADLINE);
    assert_eq!(sent(&mut application, &receiver), [created(ids[0])]);
}

#[test]
fn event_goes_to_every_subscribed_endpoint_of_its_auction() {
    let (mut application, receiver) = riverside(&[]);
    let mut subscribe = |auction, path, events: &[&str]| application.endpoint(auction, &receiver.url(path), events);
    subscribe(sample::HILLTOP, "/hilltop", ALL);
    subscribe(sample::RIVERSIDE, "/created", &["submission.created"]);
    subscribe(sample::RIVERSIDE, "/updated", &["submission.updated"]);
    subscribe(sample::RIVERSIDE, "/family", &["submission.*"]);
    // Three matching entries are still one delivery.
    subscribe(sample::RIVERSIDE, "/thrice", &["*", "submission.*", "submission.created"]);
    Submission::of_riverside().insert(&mut application.client);
    application.wait_for_deliveries(4, "success");
    application.settle();
    let mut paths: Vec<_> = receiver.requests().into_iter().map(|request| request.path).collect();
    paths.sort();
    assert_eq!(paths, ["/created", "/family", "/riverside", "/thrice"]);
    assert_eq!(application.count("select count(*) from webhook_delivery.events"), 1);
}

#[test]
fn event_without_a_subscribed_endpoint_is_not_written() {
    let mut application = Application::start(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    application.endpoint(sample::HILLTOP, &receiver.url("/"), ALL);
    application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["submission.updated"]);
    let disabled = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), ALL);
    application
        .client
        .execute("update webhook_endpoints set is_active = false where id = $1", &[&disabled.id])
        .unwrap();
    Submission::of_riverside().insert(&mut application.client);
    assert_eq!(application.count("select count(*) from webhook_delivery.events"), 0);
    assert_eq!(application.count("select count(*) from webhook_deliveries"), 0);
}
