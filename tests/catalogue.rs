//! What does the catalogue say of each event, and does it hold?

use serde_json::Value;
use webhook_harness::Application;
use webhook_harness::listener::assert_valid;

/// The events of the product's documentation.
const DOCUMENTED: &[&str] = &[
    "channel.archived",
    "channel.created",
    "inspection.created",
    "inspection.defect_added",
    "member.invited",
    "member.joined",
    "member.removed",
    "member.role_changed",
    "message.created",
    "message.deleted",
    "message.edited",
    "problem.action_completed",
    "problem.assigned",
    "problem.created",
    "problem.status_changed",
    "submission.created",
    "submission.updated",
];

#[test]
fn every_documented_event_has_a_family_a_description_a_schema_and_an_example_that_fits_it() {
    let mut application = Application::start(&[]);
    let query = "select event_type, family, description, schema, example from webhook_event_types order by event_type collate \"C\"";
    let rows = application.client.query(query, &[]).unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, DOCUMENTED);
    for row in rows {
        let (event, family, description): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let (schema, example): (Value, Value) = (row.get(3), row.get(4));
        assert_eq!(event.split_once('.').unwrap().0, family);
        assert!(description.len() > 15, "{event}: {description}");
        assert_valid(event, &schema, &example);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&schema["properties"]), keys(&example), "{event}: the schema has the order of the fields too");
    }
}

#[test]
fn the_schemas_are_json_schemas() {
    let mut application = Application::start(&[]);
    for row in application.client.query("select event_type, schema from webhook_event_types", &[]).unwrap() {
        let (event, schema): (&str, Value) = (row.get(0), row.get(1));
        assert!(jsonschema::meta::is_valid(&schema), "{event}: {schema}");
        assert_eq!(schema["type"], "object", "{event}");
    }
}
