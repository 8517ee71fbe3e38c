//! Error kinds: why an attempt failed, for programs.

use webhook_sender::Failure;

/// Why an attempt failed, or why a delivery ended without one: the type `webhook_error_kind`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    Dns,
    AddressNotAllowed,
    Connect,
    Proxy,
    Tls,
    Timeout,
    Disconnect,
    HttpStatus,
    InvalidResponse,
    InvalidUrl,
    Internal,
    PayloadTooLarge,
    NoSecret,
    EndpointDeleted,
    EventDeleted,
    Expired,
    Cancelled,
}

impl ErrorKind {
    /// The value of the type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::Connect => "connect",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Disconnect => "disconnect",
            Self::HttpStatus => "http_status",
            Self::InvalidResponse => "invalid_response",
            Self::InvalidUrl => "invalid_url",
            Self::Internal => "internal",
            Self::PayloadTooLarge => "payload_too_large",
            Self::NoSecret => "no_secret",
            Self::EndpointDeleted => "endpoint_deleted",
            Self::EventDeleted => "event_deleted",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<&Failure> for ErrorKind {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Resolve { .. } => Self::Dns,
            Failure::AddressNotAllowed => Self::AddressNotAllowed,
            Failure::ConnectionRefused | Failure::Connect(_) => Self::Connect,
            Failure::Proxy(_) => Self::Proxy,
            Failure::Tls(_) => Self::Tls,
            Failure::TimedOut(_) => Self::Timeout,
            Failure::Disconnected => Self::Disconnect,
            Failure::Status(_) | Failure::Redirect { .. } => Self::HttpStatus,
            Failure::InvalidResponse(_) => Self::InvalidResponse,
            Failure::InvalidUrl(_) => Self::InvalidUrl,
            Failure::Panicked(_) => Self::Internal,
        }
    }
}
