//! The pool: threads that make the attempts, and the wakeup when one has ended.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::address_guard::AddressGuard;
use crate::client::Client;
use crate::scheduler::{Scheduler, is_slow};
use crate::{Attempt, Backlog, Connections, DeliveryKey, Failure, Job, Journal, Rules, StartError};

/// Enough for a TLS handshake with a long certificate chain. The default of 2 MiB would be too much
/// for a thousand threads.
pub(crate) const STACK_SIZE: usize = 512 * 1024;

/// The configuration of a pool.
#[derive(Clone, Debug, Default)]
pub struct PoolConfig {
    /// Maximum number of requests in flight; each takes a thread. At least 1.
    pub threads: usize,
    /// Where requests may go, until `Pool::set_rules`.
    pub rules: Rules,
    /// How connections are made.
    pub connections: Connections,
    /// Endpoints that are known to be slow, until they answer.
    pub slow_endpoints: HashSet<Uuid>,
    /// The first finished attempt wakes the submitter, and again this number of finished attempts.
    pub many: usize,
    /// Where threads note successes.
    pub journal: Option<Arc<Journal>>,
}

/// Threads that sign and send. When the pool is dropped, threads end as they become idle, and
/// waiting jobs are discarded.
pub struct Pool {
    shared: Arc<Shared>,
    /// Readable when an attempt has ended.
    wakeup: UnixStream,
    guard: Arc<AddressGuard>,
}

struct Shared {
    state: Mutex<State>,
    /// Idle threads wait here for a job that may start.
    work: Condvar,
    /// Contains at most two bytes, regardless of how many attempts have ended since the submitter
    /// read them.
    wakeup: UnixStream,
}

struct State {
    scheduler: Scheduler,
    finished: Vec<Attempt>,
    many: usize,
    /// The pool was dropped.
    is_dropped: bool,
}

impl State {
    /// Whether to wake the submitter: at the first finished attempt, and when there are many.
    fn finish(&mut self, ended: Attempt) -> bool {
        self.finished.push(ended);
        [1, self.many].contains(&self.finished.len())
    }
}

