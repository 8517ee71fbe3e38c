//! Dialing: a TCP connection to a host or to the proxy, only to addresses that the guard allows.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ureq::Error;
use ureq::unversioned::transport::{ConnectionDetails, Connector};

use crate::address_guard::AddressGuard;
use crate::proxy::Proxy;
use crate::race::first_to_answer;
use crate::timing::{note, timed};
use crate::transport::{Socket, deadline, is_timeout, left};

/// Maximum number of hosts whose address family is remembered.
const MAX_HOSTS: usize = 4096;

/// Makes TCP connections, only to addresses that the guard allows.
#[derive(Debug)]
pub struct Dial {
    guard: Arc<AddressGuard>,
    proxy: Option<Proxy>,
    /// Whether the last connection to a host was made over IPv6: the next one tries that family
    /// first.
    over_ipv6: Mutex<HashMap<String, bool>>,
}

impl Connector for Dial {
    type Out = Socket;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Socket>, Error> {
        timed(|| self.dial(details), |timing| &mut timing.connect).map(Some)
    }
}

impl Dial {
    pub fn new(guard: Arc<AddressGuard>, proxy: Option<Proxy>) -> Self {
        Self { guard, proxy, over_ipv6: Mutex::default() }
    }

    fn dial(&self, details: &ConnectionDetails) -> Result<Socket, Error> {
        let deadline = deadline(&details.timeout);
        let host = details.uri.host().unwrap_or_default();
        let addresses: Vec<SocketAddr> = details.addrs.iter().copied().collect();
        let preferred = self.known_families().get(host).copied();
        let addresses = in_order(&addresses, preferred);
        if let Some(proxy) = self.proxy.as_ref().filter(|proxy| proxy.is_for(host, &addresses)) {
            // The resolver has checked the addresses; the proxy gets no name that it could look up
            // otherwise.
            let (stream, peer) = proxy.connect(&addresses, deadline, &details.timeout)?;
            stream.set_nodelay(true)?;
            return Ok(Socket::new(stream, peer, details.config));
        }
        match first_to_answer(&addresses, deadline) {
            Ok(stream) => {
                // If the connection was reset in the meantime, it has no peer address any more.
                // That is an error of the connection, not of its address.
                let (peer, own) = (stream.peer_addr()?.ip(), stream.local_addr()?.ip());
                note(|timing| timing.address = Some(peer));
                self.guard.check_connection(peer, own).map_err(|problem| Error::Other(problem.into()))?;
                self.remember(host, peer.is_ipv6());
                stream.set_nodelay(true)?;
                Ok(Socket::new(stream, peer, details.config))
            }
            Err(problem) => {
                left(deadline, &details.timeout)?;
                Err(if is_timeout(&problem) { Error::Timeout(details.timeout.reason) } else { Error::Io(problem) })
            }
        }
    }

    fn remember(&self, host: &str, is_ipv6: bool) {
        let mut known = self.known_families();
        if known.len() >= MAX_HOSTS && !known.contains_key(host) {
            known.clear();
        }
        known.insert(host.to_owned(), is_ipv6);
    }

    fn known_families(&self) -> MutexGuard<'_, HashMap<String, bool>> {
        self.over_ipv6.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses with alternating families, so that a family that does not work costs one attempt.
/// The preferred family comes first, or else that of the first address.
fn in_order(addresses: &[SocketAddr], prefers_ipv6: Option<bool>) -> Vec<SocketAddr> {
    let prefers_ipv6 = prefers_ipv6.unwrap_or(addresses.first().is_some_and(SocketAddr::is_ipv6));
    let mut preferred = addresses.iter().filter(|address| address.is_ipv6() == prefers_ipv6);
    let mut others = addresses.iter().filter(|address| address.is_ipv6() != prefers_ipv6);
    let mut ordered = Vec::with_capacity(addresses.len());
    while ordered.len() < addresses.len() {
        ordered.extend(preferred.next().into_iter().chain(others.next()));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "192.0.2.1:443";
    const TWO: &str = "192.0.2.2:443";
    const SIX: &str = "[2001:db8::1]:443";
    const SEVEN: &str = "[2001:db8::2]:443";

    fn ordered(addresses: &[&str], prefers_ipv6: Option<bool>) -> Vec<String> {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        in_order(&addresses, prefers_ipv6).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn families_alternate_and_the_remembered_one_comes_first() {
        assert_eq!(ordered(&[SIX, SEVEN, ONE, TWO], None), [SIX, ONE, SEVEN, TWO]);
        assert_eq!(ordered(&[SIX, SEVEN, ONE, TWO], Some(false)), [ONE, SIX, TWO, SEVEN]);
        assert_eq!(ordered(&[ONE, SIX, SEVEN], None), [ONE, SIX, SEVEN]);
        assert_eq!(ordered(&[ONE, TWO], Some(true)), [ONE, TWO]);
        assert!(ordered(&[], None).is_empty());
    }

    #[test]
    fn families_of_a_bounded_number_of_hosts_are_remembered() {
        let dial = Dial::new(Arc::default(), None);
        for number in 0..=MAX_HOSTS {
            dial.remember(&number.to_string(), number % 2 == 0);
            dial.remember("often.example", true);
        }
        assert_eq!(dial.known_families().get("often.example"), Some(&true));
        assert!(dial.known_families().len() <= MAX_HOSTS);
        dial.remember("often.example", false);
        assert_eq!(dial.known_families().get("often.example"), Some(&false));
    }
}
