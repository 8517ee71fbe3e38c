//! The history records why a request failed, and no answer of a receiver harms the worker.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use webhook_harness::{AttemptRow, Cluster, Endpoint, Receiver, Reply};

/// Starts a server with one attempt per delivery, so that each failure is final.
fn cluster_with_timeout(request_timeout: &str) -> Cluster {
    Cluster::with_extension(&[
        ("webhook_delivery.retry_schedule", ""),
        ("webhook_delivery.request_timeout", request_timeout),
    ])
}

fn failure_of(cluster: &Cluster, url: &str) -> AttemptRow {
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, url);
    endpoint.emit(&mut client, 1);
    endpoint.only_failure(&mut client)
}

fn failure_when(answer: impl Fn() -> Reply + Send + Sync + 'static) -> AttemptRow {
    let receiver = Receiver::start(move |_| answer());
    failure_of(&cluster_with_timeout("10s"), &receiver.url("/"))
}

#[test]
fn closed_port_is_recorded_as_connection_refused() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let attempt = failure_of(&cluster_with_timeout("10s"), &format!("http://127.0.0.1:{port}/"));
    assert_eq!(attempt.error_message.unwrap(), "connection refused");
    assert_eq!((attempt.response_status_code, attempt.response_excerpt), (None, None));
}

#[test]
fn unknown_host_name_is_recorded_as_unresolved() {
    let attempt = failure_of(&cluster_with_timeout("30s"), "http://nowhere.invalid/hooks");
    assert_eq!(attempt.error_message.unwrap(), "could not resolve nowhere.invalid");
}

#[test]
fn status_other_than_2xx_is_recorded_with_an_excerpt() {
    let attempt = failure_when(|| Reply::status(503).body("down for maintenance"));
    assert_eq!(attempt.error_message.unwrap(), "status 503");
    assert_eq!(attempt.response_status_code, Some(503));
    assert_eq!(attempt.response_excerpt.unwrap(), "down for maintenance");
}

#[test]
fn every_2xx_is_a_success_and_keeps_no_response() {
    let receiver = Receiver::start(|request| Reply::status(request.path[1..].parse().unwrap()).body("thanks"));
    let cluster = cluster_with_timeout("10s");
    let mut client = cluster.connect();
    for status in [200, 201, 202, 204, 299] {
        let endpoint = Endpoint::create(&mut client, &receiver.url(&format!("/{status}")));
        endpoint.emit(&mut client, 1);
        endpoint.wait_for(&mut client, 1, "success");
        let attempt = endpoint.attempts(&mut client).remove(0);
        assert_eq!((attempt.response_status_code, attempt.response_excerpt), (Some(status), None));
    }
}

#[test]
fn receiver_that_never_answers_times_out() {
    let receiver = Receiver::start(|_| Reply::hang());
    let attempt = failure_of(&cluster_with_timeout("300ms"), &receiver.url("/"));
    assert_eq!(attempt.error_message.unwrap(), "timed out after 300 ms");
    assert!((300..600).contains(&attempt.response_time_ms), "{} ms", attempt.response_time_ms);
}

#[test]
fn timeout_of_a_whole_second_is_shown_in_seconds() {
    let receiver = Receiver::start(|_| Reply::hang());
    let attempt = failure_of(&cluster_with_timeout("1000"), &receiver.url("/"));
    assert_eq!(attempt.error_message.unwrap(), "timed out after 1 s");
}

#[test]
fn slowly_sent_response_head_does_not_extend_the_timeout() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let receiver = Receiver::start(move |_| Reply::raw_slowly(head, Duration::from_millis(50)));
    let attempt = failure_of(&cluster_with_timeout("300ms"), &receiver.url("/"));
    assert_eq!(attempt.error_message.unwrap(), "timed out after 300 ms");
    assert!((300..600).contains(&attempt.response_time_ms), "{} ms", attempt.response_time_ms);
}

#[test]
fn slowly_sent_body_ends_at_the_timeout_and_status_counts() {
    let receiver = Receiver::start(|_| Reply::trickle(Duration::from_millis(20)));
    let cluster = cluster_with_timeout("300ms");
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    // The receiver answered 200 and thus acknowledged the delivery: another attempt would be
    // useless.
    endpoint.wait_for(&mut client, 1, "success");
    let attempt = endpoint.attempts(&mut client).remove(0);
    assert!(attempt.response_time_ms < 600, "{} ms", attempt.response_time_ms);
}

