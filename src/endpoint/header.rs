//! Which headers of his own may a customer have sent?

use pgrx::prelude::*;
use serde_json::{Map, Value};

use super::refuse;

/// More headers than this are refused.
const MAX_HEADERS: usize = 20;

#[pg_schema]
mod webhook_delivery {
    use pgrx::JsonB;
    use pgrx::prelude::*;

    /// Refuses (22023) headers that cannot be sent, that we set ourselves, or that matter for the connection; and more than 20.
    #[pg_extern(immutable, strict)]
    fn check_endpoint_headers(headers: JsonB) {
        // What is no object, the table's constraint refuses.
        if let serde_json::Value::Object(headers) = headers.0 {
            super::check(headers);
        }
    }
}

fn check(headers: Map<String, Value>) {
    if headers.len() > MAX_HEADERS {
        refuse(
            format!("{} headers are more than {MAX_HEADERS}", headers.len()),
            "Leave out what the receiver does not need.",
        );
    }
    for (name, value) in &headers {
        // Not all of it: what was written is not to be answered by a message of any size.
        let shown: String = name.chars().take(100).collect();
        let Value::String(value) = value else {
            refuse(
                format!("the value of header {shown} is not text"),
                "Headers are an object of texts: {\"Authorization\": \"Bearer ...\"}.",
            );
            return;
        };
        if let Err(problem) = webhook_sender::check_header(name, value) {
            refuse(
                format!("header {shown}: {problem}"),
                "Content, connection and what begins with webhook-, x-webhook-, x-forwarded- or proxy- is set by the sender.",
            );
        }
    }
    let mut names: Vec<String> = headers.keys().map(|name| name.to_ascii_lowercase()).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        refuse(format!("header {} is given twice", twice[0]), "Upper and lower case do not distinguish headers.");
    }
}
