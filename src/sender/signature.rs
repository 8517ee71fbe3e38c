//! Signatures: how requests are signed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// `X-Webhook-Signature`: `sha256=` and the hex HMAC-SHA256 of the body under the secret's bytes.
pub fn body_signature(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hex::encode(hmac_sha256(secret.as_bytes(), &[body])))
}

/// `webhook-signature` of Standard Webhooks: `v1,` and the base64 HMAC-SHA256 of
/// `id.timestamp.body`. The timestamp limits how long a request can be replayed. The key is the
/// secret's bytes, or what a secret of the form `whsec_<base64>` encodes.
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
pub fn standard_signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let decoded = secret.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    let key = decoded.as_deref().unwrap_or(secret.as_bytes());
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    format!("v1,{}", STANDARD.encode(hmac_sha256(key, &signed)))
}

/// `webhook-signature` under each of the secrets, separated by spaces: while a secret is being
/// changed the receiver may verify with either.
pub fn standard_signatures(secrets: &[String], id: &str, timestamp: &str, body: &[u8]) -> String {
    let signatures = secrets.iter().map(|secret| standard_signature(secret, id, timestamp, body));
    signatures.collect::<Vec<_>>().join(" ")
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_signature_is_that_of_rfc_4231_test_case_2() {
        assert_eq!(
            body_signature("Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn standard_signature_is_that_of_the_published_example() {
        assert_eq!(
            standard_signature(
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "1614265330",
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn customers_own_secret_is_the_key_itself() {
        let key = STANDARD.encode("your-signing-secret");
        assert_eq!(
            standard_signature("your-signing-secret", "id", "1", b"{}"),
            standard_signature(&format!("whsec_{key}"), "id", "1", b"{}")
        );
    }
}
