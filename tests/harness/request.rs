//! A request that a receiver got.

use std::time::SystemTime;

use serde_json::Value;
use uuid::Uuid;

/// One request as it came over the wire.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    /// In their order and with their case, so that a test can see both.
    pub headers: Vec<(String, String)>,
    /// The bytes that the signature is over.
    pub body: Vec<u8>,
    /// When the last byte of the request was here.
    pub arrived_at: SystemTime,
    /// Counts the receiver's connections from 1: equal numbers mean that a connection was used again.
    pub connection: u64,
    /// How often this receiver has now seen this `webhook-id`, counted from 1. Requests without one count as one id.
    pub attempt: usize,
}

impl Request {
    /// A header's value; the name's case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let wanted = |(header, _): &&(String, String)| header.eq_ignore_ascii_case(name);
        self.headers.iter().find(wanted).map(|(_, value)| value.as_str())
    }

    /// The delivery's id.
    pub fn webhook_id(&self) -> Option<Uuid> {
        self.header("webhook-id")?.parse().ok()
    }

    /// The event type, as the header has it.
    pub fn event(&self) -> Option<&str> {
        self.header("X-Webhook-Event")
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The body parsed.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("the body is not JSON ({e}): {}", String::from_utf8_lossy(&self.body)))
    }
}
