//! Tests of the pool: it does each job once, shares its threads fairly and wakes the submitter.

use std::collections::HashMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::*;
use crate::testing::{OK, SOON, Server, Then, job, job_of, loopback};

fn pool(threads: usize) -> Pool {
    Pool::start(PoolConfig { threads, rules: loopback(), ..PoolConfig::default() }).unwrap()
}

fn ok_server() -> Server {
    Server::start(|_, out| {
        out.write_all(OK).unwrap();
        Then::Keep
    })
}

/// Waits only for the wakeup, like the worker. Returns whether it came.
fn is_woken(pool: &Pool, timeout: Duration) -> bool {
    let mut watched = libc::pollfd { fd: pool.wake_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which lives during the call.
    unsafe { libc::poll(&mut watched, 1, timeout.as_millis() as i32) == 1 }
}

fn wait(pool: &Pool, deadline: Instant) {
    assert!(is_woken(pool, deadline.saturating_duration_since(Instant::now())), "no wake-up");
}

fn finished(pool: &Pool, count: usize) -> Vec<Attempt> {
    let deadline = Instant::now() + SOON;
    let mut attempts = Vec::new();
    while attempts.len() < count {
        wait(pool, deadline);
        attempts.extend(pool.finished());
    }
    attempts
}

/// Accepts connections (the kernel does) and never answers.
fn black_hole() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (listener, url)
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::yield_now();
    }
}

#[test]
fn every_job_is_done_once_and_returns_with_its_key() {
    let (pool, server) = (pool(8), ok_server());
    for number in 0..500 {
        let mut job = job_of(number % 7, &server.url());
        job.key.delivery_id = Uuid::from_u128(number);
        job.key.due_at = number as i64;
        pool.submit([job]);
    }
    let mut times = HashMap::new();
    for attempt in finished(&pool, 500) {
        assert_eq!(attempt.result, Ok(200));
        assert_eq!(attempt.key.delivery_id.as_u128(), attempt.key.due_at as u128);
        *times.entry(attempt.key.due_at).or_insert(0) += 1;
    }
    assert!(times.len() == 500 && times.values().all(|count| *count == 1));
    assert_eq!((pool.waiting_total(), pool.waiting().prompt().all.bytes, pool.in_flight()), (0, 0, 0));
}

#[test]
fn hanging_endpoint_gets_at_most_half_of_the_threads() {
    let (pool, server, (_listener, hanging)) = (pool(8), ok_server(), black_hole());
    pool.submit((0..20).map(|_| job_of(1, &hanging)));
    until("several requests in flight", || pool.in_flight() > 1);
    pool.submit((0..20).map(|_| job_of(2, &server.url())));
    let others = finished(&pool, 20);
    assert!(others.iter().all(|attempt| attempt.result == Ok(200)));
    let waiting = pool.waiting();
    let of = |endpoint| waiting.beside(&Uuid::from_u128(endpoint)).of_endpoint(&Uuid::from_u128(endpoint)).jobs;
    assert!(pool.in_flight() <= 4 && of(1) >= 16 && of(2) == 0);
    pool.give_back_waiting();
    assert_eq!(pool.given_back().len() + pool.in_flight(), 20);
    assert_eq!(pool.waiting_total(), 0);
}

#[test]
fn endpoint_that_times_out_is_slow_and_its_jobs_are_given_back() {
    let (pool, (_listener, hanging)) = (pool(4), black_hole());
    let impatient = |url| Job { timeout: Duration::from_millis(50), ..job_of(1, url) };
    pool.submit((0..20).map(|_| impatient(&hanging)));
    let attempts = finished(&pool, 1);
    assert_eq!(attempts[0].result, Err(Failure::TimedOut(Duration::from_millis(50))));
    assert!(pool.waiting().is_slow(&Uuid::from_u128(1)));
    assert!(pool.given_back().len() >= 16 && pool.waiting_total() == 0);

    let server = ok_server();
    until("the other requests' end", || pool.in_flight() == 0);
    pool.finished();
    pool.submit([Job { timeout: SOON, ..job_of(1, &server.url()) }]);
    finished(&pool, 1);
    assert!(!pool.waiting().is_slow(&Uuid::from_u128(1)));
}

#[test]
fn simultaneous_jobs_wake_as_many_threads_as_may_start() {
    let (pool, (_listener, hanging)) = (pool(8), black_hole());
    pool.submit((1..=4).map(|endpoint| job_of(endpoint, &hanging)));
    until("all four under way", || pool.in_flight() == 4);
}

#[test]
fn pool_of_one_thread_works() {
    let (pool, server) = (pool(1), ok_server());
    for number in 0..20 {
        pool.submit([job_of(number % 3, &server.url())]);
    }
    assert_eq!(finished(&pool, 20).len(), 20);
}

#[test]
fn wakeup_lasts_until_finished_attempts_are_taken() {
    let (pool, server) = (pool(2), ok_server());
    let readable = || is_woken(&pool, Duration::ZERO);
    assert!(!readable());
    for _ in 0..2 {
        pool.submit([job(&server.url())]);
        wait(&pool, Instant::now() + SOON);
        assert!(readable());
        assert_eq!(pool.finished().len(), 1);
        assert!(!readable() && pool.finished().is_empty());
    }
}

#[test]
fn first_finished_attempt_and_then_many_wake() {
    let server = ok_server();
    let pool = Pool::start(PoolConfig { threads: 1, many: 3, rules: loopback(), ..PoolConfig::default() }).unwrap();
    let mut woken = Vec::new();
    for done in 1..=4 {
        pool.submit([job(&server.url())]);
        until("its end", || pool.shared.lock().finished.len() == done);
        // The wakeup is sent after the lock is released, or never.
        woken.push(is_woken(&pool, if [1, 3].contains(&done) { SOON } else { Duration::ZERO }));
        assert_eq!(pool.finished_total(), done);
    }
    assert_eq!((woken, pool.finished().len()), (vec![true, false, true, false], 4));
}

#[test]
fn success_is_in_the_journal_before_it_is_reported() {
    let (server, folder) = (ok_server(), tempfile::tempdir().unwrap());
    let path = folder.path().join("journal");
    let journal = Some(Arc::new(Journal::open(&path).unwrap().0));
    let pool = Pool::start(PoolConfig { threads: 2, journal, rules: loopback(), ..PoolConfig::default() }).unwrap();
    pool.submit((0..10).map(|endpoint| job_of(endpoint, &server.url())));
    let ended = finished(&pool, 10).len();
    assert_eq!((ended, Journal::open(&path).unwrap().1.len()), (10, 10));
}

#[test]
fn panic_becomes_the_outcome_and_ends_no_thread() {
    let outcome = guarded(job("http://example.com/"), |_| panic!("a bug in {}", "here"));
    assert_eq!(outcome.result, Err(Failure::Panicked("a bug in here".into())));
    assert_eq!(outcome.key, job("").key);
}

#[test]
fn dropped_pool_does_not_wait_for_requests_in_flight() {
    let (pool, (_listener, hanging)) = (pool(2), black_hole());
    pool.submit([job(&hanging)]);
    until("the request under way", || pool.in_flight() == 1);
    let (started, shared) = (Instant::now(), Arc::downgrade(&pool.shared));
    drop(pool);
    assert!(started.elapsed() < SOON / 2);
    until("the idle thread's end", || shared.strong_count() == 1);
}

#[test]
fn threads_of_a_dropped_pool_end() {
    let pool = pool(4);
    let shared = Arc::downgrade(&pool.shared);
    drop(pool);
    until("the threads' end", || shared.strong_count() == 0);
}
