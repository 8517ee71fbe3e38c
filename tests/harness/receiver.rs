//! A receiver of webhooks that records every request.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::http::IncomingRequest;
use crate::http_server::{Handler, HttpServer};
use crate::reply::{Reply, by_path};
use crate::request::Request;
use crate::tls::Certificate;

/// An HTTP/1.1 server in this process that records every request. Dropping it closes its address
/// and its connections.
pub struct Receiver {
    server: HttpServer,
    log: Arc<Log>,
    scheme: &'static str,
}

/// The requests received so far, shared with the event loop.
#[derive(Default)]
struct Log {
    requests: Mutex<Vec<Request>>,
    /// Notified at each request.
    arrived: Condvar,
}

struct Recorder<F> {
    log: Arc<Log>,
    attempts: Mutex<HashMap<Option<Uuid>, usize>>,
    answer: F,
}

impl Receiver {
    /// Receives on a free port of 127.0.0.1. The closure returns the reply to each request; it must
    /// not block (see [`Reply::after`]).
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Receiver {
        Receiver::start_at((Ipv4Addr::LOCALHOST, 0).into(), answer)
    }

    /// Replies as the path of the request says (see [`by_path`]).
    pub fn by_path() -> Receiver {
        Receiver::start(|request| by_path(&request.path, request.attempt))
    }

    /// Receives at a given address, for a receiver that was down and returns.
    pub fn start_at(address: SocketAddr, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Receiver {
        Receiver::serve(address, None, answer)
    }

    /// Receives with TLS and this certificate.
    pub fn start_tls(
        certificate: &Certificate,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        Receiver::serve((Ipv4Addr::LOCALHOST, 0).into(), Some(certificate), answer)
    }

    fn serve(
        address: SocketAddr,
        certificate: Option<&Certificate>,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        let log = Arc::new(Log::default());
        let recorder = Recorder { log: Arc::clone(&log), attempts: Mutex::default(), answer };
        let server = HttpServer::start(address, 1, certificate.map(Certificate::acceptor), Arc::new(recorder))
            .unwrap_or_else(|e| panic!("could not listen on {address}: {e}"));
        let scheme = if certificate.is_some() { "https" } else { "http" };
        Receiver { server, log, scheme }
    }

    /// `http://127.0.0.1:port` with this path.
    pub fn url(&self, path: &str) -> String {
        self.url_for_host(&self.address().ip().to_string(), path)
    }

    /// The same with another host, which must resolve to 127.0.0.1, such as `localhost` for a
    /// certificate with that name.
    pub fn url_for_host(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.address().port())
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().clone()
    }

    /// The requests so far with this path.
    pub fn requests_to(&self, path: &str) -> Vec<Request> {
        self.log.lock().iter().filter(|request| request.path == path).cloned().collect()
    }

    /// The number of requests so far.
    pub fn count(&self) -> usize {
        self.log.lock().len()
    }

    /// The ids of the deliveries that were received.
    pub fn distinct_ids(&self) -> HashSet<Uuid> {
        distinct_ids(&self.log.lock())
    }

    /// Waits until at least `count` requests were received, and returns all requests.
    ///
    /// # Panics
    /// If the deadline passes first.
    #[track_caller]
    pub fn wait_for(&self, count: usize, deadline: Duration) -> Vec<Request> {
        self.wait(&format!("{count} requests"), deadline, |requests| requests.len() >= count)
    }

    /// Waits until `count` different deliveries were received, and returns all requests.
    ///
    /// # Panics
    /// If the deadline passes first.
    #[track_caller]
    pub fn wait_for_distinct(&self, count: usize, deadline: Duration) -> Vec<Request> {
        let enough = |requests: &[Request]| requests.len() >= count && distinct_ids(requests).len() >= count;
        self.wait(&format!("{count} deliveries"), deadline, enough)
    }

    #[track_caller]
    fn wait(&self, what: &str, deadline: Duration, enough: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let end = Instant::now() + deadline;
        let mut requests = self.log.lock();
        while !enough(&requests) {
            let remaining = end.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                panic!("waited {deadline:?} for {what}, and there were {}", summary(&requests));
            }
            requests = self.log.arrived.wait_timeout(requests, remaining).expect("the log's lock").0;
        }
        requests.clone()
    }

    /// Deletes the recorded requests. The count of attempts continues.
    pub fn clear(&self) {
        self.log.lock().clear();
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().expect("no thread panics while it holds the log")
    }
}

impl<F: Fn(&Request) -> Reply + Send + Sync + 'static> Handler for Recorder<F> {
    fn handle(&self, incoming: &IncomingRequest<'_>) -> Reply {
        let as_text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut request = Request {
            method: incoming.method.to_owned(),
            path: incoming.path.to_owned(),
            headers: incoming.headers.iter().map(|h| (h.name.to_owned(), as_text(h.value))).collect(),
            body: incoming.body.to_vec(),
            arrived_at: incoming.arrived_at,
            connection: incoming.connection,
            attempt: 0,
        };
        request.attempt = {
            let mut attempts = self.attempts.lock().expect("no thread panics while it counts");
            let seen = attempts.entry(request.webhook_id()).or_insert(0);
            *seen += 1;
            *seen
        };
        // Recorded before the reply, so that a test finds the request once the sender has the
        // reply.
        self.log.lock().push(request.clone());
        self.log.arrived.notify_all();
        (self.answer)(&request)
    }
}

fn distinct_ids(requests: &[Request]) -> HashSet<Uuid> {
    requests.iter().filter_map(Request::webhook_id).collect()
}

fn summary(requests: &[Request]) -> String {
    let mut lines = vec![requests.len().to_string()];
    for request in requests.iter().rev().take(10) {
        lines.push(format!("{} {} {}", request.method, request.path, request.header("webhook-id").unwrap_or("-")));
    }
    lines.join("\n  ")
}

#[cfg(test)]
#[path = "receiver_tests.rs"]
mod tests;
