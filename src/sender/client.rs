//! The HTTP client: sends one request within bounds of time and size.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ureq::config::{AutoHeaderValue, Config};
use ureq::http::{Response, Uri};
use ureq::unversioned::transport::Connector;
use ureq::{Agent, Body, Error};

use crate::address_guard::AddressGuard;
use crate::body::body;
use crate::dial::Dial;
use crate::proxy::{Proxy, ProxyConfig};
use crate::request::headers;
use crate::resolver::GuardedResolver;
use crate::retry::retry_after;
use crate::timing::{Timing, followed};
use crate::tls::{TlsFiles, TlsTransport, configuration};
use crate::{Attempt, Failure, InvalidUrl, Job, StartError};

/// Maximum number of bytes of a response that are read, so that the connection can be used again; a
/// longer response closes it.
const MAX_BODY: u64 = 64 * 1024;

/// Maximum number of bytes of a failed response in its excerpt.
const MAX_EXCERPT: usize = 1024;

/// Maximum number of bytes of a response's header; a larger one is an error.
const MAX_HEADER: usize = 16 * 1024;

/// Must be larger than the largest header, or ureq mistakes a full buffer for the connection's end.
const INPUT_BUFFER: usize = 2 * MAX_HEADER;

/// Size of the pieces in which a request is copied to its connection.
const OUTPUT_BUFFER: usize = 16 * 1024;

/// Maximum idle time after which a connection is used again. Servers usually close idle connections
/// after 60 s or more.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// Sends requests. All threads share it and its open connections.
pub struct Client {
    agent: Agent,
    guard: Arc<AddressGuard>,
}

/// How connections are made: what the operator configures.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// The files of TLS.
    pub tls: TlsFiles,
    /// The proxy of all requests.
    pub proxy: Option<ProxyConfig>,
}

impl Client {
    /// `threads`: how many requests may be in flight at once, and so how many connections to one
    /// host are kept.
    pub fn new(threads: usize, connections: &Connections, guard: Arc<AddressGuard>) -> Result<Self, StartError> {
        let resolver = GuardedResolver::new(Arc::clone(&guard), threads);
        Self::with_resolver(threads, connections, guard, resolver)
    }

    pub fn with_resolver(
        threads: usize,
        connections: &Connections,
        guard: Arc<AddressGuard>,
        resolver: GuardedResolver,
    ) -> Result<Self, StartError> {
        let config = Config::builder()
            // A variable of the server's environment must not redirect customers' data.
            .proxy(None)
            // Redirects are not followed: with 0, a 3xx is returned as the response.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(AutoHeaderValue::None)
            // No compressed response is requested, and none is decompressed.
            .accept_encoding(AutoHeaderValue::None)
            .max_response_header_size(MAX_HEADER)
            .max_idle_connections(threads * 2)
            .max_idle_connections_per_host(threads)
            .max_idle_age(MAX_IDLE)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .tls_config(configuration(&connections.tls)?)
            .build();
        let proxy = connections.proxy.as_ref().map(|config| Proxy::new(config, threads)).transpose()?;
        let connector = Dial::new(Arc::clone(&guard), proxy).chain(TlsTransport::new(config.clone()));
        Ok(Self { agent: Agent::with_parts(config, connector, resolver), guard })
    }

    /// Makes the attempt. Every failure is in the result. It takes at most the job's time limit and
    /// bounded memory.
    pub fn attempt(&self, mut job: Job) -> Attempt {
        let (started_at, clock) = (SystemTime::now(), Instant::now());
        let body = body(&job);
        // The data must not be in memory twice while the request is in flight.
        job.data = String::new();
        let (response, timing) = self.send(&job, &body, started_at, clock);
        let Answer { result, excerpt, retry_after } = match response {
            Ok(response) => read(response),
            Err(failure) => Answer { result: Err(failure), excerpt: None, retry_after: None },
        };
        let Job { key, event_type, destination, .. } = job;
        let duration = clock.elapsed();
        Attempt {
            key,
            event_type,
            started_at,
            duration,
            timing,
            result,
            response_excerpt: excerpt,
            retry_after,
            destination,
        }
    }

    /// Checks the URL again: the rules may have changed since it was written.
    fn uri(&self, url: &str) -> Result<Uri, Failure> {
        let url = self.guard.normal_url(url).map_err(Failure::of_url)?;
        url.parse().map_err(|_| Failure::of_url(InvalidUrl::Uncallable))
    }

    /// Sends the request. Returns the response after its header, or why there is none, and the
    /// timing.
    fn send(
        &self,
        job: &Job,
        body: &[u8],
        now: SystemTime,
        clock: Instant,
    ) -> (Result<Response<Body>, Failure>, Timing) {
        let uri = match self.uri(&job.destination.url) {
            Ok(uri) => uri,
            Err(failure) => return (Err(failure), Timing::default()),
        };
        let headers = headers(job, body, now);
        let post = |max_idle| {
            let empty = self.agent.post(&uri);
            let request = headers
                .iter()
                .fold(empty, |request, (name, value)| request.header(name, value))
                .config()
                .max_idle_age(max_idle)
                .timeout_global(Some(job.timeout.saturating_sub(clock.elapsed())))
                .build();
            let (answer, timing) = followed(|| request.send(body));
            let first_byte = answer.is_ok().then(|| clock.elapsed());
            (answer, Timing { first_byte, ..timing })
        };
        let (answer, timing) = match post(MAX_IDLE) {
            // The server closed the open connection just when we used it, so the delivery has not
            // failed. Try once more within the remaining time, on a new connection (no open
            // connection is young enough).
            (Err(problem), timing) if timing.connect.is_none() && is_hang_up(&problem) => post(Duration::ZERO),
            first => first,
        };
        let failure = |problem| Failure::of_request(problem, uri.host().unwrap_or_default(), job.timeout);
        (answer.map_err(failure), timing)
    }
}

/// Whether the server ended the connection before there was a response.
fn is_hang_up(problem: &Error) -> bool {
    use ErrorKind::*;
    matches!(problem, Error::Io(problem) if matches!(
        problem.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof | NotConnected
    ))
}

/// The parts of a response that the attempt records.
struct Answer {
    result: Result<u16, Failure>,
    excerpt: Option<String>,
    retry_after: Option<Duration>,
}

/// The status decides the result. The body is read only to free the connection, and for the excerpt
/// of a failure; an error while reading it changes nothing.
fn read(mut response: Response<Body>) -> Answer {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let location = header("location").map(str::to_owned);
    let retry_after = header("retry-after").and_then(|text| retry_after(text, SystemTime::now()));
    let mut beginning = Vec::new();
    let mut reader = response.body_mut().as_reader();
    // After an error here only the connection is lost.
    _ = reader.by_ref().take(MAX_EXCERPT as u64).read_to_end(&mut beginning);
    _ = std::io::copy(&mut reader.take(MAX_BODY - MAX_EXCERPT as u64), &mut std::io::sink());
    let failure = match status {
        200..=299 => return Answer { result: Ok(status), excerpt: None, retry_after: None },
        300..=399 => Failure::Redirect { status, location },
        _ => Failure::Status(status),
    };
    Answer { result: Err(failure), excerpt: excerpt(&beginning), retry_after }
}

/// The excerpt of a response, as text that a database accepts.
fn excerpt(bytes: &[u8]) -> Option<String> {
    let mut text: String = String::from_utf8_lossy(bytes).chars().filter(|c| *c != '\0').collect();
    while text.len() > MAX_EXCERPT {
        text.pop();
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
