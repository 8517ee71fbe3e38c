//! HTTP/1.1 messages: parsing requests and writing the heads of responses.

use std::io::Write;
use std::time::SystemTime;

use crate::http_server::Handler;
use crate::reply::Reply;

/// More headers than the sender sends. A request with more is answered with 400.
const MAX_HEADERS: usize = 64;

/// A complete request in a connection's buffer.
pub struct IncomingRequest<'a> {
    /// `POST`.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Headers in the order and case in which they were sent.
    pub headers: &'a [httparse::Header<'a>],
    /// The body, whose bytes are signed.
    pub body: &'a [u8],
    /// When the last byte arrived.
    pub arrived_at: SystemTime,
    /// Number of the connection, counted from 1 for each receiver.
    pub connection: u64,
}

impl IncomingRequest<'_> {
    /// Returns a header's value. The case of the name does not matter.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let wanted = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.headers.iter().find(wanted).map(|header| header.value)
    }
}

/// Content of a connection's buffer.
pub enum Parsed {
    /// The handler's reply to a request, and the length of the request in bytes.
    Handled(Reply, usize),
    /// The beginning of a request.
    Incomplete,
    /// Bytes that are not a request, or a request whose length is unknown.
    NotHttp,
}

/// Passes the first request in the buffer to the handler if it is complete.
pub fn parse(buffer: &[u8], connection: u64, handler: &impl Handler) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let head_length = match head.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Parsed::Incomplete,
        Err(_) => return Parsed::NotHttp,
    };
    let (Some(method), Some(path)) = (head.method, head.path) else {
        return Parsed::NotHttp;
    };
    let mut request = IncomingRequest {
        method,
        path,
        headers: head.headers,
        body: b"",
        arrived_at: SystemTime::UNIX_EPOCH,
        connection,
    };
    // Chunked bodies are not supported, because the sender sends none.
    let Some(body_length) = body_length(&request) else {
        return Parsed::NotHttp;
    };
    let end = head_length + body_length;
    if buffer.len() < end {
        return Parsed::Incomplete;
    }
    request.body = &buffer[head_length..end];
    request.arrived_at = SystemTime::now();
    Parsed::Handled(handler.handle(&request), end)
}

fn body_length(request: &IncomingRequest<'_>) -> Option<usize> {
    if request.header("Transfer-Encoding").is_some() {
        return None;
    }
    match request.header("Content-Length") {
        None => Some(0),
        Some(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
    }
}

/// Writes the head of a response. Without a length the body ends with the connection.
pub fn write_head(output: &mut Vec<u8>, status: u16, headers: &[(String, String)], length: Option<usize>, close: bool) {
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        output.write_fmt(arguments).expect("a Vec takes every byte");
    };
    line(format_args!("HTTP/1.1 {status} {}\r\n", reason(status)));
    for (name, value) in headers {
        line(format_args!("{name}: {value}\r\n"));
    }
    // 204 and 304 have no body, and a length confuses some clients.
    if let Some(length) = length.filter(|_| !matches!(status, 204 | 304)) {
        line(format_args!("Content-Length: {length}\r\n"));
    }
    if close {
        line(format_args!("Connection: close\r\n"));
    }
    line(format_args!("\r\n"));
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        400 => "Bad Request",
        410 => "Gone",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "-",
    }
}
