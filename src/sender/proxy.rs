//! The egress proxy: connections through an HTTP proxy, which connects to an address that we have
//! looked up and checked (CONNECT, RFC 9110, section 9.3.6).

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::NextTimeout;
use url::Url;

use crate::address_guard::AddressGuard;
use crate::files::read_private;
use crate::race::first_to_answer;
use crate::resolver::GuardedResolver;
use crate::timing::note;
use crate::transport::is_timeout;
use crate::{Networks, Rules, StartError};

/// Maximum length of the head of the proxy's answer.
const MAX_HEAD: usize = 8 * 1024;

/// The address of a proxy: `http://proxy.internal:3128`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    host: String,
    port: u16,
}

/// Why a proxy's address is not valid.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidProxyUrl;

impl fmt::Display for InvalidProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "It must be http://HOST:PORT; user and password are read from webhook_delivery.proxy_credentials_file."
        )
    }
}

impl FromStr for ProxyUrl {
    type Err = InvalidProxyUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| InvalidProxyUrl)?;
        let is_plain = url.scheme() == "http"
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        let host = url.host_str().filter(|_| is_plain).ok_or(InvalidProxyUrl)?.to_owned();
        Ok(Self { host, port: url.port_or_known_default().unwrap_or(80) })
    }
}

/// Hosts that are called without the proxy: names, which include their subdomains, and networks.
#[derive(Clone, Debug, Default)]
pub struct NoProxy {
    names: Vec<String>,
    networks: Networks,
}

/// Why an entry of a list of hosts is not valid.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidNoProxy(String);

impl fmt::Display for InvalidNoProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is neither a host name, an address nor a network such as 10.0.0.0/8.", self.0)
    }
}

impl FromStr for NoProxy {
    type Err = InvalidNoProxy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut names = Vec::new();
        let mut networks = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            if entry.parse::<Networks>().is_ok() {
                networks.push(entry);
                continue;
            }
            let name = entry.trim_start_matches('.').to_ascii_lowercase();
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if name.is_empty() || !name.chars().all(is_name) {
                return Err(InvalidNoProxy(entry.to_owned()));
            }
            names.push(name);
        }
        let networks = networks.join(",").parse().map_err(|_| InvalidNoProxy(networks.join(",")))?;
        Ok(Self { names, networks })
    }
}

impl NoProxy {
    fn lists(&self, host: &str, addresses: &[SocketAddr]) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_below =
            |name: &String| host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        self.names.iter().any(is_below)
            || !addresses.is_empty() && addresses.iter().all(|address| self.networks.list(address.ip()))
    }
}

/// The settings of a proxy.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Its address.
    pub url: ProxyUrl,
    /// A file with `user:password`.
    pub credentials_file: Option<PathBuf>,
    /// Hosts that are called without it.
    pub no_proxy: NoProxy,
}

/// Why there is no connection through the proxy.
#[derive(Debug)]
pub enum ProxyProblem {
    /// The proxy does not do its work.
    Proxy(String),
    /// The proxy could not connect to the receiver, and answers with this status.
    Receiver(u16),
}

impl fmt::Display for ProxyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(problem) => write!(f, "proxy: {problem}"),
            Self::Receiver(status) => write!(f, "the proxy could not connect to the receiver (status {status})"),
        }
    }
}

impl std::error::Error for ProxyProblem {}

/// Connects through a proxy.
#[derive(Debug)]
pub struct Proxy {
    uri: Uri,
    /// The value of Proxy-Authorization.
    authorization: Option<String>,
    no_proxy: NoProxy,
    resolver: GuardedResolver,
}

impl Proxy {
    /// `threads` is the maximum number of requests in flight.
    pub fn new(config: &ProxyConfig, threads: usize) -> Result<Self, StartError> {
        let ProxyConfig { url: ProxyUrl { host, port }, credentials_file, no_proxy } = config;
        let authorization = credentials_file.as_ref().map(|path| {
            let credentials = String::from_utf8(read_private(path)?).unwrap_or_default();
            let credentials = credentials.trim_end_matches(['\r', '\n']);
            if !credentials.contains(':') || credentials.contains(char::is_control) {
                return Err(StartError::NoCredentialsIn { path: path.clone() });
            }
            Ok(format!("Basic {}", BASE64_STANDARD.encode(credentials)))
        });
        // The proxy is the operator's, and may have any address.
        let everywhere = Rules { networks: "0.0.0.0/0, ::/0".parse().unwrap_or_default(), ..Rules::default() };
        Ok(Self {
            uri: format!("http://{host}:{port}").parse().map_err(|_| StartError::InvalidProxy)?,
            authorization: authorization.transpose()?,
            no_proxy: no_proxy.clone(),
            resolver: GuardedResolver::new(Arc::new(AddressGuard::new(everywhere)), threads),
        })
    }

