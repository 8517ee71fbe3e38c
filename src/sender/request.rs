//! Request: the headers that an attempt sends.

use std::time::SystemTime;

use crate::Job;
use crate::signature::{body_signature, ed25519_signatures, standard_signatures};

const USER_AGENT: &str = "AuctionExcellence-Webhook/1.0";

/// The headers of an attempt that is made at this moment: first the customer's, then ours.
pub fn headers(job: &Job, body: &[u8], at: SystemTime) -> Vec<(String, String)> {
    let destination = &*job.destination;
    let id = job.key.delivery_id.to_string();
    let timestamp = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
    let newest = destination.secrets.first().map(String::as_str).unwrap_or_default();
    let standard = match &*destination.signing_keys {
        [] => standard_signatures(&destination.secrets, &id, &timestamp, body),
        keys => ed25519_signatures(keys, &id, &timestamp, body),
    };
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;
    use crate::SigningKey;
    use crate::testing::job;

    const BODY: &[u8] = b"{}";

    /// `webhook-signature` and `X-Webhook-Signature` of a request.
    fn signatures(keys: &[SigningKey]) -> (String, String) {
        let mut job = job("http://localhost/");
        Arc::make_mut(&mut job.destination).signing_keys = keys.to_vec();
        let headers = headers(&job, BODY, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let value = |name| headers.iter().find(|header| header.0 == name).unwrap().1.clone();
        (value("webhook-signature"), value("X-Webhook-Signature"))
    }

    /// Verifies as a receiver does, from the published public key.
    fn verifies(key: &SigningKey, signature: &str) -> bool {
        let decode = |text: &str, prefix| STANDARD.decode(text.strip_prefix(prefix).unwrap()).unwrap();
        let signed = [b"00000000-0000-0000-0000-000000000001.1700000000.", BODY].concat();
        let public_key = UnparsedPublicKey::new(&ED25519, decode(&key.public_key(), "whpk_"));
        public_key.verify(&signed, &decode(signature, "v1a,")).is_ok()
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    #[test]
    fn signing_key_replaces_the_hmac_signature() {
        let (standard, _) = signatures(&[key(1)]);
        assert!(verifies(&key(1), &standard));
        assert!(!verifies(&key(2), &standard));
    }

    #[test]
    fn request_has_the_signature_of_each_signing_key() {
        let (standard, _) = signatures(&[key(2), key(1)]);
        let (newest, former) = standard.split_once(' ').unwrap();
        assert!(verifies(&key(2), newest));
        assert!(verifies(&key(1), former));
    }

    #[test]
    fn body_signature_is_the_same_with_a_signing_key() {
        let (standard, of_body) = signatures(&[]);
        assert!(standard.starts_with("v1,"));
        assert_eq!(signatures(&[key(1)]).1, of_body);
    }
}
