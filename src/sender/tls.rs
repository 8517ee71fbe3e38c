//! TLS: which servers are trusted, and the certificate that is shown to those that ask for one.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::config::Config;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::{ConnectionDetails, Connector, RustlsConnector};

use crate::StartError;
use crate::files::{read, read_private};
use crate::timing::timed;
use crate::transport::Socket;

/// The PEM files of TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Certificate authorities that are trusted in addition to the machine's.
    pub ca: Option<PathBuf>,
    /// The certificate, with its chain, that is shown to servers that ask for one.
    pub client_certificate: Option<PathBuf>,
    /// The private key of the certificate.
    pub client_key: Option<PathBuf>,
}

/// The configuration of all connections. Trusts the certificate authorities that the machine
/// trusts, and those of the file.
pub fn configuration(files: &TlsFiles) -> Result<TlsConfig, StartError> {
    let mut trusted = of_the_machine();
    if let Some(path) = &files.ca {
        let authorities = certificates_in(path)?;
        // Check them here: an invalid one would later be left out silently, and connections to its
        // servers would fail.
        let check = |der: &Certificate<'_>| RootCertStore::empty().add(CertificateDer::from(der.der()));
        authorities.iter().try_for_each(check).map_err(|_| StartError::NoCertificateIn { path: path.clone() })?;
        trusted.extend(authorities);
    }
    let client = match (&files.client_certificate, &files.client_key) {
        (Some(certificate), Some(key)) => Some(client_certificate(certificate, key)?),
        (None, None) => None,
        _ => return Err(StartError::IncompleteClientCertificate),
    };
    Ok(TlsConfig::builder().root_certs(RootCerts::from(trusted)).client_cert(client).build())
}

fn client_certificate(certificate: &Path, key: &Path) -> Result<ClientCert, StartError> {
    let chain = certificates_in(certificate)?;
    let path = key.to_owned();
    let pem = read_private(key)?;
    // Check the pair here: with an unusable one, each connection would fail.
    let Ok(der) = PrivateKeyDer::from_pem_slice(&pem) else { return Err(StartError::NoKeyIn { path }) };
    let Ok(key) = PrivateKey::from_pem(&pem) else { return Err(StartError::NoKeyIn { path }) };
    let ders = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    match CertifiedKey::from_der(ders, der, &ring::default_provider()) {
        Ok(_) => Ok(ClientCert::new_with_certs(&chain, key)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(StartError::OtherKey { path }),
        Err(rustls::Error::InvalidCertificate(_)) => Err(StartError::NoCertificateIn { path: certificate.to_owned() }),
        Err(_) => Err(StartError::NoKeyIn { path }),
    }
}

/// The authorities that the machine's administrator trusts: the system's store, or the files that
/// SSL_CERT_FILE and SSL_CERT_DIR name. Mozilla's authorities if there is no store, as in many
/// containers; otherwise nothing could be sent.
fn of_the_machine() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<CertificateDer<'_>> =
        if found.is_empty() { webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec() } else { found };
    roots.iter().map(|root| Certificate::from_der(root.as_ref()).to_owned()).collect()
}

fn certificates_in(path: &Path) -> Result<Vec<Certificate<'static>>, StartError> {
    let pem = read(path)?;
    let broken = || StartError::NoCertificateIn { path: path.to_owned() };
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| broken())? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(broken()) } else { Ok(certificates) }
}

/// Adds TLS to a connection if the URL requires it.
#[derive(Debug)]
pub struct TlsTransport {
    rustls: RustlsConnector,
    config: Config,
}

impl TlsTransport {
    /// `config` is the configuration of the agent.
    pub fn new(config: Config) -> Self {
        Self { rustls: RustlsConnector::default(), config }
    }
}

impl Connector<Socket> for TlsTransport {
    type Out = <RustlsConnector as Connector<Socket>>::Out;

