//! A client that trusts the private authority accepts valid certificates and refuses all others.

use std::io::{Read, Write};
use std::net::TcpStream;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use super::*;
use crate::{Receiver, Reply};

/// The status line that a client receives that trusts `ca` and connects to `host`, or the TLS
/// error.
fn ask(receiver: &Receiver, ca: &PrivateCa, host: &'static str) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.pem_path()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(host).unwrap()).unwrap();
    let mut socket = TcpStream::connect(receiver.address()).unwrap();
    let mut stream = Stream::new(&mut client, &mut socket);
    stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n").map_err(|e| e.to_string())?;
    let mut status = [0; 15];
    stream.read_exact(&mut status).map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&status).into_owned())
}

#[test]
fn certificate_is_accepted_for_its_hosts_until_it_expires() {
    let ca = PrivateCa::new();
    let valid = Receiver::start_tls(&ca.valid_for(&["localhost", "127.0.0.1"]), |_| Reply::ok());
    assert!(valid.url("/").starts_with("https://127.0.0.1:"));
    assert_eq!(ask(&valid, &ca, "localhost").unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(ask(&valid, &ca, "127.0.0.1").unwrap(), "HTTP/1.1 200 OK");
    assert!(ask(&valid, &ca, "example.com").unwrap_err().contains("not valid for name"));
    assert!(ask(&valid, &PrivateCa::new(), "localhost").unwrap_err().contains("UnknownIssuer"));

    let expired = Receiver::start_tls(&ca.expired(&["localhost"]), |_| Reply::ok());
    assert!(ask(&expired, &ca, "localhost").unwrap_err().contains("expired"));
}
