//! How is one request sent, within which bounds of time and size, and what came of it?

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::body::body;
use crate::signature::{body_signature, standard_signature};
use crate::{Attempt, Failure, Job};

const USER_AGENT: &str = "AuctionExcellence-Webhook/1.0";

/// So much of a response is read, in order that the connection can be used again; with more to come it is closed.
const MAX_BODY: u64 = 64 * 1024;

/// So much of a failed response is kept.
const MAX_EXCERPT: usize = 1024;

/// More header than this and the response is refused.
const MAX_HEADER: usize = 64 * 1024;

/// A redirect's target longer than this is not worth showing.
const MAX_LOCATION: usize = 200;

/// An idle connection is used again for so long. Servers close theirs after 60 s or more as a rule.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// Why the pool could not start.
#[derive(Debug)]
pub enum StartError {
    /// The file with further certificate authorities cannot be read.
    UnreadableCaFile { path: PathBuf, problem: std::io::Error },
    /// It can, but holds no certificate in PEM form, or a broken one.
    NoCertificateIn { path: PathBuf },
    /// The system gives no thread or socket.
    Resources(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnreadableCaFile { path, problem } => write!(f, "could not read {}: {problem}", path.display()),
            Self::NoCertificateIn { path } => {
                write!(f, "{} contains no PEM certificate, or a broken one", path.display())
            }
            Self::Resources(problem) => write!(f, "no thread or socket: {problem}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Sends requests; shared by all threads, and with it the open connections.
pub struct Client(ureq::Agent);

impl Client {
    /// `threads` is how many requests may be under way at once, and so how many connections to one host are kept.
    pub fn new(threads: usize, ca_file: Option<&Path>) -> Result<Self, StartError> {
        let config = ureq::Agent::config_builder()
            // A variable of the server's environment must not lead customers' data elsewhere.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(USER_AGENT)
            .accept("*/*")
            // Nothing is asked for in compressed form, and nothing is inflated.
            .accept_encoding("identity")
            .max_response_header_size(MAX_HEADER)
            .max_idle_connections(threads * 2)
            .max_idle_connections_per_host(threads)
            .max_idle_age(MAX_IDLE)
            .input_buffer_size(8 * 1024)
            .output_buffer_size(8 * 1024)
            .tls_config(TlsConfig::builder().root_certs(trusted(ca_file)?).build())
            .build();
        Ok(Self(config.new_agent()))
    }

    /// Makes the attempt. Whatever happens is in the result; it takes at most the job's time and bounded memory.
    pub fn attempt(&self, job: Job) -> Attempt {
        let (started_at, clock) = (SystemTime::now(), Instant::now());
        let (result, response_excerpt) = self.send(&job, started_at);
        Attempt {
            key: job.key,
            event_type: job.event_type,
            started_at,
            duration: clock.elapsed(),
            result,
            response_excerpt,
        }
    }

    fn send(&self, job: &Job, now: SystemTime) -> (Result<u16, Failure>, Option<String>) {
        let id = job.key.delivery_id.to_string();
        let timestamp = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let body = body(job);
        let request = self
            .0
            .post(&job.url)
            .header("Content-Type", "application/json")
            .header("X-Webhook-Signature", body_signature(&job.secret, &body))
            .header("X-Webhook-ID", &id)
            .header("X-Webhook-Timestamp", &timestamp)
            .header("X-Webhook-Event", &job.event_type)
            .header("webhook-id", &id)
            .header("webhook-timestamp", &timestamp)
            .header("webhook-signature", standard_signature(&job.secret, &id, &timestamp, &body))
            .config()
            .timeout_global(Some(job.timeout))
            .build();
        match request.send(&body[..]) {
            Ok(response) => read(response),
            Err(problem) => (Err(Failure::of_request(problem, host(&job.url), job.timeout)), None),
        }
    }
}

/// The status decides; the body is read only to free the connection, and for the excerpt of a failure. What goes wrong
/// while reading it changes nothing: the customer has answered.
fn read(mut response: ureq::http::Response<ureq::Body>) -> (Result<u16, Failure>, Option<String>) {
    let status = response.status().as_u16();
    let location = response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut beginning = Vec::new();
    let mut reader = response.body_mut().as_reader();
    // An error here has cost the connection, nothing else.
    _ = reader.by_ref().take(MAX_EXCERPT as u64).read_to_end(&mut beginning);
    _ = std::io::copy(&mut reader.take(MAX_BODY - MAX_EXCERPT as u64), &mut std::io::sink());
    let failure = match status {
        200..=299 => return (Ok(status), None),
        300..=399 => Failure::Redirect { status, location: location.filter(|to| to.len() <= MAX_LOCATION) },
        _ => Failure::Status(status),
    };
    (Err(failure), excerpt(&beginning))
}

/// What of the response a customer may read again, as text that a database takes.
fn excerpt(bytes: &[u8]) -> Option<String> {
    let mut text: String = String::from_utf8_lossy(bytes).chars().filter(|c| *c != '\0').collect();
    while text.len() > MAX_EXCERPT {
        text.pop();
    }
    (!text.is_empty()).then_some(text)
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Mozilla's certificate authorities, and those of the file.
fn trusted(ca_file: Option<&Path>) -> Result<RootCerts, StartError> {
    let mut certificates: Vec<Certificate<'static>> =
        webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|root| Certificate::from_der(root.as_ref())).collect();
    if let Some(path) = ca_file {
        let path = path.to_owned();
        let pem = match std::fs::read(&path) {
            Ok(pem) => pem,
            Err(problem) => return Err(StartError::UnreadableCaFile { path, problem }),
        };
        let before = certificates.len();
        for item in parse_pem(&pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                Ok(_) => {}
                Err(_) => return Err(StartError::NoCertificateIn { path }),
            }
        }
        if certificates.len() == before {
            return Err(StartError::NoCertificateIn { path });
        }
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_valid_text_without_nul() {
        assert_eq!(excerpt(b"a\0b\xff"), Some("ab\u{fffd}".into()));
        assert!(excerpt(&[0xff; MAX_EXCERPT]).unwrap().len() <= MAX_EXCERPT);
        assert_eq!(excerpt(b""), None);
    }

    #[test]
    fn the_host_is_what_the_customer_wrote() {
        assert_eq!(host("https://example.com:8443/a?b"), "example.com:8443");
        assert_eq!(host("https://example.com"), "example.com");
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(matches!(Client::new(1, Some(Path::new("/dev/null"))), Err(StartError::NoCertificateIn { .. })));
        assert!(matches!(Client::new(1, Some(Path::new("/nowhere"))), Err(StartError::UnreadableCaFile { .. })));
    }
}
