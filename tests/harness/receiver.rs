//! A receiver of webhooks that records every request.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::http::Incoming;
use crate::reply::{Reply, by_path};
use crate::request::Request;
use crate::serve::{Handler, Serving};
use crate::tls::Certificate;

/// An HTTP/1.1 server in this process that remembers every request. Dropping it closes its address and its connections.
pub struct Receiver {
    serving: Serving,
    log: Arc<Log>,
    scheme: &'static str,
}

/// The requests so far, shared with the event loop.
#[derive(Default)]
struct Log {
    requests: Mutex<Vec<Request>>,
    /// Told at each request.
    arrived: Condvar,
}

struct Recorder<F> {
    log: Arc<Log>,
    attempts: Mutex<HashMap<Option<Uuid>, usize>>,
    answer: F,
}

impl Receiver {
    /// Receives on a free port of 127.0.0.1 and answers as the closure says. The closure must not block: see [`Reply::after`].
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Receiver {
        Receiver::start_at((Ipv4Addr::LOCALHOST, 0).into(), answer)
    }

    /// Answers as the request's path says: see [`by_path`].
    pub fn by_path() -> Receiver {
        Receiver::start(|request| by_path(&request.path, request.attempt))
    }

    /// Receives at a given address, for one that was down and comes back.
    pub fn start_at(address: SocketAddr, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Receiver {
        Receiver::serve(address, None, answer)
    }

    /// Receives with TLS, showing this certificate.
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
        let serving = Serving::start(address, 1, certificate.map(Certificate::acceptor), Arc::new(recorder))
            .unwrap_or_else(|e| panic!("could not listen on {address}: {e}"));
        let scheme = if certificate.is_some() { "https" } else { "http" };
        Receiver { serving, log, scheme }
    }

    /// `http://127.0.0.1:port` with this path.
    pub fn url(&self, path: &str) -> String {
        self.url_for_host(&self.address().ip().to_string(), path)
    }

    /// The same under another name, which must resolve to 127.0.0.1: `localhost` for a certificate with that name.
    pub fn url_for_host(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.address().port())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address()
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().clone()
    }

    /// Requests so far whose path is this one.
    pub fn requests_to(&self, path: &str) -> Vec<Request> {
        self.log.lock().iter().filter(|request| request.path == path).cloned().collect()
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        self.log.lock().len()
    }

    /// The deliveries that reached it.
    pub fn distinct_ids(&self) -> HashSet<Uuid> {
        distinct_ids(&self.log.lock())
    }

    /// Waits until there were at least so many requests, and gives them all.
    ///
    /// # Panics
    /// When the deadline passes first.
    #[track_caller]
    pub fn wait_for(&self, count: usize, deadline: Duration) -> Vec<Request> {
        self.wait(&format!("{count} requests"), deadline, |requests| requests.len() >= count)
    }

    /// Waits until so many different deliveries were seen, and gives all requests.
    ///
    /// # Panics
    /// When the deadline passes first.
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
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                panic!("waited {deadline:?} for {what}, and there were {}", summary(&requests));
            }
            requests = self.log.arrived.wait_timeout(requests, left).expect("the log's lock").0;
        }
        requests.clone()
    }

    /// Forgets the requests so far. The attempts' count goes on.
    pub fn clear(&self) {
        self.log.lock().clear();
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().expect("nobody panics while holding the log")
    }
}

impl<F: Fn(&Request) -> Reply + Send + Sync + 'static> Handler for Recorder<F> {
    fn handle(&self, incoming: &Incoming<'_>) -> Reply {
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
            let mut attempts = self.attempts.lock().expect("nobody panics while counting");
            let seen = attempts.entry(request.webhook_id()).or_insert(0);
            *seen += 1;
            *seen
        };
        // Recorded before it is answered: once the sender has its answer, the test finds the request.
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
