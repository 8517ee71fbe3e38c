//! Request: the headers that an attempt sends.

use std::time::SystemTime;

use crate::Job;
use crate::signature::{body_signature, standard_signatures};

const USER_AGENT: &str = "AuctionExcellence-Webhook/1.0";

/// The headers of an attempt that is made at this moment: first the customer's, then ours.
pub fn headers(job: &Job, body: &[u8], at: SystemTime) -> Vec<(String, String)> {
    let destination = &*job.destination;
    let id = job.key.delivery_id.to_string();
    let timestamp = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
    let newest = destination.secrets.first().map(String::as_str).unwrap_or_default();
    let standard = standard_signatures(&destination.secrets, &id, &timestamp, body);
    let ours = [
        ("Content-Type", "application/json"),
        ("User-Agent", USER_AGENT),
        ("X-Webhook-Signature", &body_signature(newest, body)),
        ("X-Webhook-ID", &id),
        ("X-Webhook-Timestamp", &timestamp),
        ("X-Webhook-Event", &job.event_type),
        ("webhook-id", &id),
        ("webhook-timestamp", &timestamp),
        ("webhook-signature", &standard),
    ];
    let ours = ours.map(|(name, value)| (name.to_owned(), value.to_owned()));
    destination.headers.iter().cloned().chain(ours).collect()
}
