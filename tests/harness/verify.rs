//! Verification of signatures as a receiver does it, with code that is not ours.
//!
//! There are three verifiers: Python's `hmac`, Node's `crypto`, and the library `standardwebhooks`,
//! which receivers install from a registry. Asymmetric signatures are verified by Node's `crypto`.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use standardwebhooks::Webhook;

use crate::request::Request;

/// One result per request: the error if the signature is invalid.
pub type Verdicts = Vec<Result<(), String>>;

/// Verifies both signatures of each request with Python's standard library.
///
/// # Panics
/// If `python3` is not installed.
pub fn with_python(secret: &str, requests: &[Request]) -> Verdicts {
    let verifier = Command::new("python3").args(["-c", include_str!("verify.py")]).spawn_verifier();
    verifier.expect("python3 is needed to verify signatures").ask(secret, requests)
}

/// The same with Node's `crypto`. `None` if Node is not installed.
pub fn with_node(secret: &str, requests: &[Request]) -> Option<Verdicts> {
    let verifier = Command::new("node").args(["-e", include_str!("verify.js")]).spawn_verifier().ok()?;
    Some(verifier.ask(secret, requests))
}

/// Verifies the Standard Webhooks signature with the specification's library, which also refuses
/// requests that were signed more than five minutes ago.
pub fn with_standard_webhooks(secret: &str, requests: &[Request]) -> Verdicts {
    // `Webhook::new` decodes every secret from base64. A secret without the prefix is used as it
    // is.
    let verifier = match secret.strip_prefix("whsec_") {
        Some(_) => Webhook::new(secret),
        None => Webhook::from_bytes(secret.as_bytes().to_vec()),
    };
    let verifier = verifier.expect("a secret that the library accepts");
    let verdict = |request: &Request| verifier.verify(&request.body, &header_map(request)).map_err(|e| e.to_string());
    requests.iter().map(verdict).collect()
}

/// Verifies the asymmetric signature (`v1a`) of each request with Node's `crypto` and the endpoint's
/// public key.
///
/// # Panics
/// If Node is not installed.
pub fn with_public_key(public_key: &str, requests: &[Request]) -> Verdicts {
    let verifier = Command::new("node").args(["-e", include_str!("verify-ed25519.js")]).spawn_verifier();
    verifier.expect("node is needed to verify signatures").ask(public_key, requests)
}

/// Counts the requests whose signatures every installed verifier accepts.
pub fn count_valid(secret: &str, requests: &[Request]) -> usize {
    let verifiers = [
        Some(with_python(secret, requests)),
        with_node(secret, requests),
        Some(with_standard_webhooks(secret, requests)),
    ];
    let valid_for_all = |index: &usize| verifiers.iter().flatten().all(|verdicts| verdicts[*index].is_ok());
    (0..requests.len()).filter(valid_for_all).count()
}

/// Asserts that every verifier that is installed accepts the signatures of every request.
#[track_caller]
pub fn assert_signed(secret: &str, requests: &[Request]) {
    let verifiers = [
        ("Python", Some(with_python(secret, requests))),
        ("Node", with_node(secret, requests)),
        ("standardwebhooks", Some(with_standard_webhooks(secret, requests))),
    ];
    for (name, verdicts) in verifiers {
        for (request, verdict) in requests.iter().zip(verdicts.into_iter().flatten()) {
            if let Err(error) = verdict {
                panic!("{name} refuses the signature: {error}\n{request:?}");
            }
        }
    }
}

struct Verifier(std::process::Child);

trait SpawnVerifier {
    fn spawn_verifier(&mut self) -> std::io::Result<Verifier>;
}

impl SpawnVerifier for Command {
    fn spawn_verifier(&mut self) -> std::io::Result<Verifier> {
        self.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map(Verifier)
    }
}

impl Verifier {
    fn ask(mut self, secret: &str, requests: &[Request]) -> Verdicts {
        let case = |request: &Request| json!({ "headers": request.headers, "body": STANDARD.encode(&request.body) });
        let cases: Vec<_> = requests.iter().map(case).collect();
        let question = json!({ "secret": secret, "requests": cases }).to_string();
        let mut input = self.0.stdin.take().expect("a pipe");
        // Both verifiers read everything before they answer, so writing cannot wait for reading.
        input.write_all(question.as_bytes()).expect("the verifier reads");
        drop(input);
        let output = self.0.wait_with_output().expect("the verifier ends");
        let errors: Vec<Option<String>> =
            serde_json::from_slice(&output.stdout).expect("the verifier answers with a list of errors");
        assert_eq!(errors.len(), requests.len(), "one verdict per request");
        errors.into_iter().map(|error| error.map_or(Ok(()), Err)).collect()
    }
}

fn header_map(request: &Request) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name that came over the wire");
        map.append(name, HeaderValue::from_str(value).expect("a header value that came over the wire"));
    }
    map
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
