//! The calls of the product's documentation, through a REST server and on a database such as Supabase's.

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
    /// Of an administrator of Riverside.
    dana: String,
    /// Of an administrator of Hilltop.
    kim: String,
}

impl Scene {
    fn new(settings: &[(&str, &str)]) -> Scene {
        let supabase = Supabase::start(settings);
        let rest = Rest::start(&supabase.cluster);
        let receiver = Receiver::start(|_| Reply::ok());
        Scene { rest, supabase, receiver, dana: token_of(sample::DANA), kim: token_of(sample::KIM) }
    }

    /// The body of the documentation.
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
    /// Until nothing is left to be sent.
    #[track_caller]
    fn wait_for_success(&mut self) {
        wait_until("an empty queue", DEADLINE, || {
            let left = self.supabase.admin.query_one("select count(*) from webhook_delivery.queue", &[]).unwrap();
            (left.get::<_, i64>(0) == 0).then_some(())
        });
    }
}

fn test_call(endpoint: &Value) -> Option<Value> {
    Some(json!({ "endpoint_id": endpoint["id"], "event_type": "submission.created" }))
}

/// The answer with every id in it made the same.
fn without(answer: &Answer, id: &str) -> String {
    format!("{} {}", answer.status, answer.body).replace(id, "<id>")
}
