//! Test helpers: a job, a receiver with configurable behaviour, and certificates for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use uuid::Uuid;

use crate::{DeliveryKey, Destination, Job, Rules};

/// Deadline of the tests: an expected event takes less than this time.
pub const SOON: Duration = Duration::from_secs(10);

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Rules that let requests reach the tests' own servers.
pub fn loopback() -> Rules {
    let (ports, networks) = ("1-65535".parse().unwrap(), "127.0.0.0/8, ::1".parse().unwrap());
    Rules { allow_http: true, ports, networks, ..Rules::default() }
}

pub fn job(url: &str) -> Job {
    Job {
        key: DeliveryKey {
            delivery_id: Uuid::from_u128(1),
            endpoint_id: Uuid::from_u128(2),
            auction_id: Uuid::from_u128(3),
            attempt: 1,
            earlier_attempts: 0,
            event_id: Uuid::from_u128(4),
            due_at: 0,
            row_id: None,
            is_test: false,
        },
        event_type: "submission.created".into(),
        occurred_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        data: "{\"z\" : 1, \"a\": \"\u{e9}\\u00e9\"}".into(),
        destination: Arc::new(Destination {
            url: url.into(),
            secrets: vec!["a secret nobody may see".into()],
            ..Destination::default()
        }),
        timeout: SOON,
    }
}

/// The same job for this endpoint.
pub fn job_of(endpoint: u128, url: &str) -> Job {
    let mut job = job(url);
    job.key.endpoint_id = Uuid::from_u128(endpoint);
    job
}

/// A request as it was on the wire.
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// What the receiver does with a connection after its response.
pub enum Then {
    Keep,
    Close,
}

/// A receiver on this machine. Ends with the process.
pub struct Server {
    pub address: SocketAddr,
    pub requests: Receiver<Request>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Answers each request as the function says; it gets the request's number, from 0.
    pub fn start(answer: impl Fn(usize, &mut dyn Write) -> Then + Send + Sync + 'static) -> Self {
        Self::serve(answer, |stream| Some(Box::new(stream)))
    }

    /// The same with TLS.
    pub fn start_tls(
        config: ServerConfig,
        answer: impl Fn(usize, &mut dyn Write) -> Then + Send + Sync + 'static,
    ) -> Self {
        let config = Arc::new(config);
        Self::serve(answer, move |stream| {
            Some(Box::new(StreamOwned::new(ServerConnection::new(config.clone()).ok()?, stream)))
        })
    }

    fn serve(
        answer: impl Fn(usize, &mut dyn Write) -> Then + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new((answer, wrap, AtomicUsize::new(0)));
        let counter = connections.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                let (sender, shared) = (sender.clone(), shared.clone());
                std::thread::spawn(move || {
                    let (answer, wrap, number) = &*shared;
                    if let Some(stream) = wrap(stream.unwrap()) {
                        converse(stream, &sender, |out| answer(number.fetch_add(1, Ordering::SeqCst), out));
                    }
                });
            }
        });
        Self { address, requests, connections }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?a=b", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

fn converse(stream: Box<dyn Stream>, sender: &Sender<Request>, answer: impl Fn(&mut dyn Write) -> Then) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream) {
        _ = sender.send(request);
        if let Then::Close = answer(stream.get_mut()) {
            return;
        }
        _ = stream.get_mut().flush();
    }
}

fn read_request(stream: &mut impl BufRead) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut request = Request { head, body: Vec::new() };
    request.body.resize(request.header("content-length")?.parse().ok()?, 0);
    stream.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// The tests' own certificate authority, and a server's certificate from it.
pub struct Certificates {
    pub authority_pem: String,
    pub server: ServerConfig,
}

/// `host` is the name in the certificate; `last_year` is the year in which it expires.
pub fn certificates(host: &str, last_year: i32) -> Certificates {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(last_year, 12, 31);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Certificates { authority_pem: pem(authority.der()), server: server_with(&certificate, &key) }
}

/// A server with a self-signed certificate.
pub fn self_signed(host: &str) -> ServerConfig {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap().self_signed(&key).unwrap();
    server_with(&certificate, &key)
}

fn server_with(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap()
}

fn pem(certificate: &CertificateDer) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}
