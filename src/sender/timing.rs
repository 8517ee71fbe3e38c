//! Where the time of a request went, and which address it reached.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The way of one request. What did not take place has no time: an open connection needs no look-up, connection and TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The look-up of the name, where the name server was asked.
    pub look_up: Option<Duration>,
    /// The TCP connection, also one that failed.
    pub connect: Option<Duration>,
    /// The TLS handshake, also one that failed.
    pub tls: Option<Duration>,
    /// From the start of the request to the end of the response's header.
    pub first_byte: Option<Duration>,
    /// Who was called.
    pub address: Option<IpAddr>,
}

thread_local! {
    /// Of the request that this thread makes. ureq's layers know nothing of each other, and all run in this thread.
    static TIMING: Cell<Timing> = Cell::default();
}

/// Runs a request in this thread and tells how it went.
pub fn followed<T>(request: impl FnOnce() -> T) -> (T, Timing) {
    TIMING.take();
    let result = request();
    (result, TIMING.get())
}

/// Notes something of the request under way.
pub fn note(change: impl FnOnce(&mut Timing)) {
    let mut timing = TIMING.get();
    change(&mut timing);
    TIMING.set(timing);
}

/// Runs a part of it, and notes how long that took.
pub fn timed<T>(part: impl FnOnce() -> T, of: fn(&mut Timing) -> &mut Option<Duration>) -> T {
    let began = Instant::now();
    let result = part();
    note(|timing| *of(timing) = Some(began.elapsed()));
    result
}
