//! TLS: which certificates the worker accepts, and the error in the history for all others.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use webhook_harness::tls::{Certificate, PrivateCa};
use webhook_harness::{AttemptRow, Cluster, DEADLINE, Endpoint, Receiver, Reply};

/// A server with one attempt for each delivery, which trusts the given authority.
fn cluster_trusting(ca: Option<&PrivateCa>) -> Cluster {
    let ca_file = ca.map_or(String::new(), |ca| ca.pem_path().display().to_string());
    Cluster::with_extension(&[
        ("webhook_delivery.retry_schedule", ""),
        ("webhook_delivery.allow_http", "off"),
        ("webhook_delivery.ca_file", &ca_file),
    ])
}

fn failure(cluster: &Cluster, certificate: &Certificate, host: &str) -> AttemptRow {
    let receiver = Receiver::start_tls(certificate, |_| Reply::ok());
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url_for_host(host, "/"));
    endpoint.emit(&mut client, 1);
    let attempt = endpoint.only_failure(&mut client);
    assert_eq!(receiver.count(), 0, "no request is sent to a server with an invalid certificate");
    attempt
}

#[test]
fn certificate_of_the_authority_in_ca_file_is_accepted() {
    let ca = PrivateCa::new();
    let receiver = Receiver::start_tls(&ca.valid_for(&["localhost", "127.0.0.1"]), |_| Reply::ok());
    let cluster = cluster_trusting(Some(&ca));
    let mut client = cluster.connect();
    for url in [receiver.url("/"), receiver.url_for_host("localhost", "/")] {
        assert!(url.starts_with("https://"));
        let endpoint = Endpoint::create(&mut client, &url);
        endpoint.emit(&mut client, 10);
        endpoint.wait_for(&mut client, 10, "success");
    }
    assert_eq!(receiver.wait_for(20, DEADLINE).len(), 20);
}

#[test]
fn private_authority_without_ca_file_is_not_trusted() {
    let ca = PrivateCa::new();
    let attempt = failure(&cluster_trusting(None), &ca.valid_for(&["localhost"]), "localhost");
    assert_eq!(attempt.error_message.unwrap(), "TLS: certificate is not trusted (unknown issuer)");
    assert_eq!(attempt.response_status_code, None);
}

#[test]
fn expired_and_wrong_host_certificates_have_different_errors() {
    let ca = PrivateCa::new();
    let cluster = cluster_trusting(Some(&ca));
    let expired = failure(&cluster, &ca.expired(&["localhost"]), "localhost");
    assert_eq!(expired.error_message.unwrap(), "TLS: certificate has expired");
    let other_host = failure(&cluster, &ca.valid_for(&["example.com"]), "localhost");
    assert_eq!(other_host.error_message.unwrap(), "TLS: certificate is not valid for this host name");
}

#[test]
fn port_without_tls_is_named_in_the_history() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = cluster_trusting(None);
    let mut client = cluster.connect();
    let https = receiver.url("/").replace("http://", "https://");
    let endpoint = Endpoint::create(&mut client, &https);
    endpoint.emit(&mut client, 1);
    let attempt = endpoint.only_failure(&mut client);
    assert_eq!(attempt.error_message.unwrap(), "TLS: the server does not speak TLS on this port");
}

#[test]
fn unreadable_ca_file_is_logged_with_a_hint() {
    let cluster = Cluster::with_extension(&[("webhook_delivery.ca_file", "/nowhere/ca.pem")]);
    let log = webhook_harness::wait_until("the hint in the log", DEADLINE, || {
        Some(cluster.log()).filter(|log| log.contains("HINT:  Check webhook_delivery.ca_file"))
    });
    assert!(log.contains("webhook_delivery could not start sending: could not read /nowhere/ca.pem"), "{log}");
}

/// Settings for a client certificate of `issuer`, and trust in servers of `ca`.
fn with_client_certificate(ca: &PrivateCa, certificate: &Path, key: &Path) -> Cluster {
    let path = |path: &Path| path.display().to_string();
    Cluster::with_extension(&[
        ("webhook_delivery.retry_schedule", ""),
        ("webhook_delivery.allow_http", "off"),
        ("webhook_delivery.ca_file", &path(ca.pem_path())),
        ("webhook_delivery.client_certificate_file", &path(certificate)),
        ("webhook_delivery.client_key_file", &path(key)),
    ])
}

#[test]
fn client_certificate_is_shown_to_receivers_that_require_one() {
    let ca = PrivateCa::new();
    let asking = Receiver::start_tls(&ca.valid_for_with_clients(&["localhost"]), |_| Reply::ok());
    let other = Receiver::start_tls(&ca.valid_for(&["localhost"]), |_| Reply::ok());
    let (certificate, key) = ca.client_files();
    let cluster = with_client_certificate(&ca, &certificate, &key);
    let mut client = cluster.connect();
    for receiver in [&asking, &other] {
        let endpoint = Endpoint::create(&mut client, &receiver.url_for_host("localhost", "/"));
        endpoint.emit(&mut client, 5);
        endpoint.wait_for(&mut client, 5, "success");
    }
    assert_eq!((asking.count(), other.count()), (5, 5));
}

#[test]
fn missing_or_foreign_client_certificate_is_named_and_explained() {
    let (ca, foreign) = (PrivateCa::new(), PrivateCa::new());
    let asking = ca.valid_for_with_clients(&["localhost"]);
    let cluster = cluster_trusting(Some(&ca));
    let attempt = failure(&cluster, &asking, "localhost");
    assert_eq!(attempt.error_message.unwrap(), "TLS: the server requires a client certificate");
    let advice = "select string_agg(what_to_do, ' ') from webhook_endpoints, diagnose_webhook(webhook_endpoints.id)";
    let advice: String = cluster.query_one(advice, &[]);
    assert!(advice.contains("webhook_delivery.client_certificate_file"), "{advice}");

    let (certificate, key) = foreign.client_files();
    let attempt = failure(&with_client_certificate(&ca, &certificate, &key), &asking, "localhost");
    let message = attempt.error_message.unwrap();
    assert!(message.starts_with("TLS: "), "{message}");
}

#[test]
fn unusable_client_certificate_stops_sending_with_its_reason() {
    let ca = PrivateCa::new();
    let (certificate, key) = ca.client_files();
    let (_, other_key) = ca.client_files();
    let readable = ca.client_files().1;
    std::fs::set_permissions(&readable, std::fs::Permissions::from_mode(0o644)).unwrap();
    let none = Path::new("");
    for (certificate, key, problem) in [
        (&*certificate, none, "a client certificate needs a file and the file of its key".to_owned()),
        (none, &*key, "a client certificate needs a file and the file of its key".to_owned()),
        (
            &*certificate,
            &*other_key,
            format!("the key in {} is not that of the client certificate", other_key.display()),
        ),
        (&*certificate, &*readable, format!("other users may read {}", readable.display())),
        (&*key, &*key, format!("{} contains no PEM certificate, or an invalid one", key.display())),
        (&*certificate, Path::new("/nowhere/key.pem"), "could not read /nowhere/key.pem".to_owned()),
    ] {
        let cluster = with_client_certificate(&ca, certificate, key);
        webhook_harness::wait_until(&problem, DEADLINE, || {
            cluster.log().contains(&format!("webhook_delivery could not start sending: {problem}")).then_some(())
        });
    }
}
