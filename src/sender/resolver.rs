//! The resolver: the addresses of a host, if all of them may be called, within bounds of time.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::address::NotAllowed;
use crate::address_guard::AddressGuard;
use crate::timing::timed;
use crate::{Failure, InvalidUrl, Rules};

/// How long the addresses of a name are cached. Without the cache each delivery would query the
/// name server although its connection is already open. This is far below the shortest wait between
/// two attempts, so a retry always gets the present address.
const LIFETIME: Duration = Duration::from_secs(10);

/// Maximum number of cached names, so that tenants cannot fill the memory with names.
const MAX_NAMES: usize = 4096;

/// Maximum number of addresses of a host that ureq takes.
const MAX_ADDRESSES: usize = 16;

/// Stack of the thread that calls the system's resolver, whose modules may need more than our own
/// threads.
const STACK_SIZE: usize = 1024 * 1024;

/// A function that returns the addresses of a host: the system's, or that of a test.
pub type LookUp = fn(&str) -> io::Result<Vec<IpAddr>>;

/// Looks names up in a separate thread, because the system's call has no time limit.
#[derive(Debug)]
pub struct GuardedResolver {
    guard: Arc<AddressGuard>,
    look_up: LookUp,
    /// How long a result is cached.
    lifetime: Duration,
    threads: Arc<LookUpThreads>,
    known: Mutex<Known>,
}

/// The results of the last look-ups: addresses that requests may go to, or an error.
#[derive(Debug, Default)]
struct Known {
    names: HashMap<String, (Instant, Result<Vec<IpAddr>, NotAllowed>)>,
    /// The version of the rules with which the addresses were checked.
    rules: u64,
}

impl GuardedResolver {
    /// `threads` is the maximum number of requests in flight.
    pub fn new(guard: Arc<AddressGuard>, threads: usize) -> Self {
        Self::with_look_up(guard, threads, ask_system, LIFETIME)
    }

    pub fn with_look_up(guard: Arc<AddressGuard>, threads: usize, look_up: LookUp, lifetime: Duration) -> Self {
        Self { guard, look_up, lifetime, threads: Arc::new(LookUpThreads::new(threads * 4)), known: Mutex::default() }
    }

    /// The addresses of a host, if requests may go to all of them. A name that also has one of our
    /// addresses belongs to an attacker, so its other addresses are not tried either.
    fn addresses(&self, host: &str, timeout: NextTimeout) -> Result<Vec<IpAddr>, Error> {
        let rules = self.guard.version();
        if let Some((asked_at, answer)) = self.known(rules).names.get(host)
            && asked_at.elapsed() < self.lifetime
        {
            return answer.clone().map_err(not_allowed);
        }
        let addresses = match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) => vec![address],
            Err(_) => timed(|| self.ask(host.to_owned(), timeout), |timing| &mut timing.look_up)?,
        };
        let answer = self.guard.check(&addresses).map(|()| addresses);
        let mut known = self.known(rules);
        if known.names.len() >= MAX_NAMES {
            known.names.retain(|_, (asked_at, _)| asked_at.elapsed() < self.lifetime);
        }
        if known.names.len() < MAX_NAMES {
            known.names.insert(host.to_owned(), (Instant::now(), answer.clone()));
        }
        answer.map_err(not_allowed)
    }

    /// The results that were checked with these rules.
    fn known(&self, rules: u64) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.rules != rules {
            *known = Known { names: HashMap::new(), rules };
        }
        known
    }

    /// Looks the name up within the time limit. A thread that exceeds the limit ends by itself when
    /// the system's resolver gives up.
    fn ask(&self, host: String, timeout: NextTimeout) -> Result<Vec<IpAddr>, Error> {
        let began = Instant::now();
        let permit = self.threads.acquire(*timeout.after).ok_or(Error::Timeout(timeout.reason))?;
        let (answer, answered) = sync_channel(1);
        let look_up = self.look_up;
        std::thread::Builder::new().name("webhook-resolve".into()).stack_size(STACK_SIZE).spawn(move || {
            let _permit = permit;
            _ = answer.send(look_up(&host));
        })?;
        match answered.recv_timeout(timeout.after.saturating_sub(began.elapsed())) {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(Error::HostNotFound),
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(timeout.reason)),
        }
    }
}

/// The addresses that a request to this URL would get now.
pub fn look_up(url: &str, rules: Rules, limit: Duration) -> Result<Vec<IpAddr>, Failure> {
    let guard = Arc::new(AddressGuard::new(rules));
    let url = guard.normal_url(url).map_err(Failure::of_url)?;
    let uri: Uri = url.parse().map_err(|_| Failure::of_url(InvalidUrl::Uncallable))?;
    let timeout = NextTimeout { after: limit.into(), reason: ureq::Timeout::Resolve, ..NextTimeout::default() };
    let found = GuardedResolver::new(guard, 1).resolve(&uri, &Config::default(), timeout);
    let found = found.map_err(|problem| Failure::of_request(problem, uri.host().unwrap_or_default(), limit))?;
    Ok(found.iter().map(SocketAddr::ip).collect())
}

