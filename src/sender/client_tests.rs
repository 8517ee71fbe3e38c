//! Tests of the client: what a customer's server receives, and what its responses lead to.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use super::*;
use crate::Destination;
use crate::resolver::LookUp;
use crate::signature::{body_signature, standard_signatures};
use crate::testing::{OK, SOON, Server, Then, job, loopback};
use crate::{Networks, Rules};

#[path = "client_address_tests.rs"]
mod addresses;
#[path = "client_raw_tests.rs"]
mod raw;

fn client() -> Client {
    Client::new(4, &Connections::default(), Arc::new(AddressGuard::new(loopback()))).unwrap()
}

fn say(text: &'static [u8]) -> impl Fn(usize, &mut dyn Write) -> Then {
    move |_, out| {
        out.write_all(text).unwrap();
        Then::Keep
    }
}

fn result(server: &Server) -> Result<u16, Failure> {
    client().attempt(job(&server.url())).result
}

/// For a client that might hang: the test fails instead.
fn attempt_soon(job: Job) -> Attempt {
    let (done, ended) = channel();
    std::thread::spawn(move || _ = done.send(client().attempt(job)));
    ended.recv_timeout(SOON / 2).expect("the attempt outlived its time")
}

#[test]
fn request_is_as_documented() {
    let server = Server::start(say(OK));
    assert_eq!(result(&server), Ok(200));
    let request = server.requests.recv_timeout(SOON).unwrap();
    let sent = job(&server.url());
    assert_eq!(request.body, body(&sent));
    assert!(request.head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{}", request.head);
    let id = sent.key.delivery_id.to_string();
    let timestamp = request.header("X-Webhook-Timestamp").unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(now - timestamp.parse::<u64>().unwrap() <= SOON.as_secs());
    for (name, value) in [
        ("X-Webhook-Signature", body_signature(&sent.destination.secrets[0], &request.body)),
        ("X-Webhook-ID", id.clone()),
        ("X-Webhook-Event", "submission.created".into()),
        ("Content-Type", "application/json".into()),
        ("User-Agent", "AuctionExcellence-Webhook/1.0".into()),
        ("webhook-id", id.clone()),
        ("webhook-timestamp", timestamp.into()),
        ("webhook-signature", standard_signatures(&sent.destination.secrets, &id, timestamp, &request.body)),
    ] {
        assert_eq!(request.header(name), Some(&value[..]), "{name}");
    }
    assert_eq!(request.header("accept-encoding"), None);
}

#[test]
fn every_2xx_is_a_success() {
    assert_eq!(result(&Server::start(say(b"HTTP/1.1 204 No Content\r\n\r\n"))), Ok(204));
    assert_eq!(result(&Server::start(say(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"))), Ok(202));
}

#[test]
fn other_status_is_a_failure_with_an_excerpt() {
    let server = Server::start(say(b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nlater"));
    let attempt = client().attempt(job(&server.url()));
    assert_eq!(attempt.result, Err(Failure::Status(503)));
    assert_eq!(attempt.response_excerpt.as_deref(), Some("later"));
}

#[test]
fn redirects_are_not_followed() {
    let (target, elsewhere) = (Server::start(say(OK)), "/elsewhere");
    let location = format!("http://{}{elsewhere}", target.address);
    let answer = format!("HTTP/1.1 307 Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let server = Server::start(move |_, out| {
        out.write_all(answer.as_bytes()).unwrap();
        Then::Keep
    });
    assert_eq!(result(&server), Err(Failure::Redirect { status: 307, location: Some(location) }));
    assert_eq!(target.connections(), 0);
}

#[test]
fn closed_port_is_a_refused_connection() {
    assert_eq!(client().attempt(job("http://127.0.0.1:1/")).result, Err(Failure::ConnectionRefused));
}

#[test]
fn unknown_host_error_names_the_host() {
    let result = client().attempt(job("http://no-such-host.invalid:8080/")).result;
    assert_eq!(result, Err(Failure::Resolve { host: "no-such-host.invalid".into() }));
}

#[test]
fn invalid_url_is_reported() {
    for url in ["nothing", "http://", "ftp://example.com/", "http://a b/", ""] {
        let result = client().attempt(job(url)).result;
        assert!(matches!(result, Err(Failure::InvalidUrl(_))), "{url}: {result:?}");
    }
}

#[test]
fn response_that_is_not_http_is_reported() {
    let result = result(&Server::start(say(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")));
    assert!(matches!(result, Err(Failure::InvalidResponse(_))), "{result:?}");
}

#[test]
fn endless_header_is_rejected() {
    for (line, problem) in [
        (&b"and more "[..], "invalid HTTP response: its header is too large"),
        (b"a\r\nX-More: ", "invalid HTTP response: http parse resulted in too many headers"),
    ] {
        let server = Server::start(move |_, out| {
            _ = out.write_all(b"HTTP/1.1 200 OK\r\nX-More: ");
            while out.write_all(line).is_ok() {}
            Then::Close
        });
        assert_eq!(result(&server).unwrap_err().to_string(), problem);
    }
}

#[test]
fn close_without_a_response_is_reported() {
    let server = Server::start(|_, _| Then::Close);
    assert_eq!(result(&server), Err(Failure::Disconnected));
    assert_eq!(server.connections(), 1);
}

#[test]
fn silent_server_fails_at_the_time_limit() {
    let server = Server::start(|_, _| Then::Keep);
    let mut job = job(&server.url());
    job.timeout = Duration::from_millis(100);
    assert_eq!(attempt_soon(job).result, Err(Failure::TimedOut(Duration::from_millis(100))));
}

#[test]
fn slow_response_does_not_exceed_the_time_limit() {
    let drip = |beginning: &'static [u8]| {
        Server::start(move |_, out| {
            _ = out.write_all(beginning);
            // Until the client has closed the connection.
            while out.write_all(b"a").is_ok() {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            Then::Close
        })
    };
    let limit = Duration::from_millis(150);
    for (beginning, expected) in [
        (&b"HTTP/1.1 200 OK\r\nX-Slow: "[..], Err(Failure::TimedOut(limit))),
        // The response has arrived except for its body.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", Ok(200)),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 60000\r\n\r\n", Err(Failure::Status(500))),
    ] {
        let mut job = job(&drip(beginning).url());
        job.timeout = limit;
        assert_eq!(attempt_soon(job).result, expected);
    }
}

#[test]
fn slow_reader_does_not_prolong_a_large_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut job = job(&format!("http://{}/", listener.local_addr().unwrap()));
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        while stream.read(&mut [0; 4096]).is_ok_and(|amount| amount > 0) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    job.data = format!("\"{}\"", "x".repeat(16 << 20));
    job.timeout = Duration::from_millis(300);
    assert_eq!(attempt_soon(job).result, Err(Failure::TimedOut(Duration::from_millis(300))));
}

#[test]
fn large_body_arrives_unchanged() {
    let server = Server::start(say(OK));
    let mut job = job(&server.url());
    job.data = format!("\"{}\"", "0123456789".repeat(300_000));
    let expected = body(&job);
    assert_eq!(client().attempt(job).result, Ok(200));
    assert!(server.requests.recv_timeout(SOON).unwrap().body == expected);
}

#[test]
fn open_connection_is_used_again() {
    let (server, client) = (Server::start(say(OK)), client());
    for _ in 0..3 {
        assert_eq!(client.attempt(job(&server.url())).result, Ok(200));
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn connection_with_an_endless_response_is_not_used_again() {
    let server = Server::start(|_, out| {
        _ = out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while out.write_all(&[b'a'; 4096]).is_ok() {}
        Then::Close
    });
    let client = client();
    for _ in 0..2 {
        assert_eq!(client.attempt(job(&server.url())).result, Ok(200));
    }
    assert_eq!(server.connections(), 2);
}

#[test]
fn closed_idle_connection_does_not_fail_the_attempt() {
    // The second request is read and not answered, as if the server had closed the connection just
    // before.
    let server = Server::start(|number, out| {
        if number == 1 {
            return Then::Close;
        }
        out.write_all(OK).unwrap();
        Then::Keep
    });
    let client = client();
    for _ in 0..2 {
        assert_eq!(client.attempt(job(&server.url())).result, Ok(200));
    }
    assert_eq!(server.connections(), 2);
}

#[test]
fn environment_proxy_is_not_used() {
    // In a process of its own, because the variable would affect all tests.
    if std::env::var_os("ALL_PROXY").is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "client::tests::environment_proxy_is_not_used"])
            .envs(["ALL_PROXY", "HTTP_PROXY", "http_proxy"].map(|name| (name, "http://127.0.0.1:1")))
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    assert_eq!(result(&Server::start(say(OK))), Ok(200));
}

#[test]
fn excerpt_is_short_valid_text_without_nul() {
    assert_eq!(excerpt(b"a\0b\xff"), Some("ab\u{fffd}".into()));
    assert!(excerpt(&[0xff; MAX_EXCERPT]).unwrap().len() <= MAX_EXCERPT);
    assert_eq!(excerpt(b""), None);
}

#[test]
fn request_has_both_signatures_during_a_secret_rotation() {
    let server = Server::start(say(OK));
    let mut sent = job(&server.url());
    let secrets = ["the new secret", "the old secret"].map(str::to_owned);
    sent.destination = Arc::new(Destination { url: server.url(), secrets: secrets.to_vec(), ..Destination::default() });
    let id = sent.key.delivery_id.to_string();
    assert_eq!(client().attempt(sent).result, Ok(200));
    let request = server.requests.recv_timeout(SOON).unwrap();
    let timestamp = request.header("webhook-timestamp").unwrap();
    let of = |secret: &String| standard_signatures(std::slice::from_ref(secret), &id, timestamp, &request.body);
    assert_eq!(request.header("webhook-signature"), Some(&*format!("{} {}", of(&secrets[0]), of(&secrets[1]))));
    assert_eq!(request.header("X-Webhook-Signature"), Some(&*body_signature(&secrets[0], &request.body)));
}

#[test]
fn customer_headers_are_sent_with_ours() {
    let server = Server::start(say(OK));
    let mut sent = job(&server.url());
    let headers =
        [("Authorization", "Bearer abc"), ("X-Environment", "")].map(|(name, value)| (name.into(), value.into()));
    sent.destination = Arc::new(Destination { headers: headers.to_vec(), ..(*sent.destination).clone() });
    assert_eq!(client().attempt(sent).result, Ok(200));
    let request = server.requests.recv_timeout(SOON).unwrap();
    assert_eq!((request.header("authorization"), request.header("x-environment")), (Some("Bearer abc"), Some("")));
    assert_eq!(request.header("content-type"), Some("application/json"));
}

#[test]
fn retry_after_of_a_failure_is_passed_on() {
    for (status, expected) in
        [("503 Busy", Some(90)), ("429 Slow down", Some(90)), ("302 Found", Some(90)), ("200 OK", None)]
    {
        let server = Server::start(move |_, out| {
            write!(out, "HTTP/1.1 {status}\r\nRetry-After: 90\r\nContent-Length: 0\r\n\r\n").unwrap();
            Then::Keep
        });
        let ended = client().attempt(job(&server.url()));
        assert_eq!(ended.retry_after, expected.map(Duration::from_secs), "{status}");
    }
}

#[test]
fn pending_connection_fails_at_the_time_limit() {
    // A listener whose queue is full: Linux accepts no further connection.
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let briefly = Duration::from_millis(100);
    let queue: Vec<_> = (0..4).map(|_| TcpStream::connect_timeout(&address, briefly)).collect();
    assert!(queue.iter().any(Result::is_err), "the queue is full");
    let mut job = job(&format!("http://{address}/"));
    job.timeout = briefly;
    assert_eq!(attempt_soon(job).result, Err(Failure::TimedOut(briefly)));
}

#[test]
fn attempt_has_timing_and_address() {
    let server = Server::start(say(OK));
    let client = client();
    let url = format!("http://localhost:{}/", server.address.port());
    let [new, open] = [(); 2].map(|()| client.attempt(job(&url)));
    assert_eq!(server.connections(), 1);
    assert!(new.timing.look_up.is_some() && new.timing.connect.is_some(), "{:?}", new.timing);
    assert_eq!((open.timing.look_up, open.timing.connect, open.timing.tls), (None, None, None));
    for attempt in [new, open] {
        assert_eq!(attempt.timing.address, Some(server.address.ip()));
        assert!(attempt.timing.first_byte.unwrap() <= attempt.duration);
    }
    // A failed connection has the times of the parts that were reached.
    let refused = client.attempt(job("http://127.0.0.1:1/")).timing;
    assert_eq!(refused.address, Some(server.address.ip()));
    assert!(refused.connect.is_some() && refused.first_byte.is_none());
    let unknown = client.attempt(job("http://no-such-host.invalid/")).timing;
    assert!(unknown.look_up.is_some() && unknown.connect.is_none() && unknown.address.is_none(), "{unknown:?}");
}
