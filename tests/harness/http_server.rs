//! An HTTP/1.1 server for receivers.
//!
//! It has one event loop per thread and one buffer per connection, and allocates nothing for a
//! request that is answered with a status alone. On two cores the sender lacks every microsecond
//! that a receiver uses, and a benchmark would measure that.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use crate::http::IncomingRequest;
use crate::http::{Parsed, parse, write_head};
use crate::reply::{Reply, ReplyKind};

/// Replies to requests. It is called in an event loop, so it must not block.
pub trait Handler: Send + Sync + 'static {
    /// Returns the reply to a request.
    fn handle(&self, request: &IncomingRequest<'_>) -> Reply;
}

/// Event loops that accept connections on one address. Dropping it closes the address and every
/// connection.
pub struct HttpServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens on `address` with this number of event loops.
    pub fn start(
        address: SocketAddr,
        loops: usize,
        tls: Option<TlsAcceptor>,
        handler: Arc<impl Handler>,
    ) -> io::Result<HttpServer> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicU64::new(0));
        let (stop, _) = watch::channel(false);
        let mut threads = Vec::new();
        for _ in 0..loops {
            let event_loop = EventLoop {
                listener: listener.try_clone()?,
                tls: tls.clone(),
                handler: Arc::clone(&handler),
                connections: Arc::clone(&connections),
            };
            let stopped = stop.subscribe();
            threads.push(thread::Builder::new().name("receiver".to_owned()).spawn(move || event_loop.run(stopped))?);
        }
        Ok(HttpServer { address, stop, threads })
    }

    /// The address on which it listens. The port is the actual one even if port 0 was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What one event loop needs to accept and serve connections.
struct EventLoop<H> {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handler: Arc<H>,
    connections: Arc<AtomicU64>,
}

impl<H: Handler> EventLoop<H> {
    fn run(self, mut stopped: watch::Receiver<bool>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
        runtime.block_on(async {
            let accepting = tokio::spawn(self.accept());
            let _ = stopped.wait_for(|stop| *stop).await;
            accepting.abort();
        });
        // Dropping the runtime drops every connection's task and with it the connection.
    }

    async fn accept(self) {
        let listener = tokio::net::TcpListener::from_std(self.listener).expect("the listener is non-blocking");
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            // Otherwise a small reply waits for the acknowledgement of the previous one.
            let _ = stream.set_nodelay(true);
            let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
            let handler = Arc::clone(&self.handler);
            match self.tls.clone() {
                None => {
                    tokio::spawn(async move { serve_connection(stream, number, &*handler).await });
                }
                Some(tls) => {
                    tokio::spawn(async move { serve_connection(tls.accept(stream).await?, number, &*handler).await });
                }
            }
        }
    }
}

/// Replies to the requests of one connection until either side closes it.
async fn serve_connection<S>(mut stream: S, connection: u64, handler: &impl Handler) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut input: Vec<u8> = Vec::with_capacity(16 * 1024);
    let mut output: Vec<u8> = Vec::with_capacity(512);
    loop {
        let (reply, used) = match parse(&input, connection, handler) {
            Parsed::Handled(reply, used) => (reply, used),
            Parsed::Incomplete => {
                input.reserve(8 * 1024);
                if stream.read_buf(&mut input).await? == 0 {
                    return Ok(());
                }
                continue;
            }
            Parsed::NotHttp => (Reply::status(400).close(), input.len()),
        };
        input.drain(..used);
        if !reply.delay.is_zero() {
            tokio::time::sleep(reply.delay).await;
        }
        match reply.kind {
            ReplyKind::Response { status, headers, body, close } => {
                output.clear();
                write_head(&mut output, status, &headers, Some(body.len()), close);
                output.extend_from_slice(&body);
                stream.write_all(&output).await?;
                stream.flush().await?;
                if close {
                    return stream.shutdown().await;
                }
            }
            ReplyKind::Raw { bytes, interval } => {
                for piece in bytes.chunks(if interval.is_some() { 1 } else { bytes.len().max(1) }) {
                    stream.write_all(piece).await?;
                    stream.flush().await?;
                    tokio::time::sleep(interval.unwrap_or_default()).await;
                }
                return stream.shutdown().await;
            }
            ReplyKind::Hang => pending().await,
            ReplyKind::Drop => return Ok(()),
            ReplyKind::Endless { interval } => {
                output.clear();
                write_head(&mut output, 200, &[], None, true);
                stream.write_all(&output).await?;
                let piece = if interval.is_some() { &[b'.'; 1][..] } else { &[b'.'; 8 * 1024][..] };
                // Ends with an error once the other side has closed the connection.
                loop {
                    stream.write_all(piece).await?;
                    stream.flush().await?;
                    tokio::time::sleep(interval.unwrap_or_default()).await;
                }
            }
        }
    }
}