fn ask_system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

fn not_allowed(problem: NotAllowed) -> Error {
    Error::Other(problem.into())
}

impl Resolver for GuardedResolver {
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

/// Bounds the number of look-up threads. A thread whose request has given up still waits for its
/// answer, and the number of threads must not grow if a customer's own name servers never answer.
#[derive(Debug)]
struct LookUpThreads {
    free: Mutex<usize>,
    freed: Condvar,
}

/// The permission of a thread to run a look-up.
struct ThreadPermit(Arc<LookUpThreads>);

impl LookUpThreads {
    fn new(threads: usize) -> Self {
        Self { free: Mutex::new(threads), freed: Condvar::new() }
    }

    fn acquire(self: &Arc<Self>, timeout: Duration) -> Option<ThreadPermit> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut free, _) =
            self.freed.wait_timeout_while(free, timeout, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        (*free > 0).then(|| {
            *free -= 1;
            ThreadPermit(Arc::clone(self))
        })
    }
}

impl Drop for ThreadPermit {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn resolver(networks: &str, look_up: LookUp) -> GuardedResolver {
        let rules = Rules { networks: networks.parse().unwrap(), ..Rules::default() };
        GuardedResolver::with_look_up(Arc::new(AddressGuard::new(rules)), 1, look_up, LIFETIME)
    }

    fn resolve(resolver: &GuardedResolver, url: &str) -> Result<Vec<SocketAddr>, Error> {
        let answer = resolver.resolve(&url.parse().unwrap(), &Config::default(), NextTimeout::default());
        answer.map(|addresses| addresses.iter().copied().collect())
    }

    fn is_refused(answer: Result<Vec<SocketAddr>, Error>) -> bool {
        matches!(answer, Err(Error::Other(problem)) if problem.is::<NotAllowed>())
    }

    fn nobody(_: &str) -> io::Result<Vec<IpAddr>> {
        unreachable!("no name server is asked")
    }

    #[test]
    fn ip_address_needs_no_name_server() {
        let resolver = resolver("", nobody);
        assert_eq!(resolve(&resolver, "https://8.8.8.8/a").unwrap(), ["8.8.8.8:443".parse().unwrap()]);
        assert_eq!(resolve(&resolver, "http://[2606:4700::1]:81").unwrap(), ["[2606:4700::1]:81".parse().unwrap()]);
        assert!(is_refused(resolve(&resolver, "https://10.0.0.1/")));
    }

    #[test]
    fn name_is_cached_for_its_lifetime() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let resolver = resolver("", |host| {
            assert_eq!(host, "example.com");
            ASKED.fetch_add(1, Ordering::SeqCst);
            Ok(vec!["8.8.8.8".parse().unwrap()])
        });
        for _ in 0..3 {
            assert_eq!(resolve(&resolver, "https://example.com/").unwrap(), ["8.8.8.8:443".parse().unwrap()]);
        }
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn name_with_any_forbidden_address_is_rejected() {
        let resolver = resolver("", |host| {
            let answers: &[&str] = match host {
                "inside" => &["10.0.0.1"],
                "mixed" => &["8.8.8.8", "2606:4700::1", "fd00:ec2::254"],
                _ => &["8.8.8.8", "2606:4700::1"],
            };
            Ok(answers.iter().map(|answer| answer.parse().unwrap()).collect())
        });
        for host in ["inside", "mixed", "inside"] {
            assert!(is_refused(resolve(&resolver, &format!("https://{host}/"))), "{host}");
        }
        assert_eq!(resolve(&resolver, "https://outside/").unwrap().len(), 2);
    }

    #[test]
    fn changed_rules_check_cached_names_again() {
        let resolver = resolver("", |_| Ok(vec!["10.0.0.1".parse().unwrap()]));
        assert!(is_refused(resolve(&resolver, "https://inside/")));
        resolver.guard.set(Rules { networks: "10.0.0.1".parse().unwrap(), ..Rules::default() });
        assert_eq!(resolve(&resolver, "https://inside/").unwrap().len(), 1);
        resolver.guard.set(Rules::default());
        assert!(is_refused(resolve(&resolver, "https://inside/")));
    }

    #[test]
    fn name_without_an_address_is_not_found() {
        let resolver = GuardedResolver::new(Arc::default(), 1);
        let answer = resolve(&resolver, "https://no-such-host.invalid/");
        assert!(matches!(answer, Err(Error::HostNotFound)), "{answer:?}");
    }

    #[test]
    fn silent_name_servers_take_a_bounded_number_of_threads() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let resolver = resolver("", |_| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        });
        for number in 0..20 {
            let timeout = NextTimeout {
                after: Duration::from_millis(1).into(),
                reason: ureq::Timeout::Resolve,
                ..NextTimeout::default()
            };
            let uri: Uri = format!("https://{number}.example/").parse().unwrap();
            assert!(matches!(resolver.resolve(&uri, &Config::default(), timeout), Err(Error::Timeout(_))));
        }
        assert_eq!(ASKED.load(Ordering::SeqCst), 4);
    }
}
