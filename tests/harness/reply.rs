//! What a receiver can answer, politely or not.

use std::borrow::Cow;
use std::time::Duration;

/// One answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Waited before the first byte is sent.
    pub(crate) delay: Duration,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Response {
        status: u16,
        headers: Vec<(String, String)>,
        body: Cow<'static, [u8]>,
        close: bool,
    },
    /// Bytes that need not be HTTP, at once or one per interval; then the connection is closed.
    Raw {
        bytes: Vec<u8>,
        every: Option<Duration>,
    },
    /// Nothing, for ever.
    Hang,
    /// The connection is closed without a word.
    Drop,
    /// A response whose body never ends: as fast as it is read, or a byte per interval.
    Endless {
        every: Option<Duration>,
    },
}

impl Reply {
    /// 200 with an empty body.
    pub fn ok() -> Reply {
        Reply::status(200)
    }

    /// This status with an empty body.
    pub fn status(status: u16) -> Reply {
        Reply::new(What::Response { status, headers: Vec::new(), body: Cow::Borrowed(b""), close: false })
    }

    /// A redirect with status 302.
    pub fn redirect(location: &str) -> Reply {
        Reply::status(302).header("Location", location)
    }

    /// Never answers; the connection stays open.
    pub fn hang() -> Reply {
        Reply::new(What::Hang)
    }

    /// Closes the connection without an answer.
    pub fn drop_connection() -> Reply {
        Reply::new(What::Drop)
    }

    /// Sends these bytes, whatever they are, and closes the connection.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Reply {
        Reply::new(What::Raw { bytes: bytes.into(), every: None })
    }

    /// The same, one byte per interval.
    pub fn raw_slowly(bytes: impl Into<Vec<u8>>, every: Duration) -> Reply {
        Reply::new(What::Raw { bytes: bytes.into(), every: Some(every) })
    }

    /// 200 and a body without end, as fast as it is read.
    pub fn endless() -> Reply {
        Reply::new(What::Endless { every: None })
    }

    /// 200 and a body without end, one byte per interval.
    pub fn trickle(every: Duration) -> Reply {
        Reply::new(What::Endless { every: Some(every) })
    }

    /// With one more header. It only means something for a reply that is a response.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        if let What::Response { headers, .. } = &mut self.what {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// With a body.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Reply {
        if let What::Response { body, .. } = &mut self.what {
            *body = Cow::Owned(bytes.into());
        }
        self
    }

    /// Closes the connection after the response, and says so in a header.
    pub fn close(mut self) -> Reply {
        if let What::Response { close, .. } = &mut self.what {
            *close = true;
        }
        self
    }

    /// Waits before answering. A closure must not sleep: it would hold up all of the receiver's connections.
    pub fn after(mut self, delay: Duration) -> Reply {
        self.delay = delay;
        self
    }

    fn new(what: What) -> Reply {
        Reply { delay: Duration::ZERO, what }
    }
}

/// The behaviour that a path asks for, the same in this process and in the receiver program:
/// `/status/503`, `/fail-then-ok/2` (each delivery fails twice), `/slow/250` (milliseconds), `/hang`, `/drop`, `/redirect`, `/endless`, `/trickle`;
/// 200 for every other path.
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
