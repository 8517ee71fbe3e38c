//! Body: the JSON that a request sends.

use std::io::Write;

use crate::Job;

/// More bytes than everything around the data takes, so that a large body is written without
/// reallocation.
const FRAME: usize = 256;

/// The body: `{"event","timestamp","webhook_id","auction_id","data"}` in this order. It contains
/// nothing that changes between two attempts, so each attempt sends the same bytes.
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
    fn body_has_documented_field_order_and_unchanged_data() {
        assert_eq!(
            String::from_utf8(body(&job(""))).unwrap(),
            "{\"event\":\"submission.created\",\"timestamp\":\"2023-11-14T22:13:20.123Z\",\"webhook_id\":\"00000000-0000-0000-0000-000000000001\",\"auction_id\":\"00000000-0000-0000-0000-000000000003\",\"data\":{\"z\" : 1, \"a\": \"\u{e9}\\u00e9\"}}"
        );
    }

    #[test]
    fn event_type_with_quotes_is_escaped() {
        let odd = Job { event_type: r#"a"b"#.into(), ..job("") };
        let parsed: serde_json::Value = serde_json::from_slice(&body(&odd)).unwrap();
        assert_eq!(parsed["event"], r#"a"b"#);
    }

    #[test]
    fn debug_output_of_a_job_has_neither_secret_nor_data() {
        let shown = format!("{:?}", job(""));
        assert!(!shown.contains("nobody may see") && !shown.contains("u00e9"), "{shown}");
    }
}
