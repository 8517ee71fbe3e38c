//! Headers: which request headers a customer may add.

use pgrx::prelude::*;
use serde_json::{Map, Value};

use super::refuse;

/// Maximum number of headers.
const MAX_HEADERS: usize = 20;

/// Maximum bytes of all headers, as JSON.
const MAX_BYTES: usize = 32_768;

/// Raises an error (22023) for headers, given as JSON, that cannot be sent, that we set ourselves,
/// or that control the connection; and for more than 20 headers, or more than 32 kB.
#[pg_extern(immutable, strict, schema = "webhook_delivery")]
fn check_endpoint_headers(headers: &str) {
    const NOT_TEXT: &str = "Headers must be an object of texts: {\"Authorization\": \"Bearer ...\"}.";
    const TOO_MANY: &str = "Omit the headers that the receiver does not need.";
    if headers.len() > MAX_BYTES {
        refuse(format!("headers must be at most {MAX_BYTES} bytes, not {}", headers.len()), TOO_MANY);
    }
    let headers: Map<String, Value> = match serde_json::from_str(headers) {
        Ok(Value::Object(headers)) => headers,
        // The table's constraint rejects other JSON than an object.
        Ok(_) => return,
        // The column is jsonb, so the only possible problem is too deep nesting.
        Err(_) => refuse("headers are nested too deeply".into(), NOT_TEXT),
    };
    if headers.len() > MAX_HEADERS {
        refuse(format!("there must be at most {MAX_HEADERS} headers, not {}", headers.len()), TOO_MANY);
    }
    for (name, value) in &headers {
        // Shortened, because the name may have any length and the message must not.
        let shown: String = name.chars().take(100).collect();
        let Value::String(value) = value else {
            refuse(format!("value of header {shown} must be text"), NOT_TEXT);
        };
        if let Err(problem) = webhook_sender::check_header(name, value) {
            refuse(
                format!("invalid header {shown}: {problem}"),
                "The sender sets the headers of content and connection, and those that begin with webhook-, x-webhook-, x-forwarded- or proxy-.",
            );
        }
    }
    let mut names: Vec<String> = headers.keys().map(|name| name.to_ascii_lowercase()).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        refuse(format!("header {} is specified twice", twice[0]), "Header names are case-insensitive.");
    }
}

/// The headers in `webhook_endpoints.headers`, by name; empty if the column is null.
pub fn headers_in(json: Option<&str>) -> Vec<(String, String)> {
    // The column's checks ensure that this can be parsed.
    let headers: Map<String, Value> = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let text = |value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    headers.into_iter().map(|(name, value)| (name, text(value))).collect()
}
