//! Event types that the application registers.

use postgres::Client;
use serde_json::json;
use webhook_harness::{DEADLINE, Listener, refusal, sample};

const REGISTER: &str = "select webhook_delivery.register_event_type($1, $2, $3::text::json, $4::text::json)";

#[track_caller]
fn register(client: &mut Client, name: &str, schema: &str, example: &str) {
    client.execute(REGISTER, &[&name, &"An order is placed", &schema, &example]).unwrap_or_else(|e| panic!("{e:?}"));
}

#[test]
fn registered_type_can_be_subscribed_to_emitted_and_tested() {
    let mut listener = Listener::start(&[]);
    let client = &mut listener.application.client;
    let shape = r#"{"id": "integer", "buyer?": {"name": "string"}, "lots": ["uuid"], "at": "time"}"#;
    let schema: String =
        client.query_one("select webhook_delivery.schema_of($1::text::json)::text", &[&shape]).unwrap().get(0);
    let example = json!({ "id": 7, "buyer": null, "lots": [sample::SEDAN], "at": "2026-01-15T14:30:00Z" });
    register(client, "order.created", &schema, &example.to_string());
    let row = client
        .query_one("select family, description, schema, is_builtin from webhook_event_types where event_type = 'order.created'", &[])
        .unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("order", "An order is placed"));
    let expected = json!({
        "type": "object",
        "properties": {
            "id": { "type": "integer" },
            "buyer": { "type": ["object", "null"], "properties": { "name": { "type": "string" } }, "required": ["name"] },
            "lots": { "type": "array", "items": { "type": "string", "format": "uuid" } },
            "at": { "type": "string", "format": "date-time" }
        },
        "required": ["id", "buyer", "lots", "at"]
    });
    assert_eq!(row.get::<_, serde_json::Value>(2).to_string(), expected.to_string());
    assert!(!row.get::<_, bool>(3));

    let endpoint = listener.application.endpoint(sample::HILLTOP, &listener.receiver.url("/hilltop"), &["order.*"]);
    let client = &mut listener.application.client;
    client.execute("select webhook_delivery.emit('order.created', $1, '{\"id\":8}')", &[&sample::HILLTOP]).unwrap();
    client.execute("select test_webhook($1, 'order.created')", &[&endpoint.id]).unwrap();
    listener.receiver.wait_for(2, DEADLINE);
    let mut data: Vec<_> =
        listener.receiver.requests().iter().map(|request| request.json()["data"].to_string()).collect();
    data.sort_by_key(String::len);
    assert_eq!(data, [r#"{"id":8}"#.to_owned(), example.to_string()]);
}

#[test]
fn registering_again_changes_a_type_but_no_built_in_type() {
    let mut listener = Listener::start(&[]);
    let client = &mut listener.application.client;
    register(client, "order.created", "true", "{}");
    register(client, "order.created", "{\"type\": \"object\"}", "{\"id\": 1}");
    let example: String = client
        .query_one("select example::text from webhook_event_types where event_type = 'order.created'", &[])
        .unwrap()
        .get(0);
    assert_eq!(example, "{\"id\": 1}");
    // A new type of a built-in family.
    register(client, "problem.escalated", "true", "{}");
    let error = refusal(client, REGISTER, &[&"problem.created", &"Mine", &"true", &"{}"]);
    assert_eq!((error.code().code(), error.message()), ("22023", "cannot change built-in event type problem.created"));
    assert!(error.hint().unwrap_or_default().contains("set_payload_function"), "{error:?}");
}

#[test]
fn invalid_event_type_is_refused_with_a_hint() {
    let mut listener = Listener::start(&[]);
    let client = &mut listener.application.client;
    let (description, schema, example) = (Some("An order"), Some("true"), Some("{}"));
    for (code, name, description, schema, example) in [
        ("22023", Some("order"), description, schema, example),
        ("22023", Some("order.*"), description, schema, example),
        ("22023", Some("Order.created"), description, schema, example),
        ("22023", Some("order.created\n"), description, schema, example),
        ("22023", Some("order.created"), description, Some("[]"), example),
        ("22023", Some("order.created"), description, Some("null"), example),
        ("22004", None, description, schema, example),
        ("22004", Some("order.created"), None, schema, example),
        ("22004", Some("order.created"), description, None, example),
        ("22004", Some("order.created"), description, schema, None),
    ] {
        let error = refusal(client, REGISTER, &[&name, &description, &schema, &example]);
        assert_eq!(error.code().code(), code, "{name:?} {description:?} {schema:?} {example:?}: {error}");
        assert!(error.hint().is_some(), "{error:?}");
    }
    for shape in ["\"text\"", "7", "null", "{\"a\": []}", "{\"a\": [\"uid\"]}"] {
        let error = refusal(client, "select webhook_delivery.schema_of($1::text::json)", &[&shape]);
        assert_eq!(error.code().code(), "22023", "{shape}: {error}");
    }
}

#[test]
fn application_role_registers_types_and_a_tenant_may_not() {
    let mut listener = Listener::start(&[]);
    listener.run(
        "create role app login; create role tenant login;
         select webhook_delivery.grant_application('app'), webhook_delivery.grant_api('tenant')",
    );
    let mut app = listener.application.cluster.connect_as("app", "postgres");
    register(&mut app, "order.created", "true", "{}");
    let mut tenant = listener.application.cluster.connect_as("tenant", "postgres");
    let error = refusal(&mut tenant, REGISTER, &[&"order.deleted", &"Mine", &"true", &"{}"]);
    assert_eq!(error.code().code(), "42501");
    let read = "select count(*) from webhook_event_types where schema is not null and family is not null";
    assert_eq!(tenant.query_one(read, &[]).unwrap().get::<_, i64>(0), 22);
}
