//! A receiver records requests and replies as the tests require.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::wait::DEADLINE;

const ID: &str = "0198c0de-0000-7000-8000-000000000001";

fn post(stream: &mut TcpStream, path: &str, body: &str) {
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nWebhook-ID: {ID}\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
}

fn read_status(stream: &mut TcpStream) -> String {
    let mut response = [0; 512];
    let length = stream.read(&mut response).unwrap();
    String::from_utf8_lossy(&response[..length]).split(' ').nth(1).unwrap_or("closed").to_owned()
}

#[test]
fn receiver_records_requests_and_keeps_the_connection() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut stream = TcpStream::connect(receiver.address()).unwrap();
    for body in ["first", "second"] {
        post(&mut stream, "/a?b=c", body);
        assert_eq!(read_status(&mut stream), "200");
    }
    let requests = receiver.wait_for(2, DEADLINE);
    assert_eq!(requests[0].body, b"first");
    assert_eq!(requests[0].path, "/a?b=c");
    assert_eq!(requests[0].headers[1], ("Webhook-ID".to_owned(), ID.to_owned()));
    assert_eq!((requests[0].connection, requests[1].connection), (1, 1));
    assert_eq!((requests[0].attempt, requests[1].attempt), (1, 2));
    assert_eq!(receiver.distinct_ids().len(), 1);
}

#[test]
fn path_sets_how_often_a_delivery_fails() {
    let receiver = Receiver::by_path();
    let mut stream = TcpStream::connect(receiver.address()).unwrap();
    let mut answers = Vec::new();
    for _ in 0..3 {
        post(&mut stream, "/fail-then-ok/2", "");
        answers.push(read_status(&mut stream));
    }
    assert_eq!(answers, ["503", "503", "200"]);
    post(&mut stream, "/status/410", "");
    assert_eq!(read_status(&mut stream), "410");
}

#[test]
fn body_sent_in_pieces_is_assembled() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut stream = TcpStream::connect(receiver.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody" {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(receiver.wait_for(1, DEADLINE)[0].body, b"body");
}

#[test]
fn restarted_receiver_has_the_same_address() {
    let receiver = Receiver::start(|_| Reply::ok());
    let address = receiver.address();
    drop(receiver);
    assert!(TcpStream::connect(address).is_err());
    let receiver = Receiver::start_at(address, |_| Reply::hang());
    let mut stream = TcpStream::connect(address).unwrap();
    post(&mut stream, "/", "");
    assert_eq!(receiver.wait_for(1, DEADLINE).len(), 1);
}

#[test]
#[should_panic(expected = "waited 10ms for 1 requests, and there were 0")]
fn missing_request_is_reported_with_those_received() {
    Receiver::start(|_| Reply::ok()).wait_for(1, Duration::from_millis(10));
}