    /// All requests trust the same authorities. Our requests have settings of their own (the time
    /// limit). For such requests ureq rebuilds the list of authorities for each connection, and
    /// loses the sessions to be resumed. Therefore we pass the agent's configuration as if the
    /// request had no settings.
    fn connect(&self, details: &ConnectionDetails, socket: Option<Socket>) -> Result<Option<Self::Out>, ureq::Error> {
        let mut addrs = details.resolver.empty();
        details.addrs.iter().for_each(|address| addrs.push(*address));
        let details = ConnectionDetails {
            uri: details.uri,
            addrs,
            config: &self.config,
            request_level: false,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        if !details.needs_tls() {
            return self.rustls.connect(&details, socket);
        }
        timed(|| self.rustls.connect(&details, socket), |timing| &mut timing.tls)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::Failure;
    use crate::address_guard::AddressGuard;
    use crate::client::{Client, Connections};
    use crate::testing::{OK, SOON, Server, Then, certificates, job, loopback, self_signed};

    fn client(ca_file: Option<&Path>) -> Client {
        let tls = TlsFiles { ca: ca_file.map(Path::to_owned), ..TlsFiles::default() };
        Client::new(1, &Connections { tls, proxy: None }, Arc::new(AddressGuard::new(loopback()))).unwrap()
    }

    #[test]
    fn ca_file_without_certificates_is_rejected_and_named() {
        let with = |ca: &str| configuration(&TlsFiles { ca: Some(ca.into()), ..TlsFiles::default() });
        assert!(matches!(with("/nowhere"), Err(StartError::UnreadableFile { .. })));
        let problem = with("/dev/null").unwrap_err();
        assert_eq!(problem.to_string(), "/dev/null contains no PEM certificate, or an invalid one");
    }

    /// The result of a request to `localhost` with this certificate; `trusting` its authority or
    /// not.
    fn over_tls(host: &str, last_year: i32, trusting: bool) -> Result<u16, Failure> {
        let certificates = certificates(host, last_year);
        let server = Server::start_tls(certificates.server, |_, out| {
            out.write_all(OK).unwrap();
            Then::Keep
        });
        let file =
            std::env::temp_dir().join(format!("webhook-sender-{}-{}.pem", std::process::id(), server.address.port()));
        std::fs::write(&file, certificates.authority_pem).unwrap();
        let client = client(trusting.then_some(&*file));
        std::fs::remove_file(&file).unwrap();
        let (done, result) = channel();
        // With the stack size of a pool's thread, which must be enough.
        let thread = std::thread::Builder::new().stack_size(crate::pool::STACK_SIZE);
        thread
            .spawn(move || {
                let url = format!("https://localhost:{}/", server.address.port());
                let attempts = [(); 2].map(|_| client.attempt(job(&url)));
                assert!(attempts[0].timing.tls.is_some(), "the handshake has taken its time");
                let results = attempts.map(|attempt| attempt.result);
                assert_eq!(results[0], results[1]);
                if results[0].is_ok() {
                    assert_eq!(server.connections(), 1);
                }
                done.send(results[0].clone()).unwrap();
            })
            .unwrap();
        result.recv_timeout(SOON).unwrap()
    }

    #[test]
    fn certificate_of_the_ca_file_is_trusted() {
        assert_eq!(over_tls("localhost", 4000, true), Ok(200));
    }

    /// Runs a test again, alone and in a process with this variable, because the variable would
    /// affect all tests. Returns whether this is the other process.
    fn is_alone_with(test: &str, variable: &str, value: &Path) -> bool {
        if std::env::var_os(variable).is_some_and(|set| set == value) {
            return true;
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("tls::tests::{test}")])
            .env_remove("SSL_CERT_DIR")
            .env(variable, value)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        false
    }

    #[test]
    fn authority_of_the_machine_is_trusted() {
        let file = std::env::temp_dir().join("webhook-sender-machine.pem");
        if is_alone_with("authority_of_the_machine_is_trusted", "SSL_CERT_FILE", &file) {
            let certificates = certificates("localhost", 4000);
            std::fs::write(&file, certificates.authority_pem).unwrap();
            let server = Server::start_tls(certificates.server, |_, out| {
                out.write_all(OK).unwrap();
                Then::Keep
            });
            let client = client(None);
            std::fs::remove_file(&file).unwrap();
            assert_eq!(client.attempt(job(&format!("https://localhost:{}/", server.address.port()))).result, Ok(200));
        }
    }

    #[test]
    fn mozilla_authorities_are_trusted_without_a_machine_store() {
        let nowhere = Path::new("/dev/null");
        if is_alone_with("mozilla_authorities_are_trusted_without_a_machine_store", "SSL_CERT_FILE", nowhere) {
            assert_eq!(of_the_machine().len(), webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        }
    }

    #[test]
    fn certificate_problem_is_reported() {
        let problem = |host, last_year, trusting| over_tls(host, last_year, trusting).unwrap_err().to_string();
        assert_eq!(problem("localhost", 2001, true), "TLS: certificate has expired");
        assert_eq!(problem("localhost", 4000, false), "TLS: certificate is not trusted (unknown issuer)");
        assert_eq!(problem("example.com", 4000, true), "TLS: certificate is not valid for this host name");
    }

    #[test]
    fn self_signed_certificate_is_not_trusted() {
        let server = Server::start_tls(self_signed("localhost"), |_, out| {
            out.write_all(OK).unwrap();
            Then::Keep
        });
        let result = client(None).attempt(job(&format!("https://localhost:{}/", server.address.port()))).result;
        assert_eq!(result.unwrap_err().to_string(), "TLS: certificate is not trusted (unknown issuer)");
    }

    #[test]
    fn server_without_tls_is_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let result = client(None).attempt(job(&url)).result;
        assert_eq!(result.unwrap_err().to_string(), "TLS: the server does not speak TLS on this port");
    }
}
