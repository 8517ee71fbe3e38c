//! A receiver cannot harm the sender: by what it answers, when, how slowly, or how much.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use webhook_harness::tls::PrivateCa;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, wait_until};

const POOL_SIZE: usize = 16;

/// Speaks as told with each connection, without reading a request first.
fn speaking(speak: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let speak = Arc::new(speak);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let speak = Arc::clone(&speak);
            // An error is the sender's hanging up.
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

fn say(stream: &mut TcpStream, words: &[u8]) -> std::io::Result<()> {
    _ = stream.read(&mut [0; 65536])?;
    stream.write_all(words)
}

/// A gigabyte of zeros, as a receiver that wants to be inflated sends it: what follows the header never ends.
fn bomb(stream: &mut TcpStream) -> std::io::Result<()> {
    let head = "HTTP/1.1 500 Oops\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
    flood(stream, head, "400\r\n\u{1f}\u{0}\r\n")
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn hostile() -> Vec<SocketAddr> {
    vec![
        speaking(|stream| drip(stream, "")),
        speaking(|stream| drip(stream, "HTTP/1.1 200 OK\r\nX-Slow: ")),
        speaking(|stream| drip(stream, "HTTP/1.1 500 Oops\r\nContent-Length: 100000\r\n\r\n")),
        speaking(|stream| flood(stream, "HTTP/1.1 200 OK\r\n", "X-More: more\r\n")),
        speaking(|stream| flood(stream, "HTTP/1.1 200 OK\r\nX-Long: ", "long")),
        speaking(|stream| flood(stream, "HTTP/1.1 500 Oops\r\nContent-Length: 1000000000000\r\n\r\n", "body")),
        speaking(|stream| flood(stream, "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n")),
        speaking(bomb),
        speaking(|stream| say(stream, b"hello")),
        speaking(|stream| say(stream, &[0xff; 4096])),
        speaking(|stream| say(stream, OK.repeat(2).as_bytes())),
        speaking(|stream| say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 20\r\n\r\n")),
        speaking(|stream| stream.write_all(OK.as_bytes())),
        speaking(|stream| {
            stream.write_all(b"HTTP/1.1 20")?;
            stream.shutdown(Shutdown::Write)?;
            std::io::copy(stream, &mut std::io::sink()).map(drop)
        }),
        // Closed with the request unread, which the other side sees as a reset.
        speaking(|_| Ok(())),
        speaking(|stream| std::io::copy(stream, &mut std::io::sink()).map(drop)),
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
fn after_all_that_receivers_can_do_the_pool_is_whole_memory_is_flat_and_good_endpoints_were_served() {
    let cluster = Cluster::start(&[
        ("webhook_delivery.pool_size", &POOL_SIZE.to_string()),
        ("webhook_delivery.request_timeout", "300ms"),
        ("webhook_delivery.retry_schedule", ""),
        // They go on for as long as the test does.
        ("webhook_delivery.disable_after_failures", "0"),
    ]);
    let mut client = cluster.connect();
    client.batch_execute("create extension webhook_delivery").unwrap();
    let receiver = Receiver::start(|_| Reply::ok());
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    let ca = PrivateCa::new();
    let expired = Receiver::start_tls(&ca.expired(&["127.0.0.1"]), |_| Reply::ok());
    let plain = hostile().into_iter().map(|address| format!("http://{address}/"));
    // The same without an answer to TLS's first words, and one that nobody vouches for.
    let secure = hostile().into_iter().take(9).map(|address| format!("https://{address}/"));
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
    assert_eq!(cluster.worker_pid("postgres"), Some(worker), "the process is the one that began");
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
