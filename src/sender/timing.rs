//! Timing: how long each part of a request took, and which address it reached.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The times of one request. A part that did not take place has no time: an open connection needs
/// no look-up, connection and TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The look-up of the name, if the name server was queried.
    pub look_up: Option<Duration>,
    /// The TCP connection, also one that failed.
    pub connect: Option<Duration>,
    /// The TLS handshake, also one that failed.
    pub tls: Option<Duration>,
    /// From the start of the request to the end of the response's header.
    pub first_byte: Option<Duration>,
    /// The address of the server.
    pub address: Option<IpAddr>,
}

thread_local! {
    /// The timing of the request that this thread makes. A thread-local, because ureq's layers have
    /// no common state, and all run in this thread.
    static TIMING: Cell<Timing> = Cell::default();
}

/// Runs a request in this thread and returns its timing.
pub fn followed<T>(request: impl FnOnce() -> T) -> (T, Timing) {
    TIMING.take();
    let result = request();
    (result, TIMING.get())
}

/// Changes the timing of the current request.
pub fn note(change: impl FnOnce(&mut Timing)) {
    let mut timing = TIMING.get();
    change(&mut timing);
    TIMING.set(timing);
}

/// Runs a part of the request, and notes how long it took.
pub fn timed<T>(part: impl FnOnce() -> T, of: fn(&mut Timing) -> &mut Option<Duration>) -> T {
    let began = Instant::now();
    let result = part();
    note(|timing| *of(timing) = Some(began.elapsed()));
    result
}
