//! A listener that receives every event of an application's transactions, and checks it.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::application::{Application, sample};
use crate::receiver::Receiver;
use crate::reply::Reply;
use crate::request::Request;

/// An application with an endpoint for all events of Riverside.
pub struct Listener {
    /// The application.
    pub application: Application,
    /// The endpoint's receiver.
    pub receiver: Receiver,
}

impl Listener {
    /// Starts a server with these settings in addition to the harness's.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Listener {
        let receiver = Receiver::start(|_| Reply::ok());
        let mut application = Application::start(settings);
        application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
        Listener { application, receiver }
    }

    /// Executes statements. Without a `begin` among them they are one transaction.
    #[track_caller]
    pub fn run(&mut self, sql: &str) {
        self.application.client.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
    }

    /// Waits until nothing is left to send, and returns the type and data of each event received
    /// since the last call, in the order of arrival. Checks the other fields of each body, and the
    /// data against the catalogue's schema.
    #[track_caller]
    pub fn received(&mut self) -> Vec<(String, Value)> {
        self.application.settle();
        let errors = "select count(*) from webhook_delivery.capture_errors";
        assert_eq!(self.application.count(errors), 0, "events that could not be captured");
        let schemas = self.schemas();
        let requests = self.receiver.requests();
        self.receiver.clear();
        requests.iter().map(|request| self.check(request, &schemas)).collect()
    }

    /// Asserts that exactly these events were received since the last call, in this order and with
    /// their fields in this order.
    #[track_caller]
    pub fn assert_received(&mut self, expected: &[(&str, Value)]) {
        let received: Vec<Value> =
            self.received().into_iter().map(|(event, data)| json!({ "event": event, "data": data })).collect();
        let expected: Vec<Value> =
            expected.iter().map(|(event, data)| json!({ "event": event, "data": data })).collect();
        let (received, expected) = (format!("{:#}", json!(received)), format!("{:#}", json!(expected)));
        assert!(received == expected, "received:\n{received}\nexpected:\n{expected}");
    }

    #[track_caller]
    fn check(&mut self, request: &Request, schemas: &HashMap<String, Value>) -> (String, Value) {
        let body = request.json();
        let event = body["event"].as_str().expect("an event").to_owned();
        let occurred_at = "select to_char(event.occurred_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')
            from webhook_delivery.events as event join webhook_deliveries as delivery on delivery.event_id = event.id where delivery.id = $1";
        let id: Uuid = request.webhook_id().expect("a webhook id");
        let occurred_at: String = self.application.client.query_one(occurred_at, &[&id]).expect("the event").get(0);
        let envelope = json!({
            "event": request.event(), "timestamp": occurred_at, "webhook_id": id, "auction_id": sample::RIVERSIDE,
            "data": body["data"],
        });
        assert_eq!(body.to_string(), envelope.to_string());
        let schema = schemas.get(&event).unwrap_or_else(|| panic!("{event} is not in the catalogue"));
        assert_valid(&event, schema, &body["data"]);
        (event, body["data"].clone())
    }

    /// The JSON schemas of the catalogue by event type.
    #[track_caller]
    pub fn schemas(&mut self) -> HashMap<String, Value> {
        let rows = self.application.client.query("select event_type, schema from webhook_event_types", &[]);
        rows.expect("the catalogue").iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

/// Asserts that the data conforms to the schema and has only the fields that the schema names.
#[track_caller]
pub fn assert_valid(event: &str, schema: &Value, data: &Value) {
    let mut strict = schema.clone();
    forbid_other_properties(&mut strict);
    let validator = jsonschema::options().should_validate_formats(true).build(&strict).expect("a JSON Schema");
    let errors: Vec<String> =
        validator.iter_errors(data).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{event}: {errors:#?}\n{data:#}");
}

/// Forbids fields that the schema does not name. Customers must accept new fields; these tests must
/// not.
fn forbid_other_properties(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            fields.values_mut().for_each(forbid_other_properties);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_other_properties),
        _ => {}
    }
}
