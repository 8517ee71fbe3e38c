//! Addresses that a request may reach: no customer's URL may lead into the server's own network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::LazyLock;

use ipnet::IpNet;

/// Networks that are not the public internet: those of the IANA special-purpose registries for IPv4
/// (with multicast and reserved addresses), and the metadata address of a cloud.
/// <https://www.iana.org/assignments/iana-ipv4-special-registry/>
const NOT_PUBLIC_V4: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    // Azure's own, for its machines. The registries count it as an address of the public internet.
    "168.63.129.16/32",
];

/// The only range of IPv6 from which addresses of the public internet are given out, ...
const PUBLIC_V6: &str = "2000::/3";

/// ... and the networks in it with another use: protocols (Teredo, benchmarking, ORCHID),
/// documentation, 6to4. <https://www.iana.org/assignments/iana-ipv6-special-registry/>
const NOT_PUBLIC_V6: &[&str] = &["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

/// IPv4 addresses as they are written in a network without IPv4 (NAT64).
const TRANSLATED_V4: &str = "64:ff9b::/96";

static NOT_PUBLIC: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| NOT_PUBLIC_V4.iter().chain(NOT_PUBLIC_V6).map(|text| network(text)).collect());
static ALL_PUBLIC_V6: LazyLock<IpNet> = LazyLock::new(|| network(PUBLIC_V6));
static ALL_TRANSLATED_V4: LazyLock<IpNet> = LazyLock::new(|| network(TRANSLATED_V4));

fn network(text: &str) -> IpNet {
    text.parse().expect("the lists above are networks")
}

/// The request would go to an address that is not allowed. The error does not say which, because a
/// customer must not learn the addresses of names in our own network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAllowed;

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("address not allowed")
    }
}

impl std::error::Error for NotAllowed {}

/// A list of networks. As text: `127.0.0.0/8, ::1, 10.1.0.0/16`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether a request may go to this address: it is listed, or it is in the public internet and
    /// not this machine's own.
    pub fn allow(&self, address: IpAddr) -> bool {
        self.list(address) || self.is_public(address) && !is_own(address)
    }

    /// Whether the address is in one of the networks.
    pub fn list(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether the address, or the IPv4 address that it leads to through a gateway, is in one of
    /// the networks.
    pub fn list_with_embedded(&self, address: IpAddr) -> bool {
        let IpAddr::V6(v6) = address else { return self.list(address) };
        self.list(address) || embedded(v6).is_some_and(|v4| self.list(v4.into()))
    }

    fn is_public(&self, address: IpAddr) -> bool {
        if NOT_PUBLIC.iter().any(|network| network.contains(&address)) {
            return false;
        }
        let IpAddr::V6(v6) = address else { return true };
        match embedded(v6) {
            Some(v4) => {
                self.allow(v4.into()) && (ALL_PUBLIC_V6.contains(&address) || ALL_TRANSLATED_V4.contains(&address))
            }
            None => ALL_PUBLIC_V6.contains(&address),
        }
    }
}

/// Whether it is an address of this machine, where the database and perhaps other services listen.
/// If the list of interfaces cannot be read, the connection is checked: both of its ends then have
/// the same address (`transport.rs`).
fn is_own(address: IpAddr) -> bool {
    if_addrs::get_if_addrs().is_ok_and(|own| own.iter().any(|interface| interface.ip() == address))
}

/// The IPv4 address that a gateway translates (NAT64) or tunnels this one to (ISATAP, RFC 5214,
/// from its lower half). All other ranges that contain such addresses are not public as a whole.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b, c, d] = address.octets();
    let is_tunnelled = matches!(address.segments(), [.., 0x0000 | 0x0200, 0x5efe, _, _]);
    (is_tunnelled || ALL_TRANSLATED_V4.contains(&IpAddr::V6(address))).then(|| Ipv4Addr::new(a, b, c, d))
}

/// The text is not a list of networks. The message has the wrong part and a correct example.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidNetworks(String);

impl fmt::Display for InvalidNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is not a network. Write addresses and networks such as \"10.1.0.0/16, ::1\".", self.0)
    }
}

impl std::error::Error for InvalidNetworks {}

impl FromStr for Networks {
    type Err = InvalidNetworks;

    fn from_str(text: &str) -> Result<Self, InvalidNetworks> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let network = |part: &str| {
            let address = part.parse::<IpAddr>().map(IpNet::from);
            part.parse().or(address).map_err(|_| InvalidNetworks(part.to_owned()))
        };
        Ok(Self(parts.map(network).collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(networks: &str, address: &str) -> bool {
        networks.parse::<Networks>().unwrap().allow(address.parse().unwrap())
    }

    #[test]
    fn first_and_last_address_of_special_ranges_are_not_allowed() {
        // In addition to the lists above: addresses outside of the public range of IPv6.
        let others = [
            "::/128",          // unspecified
            "::1/128",         // loopback
            "::/96",           // IPv4-compatible
            "::ffff:0:0/96",   // IPv4-mapped
            "::ffff:0:0:0/96", // SIIT
            "64:ff9b:1::/48",  // NAT64 of one's own
            "100::/64",        // discard
            "100:0:0:1::/64",  // dummy
            "5f00::/16",       // segment routing
            "fc00::/7",        // unique local, with a cloud's fd00:ec2::254
            "fe80::/10",       // link-local
            "fec0::/10",       // site-local
            "ff00::/8",        // multicast
        ];
        for text in NOT_PUBLIC_V4.iter().chain(NOT_PUBLIC_V6).chain(&others) {
            let range = network(text);
            let last = match range {
                IpNet::V4(range) => IpAddr::V4(range.broadcast()),
                IpNet::V6(range) => IpAddr::V6(range.broadcast()),
            };
            for address in [range.network(), last] {
                assert!(!Networks::default().allow(address), "{address} of {text}");
            }
        }
    }

    #[test]
    fn public_addresses_are_allowed_up_to_the_edges_of_ranges() {
        for address in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "223.255.255.255",
            "168.63.129.15",
            "2000::1",
            "2001:200::1",
            "2606:4700::1111",
            "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "64:ff9b::8.8.8.8",
            "2606:4700::5efe:808:808",
        ] {
            assert!(allowed("", address), "{address}");
        }
    }

    #[test]
    fn address_that_embeds_a_forbidden_address_is_not_allowed() {
        for address in [
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2606:4700::5efe:7f00:1",
            "2606:4700::200:5efe:10.0.0.1",
            "fe80::5efe:8.8.8.8",
            "2002:7f00:1::",
            "2002:808:808::",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
        ] {
            assert!(!allowed("", address), "{address}");
        }
    }

    #[test]
    fn only_listed_networks_are_allowed() {
        let networks = "10.1.0.0/16,  ::1, 169.254.1.1";
        for address in ["10.1.0.0", "10.1.255.255", "::1", "169.254.1.1", "64:ff9b::10.1.2.3", "8.8.8.8"] {
            assert!(allowed(networks, address), "{address}");
        }
        for address in ["10.2.0.0", "::2", "169.254.169.254", "64:ff9b::10.2.0.1", "::ffff:10.1.0.1"] {
            assert!(!allowed(networks, address), "{address}");
        }
    }

    #[test]
    fn invalid_networks_error_names_the_wrong_part() {
        for text in ["10.0.0.0/8, intern", "10.0.0.0/33", "10.0.0/8"] {
            let problem = text.parse::<Networks>().unwrap_err().to_string();
            assert!(problem.contains(text.rsplit(", ").next().unwrap()), "{problem}");
        }
    }
}
