//! Headers: which headers a customer may add to each request.

use std::fmt;

use ureq::http::{HeaderName, HeaderValue};

/// Maximum length of a name and of a value.
const MAX_NAME: usize = 100;
const MAX_VALUE: usize = 1000;

/// Headers that we set ourselves, and headers that control the connection or the destination. A
/// customer who could set these could make the server see another request than the signed one.
const OURS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];

/// All headers whose names begin like this are ours as well.
const OUR_FAMILIES: &[&str] = &["proxy-", "webhook-", "x-webhook-", "x-forwarded-"];

/// Why a header cannot be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidHeader {
    /// Its name is not a token (RFC 9110), or is longer than 100 characters.
    Name,
    /// Its value has characters other than visible ASCII, spaces and tabs, or more than 1,000
    /// characters.
    Value,
    /// It is a header that we set, or one that controls the connection.
    Ours,
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "its name must be 1 to 100 letters, digits or any of !#$%&'*+-.^_`|~",
            Self::Value => "its value must be at most 1,000 characters of visible ASCII and spaces",
            Self::Ours => "the sender sets it",
        })
    }
}

impl std::error::Error for InvalidHeader {}

/// Checks that a customer may add this header.
pub fn check_header(name: &str, value: &str) -> Result<(), InvalidHeader> {
    let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| InvalidHeader::Name)?;
    let known = known.as_str();
    if known.len() > MAX_NAME {
        return Err(InvalidHeader::Name);
    }
    if OURS.contains(&known) || OUR_FAMILIES.iter().any(|family| known.starts_with(family)) {
        return Err(InvalidHeader::Ours);
    }
    if value.len() > MAX_VALUE || !value.is_ascii() || HeaderValue::from_str(value).is_err() {
        return Err(InvalidHeader::Value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customer_may_add_harmless_headers() {
        for (name, value) in [("Authorization", "Bearer a.b-c"), ("X-Environment", ""), ("cookie", "a=b; c=d")] {
            assert_eq!(check_header(name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn our_headers_and_connection_headers_are_rejected() {
        for name in
            ["Host", "CONTENT-LENGTH", "Transfer-Encoding", "X-Webhook-Signature", "webhook-id", "Proxy-Authorization"]
        {
            assert_eq!(check_header(name, "1"), Err(InvalidHeader::Ours), "{name}");
        }
    }

    #[test]
    fn line_breaks_in_headers_are_rejected() {
        for name in ["", "a b", "a:b", "a\r\nb", "\u{e4}", "a\0"] {
            assert_eq!(check_header(name, "1"), Err(InvalidHeader::Name), "{name:?}");
        }
        for value in ["a\r\nb: c", "a\nb", "\u{e4}", "a\0", "\u{7f}"] {
            assert_eq!(check_header("a", value), Err(InvalidHeader::Value), "{value:?}");
        }
        assert_eq!(check_header(&"a".repeat(101), "1"), Err(InvalidHeader::Name));
        assert_eq!(check_header("a", &"1".repeat(1001)), Err(InvalidHeader::Value));
    }
}
