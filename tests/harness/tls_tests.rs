//! A client that trusts the private authority accepts and refuses the certificates that it should.

use std::io::{Read, Write};
use std::net::TcpStream;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use super::*;
use crate::{Receiver, Reply};

/// The status that a client gets who trusts `ca` and asks for `host`, or why it does not trust the receiver.
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
fn a_certificate_counts_for_its_hosts_while_it_is_valid() {
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
