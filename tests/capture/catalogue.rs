//! The catalogue of event types describes every event, and delivered events match it.

use std::collections::HashMap;

use serde_json::Value;
use webhook_harness::listener::assert_valid;
use webhook_harness::{Application, Listener, sample};

/// Events about webhooks themselves.
const OPERATIONAL: &[&str] =
    &["webhook.delivery_failed", "webhook.endpoint_disabled", "webhook.endpoint_failing", "webhook.endpoint_recovered"];

/// The events that the product's documentation lists.
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
fn every_event_has_family_description_schema_and_valid_example() {
    let mut application = Application::start(&[]);
    let query = "select event_type, family, description, schema, example from webhook_event_types order by event_type collate \"C\"";
    let rows = application.client.query(query, &[]).unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, [DOCUMENTED, OPERATIONAL].concat());
    for row in rows {
        let (event, family, description): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let (schema, example): (Value, Value) = (row.get(3), row.get(4));
        assert_eq!(event.split_once('.').unwrap().0, family);
        assert!(description.len() > 15, "{event}: {description}");
        assert_valid(event, &schema, &example);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            keys(&schema["properties"]),
            keys(&example),
            "{event}: the schema lists the fields in the order of the example"
        );
    }
}

#[test]
fn schemas_are_valid_json_schemas() {
    let mut application = Application::start(&[]);
    for row in application.client.query("select event_type, schema from webhook_event_types", &[]).unwrap() {
        let (event, schema): (&str, Value) = (row.get(0), row.get(1));
        assert!(jsonschema::meta::is_valid(&schema), "{event}: {schema}");
        assert_eq!(schema["type"], "object", "{event}");
    }
}

/// For each event, a transaction that sends this event and no other.
const TRANSACTIONS: &[(&str, &str)] = &[
    ("submission.created", "insert into submissions (id, auction_id) values ('@1', '@auction')"),
    ("submission.updated", "insert into submission_entries (submission_id, car_count) values ('@1', 7)"),
    ("inspection.created", "insert into inspections (id, auction_id) values ('@1', '@auction')"),
    ("inspection.defect_added", "insert into inspection_defects (inspection_id, category) values ('@1', 'paint')"),
    ("problem.created", "insert into problems (id, auction_id, issue_name) values ('@1', '@auction', 'A gate')"),
    ("problem.status_changed", "update problems set status = 'closed'"),
    ("problem.assigned", "update problems set assigned_to = '@sam'"),
    (
        "problem.action_completed",
        "insert into problem_actions (problem_id, description, completed_at) values ('@1', 'Look', now())",
    ),
    ("channel.created", "insert into channels (id, auction_id, name) values ('@1', '@auction', 'general')"),
    ("message.created", "insert into messages (auction_id, channel_id, content) values ('@auction', '@1', 'hello')"),
    ("message.edited", "update messages set content = 'hello!'"),
    ("message.deleted", "update messages set deleted_at = now()"),
    ("channel.archived", "update channels set archived_at = now()"),
    ("member.invited", "insert into auction_invitations (auction_id, email) values ('@auction', 'kim@example.com')"),
    ("member.joined", "insert into auction_members (id, auction_id, user_id) values ('@1', '@auction', '@kim')"),
    ("member.role_changed", "update auction_members set role = 'admin' where id = '@1'"),
    ("member.removed", "delete from auction_members where id = '@1'"),
];

#[test]
fn delivered_data_matches_the_schema_and_the_examples_fields() {
    let mut listener = Listener::start(&[]);
    let examples = "select event_type, example from webhook_event_types";
    let examples: HashMap<String, Value> =
        listener.application.client.query(examples, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut delivered = Vec::new();
    for (event, sql) in TRANSACTIONS {
        let sql = sql
            .replace("@auction", &sample::RIVERSIDE.to_string())
            .replace("@sam", &sample::SAM.to_string())
            .replace("@kim", &sample::KIM.to_string())
            .replace("@1", "11111111-1111-4111-8111-111111111111");
        listener.run(&sql);
        // `received()` compares each event with its schema.
        let received = listener.received();
        let [(name, data)] = received.as_slice() else { panic!("{event}: {received:?}") };
        assert_eq!(name, event);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(data), keys(&examples[*event]), "{event}");
        delivered.push(*event);
    }
    delivered.sort();
    assert_eq!(delivered, DOCUMENTED);
}
