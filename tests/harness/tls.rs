//! TLS certificates: valid, expired, for another name, or of an unknown authority.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use time::{Duration, OffsetDateTime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::installation::installation;

/// A certificate authority that only this test trusts.
pub struct PrivateCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pem_path: PathBuf,
}

/// A certificate with its key, for [`crate::Receiver::start_tls`].
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The authority of the client certificates that the server requires.
    clients: Option<CertificateDer<'static>>,
}

impl PrivateCa {
    /// Creates an authority and writes its own certificate to a file.
    pub fn new() -> PrivateCa {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With the same name for two authorities a client would report a bad signature instead of
        // an unknown issuer. Real authorities have different names.
        let name = format!("webhook_delivery tests {}", OffsetDateTime::now_utc());
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = OffsetDateTime::now_utc() - Duration::days(2);
        let issuer = CertifiedIssuer::self_signed(params, new_key()).expect("a certificate");
        let pem_path = write_pem(&issuer.pem());
        PrivateCa { issuer, pem_path }
    }

    /// The file for `webhook_delivery.ca_file`, which the server can read.
    pub fn pem_path(&self) -> &Path {
        &self.pem_path
    }

    /// Issues a valid certificate for these names and addresses.
    pub fn valid_for(&self, hosts: &[&str]) -> Certificate {
        self.issue(hosts, OffsetDateTime::now_utc() + Duration::days(1))
    }

    /// The same for a server that requires a client certificate of this authority.
    pub fn valid_for_with_clients(&self, hosts: &[&str]) -> Certificate {
        Certificate { clients: Some(self.issuer.der().clone()), ..self.valid_for(hosts) }
    }

    /// Issues a client certificate, and returns the files for `webhook_delivery.client_certificate_file` and
    /// `webhook_delivery.client_key_file`.
    pub fn client_files(&self) -> (PathBuf, PathBuf) {
        let key = new_key();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "sender");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = (write_pem(&certificate.pem()), write_pem(&key.serialize_pem()));
        fs::set_permissions(&files.1, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        installation().give_to_server_user(&files.1);
        files
    }

    /// Issues a certificate that expired yesterday.
    pub fn expired(&self, hosts: &[&str]) -> Certificate {
        self.issue(hosts, OffsetDateTime::now_utc() - Duration::days(1))
    }

    fn issue(&self, hosts: &[&str], not_after: OffsetDateTime) -> Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = hosts.iter().map(|host| subject(host)).collect();
        params.not_before = OffsetDateTime::now_utc() - Duration::days(2);
        params.not_after = not_after;
        let key = new_key();
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certificate { chain: vec![certificate.der().clone()], key: key.into(), clients: None }
    }
}

impl Default for PrivateCa {
    fn default() -> Self {
        PrivateCa::new()
    }
}

impl Drop for PrivateCa {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.pem_path);
    }
}

impl Certificate {
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider knows the usual versions");
        let config = match &self.clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.clone()).expect("a certificate");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                config.with_client_cert_verifier(verifier.expect("an authority"))
            }
        };
        let config =
            config.with_single_cert(self.chain.clone(), self.key.clone_key()).expect("a certificate with its own key");
        TlsAcceptor::from(Arc::new(config))
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn subject(host: &str) -> SanType {
    match host.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into().expect("a host name in ASCII")),
    }
}

fn write_pem(pem: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let dir = installation().target_dir().join("certificates");
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("could not create {}: {e}", dir.display()));
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("ca-{}-{number}.pem", std::process::id()));
    fs::write(&path, pem).unwrap_or_else(|e| panic!("could not write {}: {e}", path.display()));
    path
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
