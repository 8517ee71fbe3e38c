//! Failures: why an attempt failed, in words for the customer.

use std::fmt;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use crate::InvalidUrl;
use crate::address::NotAllowed;
use crate::proxy::ProxyProblem;

/// Maximum length of a redirect's target; a longer one is not shown.
const MAX_LOCATION: usize = 200;

/// Why an attempt was not a success. The history shows its `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host's name has no address.
    Resolve {
        /// The name.
        host: String,
    },
    /// The request would go to an address that is not allowed. The message does not contain the
    /// address.
    AddressNotAllowed,
    /// No server listens at the address.
    ConnectionRefused,
    /// The TLS connection failed, for this reason.
    Tls(String),
    /// The time limit of the whole request was reached.
    TimedOut(Duration),
    /// A response that is neither 2xx nor a redirect.
    Status(u16),
    /// A 3xx response. Redirects are not followed, because their target was not registered.
    Redirect {
        /// Its status.
        status: u16,
        /// Its target, if it is not too long.
        location: Option<String>,
    },
    /// No connection could be made; says why.
    Connect(String),
    /// The proxy did not connect; says why.
    Proxy(String),
    /// The connection broke before the response arrived.
    Disconnected,
    /// No request may be sent to this URL.
    InvalidUrl(InvalidUrl),
    /// The response is not valid HTTP, or its header is too large.
    InvalidResponse(String),
    /// A bug in this code, with the panic's message; the delivery is retried.
    Panicked(String),
}

impl Failure {
    /// The HTTP status, if there was a response.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) | Self::Redirect { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether there was no connection, so that another delivery would have failed as well. After a
    /// timeout this is not known.
    pub fn is_unreachable(&self) -> bool {
        use Failure::*;
        matches!(self, Resolve { .. } | AddressNotAllowed | ConnectionRefused | Tls(_) | InvalidUrl(_))
    }

    /// The failure for an endpoint's invalid URL.
    pub(crate) fn of_url(problem: InvalidUrl) -> Self {
        match problem {
            InvalidUrl::Address(_) => Self::AddressNotAllowed,
            other => Self::InvalidUrl(other),
        }
    }

    /// The failure for ureq's error. `host` and `timeout` are those of the request.
    pub(crate) fn of_request(error: ureq::Error, host: &str, timeout: Duration) -> Self {
        use std::io::ErrorKind::*;
        use ureq::Error;
        match error {
            Error::Timeout(_) => Self::TimedOut(timeout),
            Error::HostNotFound => Self::Resolve { host: host.into() },
            Error::BadUri(_) => Self::InvalidUrl(InvalidUrl::Uncallable),
            Error::Other(problem) if problem.is::<NotAllowed>() => Self::AddressNotAllowed,
            Error::Other(problem) if problem.is::<ProxyProblem>() => match problem.downcast_ref() {
                Some(ProxyProblem::Proxy(problem)) => Self::Proxy(problem.clone()),
                _ => Self::Connect(problem.to_string()),
            },
            Error::Http(problem) => Self::Connect(format!("the request cannot be built: {problem}")),
            Error::Rustls(problem) => Self::Tls(tls_problem(&problem)),
            Error::Tls(problem) => Self::Tls(problem.into()),
            Error::ConnectionFailed => Self::Connect("no connection could be made".into()),
            Error::Protocol(problem) => Self::InvalidResponse(problem.to_string()),
            Error::LargeResponseHeader(..) => Self::InvalidResponse("its header is too large".into()),
            Error::Io(problem) => {
                if let Some(tls) = rustls_error(&problem) {
                    return Self::Tls(tls_problem(tls));
                }
                match problem.kind() {
                    ConnectionRefused => Self::ConnectionRefused,
                    TimedOut | WouldBlock => Self::TimedOut(timeout),
                    ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof | NotConnected => {
                        Self::Disconnected
                    }
                    HostUnreachable | NetworkUnreachable => Self::Connect("host is unreachable".into()),
                    _ => Self::Connect(problem.to_string()),
                }
            }
            other => Self::Connect(other.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host } => write!(f, "could not resolve {host}"),
            Self::AddressNotAllowed => write!(f, "{NotAllowed}"),
            Self::ConnectionRefused => write!(f, "connection refused"),
            Self::Tls(problem) => write!(f, "TLS: {problem}"),
            Self::TimedOut(after) if after.subsec_millis() == 0 => write!(f, "timed out after {} s", after.as_secs()),
            Self::TimedOut(after) => write!(f, "timed out after {} ms", after.as_millis()),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Redirect { status, location } => {
                write!(f, "status {status}: redirects are not followed")?;
                match location {
                    Some(location) if location.len() <= MAX_LOCATION => write!(f, " (to {location})"),
                    _ => Ok(()),
                }
            }
            Self::Proxy(problem) => write!(f, "proxy: {problem}"),
            Self::Connect(problem) => write!(f, "{problem}"),
            Self::Disconnected => write!(f, "connection closed before a response"),
            Self::InvalidUrl(problem) => write!(f, "invalid URL: {problem}"),
            Self::InvalidResponse(problem) => write!(f, "invalid HTTP response: {problem}"),
            Self::Panicked(problem) => write!(f, "internal error of the sender: {problem}"),
        }
    }
}

impl std::error::Error for Failure {}

/// The TLS error inside an I/O error, at any depth.
fn rustls_error(problem: &std::io::Error) -> Option<&rustls::Error> {
    let mut cause = problem.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        cause = error.source();
    }
    None
}

fn tls_problem(problem: &rustls::Error) -> String {
    match problem {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate has expired".into(),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "certificate is not valid yet".into()
            }
            CertificateError::UnknownIssuer => "certificate is not trusted (unknown issuer)".into(),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "certificate is not valid for this host name".into()
            }
            CertificateError::Revoked => "certificate has been revoked".into(),
            other => format!("certificate is invalid ({other:?})"),
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server requires a client certificate".into()
        }
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS on this port".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_messages_are_readable_for_customers() {
        let cases = [
            (Failure::Resolve { host: "nowhere.example".into() }, "could not resolve nowhere.example"),
            (Failure::ConnectionRefused, "connection refused"),
            (Failure::Tls("certificate has expired".into()), "TLS: certificate has expired"),
            (Failure::TimedOut(Duration::from_secs(30)), "timed out after 30 s"),
            (Failure::TimedOut(Duration::from_millis(250)), "timed out after 250 ms"),
            (Failure::Status(503), "status 503"),
            (Failure::Redirect { status: 302, location: None }, "status 302: redirects are not followed"),
            (
                Failure::Redirect { status: 308, location: Some("/new".into()) },
                "status 308: redirects are not followed (to /new)",
            ),
            (
                Failure::Redirect { status: 302, location: Some("a".repeat(201)) },
                "status 302: redirects are not followed",
            ),
            (Failure::Panicked("index out of bounds".into()), "internal error of the sender: index out of bounds"),
        ];
        for (failure, message) in cases {
            assert_eq!(failure.to_string(), message);
        }
    }

    #[test]
    fn only_a_response_has_a_status() {
        assert_eq!(Failure::Status(500).status(), Some(500));
        assert_eq!(Failure::Redirect { status: 301, location: None }.status(), Some(301));
        assert_eq!(Failure::ConnectionRefused.status(), None);
    }
}
