//! Tests of the client with servers that violate HTTP.

use super::*;

/// A server that calls this function once per connection.
fn bare(speak: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let speak = Arc::new(speak);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let speak = Arc::clone(&speak);
            std::thread::spawn(move || speak(stream.unwrap()));
        }
    });
    url
}

#[test]
fn extra_response_does_not_answer_the_next_request() {
    let server = Server::start(|number, out| {
        let answer =
            if number == 0 { [OK, OK].concat() } else { b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec() };
        out.write_all(&answer).unwrap();
        Then::Keep
    });
    let client = client();
    assert_eq!(client.attempt(job(&server.url())).result, Ok(200));
    assert_eq!(client.attempt(job(&server.url())).result, Err(Failure::Status(500)));
    assert_eq!(server.connections(), 2);
}

#[test]
fn response_before_the_end_of_the_request_counts() {
    let url = bare(|mut stream| {
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let mut large = job(&url);
    large.data = format!("\"{}\"", "x".repeat(1 << 20));
    assert_eq!(client().attempt(large).result, Err(Failure::Status(413)));
}

#[test]
fn compressed_response_is_not_decompressed() {
    // The beginning of a gzip stream, which would continue with any number of zeros.
    let server = Server::start(|_, out| {
        out.write_all(b"HTTP/1.1 500 Oops\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08x")
            .unwrap();
        Then::Keep
    });
    let ended = client().attempt(job(&server.url()));
    assert_eq!((ended.result, ended.response_excerpt), (Err(Failure::Status(500)), Some("\x1f\u{fffd}\x08x".into())));
    let request = server.requests.recv_timeout(SOON).unwrap();
    assert_eq!(request.header("accept-encoding"), None);
}

#[test]
fn reset_or_close_fails_an_attempt_without_a_status() {
    let reset = |mut stream: TcpStream, said: &[u8]| {
        _ = stream.read(&mut [0; 65536]);
        _ = stream.write_all(said);
        // Closes without waiting for bytes in flight: the other side sees a reset.
        _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    };
    let closed = Failure::Disconnected;
    assert_eq!(client().attempt(job(&bare(move |stream| reset(stream, b"HTTP/1.1 2")))).result, Err(closed.clone()));
    let half = bare(|mut stream| {
        _ = stream.write_all(b"HTTP/1.1 200");
        _ = stream.shutdown(std::net::Shutdown::Write);
        _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    assert_eq!(client().attempt(job(&half)).result, Err(closed));
    let in_the_body = bare(|mut stream| {
        _ = stream.read(&mut [0; 65536]);
        _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    });
    assert_eq!(client().attempt(job(&in_the_body)).result, Ok(200));
}

#[test]
fn silent_tls_handshake_ends_at_the_time_limit() {
    let url = bare(|mut stream| _ = std::io::copy(&mut stream, &mut std::io::sink())).replace("http:", "https:");
    let mut job = job(&url);
    job.timeout = Duration::from_millis(100);
    assert_eq!(attempt_soon(job).result, Err(Failure::TimedOut(Duration::from_millis(100))));
}
