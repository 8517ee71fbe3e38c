//! URLs that an endpoint may have, and the normal form of each.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ureq::http::Uri;
use url::{Host, Url};

use crate::address::Networks;

/// Maximum number of characters of a URL.
const MAX_CHARACTERS: usize = 2000;

/// The operator's rules for a customer's URL: its form and where it may lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether http is allowed in addition to https.
    pub allow_http: bool,
    /// The ports that are allowed.
    pub ports: Ports,
    /// Networks that may be reached although they are not the public internet.
    pub networks: Networks,
    /// Networks that may never be reached. This takes precedence over all other rules.
    pub denied: Networks,
}

/// Why a URL cannot be an endpoint's. Its author reads the `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidUrl {
    /// It has more than 2,000 characters, as written or in its normal form.
    TooLong,
    /// It contains white space or control characters.
    WhiteSpace,
    /// It cannot be parsed, for this reason.
    NotAUrl(String),
    /// It begins with a host instead of a scheme. The URL as it was written.
    NoScheme(String),
    /// Its scheme is http, which is not allowed.
    Http,
    /// It has another scheme.
    Scheme(String),
    /// It has no host, or an empty one.
    NoHost,
    /// It contains a user name or a password.
    Credentials,
    /// Its port is not allowed.
    Port {
        /// The port of the URL.
        port: u16,
        /// The allowed ports.
        allowed: Ports,
    },
    /// Its host is this address, which is not allowed, or a name that stands for it.
    Address(IpAddr),
    /// It contains something that no request can contain.
    Uncallable,
}

impl Rules {
    /// Whether a request may go to this address.
    pub fn allow(&self, address: IpAddr) -> bool {
        !self.denied.list_with_embedded(address) && self.networks.allow(address)
    }

    /// The URL's normal form: every parser must understand the checked URL in the same way as the
    /// request that is sent. Checks everything that needs no look-up of the host's name.
    pub fn normal_url(&self, text: &str) -> Result<String, InvalidUrl> {
        // Checked before anything else, because the following errors contain parts of the text.
        if text.len() > MAX_CHARACTERS * 4 || text.chars().count() > MAX_CHARACTERS {
            return Err(InvalidUrl::TooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidUrl::WhiteSpace);
        }
        let url = Url::parse(text).map_err(|problem| match problem {
            url::ParseError::RelativeUrlWithoutBase if text.contains('.') => InvalidUrl::NoScheme(text.to_owned()),
            other => InvalidUrl::NotAUrl(other.to_string()),
        })?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(InvalidUrl::Http),
            // As in example.com:8443/hook.
            host if host.contains('.') => return Err(InvalidUrl::NoScheme(text.to_owned())),
            other => return Err(InvalidUrl::Scheme(other.to_owned())),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidUrl::Credentials);
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if !self.ports.contain(port) {
            return Err(InvalidUrl::Port { port, allowed: self.ports.clone() });
        }
        let stands_for = match url.host() {
            None | Some(Host::Domain("")) => return Err(InvalidUrl::NoHost),
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            // RFC 6761: these names always mean the machine itself.
            Some(Host::Domain(name)) => is_localhost(name).then_some(IpAddr::from([127, 0, 0, 1])),
        };
        if let Some(address) = stands_for.filter(|address| !self.allow(*address)) {
            return Err(InvalidUrl::Address(address));
        }
        // Percent encoding makes the URL longer.
        if url.as_str().len() > MAX_CHARACTERS {
            return Err(InvalidUrl::TooLong);
        }
        if url.as_str().parse::<Uri>().is_ok_and(|uri| uri.host().is_some()) {
            Ok(url.into())
        } else {
            Err(InvalidUrl::Uncallable)
        }
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the URL has more than {MAX_CHARACTERS} characters"),
            Self::WhiteSpace => write!(f, "the URL contains white space or control characters"),
            Self::NotAUrl(problem) => write!(f, "this is not a URL: {problem}"),
            Self::Http => write!(f, "the URL must begin with https://"),
            Self::Scheme(scheme) => write!(f, "the URL must begin with https://, not {scheme:.20}:"),
            Self::NoHost => write!(f, "the URL names no host"),
            Self::Credentials => write!(f, "the URL contains a user name or password"),
            Self::Port { port, .. } => write!(f, "port {port} is not allowed"),
            Self::NoScheme(_) => write!(f, "the URL has no scheme"),
            Self::Address(address) => write!(f, "{address} is {}", sort(*address)),
            Self::Uncallable => write!(f, "the URL contains characters that no request can carry"),
        }
    }
}

