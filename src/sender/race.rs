//! The race of a host's addresses: a TCP connection to the first that answers (RFC 8305, "Happy
//! Eyeballs").

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::timing::note;

/// After this time the next address is tried, although those before may still answer: the
/// "Connection Attempt Delay" that RFC 8305 recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Maximum number of addresses that are tried at once. The oldest attempt makes place for the next,
/// so that a host with many addresses does not use up the process's file descriptors.
const MAX_PENDING: usize = 4;

/// Connects to these addresses, each a while after the one before or when that has failed. Returns
/// the first connection; the error of the last address if there is none.
pub fn first_to_answer(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut untried = addresses.iter();
    let mut pending = VecDeque::new();
    let mut last_error = io::Error::from(ErrorKind::AddrNotAvailable);
    let mut next_attempt = Instant::now();
    loop {
        let now = Instant::now();
        if now >= deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        if now < next_attempt && !pending.is_empty() {
            match next_answer(&mut pending, next_attempt.min(deadline) - now) {
                Ok(Some(stream)) => return Ok(stream),
                Ok(None) => {}
                Err(problem) => (last_error, next_attempt) = (problem, now),
            }
            continue;
        }
        match untried.next() {
            Some(address) => {
                note(|timing| timing.address = Some(address.ip()));
                match begin(address) {
                    Ok(stream) => {
                        if pending.len() == MAX_PENDING {
                            pending.pop_front();
                        }
                        pending.push_back(stream);
                        next_attempt = now + ATTEMPT_DELAY;
                    }
                    Err(problem) => last_error = problem,
                }
            }
            None if pending.is_empty() => return Err(last_error),
            None => next_attempt = deadline,
        }
    }
}

/// Begins to connect.
fn begin(address: &SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(problem) => Err(problem.into()),
    }
}

/// The first of these connections that is made within this time; `None` if there is none. The error
/// of a connection that failed, which is removed.
fn next_answer(pending: &mut VecDeque<TcpStream>, within: Duration) -> io::Result<Option<TcpStream>> {
    let mut watched: Vec<PollFd<'_>> = pending.iter().map(|stream| PollFd::new(stream, PollFlags::OUT)).collect();
    let within = Timespec::try_from(within).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    match poll(&mut watched, Some(&within)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(problem) => return Err(problem.into()),
    }
    let answered = watched.iter().position(|watched| !watched.revents().is_empty());
    drop(watched);
    let Some(stream) = answered.and_then(|place| pending.remove(place)) else { return Ok(None) };
    socket_error(&stream)??;
    stream.set_nonblocking(false)?;
    Ok(Some(stream))
}

#[cfg(test)]
pub mod tests {
    use std::net::TcpListener;

    use super::*;

    /// An address whose packets are dropped: a listener with a full queue. It lasts as long as the
    /// connections.
    pub fn silent(address: &str) -> (TcpListener, Vec<TcpStream>) {
        let listener = TcpListener::bind(address).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&listener.local_addr().unwrap(), Duration::from_millis(200)) {
            waiting.push(stream);
        }
        (listener, waiting)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn silent_addresses_do_not_hold_up_the_one_that_answers() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = [silent("[::1]:0"), silent("127.0.0.2:0")];
        let mut addresses: Vec<SocketAddr> = silent.iter().map(|(silent, _)| silent.local_addr().unwrap()).collect();
        addresses.push(server.local_addr().unwrap());
        let began = Instant::now();
        let stream = first_to_answer(&addresses, soon()).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[2]);
        // Two delays, and much time for a busy machine; without the race it would be 22 seconds.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn refused_address_is_followed_by_the_next_at_once() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let refusing = |host: &str| TcpListener::bind((host, 0)).unwrap().local_addr().unwrap();
        let addresses = [refusing("::1"), refusing("127.0.0.3"), server.local_addr().unwrap()];
        assert_eq!(first_to_answer(&addresses, soon()).unwrap().peer_addr().unwrap(), addresses[2]);
        let problem = first_to_answer(&addresses[..2], soon()).unwrap_err();
        assert_eq!(problem.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn addresses_that_are_all_silent_time_out_with_few_sockets() {
        let (silent, _waiting) = silent("127.0.0.4:0");
        let addresses = [silent.local_addr().unwrap(); 16];
        let deadline = Instant::now() + Duration::from_millis(1500);
        let problem = first_to_answer(&addresses, deadline).unwrap_err();
        assert_eq!(problem.kind(), ErrorKind::TimedOut);
        assert!(Instant::now() >= deadline);
        assert_eq!(first_to_answer(&[], soon()).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    }
}
