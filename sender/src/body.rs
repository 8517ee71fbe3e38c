//! What stands in the body of a request?

use crate::Job;

/// The body: `{"event","timestamp","webhook_id","auction_id","data"}` in this order. Made of nothing that changes between
/// two attempts, so each carries the same bytes.
pub fn body(job: &Job) -> Vec<u8> {
    let event = serde_json::Value::from(job.event_type.as_str());
    let timestamp = humantime::format_rfc3339_millis(job.occurred_at);
    let (webhook_id, auction_id, data) = (job.key.delivery_id, job.key.auction_id, &job.data);
    format!(
        r#"{{"event":{event},"timestamp":"{timestamp}","webhook_id":"{webhook_id}","auction_id":"{auction_id}","data":{data}}}"#
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use uuid::Uuid;

    use super::*;
    use crate::DeliveryKey;

    fn job() -> Job {
        Job {
            key: DeliveryKey {
                delivery_id: Uuid::from_u128(1),
                endpoint_id: Uuid::from_u128(2),
                auction_id: Uuid::from_u128(3),
                attempt: 1,
                due_at: 0,
                is_test: false,
            },
            event_type: "submission.created".into(),
            occurred_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            data: r#"{"z" : 1, "a": "é\u00e9"}"#.into(),
            url: "https://example.com".into(),
            secret: "a secret nobody may see".into(),
            timeout: Duration::from_secs(30),
        }
    }

    #[test]
    fn the_fields_come_in_the_documented_order_and_the_data_as_it_is() {
        assert_eq!(
            String::from_utf8(body(&job())).unwrap(),
            r#"{"event":"submission.created","timestamp":"2023-11-14T22:13:20.123Z","webhook_id":"00000000-0000-0000-0000-000000000001","auction_id":"00000000-0000-0000-0000-000000000003","data":{"z" : 1, "a": "é\u00e9"}}"#
        );
    }

    #[test]
    fn an_event_type_with_quotes_is_escaped() {
        let odd = Job { event_type: r#"a"b"#.into(), ..job() };
        let parsed: serde_json::Value = serde_json::from_slice(&body(&odd)).unwrap();
        assert_eq!(parsed["event"], r#"a"b"#);
    }

    #[test]
    fn a_job_shows_neither_secret_nor_data_in_a_log() {
        let shown = format!("{:?}", job());
        assert!(!shown.contains("nobody may see") && !shown.contains("u00e9"), "{shown}");
    }
}
