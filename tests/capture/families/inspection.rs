//! Events of inspections: `inspection.created` and `inspection.defect_added`.

use std::io::Write;

use serde_json::{Value, json};
use webhook_harness::{Listener, sample};

const INSPECTION: &str = "1b000000-0000-4000-8000-000000000001";
const OTHER: &str = "1b000000-0000-4000-8000-000000000002";

/// The data of an inspection by Dana with these defects.
fn inspection(defects: &[(&str, Option<&str>)]) -> Value {
    let defects: Vec<Value> =
        defects.iter().map(|(category, notes)| json!({ "category": category, "notes": notes })).collect();
    json!({
        "id": INSPECTION, "location_id": sample::NORTH_LOT, "location_name": "North Lot",
        "user_id": sample::DANA, "inspector_name": "Dana Reyes",
        "vin_number": "1HGCM82633A004352", "barcode": null, "submitted_at": "2026-01-15T14:30:00.000Z",
        "defect_count": defects.len(), "defects": defects
    })
}

/// The data of the event for a defect that was added to this inspection.
fn with_defect(mut inspection: Value, category: &str, notes: Option<&str>) -> Value {
    inspection["defect"] = json!({ "category": category, "notes": notes });
    inspection
}

fn insert() -> String {
    format!(
        "insert into inspections (id, auction_id, location_id, user_id, vin_number, submitted_at) values
             ('{INSPECTION}', '{}', '{}', '{}', '1HGCM82633A004352', '2026-01-15 14:30Z');",
        sample::RIVERSIDE,
        sample::NORTH_LOT,
        sample::DANA
    )
}

fn add(category: &str, notes: &str, position: i32) -> String {
    format!(
        "insert into inspection_defects (inspection_id, category, notes, position) values ('{INSPECTION}', '{category}', {notes}, {position});"
    )
}

#[test]
fn inspection_with_its_defects_is_one_event() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!("{}{}{}", insert(), add("tires", "null", 2), add("paint", "'Scratch'", 1)));
    listener.assert_received(&[("inspection.created", inspection(&[("paint", Some("Scratch")), ("tires", None)]))]);
}

#[test]
fn each_later_defect_sends_an_event_with_all_defects() {
    let mut listener = Listener::start(&[]);
    listener.run(&insert());
    listener.assert_received(&[("inspection.created", inspection(&[]))]);
    listener.run(&add("paint", "'Scratch'", 1));
    let one = inspection(&[("paint", Some("Scratch"))]);
    listener.assert_received(&[("inspection.defect_added", with_defect(one, "paint", Some("Scratch")))]);
    listener.run(&format!("{}{}", add("tires", "null", 2), add("glass", "'Crack'", 3)));
    let three = inspection(&[("paint", Some("Scratch")), ("tires", None), ("glass", Some("Crack"))]);
    listener.assert_received(&[
        ("inspection.defect_added", with_defect(three.clone(), "tires", None)),
        ("inspection.defect_added", with_defect(three, "glass", Some("Crack"))),
    ]);
}

#[test]
fn defects_from_copy_or_upsert_send_events_only_if_new() {
    let mut listener = Listener::start(&[]);
    listener.run(&insert());
    listener.received();
    let copy = "copy inspection_defects (inspection_id, category, notes, position) from stdin";
    let mut rows = listener.application.client.copy_in(copy).unwrap();
    rows.write_all(format!("{INSPECTION}\tpaint\t\\N\t1\n{INSPECTION}\ttires\tBald\t2\n").as_bytes()).unwrap();
    rows.finish().unwrap();
    let two = inspection(&[("paint", None), ("tires", Some("Bald"))]);
    listener.assert_received(&[
        ("inspection.defect_added", with_defect(two.clone(), "paint", None)),
        ("inspection.defect_added", with_defect(two, "tires", Some("Bald"))),
    ]);
    let upsert = format!(
        "create unique index on inspection_defects (inspection_id, category);
         insert into inspection_defects (inspection_id, category, notes, position)
         values ('{INSPECTION}', 'paint', 'Chip', 1), ('{INSPECTION}', 'glass', null, 3)
         on conflict (inspection_id, category) do update set notes = excluded.notes"
    );
    listener.run(&upsert);
    let three = inspection(&[("paint", Some("Chip")), ("tires", Some("Bald")), ("glass", None)]);
    listener.assert_received(&[("inspection.defect_added", with_defect(three, "glass", None))]);
}