#[test]
fn connection_closed_without_a_response_is_recorded() {
    let attempt = failure_when(Reply::drop_connection);
    assert_eq!(attempt.error_message.unwrap(), "connection closed before a response");
}

#[test]
fn answer_that_is_not_http_is_recorded_as_invalid() {
    let attempt = failure_when(|| Reply::raw("220 smtp.example.com ESMTP\r\n"));
    let message = attempt.error_message.unwrap();
    assert!(message.starts_with("invalid HTTP response: "), "{message}");
}

#[test]
fn oversized_response_head_is_recorded_as_invalid() {
    let attempt = failure_when(|| Reply::raw(format!("HTTP/1.1 200 OK\r\nX-Long: {}", "a".repeat(1 << 20))));
    let message = attempt.error_message.unwrap();
    assert!(message.starts_with("invalid HTTP response: "), "{message}");
}

#[test]
fn failed_response_keeps_at_most_1_kb_of_readable_text() {
    // The odd first byte makes the limit cut a two-byte character. The second body has bytes that a
    // text column cannot hold.
    let long = failure_when(|| Reply::status(500).body(format!("x{}", "é".repeat(5_000))));
    let excerpt = long.response_excerpt.unwrap();
    assert!(excerpt.len() <= 1024 && excerpt.len() > 1000, "{} bytes", excerpt.len());
    assert!(excerpt.starts_with("xéé"));
    let binary = failure_when(|| Reply::status(500).body(b"a\0b\xff\xfec".to_vec()));
    assert_eq!(binary.response_excerpt.unwrap(), "ab\u{fffd}\u{fffd}c");
}

#[test]
fn compressed_response_is_not_decompressed() {
    let attempt = failure_when(|| Reply::status(500).header("Content-Encoding", "gzip").body("not gzip at all"));
    assert_eq!(attempt.error_message.unwrap(), "status 500");
    assert_eq!(attempt.response_excerpt.unwrap(), "not gzip at all");
}

#[test]
fn endless_responses_neither_block_nor_grow_the_worker() {
    let receiver = Receiver::start(|_| Reply::endless());
    let cluster = cluster_with_timeout("20s");
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 100);
    endpoint.wait_for(&mut client, 100, "success");
    let worker = cluster.wait_for_worker("postgres", None);
    let before = peak_memory_kb(worker);

    endpoint.emit(&mut client, 300);
    endpoint.wait_for(&mut client, 400, "success");
    assert_eq!(cluster.wait_for_worker("postgres", None), worker);
    let growth = peak_memory_kb(worker) - before;
    assert!(growth < 16 * 1024, "300 endless responses made the worker grow by {growth} kB");
    let slowest = endpoint.attempts(&mut client).iter().map(|attempt| attempt.response_time_ms).max();
    assert!(slowest < Some(10_000), "{slowest:?} ms");
}

fn peak_memory_kb(pid: i32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn operator_sees_timing_and_address_of_each_attempt() {
    let receiver = Receiver::by_path();
    let cluster = cluster_with_timeout("10s");
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/slow/200"));
    for made in 1..=2 {
        endpoint.emit(&mut client, 1);
        endpoint.wait_for(&mut client, made, "success");
    }
    let timing =
        "select connect_ms is not null as connected, tls_ms, first_byte_ms, response_time_ms, host(address) as host
        from webhook_delivery.attempts order by attempted_at";
    let rows = client.query(timing, &[]).unwrap();
    let connected: Vec<bool> = rows.iter().map(|row| row.get("connected")).collect();
    assert_eq!(connected, [true, false], "the second request reuses the connection");
    for row in rows {
        assert_eq!((row.get::<_, Option<i32>>("tls_ms"), row.get::<_, &str>("host")), (None, "127.0.0.1"));
        let first_byte: i32 = row.get("first_byte_ms");
        assert!((200..=row.get("response_time_ms")).contains(&first_byte), "{first_byte}");
    }
}