/// What the author of a URL with an address that is not allowed reads of it.
fn sort(address: IpAddr) -> &'static str {
    let v4 = match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(v6) => v6.to_ipv4_mapped(),
    };
    if address.is_loopback() || v4.is_some_and(|v4| v4.is_loopback()) {
        "a loopback address"
    } else if v4.is_some_and(|v4| v4.is_private()) {
        "a private address"
    } else if v4.is_some_and(|v4| v4.is_link_local()) {
        "a link-local address"
    } else {
        "not an allowed address"
    }
}

impl std::error::Error for InvalidUrl {}

impl InvalidUrl {
    /// What the URL's author can do.
    pub fn hint(&self) -> String {
        match self {
            Self::Http => {
                "Events sent over http can be read on the way. For development, set webhook_delivery.allow_http = on."
                    .into()
            }
            Self::Credentials => "All who see the endpoint would see them. Verify the signature instead.".into(),
            Self::Port { allowed, .. } => {
                format!("Use one of {allowed}, or have the operator add the port to webhook_delivery.allowed_ports.")
            }
            Self::NoScheme(text) => format!("Add https:// in front: https://{text:.100}"),
            Self::Address(_) => {
                "Use an address of the public internet. The operator can allow others with webhook_delivery.allowed_networks, and deny some with webhook_delivery.denied_networks."
                    .into()
            }
            Self::Uncallable => "Percent-encode these characters.".into(),
            Self::TooLong | Self::WhiteSpace | Self::NotAUrl(_) | Self::Scheme(_) | Self::NoHost => {
                "Use an address such as https://example.com/webhooks.".into()
            }
        }
    }
}

/// Ports that requests may go to. As text: `80, 443, 8000-8999`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    fn contain(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

impl Default for Ports {
    /// The ports of http and https.
    fn default() -> Self {
        Self(vec![80..=80, 443..=443])
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.0.iter().map(|range| match (range.start(), range.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        });
        f.write_str(&ranges.collect::<Vec<_>>().join(", "))
    }
}

/// The text is not a list of ports. The message has the wrong part and a correct example.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidPorts(String);

impl fmt::Display for InvalidPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" is not a port from 1 to 65535. Write ports and ranges such as \"80, 443, 8000-8999\".",
            self.0
        )
    }
}

impl std::error::Error for InvalidPorts {}

impl FromStr for Ports {
    type Err = InvalidPorts;