impl Shared {
    /// Jobs run outside the lock, so a panic while it is held interrupts no job.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Starts the threads. They inherit the caller's signal mask.
    pub fn start(config: PoolConfig) -> Result<Self, StartError> {
        let threads = config.threads.max(1);
        let guard = Arc::new(AddressGuard::new(config.rules));
        let client = Arc::new(Client::new(threads, &config.connections, Arc::clone(&guard))?);
        let (wakeup, waker) = UnixStream::pair().map_err(StartError::Resources)?;
        for end in [&wakeup, &waker] {
            end.set_nonblocking(true).map_err(StartError::Resources)?;
        }
        let state = State {
            scheduler: Scheduler::new(threads, config.slow_endpoints),
            finished: Vec::new(),
            many: config.many,
            is_dropped: false,
        };
        let pool = Self {
            shared: Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), wakeup: waker }),
            wakeup,
            guard,
        };
        for number in 0..threads {
            let (shared, client, journal) = (Arc::clone(&pool.shared), Arc::clone(&client), config.journal.clone());
            std::thread::Builder::new()
                .name(format!("webhook-send-{number}"))
                .stack_size(STACK_SIZE)
                .spawn(move || work(&shared, |job| noted(client.attempt(job), journal.as_deref())))
                // The threads that have started end when `pool` is dropped here.
                .map_err(StartError::Resources)?;
        }
        Ok(pool)
    }

    /// Changes the rules for all requests that start later.
    pub fn set_rules(&self, rules: Rules) {
        self.guard.set(rules);
    }

    /// Appends jobs to the queues of their endpoints. Never blocks.
    pub fn submit(&self, jobs: impl IntoIterator<Item = Job>) {
        let mut state = self.shared.lock();
        jobs.into_iter().for_each(|job| state.scheduler.push(job));
        let may_start = state.scheduler.may_start();
        drop(state);
        if may_start {
            // A thread that starts a job wakes the next.
            self.shared.work.notify_one();
        }
    }

    /// The attempts that have ended since the last call.
    pub fn finished(&self) -> Vec<Attempt> {
        // Read the socket before the list: an attempt that ends in between makes the socket
        // readable again.
        self.silence();
        std::mem::take(&mut self.shared.lock().finished)
    }

    /// The number of finished attempts that were not taken yet. Clears the wakeup.
    pub fn finished_total(&self) -> usize {
        self.silence();
        self.shared.lock().finished.len()
    }

    fn silence(&self) {
        let mut bytes = [0; 16];
        while matches!((&self.wakeup).read(&mut bytes), Ok(read) if read > 0) {}
    }

    /// Readable when attempts have ended. Only the pool reads it; others may wait for it.
    pub fn wake_fd(&self) -> RawFd {
        self.wakeup.as_raw_fd()
    }

    /// The endpoints whose last attempt came near its time limit. The pointer changes when they do.
    pub fn slow_endpoints(&self) -> Arc<HashSet<Uuid>> {
        self.shared.lock().scheduler.slow_endpoints()
    }

    /// The jobs that have not started, counted by auction and endpoint.
    pub fn waiting(&self) -> Backlog {
        self.shared.lock().scheduler.waiting()
    }

    /// Jobs that have not started.
    pub fn waiting_total(&self) -> usize {
        self.shared.lock().scheduler.waiting_total()
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.lock().scheduler.in_flight()
    }

    /// Jobs that were given back since the last call and will not start: those of endpoints that
    /// have become slow, and those that `give_back_waiting` has removed. They may be submitted
    /// again.
    pub fn given_back(&self) -> Vec<DeliveryKey> {
        self.shared.lock().scheduler.given_back()
    }

    /// Gives back the jobs of these endpoints, each with its auction, that have not started.
    pub fn give_back_waiting_of(&self, endpoints: impl Iterator<Item = (Uuid, Uuid)>) {
        let mut state = self.shared.lock();
        endpoints.for_each(|(auction_id, endpoint_id)| state.scheduler.give_back_waiting_of(&auction_id, &endpoint_id));
    }

    /// Gives back the jobs of these auctions that have not started.
    pub fn give_back_waiting_of_auctions<'a>(&self, auction_ids: impl IntoIterator<Item = &'a Uuid>) {
        let mut state = self.shared.lock();
        auction_ids.into_iter().for_each(|auction_id| state.scheduler.give_back_waiting_of_auction(auction_id));
    }

    /// Gives back all jobs that have not started.
    pub fn give_back_waiting(&self) {
        self.shared.lock().scheduler.give_back_waiting();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_dropped = true;
        drop(state);
        self.shared.work.notify_all();
    }
}

/// The loop of a thread: takes the next job that may start, until the pool is dropped.
fn work(shared: &Shared, attempt: impl Fn(Job) -> Attempt) {
    let mut state = shared.lock();
    loop {
        if state.is_dropped {
            return;
        }
        let Some((job, class)) = state.scheduler.take() else {
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        // One event can allow jobs of several endpoints to start: each thread that starts a job
        // wakes the next, until no job may start. Without this a thread could sleep although there
        // is a job for it.
        if state.scheduler.may_start() {
            shared.work.notify_one();
        }
        drop(state);
        let timeout = job.timeout;
        let ended = guarded(job, &attempt);
        state = shared.lock();
        state.scheduler.ended(&ended.key, class, is_slow(ended.duration, timeout));
        if state.finish(ended) {
            // Errors are ignored: a full socket is already readable, and a socket without a reader
            // means that the pool was dropped.
            _ = (&shared.wakeup).write(&[1]);
        }
    }
}

fn noted(ended: Attempt, journal: Option<&Journal>) -> Attempt {
    if let Some(journal) = journal {
        journal.note(&ended);
    }
    ended
}

/// A panic becomes the attempt's outcome, so that it does not end a thread.
fn guarded(job: Job, attempt: impl Fn(Job) -> Attempt) -> Attempt {
    let (key, event_type, started_at) = (job.key.clone(), job.event_type.clone(), SystemTime::now());
    let destination = Arc::clone(&job.destination);
    catch_unwind(AssertUnwindSafe(|| attempt(job))).unwrap_or_else(|panic| {
        let problem = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panic".into());
        Attempt {
            key,
            event_type,
            started_at,
            duration: started_at.elapsed().unwrap_or(Duration::ZERO),
            result: Err(Failure::Panicked(problem)),
            response_excerpt: None,
            retry_after: None,
            timing: Default::default(),
            destination,
        }
    })
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