    /// Whether this host is called through the proxy.
    pub fn is_for(&self, host: &str, addresses: &[SocketAddr]) -> bool {
        !self.no_proxy.lists(host, addresses)
    }

    /// Has the proxy connect to the first of these addresses that it can connect to. Returns the
    /// connection and the address.
    pub fn connect(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
        timeout: &NextTimeout,
    ) -> Result<(TcpStream, IpAddr), ureq::Error> {
        let mut status = 0;
        for (place, address) in addresses.iter().enumerate() {
            note(|timing| timing.address = Some(address.ip()));
            let left = deadline.saturating_duration_since(Instant::now());
            // Half of the remaining time, so that an address that does not answer leaves time for
            // the next; the last address gets all of it.
            let until = if place + 1 < addresses.len() { deadline - left / 2 } else { deadline };
            let stream = self.dial(until, timeout)?;
            match self.open_tunnel(stream, *address, until) {
                Ok((200..=299, stream)) => return Ok((stream, address.ip())),
                // Bad Gateway, Service Unavailable, Gateway Timeout.
                Ok((code @ 502..=504, _)) => status = code,
                Ok((code, _)) => return Err(problem(format!("status {code}"))),
                Err(problem) if is_timeout(&problem) && until < deadline => {}
                Err(problem) if is_timeout(&problem) => return Err(ureq::Error::Timeout(timeout.reason)),
                Err(broken) => return Err(problem(broken.to_string())),
            }
        }
        if status == 0 { Err(ureq::Error::Timeout(timeout.reason)) } else { Err(other(ProxyProblem::Receiver(status))) }
    }

    fn dial(&self, deadline: Instant, timeout: &NextTimeout) -> Result<TcpStream, ureq::Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = NextTimeout { after: left.into(), reason: timeout.reason, ..*timeout };
        let found = self.resolver.resolve(&self.uri, &Config::default(), timeout);
        let found = found.map_err(|_| problem("its name has no address".to_owned()))?;
        let addresses: Vec<SocketAddr> = found.iter().copied().collect();
        first_to_answer(&addresses, deadline).map_err(|failure| {
            problem(match failure.kind() {
                ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                ErrorKind::TimedOut => "it does not answer".to_owned(),
                _ => failure.to_string(),
            })
        })
    }

    /// Asks the proxy to connect to the address; returns the status of its answer.
    fn open_tunnel(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        deadline: Instant,
    ) -> io::Result<(u16, TcpStream)> {
        let authorization =
            self.authorization.as_ref().map(|value| format!("Proxy-Authorization: {value}\r\n")).unwrap_or_default();
        let request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{authorization}\r\n");
        stream.set_write_timeout(Some(left(deadline)?))?;
        stream.write_all(request.as_bytes())?;
        let head = read_head(&mut stream, deadline)?;
        let invalid = || io::Error::new(ErrorKind::InvalidData, "it does not speak HTTP");
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).ok_or_else(invalid)?;
        Ok((status.parse().map_err(|_| invalid())?, stream))
    }
}

/// Reads up to the empty line and not beyond it: what follows belongs to the receiver.
fn read_head(stream: &mut TcpStream, deadline: Instant) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut byte) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection")),
            Ok(_) => head.push(byte[0]),
            Err(problem) if problem.kind() == ErrorKind::Interrupted => {}
            Err(problem) => return Err(problem),
        }
        if head.len() > MAX_HEAD {
            return Err(io::Error::new(ErrorKind::InvalidData, "the head of its answer is too large"));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn problem(problem: String) -> ureq::Error {
    other(ProxyProblem::Proxy(problem))
}

fn other(problem: ProxyProblem) -> ureq::Error {
    ureq::Error::Other(problem.into())
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
