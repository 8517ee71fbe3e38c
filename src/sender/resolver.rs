//! Which addresses does a host have, and how long may the answer take?

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// So long a name's addresses are used again. Without it each delivery would ask the name server, though its connection
/// is open already. Far below the shortest wait between two attempts: a retry always sees the present address.
const LIFETIME: Duration = Duration::from_secs(10);

/// More names than this are not remembered, so that tenants cannot fill the memory with names.
const MAX_NAMES: usize = 4096;

/// ureq takes so many addresses of a host at most.
const MAX_ADDRESSES: usize = 16;

/// Stack of the thread that asks the system's resolver, whose modules may need more than our own threads.
const STACK_SIZE: usize = 1024 * 1024;

/// Asks the system, in a thread of its own, since the system's call has no time limit.
#[derive(Debug, Default)]
pub struct SystemResolver {
    known: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
}

impl Resolver for SystemResolver {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let mut addresses = self.empty();
        for address in self.addresses(host, timeout)?.into_iter().take(MAX_ADDRESSES) {
            addresses.push(SocketAddr::new(address, port));
        }
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

impl SystemResolver {
    fn addresses(&self, host: &str, timeout: NextTimeout) -> Result<Vec<IpAddr>, Error> {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![address]);
        }
        if let Some((asked_at, addresses)) = self.known().get(host)
            && asked_at.elapsed() < LIFETIME
        {
            return Ok(addresses.clone());
        }
        let addresses = ask(host.to_owned(), timeout)?;
        let mut known = self.known();
        if known.len() >= MAX_NAMES {
            known.retain(|_, (asked_at, _)| asked_at.elapsed() < LIFETIME);
        }
        if known.len() < MAX_NAMES {
            known.insert(host.to_owned(), (Instant::now(), addresses.clone()));
        }
        Ok(addresses)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Vec<IpAddr>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that outlives the time limit ends by itself when the system's resolver gives up.
fn ask(host: String, timeout: NextTimeout) -> Result<Vec<IpAddr>, Error> {
    let (answer, answered) = sync_channel(1);
    std::thread::Builder::new().name("webhook-resolve".into()).stack_size(STACK_SIZE).spawn(move || {
        let addresses = (host.as_str(), 0).to_socket_addrs();
        _ = answer.send(addresses.map(|found| found.map(|address| address.ip()).collect()));
    })?;
    match answered.recv_timeout(*timeout.after) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(Error::HostNotFound),
        Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(timeout.reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(url: &str) -> Vec<SocketAddr> {
        let resolver = SystemResolver::default();
        resolver
            .resolve(&url.parse().unwrap(), &Config::default(), NextTimeout::default())
            .unwrap()
            .iter()
            .copied()
            .collect()
    }

    #[test]
    fn an_address_needs_no_name_server() {
        assert_eq!(resolve("https://192.0.2.1/a"), ["192.0.2.1:443".parse().unwrap()]);
        assert_eq!(resolve("http://[2001:db8::1]:8080"), ["[2001:db8::1]:8080".parse().unwrap()]);
    }

    #[test]
    fn a_name_is_remembered_for_a_while() {
        let resolver = SystemResolver::default();
        let asked = resolver.addresses("localhost", NextTimeout::default()).unwrap();
        assert!(asked.iter().all(IpAddr::is_loopback) && !asked.is_empty());
        assert_eq!(resolver.known().get("localhost").unwrap().1, asked);
    }

    #[test]
    fn a_name_without_address_is_not_found() {
        let asked = SystemResolver::default().addresses("no-such-host.invalid", NextTimeout::default());
        assert!(matches!(asked, Err(Error::HostNotFound)), "{asked:?}");
    }
}