#[test]
fn other_changes_of_inspections_and_defects_send_nothing() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!("{}{}", insert(), add("paint", "null", 1)));
    listener.received();
    listener.run("update inspection_defects set notes = 'Deep'; update inspections set barcode = '7'");
    listener.run("delete from inspection_defects");
    // Added and deleted in one transaction, or rolled back to a savepoint.
    listener.run(&format!("{} delete from inspection_defects", add("glass", "null", 1)));
    listener.run(&format!("begin; savepoint s; {} rollback to s; commit", add("glass", "null", 1)));
    listener.assert_received(&[]);
    listener.run("delete from inspections");
    listener.assert_received(&[]);
}

#[test]
fn new_and_existing_inspection_each_send_their_own_event() {
    let mut listener = Listener::start(&[]);
    listener.run(&insert());
    listener.received();
    let both = format!(
        "insert into inspections (id, auction_id) values ('{OTHER}', '{}');
         insert into inspection_defects (inspection_id, category) values ('{OTHER}', 'of the new one'), ('{INSPECTION}', 'of the old one')",
        sample::RIVERSIDE
    );
    listener.run(&both);
    let mut received: Vec<_> = listener
        .received()
        .into_iter()
        .map(|(event, data)| (event, data["id"].as_str().unwrap().to_owned(), data["defects"][0]["category"].clone()))
        .collect();
    let expected =
        [("inspection.created", OTHER, "of the new one"), ("inspection.defect_added", INSPECTION, "of the old one")]
            .map(|(event, id, category)| (event.to_owned(), id.to_owned(), Value::from(category)));
    // The order of the events of two inspections does not matter.
    received.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(received, expected);
}

#[test]
fn any_text_arrives_unchanged() {
    let mut listener = Listener::start(&[]);
    let text = "Kratzer „tief“ \\ \"quer\"\n\t😀 ";
    // More than 100 kB, and twice in the event: in the list and as the added defect.
    let long = text.repeat(100_000 / text.len() + 1);
    listener.run(&insert());
    listener.received();
    let insert = "insert into inspection_defects (inspection_id, category, notes) values ($1::text::uuid, $2, $3)";
    let category = "'; drop table inspections; -- \u{1} \u{7f} </script>";
    listener.application.client.execute(insert, &[&INSPECTION, &category, &long]).unwrap();
    let expected = with_defect(inspection(&[(category, Some(&long))]), category, Some(&long));
    listener.assert_received(&[("inspection.defect_added", expected)]);
}

#[test]
fn unknown_values_are_null() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!(
        "insert into inspections (id, auction_id, user_id, submitted_at) values ('{INSPECTION}', '{}', '{}', '2026-01-15 14:30Z')",
        sample::RIVERSIDE,
        sample::NAMELESS
    ));
    let mut expected = inspection(&[]);
    for (field, value) in [
        ("location_id", Value::Null),
        ("location_name", Value::Null),
        ("user_id", json!(sample::NAMELESS)),
        ("inspector_name", Value::Null),
        ("vin_number", Value::Null),
    ] {
        expected[field] = value;
    }
    listener.assert_received(&[("inspection.created", expected)]);
}

#[test]
fn deleting_an_auction_sends_nothing() {
    let mut listener = Listener::start(&[]);
    listener.run(&format!("{}{}", insert(), add("paint", "null", 1)));
    listener.received();
    listener.run(&format!("{} delete from auctions where id = '{}'", add("glass", "null", 1), sample::RIVERSIDE));
    listener.assert_received(&[]);
}
