//! The body of a request.

use std::io::Write;

use crate::Job;

/// More than all that stands around the data takes, so that a large body is written without moving.
const FRAME: usize = 256;

/// The body: `{"event","timestamp","webhook_id","auction_id","data"}` in this order. Made of nothing that changes between
/// two attempts, so each carries the same bytes.
pub fn body(job: &Job) -> Vec<u8> {
    let event = serde_json::Value::from(job.event_type.as_str());
    let timestamp = humantime::format_rfc3339_millis(job.occurred_at);
    let (webhook_id, auction_id, data) = (job.key.delivery_id, job.key.auction_id, &job.data);
    let mut body = Vec::with_capacity(data.len() + job.event_type.len() + FRAME);
    write!(
        body,
        r#"{{"event":{event},"timestamp":"{timestamp}","webhook_id":"{webhook_id}","auction_id":"{auction_id}","data":{data}}}"#
    )
    .expect("memory takes all bytes");
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::job;

    #[test]
    fn the_fields_come_in_the_documented_order_and_the_data_as_it_is() {
        assert_eq!(
            String::from_utf8(body(&job(""))).unwrap(),
            "{\"event\":\"submission.created\",\"timestamp\":\"2023-11-14T22:13:20.123Z\",\"webhook_id\":\"00000000-0000-0000-0000-000000000001\",\"auction_id\":\"00000000-0000-0000-0000-000000000003\",\"data\":{\"z\" : 1, \"a\": \"\u{e9}\\u00e9\"}}"
        );
    }

    #[test]
    fn an_event_type_with_quotes_is_escaped() {
        let odd = Job { event_type: r#"a"b"#.into(), ..job("") };
        let parsed: serde_json::Value = serde_json::from_slice(&body(&odd)).unwrap();
        assert_eq!(parsed["event"], r#"a"b"#);
    }

    #[test]
    fn a_job_shows_neither_secret_nor_data_in_a_log() {
        let shown = format!("{:?}", job(""));
        assert!(!shown.contains("nobody may see") && !shown.contains("u00e9"), "{shown}");
    }
}
