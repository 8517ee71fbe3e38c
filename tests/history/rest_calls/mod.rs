//! The documented calls, through a REST server and with Supabase's roles.

use std::process::Command;

use serde_json::{Value, json};
use uuid::Uuid;
use webhook_harness::rest::{Answer, token, token_of};
use webhook_harness::{DEADLINE, Receiver, Reply, Rest, Supabase, checkout, installation, sample, wait_until};

mod calls;
mod rows;

struct Scene {
    rest: Rest,
    supabase: Supabase,
    receiver: Receiver,
    /// Token of an administrator of Riverside.
    dana: String,
    /// Token of an administrator of Hilltop.
    kim: String,
}

impl Scene {
    fn new(settings: &[(&str, &str)]) -> Scene {
        let supabase = Supabase::start(settings);
        let rest = Rest::start(&supabase.cluster);
        let receiver = Receiver::start(|_| Reply::ok());
        Scene { rest, supabase, receiver, dana: token_of(sample::DANA), kim: token_of(sample::KIM) }
    }

    /// The request body in the product's documentation.
    fn endpoint(&self, auction_id: Uuid) -> Value {
        json!({
            "auction_id": auction_id,
            "url": self.receiver.url("/webhooks/ae"),
            "events": ["submission.created", "inspection.created"],
            "secret": "your-signing-secret",
            "is_active": true
        })
    }

    #[track_caller]
    fn create(&self, token: &str, auction_id: Uuid) -> Value {
        let made =
            self.rest.call("POST", "/webhook_endpoints", Some(token), Some(self.endpoint(auction_id))).expect(201);
        made[0].clone()
    }
}

impl Scene {
    /// Waits until the queue is empty.
    #[track_caller]
    fn wait_for_empty_queue(&mut self) {
        wait_until("an empty queue", DEADLINE, || {
            let left = self.supabase.admin.query_one("select count(*) from webhook_delivery.queue", &[]).unwrap();
            (left.get::<_, i64>(0) == 0).then_some(())
        });
    }
}

/// The REST server of the tests gives null for an enum in a composite type; PostgREST does not.
#[track_caller]
fn assert_status(answer: &Value, expected: &str) {
    let is_postgrest = std::env::var_os("POSTGREST").is_some_and(|path| !path.is_empty());
    let status = answer.get("status").expect("the column of the result");
    assert!(status == expected || status.is_null() && !is_postgrest, "{answer}");
}

fn test_call(endpoint: &Value) -> Option<Value> {
    Some(json!({ "endpoint_id": endpoint["id"], "event_type": "submission.created" }))
}

/// Status and body of the answer, with a placeholder instead of the id.
fn without(answer: &Answer, id: &str) -> String {
    format!("{} {}", answer.status, answer.body).replace(id, "<id>")
}
