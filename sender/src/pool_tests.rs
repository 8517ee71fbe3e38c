//! Does the pool do each job once, share its threads fairly, and wake who waits for it?

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::Instant;

use super::*;
use crate::testing::{OK, SOON, Server, Then, job, job_of};

fn pool(threads: usize) -> Pool {
    Pool::start(PoolConfig { threads, ca_file: None }).unwrap()
}

fn ok_server() -> Server {
    Server::start(|_, out| {
        out.write_all(OK).unwrap();
        Then::Keep
    })
}

/// Waits as the worker does, for the wake-up alone.
fn wait(pool: &Pool, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis() as i32;
    let mut watched = libc::pollfd { fd: pool.wake_fd(), events: libc::POLLIN, revents: 0 };
    assert_eq!(unsafe { libc::poll(&mut watched, 1, left) }, 1, "no wake-up");
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
fn every_job_is_done_once_and_comes_back_with_its_key() {
    let (pool, server) = (pool(8), ok_server());
    for number in 0..500 {
        let mut job = job_of(number % 7, &server.url());
        job.key.delivery_id = Uuid::from_u128(number);
        job.key.due_at = number as i64;
        pool.submit(job);
    }
    let mut times = HashMap::new();
    for attempt in finished(&pool, 500) {
        assert_eq!(attempt.result, Ok(200));
        assert_eq!(attempt.key.delivery_id.as_u128(), attempt.key.due_at as u128);
        *times.entry(attempt.key.due_at).or_insert(0) += 1;
    }
    assert!(times.len() == 500 && times.values().all(|count| *count == 1));
    assert_eq!((pool.waiting_total(), pool.waiting_bytes(), pool.in_flight()), (0, 0, 0));
}

#[test]
fn a_hanging_endpoint_gets_half_the_threads_and_others_go_on() {
    let (pool, server, (_listener, hanging)) = (pool(8), ok_server(), black_hole());
    for _ in 0..20 {
        pool.submit(job_of(1, &hanging));
    }
    until("half the pool under way", || pool.in_flight() == 4);
    for _ in 0..20 {
        pool.submit(job_of(2, &server.url()));
    }
    let others = finished(&pool, 20);
    assert!(others.iter().all(|attempt| attempt.result == Ok(200)));
    assert_eq!((pool.in_flight(), pool.waiting(&Uuid::from_u128(1)), pool.waiting_total()), (4, 16, 16));
    assert_eq!(pool.waiting_bytes(), 16 * job("").data.len());
    assert_eq!(pool.clear_waiting(), 16);
    assert_eq!((pool.in_flight(), pool.waiting_total()), (4, 0));
}

#[test]
fn no_thread_sleeps_beside_a_job_that_it_could_do() {
    let (pool, (_listener, hanging)) = (pool(6), black_hole());
    let (release, released) = channel();
    let released = Mutex::new(released);
    let server = Server::start(move |_, out| {
        _ = released.lock().unwrap().recv();
        _ = out.write_all(OK);
        Then::Keep
    });
    for _ in 0..3 {
        pool.submit(job_of(1, &hanging));
        pool.submit(job_of(2, &server.url()));
    }
    until("two requests of each under way", || pool.in_flight() == 4);
    release.send(()).unwrap();
    // Endpoint 1 goes on in the thread that is free now, endpoint 2 in one that has slept.
    until("two more", || pool.in_flight() == 5);
    assert_eq!(pool.waiting_total(), 0);
}

#[test]
fn a_pool_of_one_thread_does_its_work() {
    let (pool, server) = (pool(1), ok_server());
    for number in 0..20 {
        pool.submit(job_of(number % 3, &server.url()));
    }
    assert_eq!(finished(&pool, 20).len(), 20);
}

#[test]
fn the_wake_up_is_there_while_something_has_finished_and_then_gone() {
    let (pool, server) = (pool(2), ok_server());
    let readable = || {
        let mut watched = libc::pollfd { fd: pool.wake_fd(), events: libc::POLLIN, revents: 0 };
        unsafe { libc::poll(&mut watched, 1, 0) == 1 }
    };
    assert!(!readable());
    for _ in 0..2 {
        pool.submit(job(&server.url()));
        wait(&pool, Instant::now() + SOON);
        assert!(readable());
        assert_eq!(pool.finished().len(), 1);
        assert!(!readable() && pool.finished().is_empty());
    }
}

#[test]
fn a_panic_becomes_the_outcome_and_costs_no_thread() {
    let outcome = guarded(job("http://example.com/"), |_| panic!("a bug in {}", "here"));
    assert_eq!(outcome.result, Err(Failure::Panicked("a bug in here".into())));
    assert_eq!(outcome.key, job("").key);
}

#[test]
fn a_pool_that_is_dropped_does_not_wait_for_requests_under_way() {
    let (pool, (_listener, hanging)) = (pool(2), black_hole());
    pool.submit(job(&hanging));
    until("the request under way", || pool.in_flight() == 1);
    let (started, shared) = (Instant::now(), Arc::downgrade(&pool.shared));
    drop(pool);
    assert!(started.elapsed() < SOON / 2);
    until("the idle thread's end", || shared.strong_count() == 1);
}

#[test]
fn the_threads_of_a_dropped_pool_end() {
    let pool = pool(4);
    let shared = Arc::downgrade(&pool.shared);
    drop(pool);
    until("the threads' end", || shared.strong_count() == 0);
}
