//! The definitions of the settings of connections: addresses, certificates, proxy; and of the key
//! file of secrets.

use std::ffi::CString;
use std::str::FromStr;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use webhook_sender::{InvalidProxyUrl, Networks, NoProxy, Ports, ProxyUrl};

use super::definitions::check;

pub static ALLOW_HTTP: GucSetting<bool> = GucSetting::<bool>::new(false);
pub static ALLOWED_PORTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"80, 443"));
pub static ALLOWED_NETWORKS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static DENIED_NETWORKS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static CA_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static CLIENT_CERTIFICATE_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static PROXY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static PROXY_CREDENTIALS_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static NO_PROXY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static SECRET_KEY_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
pub static CLIENT_KEY_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// The address of a proxy, or no text.
struct ProxyOrNone;

impl FromStr for ProxyOrNone {
    type Err = InvalidProxyUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self) } else { text.parse::<ProxyUrl>().map(|_| Self) }
    }
}

pub fn define() {
    define_certificates();
    define_proxy();
    define_addresses();
}

/// Settings of TLS.
fn define_certificates() {
    GucRegistry::define_string_guc(
        c"webhook_delivery.ca_file",
        c"Sets a PEM file with certificate authorities to trust in addition to the system's.",
        c"Read when a worker starts.",
        &CA_FILE,
        GucContext::Postmaster,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"webhook_delivery.client_certificate_file",
        c"Sets a PEM file with the certificate, and its chain, for receivers that ask for a client certificate.",
        c"Read when a worker starts. Needs webhook_delivery.client_key_file.",
        &CLIENT_CERTIFICATE_FILE,
        GucContext::Postmaster,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"webhook_delivery.client_key_file",
        c"Sets the PEM file with the private key of webhook_delivery.client_certificate_file.",
        c"Read when a worker starts. Its mode must be 0600, or 0640 if root owns it.",
        &CLIENT_KEY_FILE,
        GucContext::Postmaster,
        GucFlags::SUPERUSER_ONLY,
    );
}

/// Settings of the proxy, and the key file of secrets.
fn define_proxy() {
    // SAFETY: the check hooks are guarded, so no panic passes them.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.proxy",
            c"Sets the HTTP proxy through which receivers are called.",
            c"http://HOST:PORT. It is asked to connect (CONNECT) to an address that was looked up and checked here. Read when a worker starts. \
              If empty, receivers are called directly; environment variables such as https_proxy have no effect.",
            &PROXY,
            GucContext::Postmaster,
            GucFlags::SUPERUSER_ONLY,
            Some(check::<ProxyOrNone>),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.no_proxy",
            c"Sets hosts that are called without the proxy.",
            c"A list of names, which include their subdomains, addresses and networks, such as 'internal.example, 10.0.0.0/8'.",
            &NO_PROXY,
            GucContext::Postmaster,
            GucFlags::SUPERUSER_ONLY,
            Some(check::<NoProxy>),
            None,
            None,
        );
    }
    GucRegistry::define_string_guc(
        c"webhook_delivery.proxy_credentials_file",
        c"Sets a file with the line user:password for the proxy.",
        c"Read when a worker starts. Its mode must be 0600, or 0640 if root owns it.",
        &PROXY_CREDENTIALS_FILE,
        GucContext::Postmaster,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"webhook_delivery.secret_key_file",
        c"Sets a file with the keys that encrypt the secrets of endpoints in the database.",
        c"One key per line, 32 bytes in base64: the first encrypts, all decrypt. Read whenever it is needed. Its mode must be 0600, \
          or 0640 if root owns it. webhook_delivery.reencrypt_secrets() encrypts the secrets that exist.",
        &SECRET_KEY_FILE,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
}

/// Settings for where requests may go.
fn define_addresses() {
    GucRegistry::define_bool_guc(
        c"webhook_delivery.allow_http",
        c"Accepts endpoints with http:// URLs.",
        c"For development: without TLS, events can be read on the way.",
        &ALLOW_HTTP,
        GucContext::Sighup,
        GucFlags::default(),
    );
    // SAFETY: the check hook is guarded, so no panic passes it.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.allowed_ports",
            c"Sets the ports that URLs of endpoints may have.",
            c"A list of ports and ranges such as '80, 443, 8000-8999'.",
            &ALLOWED_PORTS,
            GucContext::Sighup,
            GucFlags::default(),
            Some(check::<Ports>),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.allowed_networks",
            c"Sets the networks, in addition to the public internet, to which requests may be sent.",
            c"A list of addresses and networks such as '10.1.0.0/16, ::1'. For development: users who write endpoints reach \
              all that the server reaches there.",
            &ALLOWED_NETWORKS,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
            Some(check::<Networks>),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"webhook_delivery.denied_networks",
            c"Sets the networks of the public internet to which no requests may be sent.",
            c"A list such as '198.51.100.0/24, 2001:db8::/32', for machines of your own that have public addresses. Takes \
              precedence over webhook_delivery.allowed_networks.",
            &DENIED_NETWORKS,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
            Some(check::<Networks>),
            None,
            None,
        );
    }
}
