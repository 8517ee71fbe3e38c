//! Sees every event of an application's transactions.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::application::{Application, sample};
use crate::receiver::Receiver;
use crate::reply::Reply;
use crate::request::Request;

/// An application with an endpoint for all of Riverside's events.
pub struct Listener {
    /// The application.
    pub application: Application,
    /// What the endpoint leads to.
    pub receiver: Receiver,
}

impl Listener {
    /// On a server with these settings besides the harness's usual ones.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Listener {
        let receiver = Receiver::start(|_| Reply::ok());
        let mut application = Application::start(settings);
        application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
        Listener { application, receiver }
    }

    /// Runs statements; without a `begin` among them as one transaction.
    #[track_caller]
    pub fn run(&mut self, sql: &str) {
        self.application.client.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
    }

    /// Event and data of everything that was sent since the last call, in the order of arrival, once nothing is left to send.
    /// The rest of each body, and that it is what the catalogue's schema promises, is checked here.
    #[track_caller]
    pub fn told(&mut self) -> Vec<(String, Value)> {
        self.application.settle();
        let errors = "select count(*) from webhook_delivery.capture_errors";
        assert_eq!(self.application.count(errors), 0, "something could not be captured");
        let schemas = self.schemas();
        let requests = self.receiver.requests();
        self.receiver.clear();
        requests.iter().map(|request| self.check(request, &schemas)).collect()
    }

    /// The same, compared with what is expected, in the order of arrival, fields in their order.
    #[track_caller]
    pub fn assert_told(&mut self, expected: &[(&str, Value)]) {
        let told: Vec<Value> =
            self.told().into_iter().map(|(event, data)| json!({ "event": event, "data": data })).collect();
        let expected: Vec<Value> =
            expected.iter().map(|(event, data)| json!({ "event": event, "data": data })).collect();
        let (told, expected) = (format!("{:#}", json!(told)), format!("{:#}", json!(expected)));
        assert!(told == expected, "told:\n{told}\nexpected:\n{expected}");
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

    /// The catalogue's.
    #[track_caller]
    pub fn schemas(&mut self) -> HashMap<String, Value> {
        let rows = self.application.client.query("select event_type, schema from webhook_event_types", &[]);
        rows.expect("the catalogue").iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

/// Panics unless the data is as the schema has it, with no field beside those that it names.
#[track_caller]
pub fn assert_valid(event: &str, schema: &Value, data: &Value) {
    let mut strict = schema.clone();
    close(&mut strict);
    let validator = jsonschema::options().should_validate_formats(true).build(&strict).expect("a JSON Schema");
    let faults: Vec<String> =
        validator.iter_errors(data).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "{event}: {faults:#?}\n{data:#}");
}

/// Readers of a schema should expect more fields one day; these tests do not.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
