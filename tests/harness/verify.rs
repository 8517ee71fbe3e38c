//! Verifies a request as its receiver does, with code that is not ours.
//!
//! Three judges: Python's `hmac`, Node's `crypto`, and the `standardwebhooks` library that receivers take from a registry.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use standardwebhooks::Webhook;

use crate::request::Request;

/// One verdict per request: what is wrong with it, or nothing.
pub type Verdicts = Vec<Result<(), String>>;

/// Both signatures of each request, checked with Python's standard library.
///
/// # Panics
/// When there is no `python3`.
pub fn with_python(secret: &str, requests: &[Request]) -> Verdicts {
    let judge = Command::new("python3").args(["-c", include_str!("verify.py")]).spawn_judge();
    judge.expect("python3 is needed to verify signatures").ask(secret, requests)
}

/// The same with Node's `crypto`, or nothing where there is no Node.
pub fn with_node(secret: &str, requests: &[Request]) -> Option<Verdicts> {
    let judge = Command::new("node").args(["-e", include_str!("verify.js")]).spawn_judge().ok()?;
    Some(judge.ask(secret, requests))
}

/// The Standard Webhooks signature, checked with the specification's library. It also refuses requests that were signed more than
/// five minutes ago.
pub fn with_standard_webhooks(secret: &str, requests: &[Request]) -> Verdicts {
    // The library decodes whatever it is given; a secret in a form of its own is used as it is.
    let judge = match secret.strip_prefix("whsec_") {
        Some(_) => Webhook::new(secret),
        None => Webhook::from_bytes(secret.as_bytes().to_vec()),
    };
    let judge = judge.expect("a secret that the library takes");
    let verdict = |request: &Request| judge.verify(&request.body, &header_map(request)).map_err(|e| e.to_string());
    requests.iter().map(verdict).collect()
}

/// All judges that there are on this machine: how many of the requests all of them found valid.
pub fn count_valid(secret: &str, requests: &[Request]) -> usize {
    let judges = [
        Some(with_python(secret, requests)),
        with_node(secret, requests),
        Some(with_standard_webhooks(secret, requests)),
    ];
    let valid_for_all = |index: &usize| judges.iter().flatten().all(|verdicts| verdicts[*index].is_ok());
    (0..requests.len()).filter(valid_for_all).count()
}

/// Asserts that every request is signed correctly in the judgement of each.
#[track_caller]
pub fn assert_signed(secret: &str, requests: &[Request]) {
    let judges = [
        ("Python", Some(with_python(secret, requests))),
        ("Node", with_node(secret, requests)),
        ("standardwebhooks", Some(with_standard_webhooks(secret, requests))),
    ];
    for (name, verdicts) in judges {
        for (request, verdict) in requests.iter().zip(verdicts.into_iter().flatten()) {
            if let Err(fault) = verdict {
                panic!("{name} refuses the signature: {fault}\n{request:?}");
            }
        }
    }
}

struct Judge(std::process::Child);

trait SpawnJudge {
    fn spawn_judge(&mut self) -> std::io::Result<Judge>;
}

impl SpawnJudge for Command {
    fn spawn_judge(&mut self) -> std::io::Result<Judge> {
        self.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map(Judge)
    }
}

impl Judge {
    fn ask(mut self, secret: &str, requests: &[Request]) -> Verdicts {
        let case = |request: &Request| json!({ "headers": request.headers, "body": STANDARD.encode(&request.body) });
        let cases: Vec<_> = requests.iter().map(case).collect();
        let question = json!({ "secret": secret, "requests": cases }).to_string();
        let mut input = self.0.stdin.take().expect("a pipe");
        // Both judges read everything before they answer, so writing cannot wait for reading.
        input.write_all(question.as_bytes()).expect("the judge reads");
        drop(input);
        let output = self.0.wait_with_output().expect("the judge ends");
        let faults: Vec<Option<String>> =
            serde_json::from_slice(&output.stdout).expect("the judge answers with a list of faults");
        assert_eq!(faults.len(), requests.len(), "one verdict per request");
        faults.into_iter().map(|fault| fault.map_or(Ok(()), Err)).collect()
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
