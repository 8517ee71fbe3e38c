//! Where a request ends, and how a response begins.

use std::io::Write;
use std::time::SystemTime;

use crate::reply::Reply;
use crate::serve::Handler;

/// More than any sender of webhooks sends; another request is answered with 400.
const MOST_HEADERS: usize = 64;

/// A request in a connection's buffer.
pub struct Incoming<'a> {
    /// `POST`.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// In their order and with their case.
    pub headers: &'a [httparse::Header<'a>],
    /// The bytes that the signature is over.
    pub body: &'a [u8],
    /// When the last byte was here.
    pub arrived_at: SystemTime,
    /// Counts the receiver's connections from 1.
    pub connection: u64,
}

impl Incoming<'_> {
    /// A header's bytes; the name's case does not matter.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let wanted = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.headers.iter().find(wanted).map(|header| header.value)
    }
}

/// What a buffer holds.
pub enum Parsed {
    /// A request of so many bytes, and the handler's answer to it.
    Handled(Reply, usize),
    /// The beginning of a request.
    Incomplete,
    /// Something that is not a request, or one without a length.
    NotHttp,
}

/// Hands the buffer's first request to the handler, when it is complete.
pub fn parse(buffer: &[u8], connection: u64, handler: &impl Handler) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let head_length = match head.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Parsed::Incomplete,
        Err(_) => return Parsed::NotHttp,
    };
    let (Some(method), Some(path)) = (head.method, head.path) else {
        return Parsed::NotHttp;
    };
    let mut request =
        Incoming { method, path, headers: head.headers, body: b"", arrived_at: SystemTime::UNIX_EPOCH, connection };
    // A body in chunks would have to be put together; no sender here sends one.
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

fn body_length(request: &Incoming<'_>) -> Option<usize> {
    if request.header("Transfer-Encoding").is_some() {
        return None;
    }
    match request.header("Content-Length") {
        None => Some(0),
        Some(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
    }
}

/// Writes a response's head. Without a length the body ends with the connection.
pub fn write_head(output: &mut Vec<u8>, status: u16, headers: &[(String, String)], length: Option<usize>, close: bool) {
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        output.write_fmt(arguments).expect("a Vec takes every byte");
    };
    line(format_args!("HTTP/1.1 {status} {}\r\n", reason(status)));
    for (name, value) in headers {
        line(format_args!("{name}: {value}\r\n"));
    }
    // 204 and 304 have no body, and a length with them confuses clients.
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
