//! The verifiers agree with the published example, and refuse what is forged.

use std::time::SystemTime;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Signed by the Standard Webhooks library, the other header is filled in by each test.
fn signed(body: &str) -> Request {
    let timestamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    let standard = Webhook::new(SECRET).unwrap().sign(id, timestamp as i64, body.as_bytes()).unwrap();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Request {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        headers: vec![
            header("webhook-id", id),
            header("webhook-timestamp", &timestamp.to_string()),
            header("webhook-signature", &standard),
            header("X-Webhook-Signature", "sha256="),
        ],
        body: body.as_bytes().to_vec(),
        arrived_at: SystemTime::now(),
        connection: 1,
        attempt: 1,
    }
}

/// `printf '{"test": 2432232314}' | openssl dgst -sha256 -hmac "$SECRET"`
const HEX: &str = "80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c";

#[test]
fn every_verifier_accepts_a_right_signature() {
    let mut request = signed(r#"{"test": 2432232314}"#);
    request.headers[3].1 = format!("sha256={HEX}");
    assert_signed(SECRET, std::slice::from_ref(&request));
    assert_eq!(count_valid(SECRET, &[request]), 1);
}

#[test]
fn every_verifier_refuses_a_changed_body() {
    let mut request = signed(r#"{"test": 2432232314}"#);
    request.headers[3].1 = format!("sha256={HEX}");
    request.body[2] = b'T';
    let requests = [request];
    assert!(with_python(SECRET, &requests)[0].is_err());
    assert!(with_node(SECRET, &requests).is_none_or(|verdicts| verdicts[0].is_err()));
    assert!(with_standard_webhooks(SECRET, &requests)[0].is_err());
    assert_eq!(count_valid(SECRET, &requests), 0);
}
