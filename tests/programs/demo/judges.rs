//! The independent verifiers of signatures that this machine has.

use std::process::{Command, Stdio};

use webhook_harness::Request;
use webhook_harness::verify::{Verdicts, with_node, with_python, with_standard_webhooks};

/// Python's `hmac` and Node's `crypto` where they are installed, and the Standard Webhooks library. None of it is our own code.
pub struct Judges {
    has_python: bool,
    has_node: bool,
}

impl Judges {
    /// Looks who is there.
    ///
    /// # Panics
    /// When there is neither Python nor Node: the library alone does not judge `X-Webhook-Signature`.
    pub fn present() -> Self {
        let judges = Self { has_python: runs("python3"), has_node: runs("node") };
        assert!(
            judges.has_python || judges.has_node,
            "signatures are verified with python3 or node: install one of them"
        );
        judges
    }

    /// Their names, for a sentence.
    pub fn names(&self) -> String {
        let own = [(self.has_python, "Python's hmac"), (self.has_node, "Node's crypto")];
        let own: Vec<&str> = own.into_iter().filter(|(present, _)| *present).map(|(_, name)| name).collect();
        format!("{} and the Standard Webhooks library", own.join(", "))
    }

    /// For each request, what the first judge who refuses it says.
    pub fn verdicts(&self, secret: &str, requests: &[Request]) -> Verdicts {
        let mut panel = vec![("Standard Webhooks", with_standard_webhooks(secret, requests))];
        if self.has_python {
            panel.push(("Python", with_python(secret, requests)));
        }
        if self.has_node {
            panel.extend(with_node(secret, requests).map(|verdicts| ("Node", verdicts)));
        }
        let verdict = |index: usize| {
            let refusal = |(name, verdicts): &(&str, Verdicts)| {
                verdicts[index].as_ref().err().map(|fault| format!("{name}: {fault}"))
            };
            panel.iter().find_map(refusal).map_or(Ok(()), Err)
        };
        (0..requests.len()).map(verdict).collect()
    }
}

fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
