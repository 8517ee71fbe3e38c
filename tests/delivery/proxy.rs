//! The egress proxy: tinyproxy, as an operator would run it.

mod needs_proxy {
    use std::net::TcpListener;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};

    use webhook_harness::tls::PrivateCa;
    use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, private_file, wait_until};

    /// tinyproxy, which asks for `user` with the password `secret`.
    struct Proxy {
        child: Child,
        port: u16,
        log: PathBuf,
    }

    impl Proxy {
        fn start() -> Proxy {
            let dir = tempfile::tempdir().expect("a folder").keep();
            let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
            let log = dir.join("log");
            let configuration = format!(
                "Port {port}\nListen 127.0.0.1\nBasicAuth user secret\nLogFile \"{}\"\nLogLevel Connect\nTimeout 60\n",
                log.display()
            );
            std::fs::write(dir.join("conf"), configuration).expect("a file");
            let mut command = Command::new("tinyproxy");
            command.arg("-d").arg("-c").arg(dir.join("conf")).stdout(Stdio::null()).stderr(Stdio::null());
            let proxy = Proxy { child: command.spawn().expect("tinyproxy"), port, log };
            wait_until("tinyproxy", DEADLINE, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
            proxy
        }

        fn url(&self) -> String {
            format!("http://localhost:{}", self.port)
        }

        fn log(&self) -> String {
            std::fs::read_to_string(&self.log).expect("a log")
        }
    }

    impl Drop for Proxy {
        fn drop(&mut self) {
            _ = self.child.kill();
            _ = self.child.wait();
        }
    }

    fn cluster(proxy: &str, credentials: &Path, more: &[(&str, &str)]) -> Cluster {
        let path = credentials.display().to_string();
        let usual = [
            ("webhook_delivery.retry_schedule", ""),
            ("webhook_delivery.proxy", proxy),
            ("webhook_delivery.proxy_credentials_file", path.as_str()),
        ];
        Cluster::with_extension(&[&usual[..], more].concat())
    }

    #[test]
    #[ignore = "needs tinyproxy"]
    fn requests_go_through_the_proxy_to_the_checked_address() {
        let proxy = Proxy::start();
        let ca = PrivateCa::new();
        let receiver = Receiver::start_tls(&ca.valid_for(&["localhost"]), |_| Reply::ok());
        let ca_file = ca.pem_path().display().to_string();
        let cluster = cluster(
            &proxy.url(),
            &private_file("user:secret\n"),
            &[("webhook_delivery.allow_http", "off"), ("webhook_delivery.ca_file", &ca_file)],
        );
        let mut client = cluster.connect();
        let endpoint = Endpoint::create(&mut client, &receiver.url_for_host("localhost", "/"));
        endpoint.emit(&mut client, 5);
        endpoint.wait_for(&mut client, 5, "success");
        assert_eq!(receiver.count(), 5);
        let log = proxy.log();
        let port =
            receiver.url("/").split(':').nth(2).and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
        let is_address = [format!("CONNECT 127.0.0.1:{port}"), format!("CONNECT [::1]:{port}")];
        assert!(is_address.iter().any(|connect| log.contains(connect.as_str())), "{log}");
        assert!(!log.contains("CONNECT localhost"), "{log}");
    }

    #[test]
    #[ignore = "needs tinyproxy"]
    fn failure_of_the_proxy_disables_no_endpoint_and_shows_in_status() {
        let proxy = Proxy::start();
        let receiver = Receiver::start(|_| Reply::ok());
        let rules = [("webhook_delivery.disable_after_failures", "1"), ("webhook_delivery.disable_after", "1ms")];
        let cluster = cluster(&proxy.url(), &private_file("user:wrong"), &rules);
        let mut client = cluster.connect();
        let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
        endpoint.emit(&mut client, 3);
        endpoint.wait_for(&mut client, 3, "failed");
        let kinds =
            "select string_agg(distinct error_kind::text || ' ' || error_message, ', ') from webhook_deliveries";
        assert_eq!(cluster.query_one::<String>(kinds, &[]), "proxy proxy: status 401");
        wait_until("the status", DEADLINE, || {
            let failure =
                "select coalesce(last_failure like '%proxy: status 401%', false) from webhook_delivery.status";
            cluster.query_one::<bool>(failure, &[]).then_some(())
        });
        // Another delivery, so that the health of the first ones would have been recorded.
        endpoint.emit(&mut client, 1);
        endpoint.wait_for(&mut client, 4, "failed");
        assert!(cluster.query_one::<bool>("select bool_and(is_active) from webhook_endpoints", &[]));
        assert_eq!(cluster.query_one::<i64>("select count(*) from webhook_delivery.endpoint_health", &[]), 0);
        assert_eq!(receiver.count(), 0);
    }
}

use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, wait_until};

#[test]
fn proxy_that_is_down_is_named_and_no_proxy_passes_it_by() {
    let receiver = Receiver::start(|_| Reply::ok());
    let settings = [("webhook_delivery.retry_schedule", ""), ("webhook_delivery.proxy", "http://127.0.0.1:1")];
    let cluster = Cluster::with_extension(&settings);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    assert_eq!(endpoint.only_failure(&mut client).error_message.unwrap(), "proxy: connection refused");
    assert_eq!(receiver.count(), 0);

    let cluster = Cluster::with_extension(&[&settings[..], &[("webhook_delivery.no_proxy", "127.0.0.0/8")]].concat());
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 1, "success");
}

#[test]
fn proxy_without_its_credentials_file_stops_sending_with_the_reason() {
    let cluster = Cluster::with_extension(&[
        ("webhook_delivery.proxy", "http://127.0.0.1:1"),
        ("webhook_delivery.proxy_credentials_file", "/nowhere/credentials"),
    ]);
    wait_until("the reason", DEADLINE, || {
        cluster
            .log()
            .contains("webhook_delivery could not start sending: could not read /nowhere/credentials")
            .then_some(())
    });
}
