//! A request that a receiver received.

use std::time::SystemTime;

use serde_json::Value;
use uuid::Uuid;

/// One request as it was sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    /// Headers in the order and case in which they were sent.
    pub headers: Vec<(String, String)>,
    /// The body, whose bytes are signed.
    pub body: Vec<u8>,
    /// When the last byte of the request arrived.
    pub arrived_at: SystemTime,
    /// Number of the connection, counted from 1 for each receiver. Equal numbers mean that a
    /// connection was reused.
    pub connection: u64,
    /// How many requests with this `webhook-id` the receiver has received, including this one.
    /// Requests without an id count as one id.
    pub attempt: usize,
}

impl Request {
    /// Returns a header's value. The case of the name does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let wanted = |(header, _): &&(String, String)| header.eq_ignore_ascii_case(name);
        self.headers.iter().find(wanted).map(|(_, value)| value.as_str())
    }

    /// The delivery's id.
    pub fn webhook_id(&self) -> Option<Uuid> {
        self.header("webhook-id")?.parse().ok()
    }

    /// The event type from the header `X-Webhook-Event`.
    pub fn event(&self) -> Option<&str> {
        self.header("X-Webhook-Event")
    }

    /// The body as text.
    ///
    /// # Panics
    /// If the body is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The parsed body.
    ///
    /// # Panics
    /// If the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("the body is not JSON ({e}): {}", String::from_utf8_lossy(&self.body)))
    }
}
