//! Hostile receivers: no answer, however slow, large or malformed, harms the sender.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use webhook_harness::tls::PrivateCa;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, wait_until};

const POOL_SIZE: usize = 16;

/// Starts a server that runs `speak` on each connection without reading a request first.
fn start_server(speak: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let speak = Arc::new(speak);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let speak = Arc::clone(&speak);
            // An error means that the sender closed the connection.
            std::thread::spawn(move || _ = speak(&mut stream));
        }
    });
    address
}

fn drip(stream: &mut TcpStream, beginning: &str) -> std::io::Result<()> {
    stream.write_all(beginning.as_bytes())?;
    loop {
        stream.write_all(b"x")?;
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn flood(stream: &mut TcpStream, beginning: &str, piece: &str) -> std::io::Result<()> {
    stream.write_all(beginning.as_bytes())?;
    let pieces = piece.repeat(64 * 1024 / piece.len());
    loop {
        stream.write_all(pieces.as_bytes())?;
    }
}

fn answer(stream: &mut TcpStream, words: &[u8]) -> std::io::Result<()> {
    _ = stream.read(&mut [0; 65536])?;
    stream.write_all(words)
}

/// A decompression bomb: an endless body that is declared as gzip.
fn bomb(stream: &mut TcpStream) -> std::io::Result<()> {
    let head = "HTTP/1.1 500 Oops\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
    flood(stream, head, "400\r\n\u{1f}\u{0}\r\n")
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn hostile_servers() -> Vec<SocketAddr> {
    vec![
        start_server(|stream| drip(stream, "")),
        start_server(|stream| drip(stream, "HTTP/1.1 200 OK\r\nX-Slow: ")),
        start_server(|stream| drip(stream, "HTTP/1.1 500 Oops\r\nContent-Length: 100000\r\n\r\n")),
        start_server(|stream| flood(stream, "HTTP/1.1 200 OK\r\n", "X-More: more\r\n")),
        start_server(|stream| flood(stream, "HTTP/1.1 200 OK\r\nX-Long: ", "long")),
        start_server(|stream| flood(stream, "HTTP/1.1 500 Oops\r\nContent-Length: 1000000000000\r\n\r\n", "body")),
        start_server(|stream| flood(stream, "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n")),
        start_server(bomb),
        start_server(|stream| answer(stream, b"hello")),
        start_server(|stream| answer(stream, &[0xff; 4096])),
        start_server(|stream| answer(stream, OK.repeat(2).as_bytes())),
        start_server(|stream| answer(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 20\r\n\r\n")),
        start_server(|stream| stream.write_all(OK.as_bytes())),
        start_server(|stream| {
            stream.write_all(b"HTTP/1.1 20")?;
            stream.shutdown(Shutdown::Write)?;
            std::io::copy(stream, &mut std::io::sink()).map(drop)
        }),
        // Closes with the request unread, which the sender sees as a reset.
        start_server(|_| Ok(())),
        start_server(|stream| std::io::copy(stream, &mut std::io::sink()).map(drop)),
    ]
}

fn anonymous_memory(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn sending_threads(pid: i32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with("webhook-send-")).count()
}

#[test]
fn hostile_receivers_harm_neither_pool_memory_nor_others() {
    let (cluster, mut client) = Cluster::with_client(&[
        ("webhook_delivery.pool_size", &POOL_SIZE.to_string()),
        ("webhook_delivery.request_timeout", "300ms"),
        ("webhook_delivery.retry_schedule", ""),
        // The hostile endpoints stay enabled for the whole test.
        ("webhook_delivery.disable_after_failures", "0"),
    ]);
    let receiver = Receiver::start(|_| Reply::ok());
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    let ca = PrivateCa::new();
    let expired = Receiver::start_tls(&ca.expired(&["127.0.0.1"]), |_| Reply::ok());
    let plain = hostile_servers().into_iter().map(|address| format!("http://{address}/"));
    // The same servers without a TLS handshake, and one whose certificate is invalid (expired, and
    // of an unknown CA).
    let secure = hostile_servers().into_iter().take(9).map(|address| format!("https://{address}/"));
    let urls: Vec<String> = plain.chain(secure).chain([expired.url("/")]).collect();
    let bad: Vec<Endpoint> = urls.iter().map(|url| Endpoint::create(&mut client, url)).collect();

    let worker = cluster.wait_for_worker("postgres", None);
    let (mut memory, mut expected) = (Vec::new(), 0);
    for _ in 0..6 {
        for endpoint in &bad {
            endpoint.emit(&mut client, 2);
        }
        let emitted_at = Instant::now();
        good.emit(&mut client, 50);
        expected += 50;
        receiver.wait_for(expected, DEADLINE);
        let took = emitted_at.elapsed();
        assert!(took < Duration::from_secs(2), "a good endpoint waited {took:?}");
        wait_until("the end of all deliveries", DEADLINE, || {
            let queued: i64 = client.query_one("select count(*) from webhook_delivery.queue", &[]).unwrap().get(0);
            (queued == 0).then_some(())
        });
        memory.push(anonymous_memory(worker));
    }
    assert_eq!(cluster.worker_pid("postgres"), Some(worker), "the worker process is still the first one");
    assert_eq!(sending_threads(worker), POOL_SIZE);
    let grown = memory[5].saturating_sub(memory[2]);
    assert!(grown < 4 << 20, "{memory:?}");
    for (url, endpoint) in urls.iter().zip(&bad) {
        let attempts = endpoint.attempts(&mut client);
        assert_eq!(attempts.len(), 12, "{url}");
        for attempt in attempts {
            assert!(attempt.response_time_ms < 600, "{url}: {attempt:?}");
            assert!(attempt.response_excerpt.is_none_or(|excerpt| excerpt.len() <= 1024), "{url}");
            assert_eq!(attempt.error_message.is_none(), attempt.response_status_code == Some(200), "{url}");
        }
    }
}
