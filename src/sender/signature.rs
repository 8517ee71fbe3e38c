//! Signatures: how requests are signed.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{Ed25519KeyPair, KeyPair};
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
    format!("v1,{}", STANDARD.encode(hmac_sha256(key, &signed_parts(id, timestamp, body))))
}

/// `webhook-signature` under each of the secrets, separated by spaces: while a secret is being
/// changed the receiver may verify with either.
pub fn standard_signatures(secrets: &[String], id: &str, timestamp: &str, body: &[u8]) -> String {
    let signatures = secrets.iter().map(|secret| standard_signature(secret, id, timestamp, body));
    signatures.collect::<Vec<_>>().join(" ")
}

/// The asymmetric `webhook-signature` of Standard Webhooks under each of the keys, separated by
/// spaces: `v1a,` and the base64 Ed25519 signature of `id.timestamp.body`.
pub fn ed25519_signatures(keys: &[SigningKey], id: &str, timestamp: &str, body: &[u8]) -> String {
    let signed = signed_parts(id, timestamp, body).concat();
    let signatures = keys.iter().map(|key| format!("v1a,{}", STANDARD.encode(key.sign(&signed))));
    signatures.collect::<Vec<_>>().join(" ")
}

/// What both signatures of Standard Webhooks sign: `id.timestamp.body`.
fn signed_parts<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// A key pair of the asymmetric `webhook-signature`. Clones share one key pair.
#[derive(Clone)]
pub struct SigningKey(Arc<Ed25519KeyPair>);

impl SigningKey {
    /// The key pair that belongs to a seed, the private key of RFC 8032; `None` unless the seed has
    /// 32 bytes.
    pub fn from_seed(seed: &[u8]) -> Option<Self> {
        // "Unchecked" means that there is no public key to compare: it is computed from the seed.
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(|pair| Self(Arc::new(pair)))
    }

    /// The key pair of a private key in the form of Standard Webhooks: `whsk_` and the base64 of the
    /// seed.
    pub fn from_secret(secret: &str) -> Option<Self> {
        Self::from_seed(&STANDARD.decode(secret.strip_prefix("whsk_")?).ok()?)
    }

    /// The public key as receivers need it: `whpk_` and the base64 of its 32 bytes.
    pub fn public_key(&self) -> String {
        format!("whpk_{}", STANDARD.encode(self.0.public_key()))
    }

    fn sign(&self, message: &[u8]) -> impl AsRef<[u8]> + use<> {
        self.0.sign(message)
    }
}

impl fmt::Debug for SigningKey {
    /// Omits the key, which would otherwise get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2: private key, public key, and signature of the byte 0x72.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const PUBLIC_KEY: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    #[test]
    fn signing_key_is_that_of_rfc_8032_test_2() {
        let key = SigningKey::from_seed(&hex::decode(SEED).unwrap()).unwrap();
        assert_eq!(key.public_key(), format!("whpk_{}", STANDARD.encode(hex::decode(PUBLIC_KEY).unwrap())));
        assert_eq!(hex::encode(key.sign(&[0x72])), SIGNATURE);
    }

    #[test]
    fn seed_of_another_length_is_refused() {
        assert!([0, 31, 33, 64].iter().all(|&length| SigningKey::from_seed(&vec![1; length]).is_none()));
    }

    #[test]
    fn debug_output_omits_the_signing_key() {
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey { .. }");
    }

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
