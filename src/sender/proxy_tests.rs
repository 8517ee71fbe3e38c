//! Tests of requests through a proxy.

use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::client::{Client, Connections};
use crate::testing::{OK, SOON, Server, Then, job, loopback};

/// A proxy that gives this answer to CONNECT, and connects if that is a success. Returns its
/// address, and the heads of the requests that it gets.
fn proxy(answer: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, heads) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, sender) = (client.unwrap(), sender.clone());
            std::thread::spawn(move || {
                let head = read_head(&mut client, Instant::now() + SOON).unwrap();
                let target = head.split(' ').nth(1).unwrap().to_owned();
                sender.send(head).unwrap();
                client.write_all(answer.as_bytes()).unwrap();
                if answer.contains(" 200 ") {
                    client.set_read_timeout(None).unwrap();
                    let server = TcpStream::connect(target).unwrap();
                    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    std::thread::spawn(move || {
                        _ = io::copy(&mut from, &mut to);
                        _ = to.shutdown(Shutdown::Write);
                    });
                    let (mut from, mut to) = (server, client);
                    _ = io::copy(&mut from, &mut to);
                    _ = to.shutdown(Shutdown::Write);
                }
            });
        }
    });
    (url, heads)
}

const CONNECTED: &str = "HTTP/1.1 200 Connection established\r\nVia: a\r\n\r\n";

fn client(url: &str, no_proxy: &str, credentials_file: Option<PathBuf>, rules: Rules) -> Result<Client, StartError> {
    let proxy = ProxyConfig { url: url.parse().unwrap(), credentials_file, no_proxy: no_proxy.parse().unwrap() };
    let connections = Connections { proxy: Some(proxy), ..Connections::default() };
    let guard = Arc::new(AddressGuard::new(rules));
    let look_up = |_: &str| Ok(vec!["127.0.0.1".parse().unwrap()]);
    let resolver = GuardedResolver::with_look_up(Arc::clone(&guard), 4, look_up, Duration::ZERO);
    Client::with_resolver(4, &connections, guard, resolver)
}

fn server() -> Server {
    Server::start(|_, out| {
        out.write_all(OK).unwrap();
        Then::Keep
    })
}

fn file(content: &str, mode: u32) -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    file.into_temp_path()
}

#[test]
fn proxy_is_asked_for_the_checked_address_and_the_receiver_gets_its_name() {
    let (server, (url, heads)) = (server(), proxy(CONNECTED));
    let credentials = file("user:pass word\n", 0o600);
    let client = client(&url, "", Some(credentials.to_path_buf()), loopback()).unwrap();
    let port = server.address.port();
    for _ in 0..2 {
        let attempt = client.attempt(job(&format!("http://receiver.example:{port}/path")));
        assert_eq!(attempt.result, Ok(200));
        assert_eq!(attempt.timing.address, Some("127.0.0.1".parse().unwrap()));
        let request = server.requests.recv_timeout(SOON).unwrap();
        assert_eq!(request.header("host"), Some(format!("receiver.example:{port}").as_str()));
        assert_eq!(request.header("proxy-authorization"), None);
    }
    let head = heads.recv_timeout(SOON).unwrap();
    let expected = format!(
        "CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nProxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n\r\n"
    );
    assert_eq!(head, expected);
    assert!(heads.try_recv().is_err(), "the second request uses the connection of the first");
}

#[test]
fn failures_of_the_proxy_are_not_those_of_the_receiver() {
    let server = server();
    let failure = |url: &str| {
        let client = client(url, "", None, loopback()).unwrap();
        client.attempt(job(&format!("http://receiver.example:{}/", server.address.port()))).result.unwrap_err()
    };
    for (answer, problem) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "status 407"),
        ("HTTP/1.0 403 Filtered\r\n\r\n", "status 403"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "it does not speak HTTP"),
        ("HTTP/1.1 \r\n\r\n", "it does not speak HTTP"),
        ("", "it closed the connection"),
    ] {
        let failure = failure(&proxy(answer).0);
        assert_eq!(failure, crate::Failure::Proxy(problem.to_owned()));
        assert!(!failure.is_unreachable(), "no circuit breaker opens for it");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(failure(&format!("http://{closed}")).to_string(), "proxy: connection refused");
    assert_eq!(failure("http://proxy.invalid:1").to_string(), "proxy: its name has no address");
    let unreachable = failure(&proxy("HTTP/1.1 503 Service Unavailable\r\n\r\n").0);
    assert_eq!(unreachable.to_string(), "the proxy could not connect to the receiver (status 503)");
    assert_eq!(server.connections(), 0);
}

#[test]
fn forbidden_address_is_refused_before_the_proxy_is_asked() {
    let (url, heads) = proxy(CONNECTED);
    let rules = Rules { networks: Networks::default(), ..loopback() };
    let client = client(&url, "", None, rules).unwrap();
    let failure = client.attempt(job("http://inside.example:8080/")).result.unwrap_err();
    assert_eq!(failure, crate::Failure::AddressNotAllowed);
    assert!(heads.try_recv().is_err());
}

#[test]
fn hosts_of_no_proxy_are_called_directly() {
    let (server, (url, heads)) = (server(), proxy(CONNECTED));
    for (no_proxy, host, is_direct) in [
        ("example.com", "example.com", true),
        (".Example.com", "a.example.com", true),
        ("example.com, 10.0.0.0/8", "notexample.com", false),
        ("127.0.0.0/8", "other.example", true),
        ("10.0.0.0/8", "127.0.0.1", false),
    ] {
        let client = client(&url, no_proxy, None, loopback()).unwrap();
        assert_eq!(client.attempt(job(&format!("http://{host}:{}/", server.address.port()))).result, Ok(200));
        assert_eq!(heads.try_recv().is_err(), is_direct, "{no_proxy} {host}");
    }
}

#[test]
fn invalid_settings_are_refused() {
    for url in
        ["proxy:3128", "https://proxy:3128", "http://user:password@proxy:3128", "http://proxy/path", "socks5://a:1"]
    {
        assert_eq!(url.parse::<ProxyUrl>(), Err(InvalidProxyUrl), "{url}");
    }
    assert_eq!("http://[::1]:3128".parse(), Ok(ProxyUrl { host: "[::1]".into(), port: 3128 }));
    for list in ["a b", "10.0.0.0/33", "*", "http://a"] {
        assert!(list.parse::<NoProxy>().is_err(), "{list}");
    }
    let with = |content: &str, mode| {
        let credentials = file(content, mode);
        client("http://proxy:1", "", Some(credentials.to_path_buf()), loopback()).map(drop)
    };
    assert!(matches!(with("user:password", 0o644), Err(StartError::NotPrivate { .. })));
    assert!(matches!(with("user", 0o600), Err(StartError::NoCredentialsIn { .. })));
    assert!(matches!(with("user:a\nb", 0o600), Err(StartError::NoCredentialsIn { .. })));
    assert!(with("user:password\n", 0o600).is_ok());
}
