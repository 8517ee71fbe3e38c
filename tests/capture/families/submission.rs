//! Events of submissions: `submission.created` and `submission.updated`. `capture.rs` tests what
//! holds for every family.

use std::io::Write;

use serde_json::{Value, json};
use webhook_harness::{Listener, sample};

const SUBMISSION: &str = "5b000000-0000-4000-8000-000000000001";

/// The data of Dana's count of the North Lot.
fn count(entries: &[(Value, i32)], image_url: Option<&str>) -> Value {
    let total: i32 = entries.iter().map(|(_, cars)| cars).sum();
    let entries: Vec<Value> = entries
        .iter()
        .map(|(kind, cars)| json!({ "type_id": kind["id"], "type_name": kind["name"], "car_count": cars, "image_url": null }))
        .collect();
    json!({
        "id": SUBMISSION, "location_id": sample::NORTH_LOT, "location_name": "North Lot",
        "user_id": sample::DANA, "submitted_by": "Dana Reyes", "submitted_at": "2026-01-15T14:30:00.000Z",
        "entries": entries, "total_car_count": total, "image_url": image_url
    })
}

fn sedan() -> Value {
    json!({ "id": sample::SEDAN, "name": "Sedan" })
}

fn truck() -> Value {
    json!({ "id": sample::TRUCK, "name": "Truck" })
}

fn insert() -> String {
    format!(
        "insert into submissions (id, auction_id, location_id, user_id, submitted_at) values
             ('{SUBMISSION}', '{}', '{}', '{}', '2026-01-15 14:30Z');",
        sample::RIVERSIDE,
        sample::NORTH_LOT,
        sample::DANA
    )
}

fn enter(kind: uuid::Uuid, cars: i32, position: i32) -> String {
    format!(
        "insert into submission_entries (submission_id, type_id, car_count, position) values ('{SUBMISSION}', '{kind}', {cars}, {position});"
    )
}

#[test]
fn each_transaction_sends_one_event_of_a_submission() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!("{}{}{}", insert(), enter(sample::TRUCK, 17, 2), enter(sample::SEDAN, 42, 1)));
    listener.assert_received(&[("submission.created", count(&[(sedan(), 42), (truck(), 17)], None))]);
    listener.run(&format!("update submission_entries set car_count = car_count + 1; delete from submission_entries where car_count = 18; {}", enter(sample::TRUCK, 1, 3)));
    listener.assert_received(&[("submission.updated", count(&[(sedan(), 43), (truck(), 1)], None))]);
    listener.run("update submissions set image_url = 'https://img.example.com/lot.jpg'");
    let image = Some("https://img.example.com/lot.jpg");
    listener.assert_received(&[("submission.updated", count(&[(sedan(), 43), (truck(), 1)], image))]);
    listener.run("update submissions set image_url = image_url; update submission_entries set car_count = car_count");
    listener.assert_received(&[]);
    listener.run("delete from submissions");
    listener.assert_received(&[]);
}

#[test]
fn copied_entries_and_upserts_send_submission_updated() {
    let mut listener = Listener::start(&[]);
    listener.run(&insert());
    listener.assert_received(&[("submission.created", count(&[], None))]);
    let copy = "copy submission_entries (submission_id, type_id, car_count, position) from stdin";
    let mut rows = listener.application.client.copy_in(copy).unwrap();
    writeln!(rows, "{SUBMISSION}\t{}\t42\t1\n{SUBMISSION}\t\\N\t3\t2", sample::SEDAN).unwrap();
    rows.finish().unwrap();
    let unknown = json!({ "id": null, "name": null });
    listener.assert_received(&[("submission.updated", count(&[(sedan(), 42), (unknown.clone(), 3)], None))]);
    let upsert = insert().replace(';', " on conflict (id) do update set image_url = 'x'");
    listener.run(&upsert);
    listener.assert_received(&[("submission.updated", count(&[(sedan(), 42), (unknown, 3)], Some("x")))]);
    listener.run(&upsert);
    listener.assert_received(&[]);
}

#[test]
fn any_text_arrives_unchanged() {
    let mut listener = Listener::start(&[]);
    listener.run(&insert());
    listener.received();
    let text = "https://img.example.com/„ö“\\\"'\r\n😀?";
    let long = text.repeat(100_000 / text.len() + 1);
    listener.application.client.execute("update submissions set image_url = $1", &[&long]).unwrap();
    listener.assert_received(&[("submission.updated", count(&[], Some(&long)))]);
}

#[test]
fn deleting_an_auction_sends_nothing() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!("{}{}", insert(), enter(sample::SEDAN, 1, 1)));
    listener.received();
    listener.run(&format!("{} delete from auctions where id = '{}'", enter(sample::TRUCK, 1, 2), sample::RIVERSIDE));
    listener.assert_received(&[]);
}