    fn from_str(text: &str) -> Result<Self, InvalidPorts> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = first.trim().parse().ok()?..=last.trim().parse().ok()?;
            (*range.start() > 0 && !range.is_empty()).then_some(range)
        };
        let parts = text.split(',').map(str::trim);
        Ok(Self(parts.map(|part| range(part).ok_or_else(|| InvalidPorts(part.to_owned()))).collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(url: &str) -> Result<String, InvalidUrl> {
        Rules::default().normal_url(url)
    }

    #[test]
    fn normal_form_is_the_same_for_every_parser() {
        for (url, expected) in [
            ("HTTPS://Example.COM:443/a/../b?c=d", "https://example.com/b?c=d"),
            ("https://example.com", "https://example.com/"),
            ("https://b\u{fc}cher.example/\u{e9}", "https://xn--bcher-kva.example/%C3%A9"),
            ("https:\\\\example.com\\@127.0.0.1/", "https://example.com/@127.0.0.1/"),
            ("https://0x08.8.2056/", "https://8.8.8.8/"),
            ("https://example.com:80/", "https://example.com:80/"),
        ] {
            assert_eq!(normal(url).as_deref(), Ok(expected), "{url}");
        }
    }

    #[test]
    fn forbidden_address_is_recognised_in_any_notation() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "\u{2460}\u{2461}\u{2466}.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[0:0:0:0:0:ffff:a9fe:a9fe]",
            "[fe80::1]",
            "0",
            "169.254.169.254",
            "168.63.129.16",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
        ] {
            assert!(matches!(normal(&format!("https://{host}/")), Err(InvalidUrl::Address(_))), "{host}");
        }
        let rules = Rules { networks: "127.0.0.0/8".parse().unwrap(), ..Rules::default() };
        assert!(rules.normal_url("https://localhost/").is_ok() && rules.normal_url("https://127.1/").is_ok());
    }

    #[test]
    fn denied_network_wins_over_all_others() {
        let denied = "8.8.8.0/24, 2606:4700::/32, 127.0.0.1".parse().unwrap();
        let rules = Rules { networks: "127.0.0.0/8, 64:ff9b::/96".parse().unwrap(), denied, ..Rules::default() };
        let allows = |host: &str| rules.normal_url(&format!("https://{host}/")).is_ok();
        assert!(["8.8.9.1", "127.0.0.2", "[2001:4860::1]", "[64:ff9b::8.8.9.1]"].into_iter().all(allows));
        // Including addresses that an IPv6 gateway leads there.
        for host in ["8.8.8.8", "127.0.0.1", "localhost", "[2606:4700::1111]", "[64:ff9b::8.8.8.8]"] {
            assert!(!allows(host), "{host}");
        }
    }

    #[test]
    fn only_http_ports_are_allowed_by_default() {
        for port in [0, 22, 5432, 8443] {
            let refused = normal(&format!("https://example.com:{port}/")).unwrap_err();
            assert_eq!(refused, InvalidUrl::Port { port, allowed: Ports::default() });
            assert!(refused.hint().contains("80, 443"));
        }
        let rules = Rules { ports: "443, 8000-8999".parse().unwrap(), ..Rules::default() };
        for (port, is_allowed) in [(443, true), (8000, true), (8999, true), (80, false), (7999, false), (9000, false)] {
            assert_eq!(rules.normal_url(&format!("https://example.com:{port}/")).is_ok(), is_allowed, "{port}");
        }
    }

    #[test]
    fn invalid_ports_error_names_the_wrong_part() {
        for text in ["80, http", "0", "65536", "9-8", ""] {
            let problem = text.parse::<Ports>().unwrap_err().to_string();
            assert!(
                problem.starts_with(&format!("\"{}\" is not a port", text.rsplit(", ").next().unwrap())),
                "{problem}"
            );
        }
        assert_eq!("1-65535,  443".parse::<Ports>().unwrap().to_string(), "1-65535, 443");
    }

    #[test]
    fn invalid_endpoint_url_is_reported_with_its_reason() {
        use InvalidUrl::*;
        for (url, expected) in [
            ("https://a b/", WhiteSpace),
            ("http://example.com/", Http),
            ("ftp://example.com/", Scheme("ftp".into())),
            ("https://user@example.com/", Credentials),
            ("https://:secret@example.com/", Credentials),
        ] {
            assert_eq!(normal(url), Err(expected), "{url}");
        }
        for (url, message, hint) in [
            ("example.com/hook", "the URL has no scheme", "Add https:// in front: https://example.com/hook"),
            ("example.com:8443/hook", "the URL has no scheme", "Add https:// in front: https://example.com:8443/hook"),
            ("https://10.0.0.1/", "10.0.0.1 is a private address", "Use an address of the public internet."),
            ("https://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1 is a loopback address", "Use an address"),
            ("https://169.254.169.254/", "169.254.169.254 is a link-local address", "Use an address"),
            ("https://192.0.2.1/", "192.0.2.1 is not an allowed address", "Use an address"),
        ] {
            let problem = normal(url).unwrap_err();
            assert_eq!(problem.to_string(), message, "{url}");
            assert!(problem.hint().starts_with(hint), "{}", problem.hint());
        }
        for url in ["nothing", "https://", "https://[::1", "https://a:99999/", ""] {
            assert!(matches!(normal(url), Err(NotAUrl(_))), "{url}");
        }
    }
}
