//! The independent verifiers of signatures that are installed on this machine.

use std::process::{Command, Stdio};

use webhook_harness::Request;
use webhook_harness::verify::{Verdicts, with_node, with_python, with_standard_webhooks};

/// Python's `hmac` and Node's `crypto` if they are installed, and the Standard Webhooks library.
/// None of them is our own code.
pub struct Verifiers {
    has_python: bool,
    has_node: bool,
}

impl Verifiers {
    /// Finds the installed verifiers.
    ///
    /// # Panics
    /// If neither Python nor Node is installed. The library does not verify `X-Webhook-Signature`.
    pub fn installed() -> Self {
        let verifiers = Self { has_python: runs("python3"), has_node: runs("node") };
        assert!(
            verifiers.has_python || verifiers.has_node,
            "signatures are verified with python3 or node: install one of them"
        );
        verifiers
    }

    /// The names of the verifiers, as part of a sentence.
    pub fn names(&self) -> String {
        let own = [(self.has_python, "Python's hmac"), (self.has_node, "Node's crypto")];
        let own: Vec<&str> = own.into_iter().filter(|(present, _)| *present).map(|(_, name)| name).collect();
        format!("{} and the Standard Webhooks library", own.join(", "))
    }

    /// For each request the error of the first verifier that refuses it.
    pub fn verdicts(&self, secret: &str, requests: &[Request]) -> Verdicts {
        let mut results = vec![("Standard Webhooks", with_standard_webhooks(secret, requests))];
        if self.has_python {
            results.push(("Python", with_python(secret, requests)));
        }
        if self.has_node {
            results.extend(with_node(secret, requests).map(|verdicts| ("Node", verdicts)));
        }
        let verdict = |index: usize| {
            let refusal = |(name, verdicts): &(&str, Verdicts)| {
                verdicts[index].as_ref().err().map(|error| format!("{name}: {error}"))
            };
            results.iter().find_map(refusal).map_or(Ok(()), Err)
        };
        (0..requests.len()).map(verdict).collect()
    }
}

fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
