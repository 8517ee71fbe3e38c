//! The transport: bytes to a customer's server and back, within the request's time.
//!
//! It replaces ureq's own TCP layer for three reasons: a server that reads one byte at a time must
//! not prolong a request; head and body of a request are sent in one packet; and the timing must
//! show whether a connection was new.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use crate::timing::note;

/// Maximum number of bytes that are gathered before they are sent.
const PACKET: usize = 16 * 1024;

/// Maximum time limit, so that sums of times do not overflow.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// One connection.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    peer: IpAddr,
    buffers: LazyBuffers,
    /// Bytes of the request that are not sent yet: they wait for more bytes, or for the moment when
    /// a response is expected.
    unsent: Vec<u8>,
    /// Why the request could not be sent completely. Kept until the response is read, because the
    /// server may have answered before it closed the connection.
    write_error: Option<io::Error>,
}

impl Socket {
    pub fn new(stream: TcpStream, peer: IpAddr, config: &Config) -> Self {
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Self { stream, peer, buffers, unsent: Vec::new(), write_error: None }
    }

    fn send(&mut self, timeout: &NextTimeout) -> Result<(), Error> {
        let deadline = deadline(timeout);
        let mut rest = &self.unsent[..];
        while !rest.is_empty() && self.write_error.is_none() {
            // A write may use all of its time and send only part of the bytes, so the time limit is
            // set again for each write.
            self.stream.set_write_timeout(Some(left(deadline, timeout)?))?;
            match self.stream.write(rest) {
                Ok(0) => self.write_error = Some(ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(problem) if problem.kind() == ErrorKind::Interrupted => {}
                Err(problem) if is_timeout(&problem) => return Err(Error::Timeout(timeout.reason)),
                Err(problem) => self.write_error = Some(problem),
            }
        }
        self.unsent.clear();
        Ok(())
    }

    fn receive(&mut self, timeout: &NextTimeout) -> Result<usize, Error> {
        let deadline = deadline(timeout);
        loop {
            self.stream.set_read_timeout(Some(left(deadline, timeout)?))?;
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(amount) => return Ok(amount),
                Err(problem) if problem.kind() == ErrorKind::Interrupted => {}
                Err(problem) if is_timeout(&problem) => return Err(Error::Timeout(timeout.reason)),
                Err(problem) => return Err(Error::Io(problem)),
            }
        }
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.unsent.extend_from_slice(&self.buffers.output()[..amount]);
        if self.unsent.len() < PACKET { Ok(()) } else { self.send(&timeout) }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        // The connection may have been opened for an earlier request.
        note(|timing| timing.address = Some(self.peer));
        self.send(&timeout)?;
        let received = self.receive(&timeout);
        match (received, self.write_error.take()) {
            (Ok(amount), _) if amount > 0 => {
                self.buffers.input_appended(amount);
                Ok(true)
            }
            (_, Some(problem)) => Err(Error::Io(problem)),
            (received, None) => received.map(|_| false),
        }
    }

    /// After unexpected bytes, an error or the end of the stream the connection must not be used
    /// again.
    fn is_open(&mut self) -> bool {
        let look = recv(&self.stream, &mut [0], RecvFlags::DONTWAIT);
        look == Err(Errno::WOULDBLOCK) && self.write_error.is_none()
    }
}

pub fn deadline(timeout: &NextTimeout) -> Instant {
    Instant::now() + (*timeout.after).min(MAX_TIMEOUT)
}

/// The remaining time; an error when it is over.
pub fn left(deadline: Instant, timeout: &NextTimeout) -> Result<Duration, Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Error::Timeout(timeout.reason)) } else { Ok(left) }
}

/// A timeout of a socket is `WouldBlock`, that of a connection attempt is `TimedOut`.
pub fn is_timeout(problem: &io::Error) -> bool {
    matches!(problem.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
