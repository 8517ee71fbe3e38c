//! Replies of a receiver, correct and incorrect ones.

use std::borrow::Cow;
use std::time::Duration;

/// One reply to a request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Time before the first byte is sent.
    pub(crate) delay: Duration,
    pub(crate) kind: ReplyKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ReplyKind {
    Response {
        status: u16,
        headers: Vec<(String, String)>,
        body: Cow<'static, [u8]>,
        close: bool,
    },
    /// Bytes that need not be HTTP, all at once or one per interval. Then the connection is closed.
    Raw {
        bytes: Vec<u8>,
        interval: Option<Duration>,
    },
    /// No reply at all; the connection stays open.
    Hang,
    /// The connection is closed without a reply.
    Drop,
    /// A response whose body never ends, as fast as it is read or one byte per interval.
    Endless {
        interval: Option<Duration>,
    },
}

impl Reply {
    /// Status 200 with an empty body.
    pub fn ok() -> Reply {
        Reply::status(200)
    }

    /// This status with an empty body.
    pub fn status(status: u16) -> Reply {
        Reply::new(ReplyKind::Response { status, headers: Vec::new(), body: Cow::Borrowed(b""), close: false })
    }

    /// A redirect with status 302.
    pub fn redirect(location: &str) -> Reply {
        Reply::status(302).header("Location", location)
    }

    /// Never replies. The connection stays open.
    pub fn hang() -> Reply {
        Reply::new(ReplyKind::Hang)
    }

    /// Closes the connection without a reply.
    pub fn drop_connection() -> Reply {
        Reply::new(ReplyKind::Drop)
    }

    /// Sends these bytes, whatever they are, and closes the connection.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Reply {
        Reply::new(ReplyKind::Raw { bytes: bytes.into(), interval: None })
    }

    /// The same, one byte per interval.
    pub fn raw_slowly(bytes: impl Into<Vec<u8>>, interval: Duration) -> Reply {
        Reply::new(ReplyKind::Raw { bytes: bytes.into(), interval: Some(interval) })
    }

    /// Status 200 and an endless body, as fast as it is read.
    pub fn endless() -> Reply {
        Reply::new(ReplyKind::Endless { interval: None })
    }

    /// Status 200 and an endless body, one byte per interval.
    pub fn trickle(interval: Duration) -> Reply {
        Reply::new(ReplyKind::Endless { interval: Some(interval) })
    }

    /// Adds a header. Has no effect on a reply that is not an HTTP response.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        if let ReplyKind::Response { headers, .. } = &mut self.kind {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Sets the body. Has no effect on a reply that is not an HTTP response.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Reply {
        if let ReplyKind::Response { body, .. } = &mut self.kind {
            *body = Cow::Owned(bytes.into());
        }
        self
    }

    /// Closes the connection after the response, with the header `Connection: close`.
    pub fn close(mut self) -> Reply {
        if let ReplyKind::Response { close, .. } = &mut self.kind {
            *close = true;
        }
        self
    }

    /// Delays the reply. A receiver's closure must not sleep instead, because that would delay all
    /// of its connections.
    pub fn after(mut self, delay: Duration) -> Reply {
        self.delay = delay;
        self
    }

    fn new(kind: ReplyKind) -> Reply {
        Reply { delay: Duration::ZERO, kind }
    }
}

/// The reply that a path selects, the same in this process and in the receiver program:
/// `/status/503`, `/fail-then-ok/2` (each delivery fails twice), `/slow/250` (milliseconds),
/// `/hang`, `/drop`, `/redirect`, `/endless`, `/trickle`. Every other path selects status 200.
pub fn by_path(path: &str, attempt: usize) -> Reply {
    let mut parts = path.trim_start_matches('/').split(['/', '?']);
    let name = parts.next().unwrap_or_default();
    let number: Option<u64> = parts.next().and_then(|text| text.parse().ok());
    match (name, number) {
        ("status", Some(status @ 200..=599)) => Reply::status(status as u16),
        ("fail-then-ok", Some(failures)) if attempt as u64 <= failures => Reply::status(503).body("not yet"),
        ("slow", Some(milliseconds)) => Reply::ok().after(Duration::from_millis(milliseconds)),
        ("hang", _) => Reply::hang(),
        ("drop", _) => Reply::drop_connection(),
        ("redirect", _) => Reply::redirect("/elsewhere"),
        ("endless", _) => Reply::endless(),
        ("trickle", _) => Reply::trickle(Duration::from_millis(100)),
        _ => Reply::ok(),
    }
}
