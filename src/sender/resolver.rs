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

/// So long a name's addresses are used again. Without it each delivery would ask the name server, though its connection
/// is open already. Far below the shortest wait between two attempts: a retry always sees the present address.
const LIFETIME: Duration = Duration::from_secs(10);

/// More names than this are not remembered, so that tenants cannot fill the memory with names.
const MAX_NAMES: usize = 4096;

/// ureq takes so many addresses of a host at most.
const MAX_ADDRESSES: usize = 16;

/// Stack of the thread that asks the system's resolver, whose modules may need more than our own threads.
const STACK_SIZE: usize = 1024 * 1024;

/// Gives the addresses of a host; the system's, or that of a test.
pub type LookUp = fn(&str) -> io::Result<Vec<IpAddr>>;

/// Asks in a thread of its own, since the system's call has no time limit.
#[derive(Debug)]
pub struct GuardedResolver {
    guard: Arc<AddressGuard>,
    look_up: LookUp,
    /// How long an answer is used again.
    lifetime: Duration,
    asking: Arc<Asking>,
    known: Mutex<Known>,
}

/// What the names looked up last stand for: addresses that may be called, or something that may not.
#[derive(Debug, Default)]
struct Known {
    names: HashMap<String, (Instant, Result<Vec<IpAddr>, NotAllowed>)>,
    /// Under which rules they were checked.
    rules: u64,
}

impl GuardedResolver {
    /// `threads` is how many requests may be under way at once.
    pub fn new(guard: Arc<AddressGuard>, threads: usize) -> Self {
        Self::with_look_up(guard, threads, ask_system, LIFETIME)
    }

    pub fn with_look_up(guard: Arc<AddressGuard>, threads: usize, look_up: LookUp, lifetime: Duration) -> Self {
        Self { guard, look_up, lifetime, asking: Arc::new(Asking::at_most(threads * 4)), known: Mutex::default() }
    }

    /// The addresses of a host, if every one of them may be called: a name that also has one of ours belongs to an attacker, whose
    /// others are not to be tried either.
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

    /// What is known under these rules.
    fn known(&self, rules: u64) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.rules != rules {
            *known = Known { names: HashMap::new(), rules };
        }
        known
    }

    /// A thread that outlives the time limit ends by itself when the system's resolver gives up.
    fn ask(&self, host: String, timeout: NextTimeout) -> Result<Vec<IpAddr>, Error> {
        let began = Instant::now();
        let place = self.asking.place(*timeout.after).ok_or(Error::Timeout(timeout.reason))?;
        let (answer, answered) = sync_channel(1);
        let look_up = self.look_up;
        std::thread::Builder::new().name("webhook-resolve".into()).stack_size(STACK_SIZE).spawn(move || {
            let _place = place;
            _ = answer.send(look_up(&host));
        })?;
        match answered.recv_timeout(timeout.after.saturating_sub(began.elapsed())) {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(Error::HostNotFound),
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(timeout.reason)),
        }
    }
}

/// The addresses of a URL's host, as a request would find them now.
pub fn look_up(url: &str, rules: Rules, at_most: Duration) -> Result<Vec<IpAddr>, Failure> {
    let guard = Arc::new(AddressGuard::new(rules));
    let url = guard.normal_url(url).map_err(Failure::of_url)?;
    let uri: Uri = url.parse().map_err(|_| Failure::of_url(InvalidUrl::Uncallable))?;
    let timeout = NextTimeout { after: at_most.into(), reason: ureq::Timeout::Resolve, ..NextTimeout::default() };
    let found = GuardedResolver::new(guard, 1).resolve(&uri, &Config::default(), timeout);
    let found = found.map_err(|problem| Failure::of_request(problem, uri.host().unwrap_or_default(), at_most))?;
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

/// Bounds the threads that ask: those whose request has given up still wait for their answer, and name servers that never
/// answer, a customer's own, must not make them ever more.
#[derive(Debug)]
struct Asking {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A thread's permission to ask.
struct Place(Arc<Asking>);

impl Asking {
    fn at_most(threads: usize) -> Self {
        Self { free: Mutex::new(threads), freed: Condvar::new() }
    }

    fn place(self: &Arc<Self>, at_most: Duration) -> Option<Place> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut free, _) =
            self.freed.wait_timeout_while(free, at_most, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        (*free > 0).then(|| {
            *free -= 1;
            Place(Arc::clone(self))
        })
    }
}

impl Drop for Place {
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
    fn an_address_needs_no_name_server() {
        let resolver = resolver("", nobody);
        assert_eq!(resolve(&resolver, "https://8.8.8.8/a").unwrap(), ["8.8.8.8:443".parse().unwrap()]);
        assert_eq!(resolve(&resolver, "http://[2606:4700::1]:81").unwrap(), ["[2606:4700::1]:81".parse().unwrap()]);
        assert!(is_refused(resolve(&resolver, "https://10.0.0.1/")));
    }

    #[test]
    fn a_name_is_remembered_for_a_while() {
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
    fn a_name_of_which_any_address_is_not_allowed_is_refused() {
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
    fn what_is_remembered_is_checked_anew_under_other_rules() {
        let resolver = resolver("", |_| Ok(vec!["10.0.0.1".parse().unwrap()]));
        assert!(is_refused(resolve(&resolver, "https://inside/")));
        resolver.guard.set(Rules { networks: "10.0.0.1".parse().unwrap(), ..Rules::default() });
        assert_eq!(resolve(&resolver, "https://inside/").unwrap().len(), 1);
        resolver.guard.set(Rules::default());
        assert!(is_refused(resolve(&resolver, "https://inside/")));
    }

    #[test]
    fn a_name_without_address_is_not_found() {
        let resolver = GuardedResolver::new(Arc::default(), 1);
        let answer = resolve(&resolver, "https://no-such-host.invalid/");
        assert!(matches!(answer, Err(Error::HostNotFound)), "{answer:?}");
    }

    #[test]
    fn name_servers_that_never_answer_take_a_bounded_number_of_threads() {
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
