//! Metrics: a monitoring system reads them with the exporter configuration in `examples/`.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, installation, refusal, wait_until};

/// query-exporter, which `tests/exporter/setup.sh` installs.
struct Exporter {
    process: Child,
    port: u16,
}

impl Exporter {
    /// Starts it with the example's configuration and this cluster's address.
    fn start(cluster: &Cluster, folder: &std::path::Path) -> Exporter {
        let dsn = format!("postgresql://monitor@/postgres?host={}", cluster.socket_dir().display());
        let config = include_str!("../../examples/query-exporter.yaml")
            .replace("postgresql://monitor@db.example.com/auction", &dsn);
        assert!(config.contains(&dsn));
        let path = folder.join("exporter.yaml");
        std::fs::write(&path, config).unwrap();
        // This port is free now. Another process that takes it meanwhile has none of these metrics.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let installed = installation().target_dir().join("exporter");
        let process = Command::new("python3")
            .env("PYTHONPATH", &installed)
            .arg(installed.join("bin/query-exporter"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--log-level", "warning", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .expect("python3");
        Exporter { process, port }
    }

    /// The metrics by name and labels, or none while the exporter does not answer.
    fn scrape(&self) -> Option<HashMap<String, f64>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).ok()?;
        let lines = response.lines().filter(|line| line.starts_with("webhook_delivery"));
        let metric = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((without_database(name), value.parse().ok()?))
        };
        Some(lines.filter_map(metric).collect())
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[test]
fn example_exporter_reports_the_worker_and_each_endpoint() {
    let receiver = Receiver::by_path();
    let settings = [("webhook_delivery.retry_schedule", ""), ("webhook_delivery.busy_events_per_minute", "5")];
    let cluster = Cluster::start(&settings);
    let mut client = cluster.connect();
    client.batch_execute("create extension webhook_delivery; create role monitor login").unwrap();
    client.batch_execute("select webhook_delivery.grant_monitor('monitor')").unwrap();
    let good = Endpoint::create(&mut client, &receiver.url("/"));
    let failing = Endpoint::create(&mut client, &receiver.url("/status/503"));
    good.emit(&mut client, 5);
    failing.emit(&mut client, 3);
    good.wait_for(&mut client, 5, "success");
    failing.wait_for(&mut client, 3, "failed");
    client.execute("select webhook_delivery.pause(endpoint_id => $1)", &[&good.id]).unwrap();
    good.emit(&mut client, 2);

    let folder = tempfile::tempdir().unwrap();
    let exporter = Exporter::start(&cluster, folder.path());
    let of = |metric: &str, endpoint: &Endpoint| {
        format!(
            "webhook_delivery_endpoint_{metric}{{auction_id=\"{}\",endpoint_id=\"{}\"}}",
            endpoint.auction_id, endpoint.id
        )
    };
    let metrics = wait_until("all metrics, with the failures of the failing endpoint", DEADLINE, || {
        let metrics = exporter.scrape()?;
        (metrics.get(&of("consecutive_failures", &failing)) == Some(&3.0)).then_some(metrics)
    });
    for (name, value) in [
        ("webhook_delivery_up".into(), 1.0),
        ("webhook_delivery_queued".into(), 2.0),
        ("webhook_delivery_due".into(), 0.0),
        ("webhook_delivery_lag_seconds".into(), 0.0),
        ("webhook_delivery_requests_in_flight".into(), 0.0),
        ("webhook_delivery_attempts_to_record".into(), 0.0),
        ("webhook_delivery_capture_errors".into(), 0.0),
        ("webhook_delivery_delivered_total".into(), 5.0),
        ("webhook_delivery_failed_total".into(), 3.0),
        ("webhook_delivery_failed_attempts_total".into(), 3.0),
        (format!("webhook_delivery_auction_events_per_minute{{auction_id=\"{}\"}}", good.auction_id), 7.0),
        (of("receives", &good), 0.0),
        (of("receives", &failing), 1.0),
        (of("queued", &good), 2.0),
        (of("queued", &failing), 0.0),
        (of("consecutive_failures", &good), 0.0),
    ] {
        assert_eq!(metrics.get(&name), Some(&value), "{name} in {metrics:#?}");
    }
    assert!(metrics[&of("failing_seconds", &failing)] > 0.0);
    // The failing endpoint's auction has too few events to be reported as busy.
    let busy = metrics.keys().filter(|name| name.starts_with("webhook_delivery_auction_events_per_minute")).count();
    assert_eq!(busy, 1, "{metrics:#?}");
    let busy: String = client.query_one("select busy from webhook_delivery.status", &[]).unwrap().get(0);
    assert_eq!(busy, format!("auction {} had 7 events", good.auction_id));
    // The configuration names every metric.
    let known = client.query("select distinct metric from webhook_delivery.metrics", &[]).unwrap();
    for metric in known.iter().map(|row| row.get::<_, String>(0)) {
        assert!(
            metrics.keys().any(|name| name.split('{').next() == Some(&metric)),
            "{metric} is not in the configuration"
        );
    }
}

/// The name without the exporter's own label, and with the labels sorted.
fn without_database(name: &str) -> String {
    let Some((name, labels)) = name.split_once('{') else { return name.to_owned() };
    let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
    labels.retain(|label| *label != "database=\"auction\"");
    labels.sort_unstable();
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

#[test]
fn monitor_role_sees_that_no_worker_runs_and_little_else() {
    let cluster = Cluster::start(&[("webhook_delivery.databases", "")]);
    let mut client = cluster.connect();
    client.batch_execute("create extension webhook_delivery; create role monitor login").unwrap();
    client.batch_execute("select webhook_delivery.grant_monitor('monitor')").unwrap();
    let mut monitor = cluster.connect_as("monitor", "postgres");
    let up = "select value from webhook_delivery.metrics where metric = 'webhook_delivery_up'";
    assert_eq!(monitor.query_one(up, &[]).unwrap().get::<_, f64>(0), 0.0);
    assert_eq!(
        monitor.query_one("select state from webhook_delivery.status", &[]).unwrap().get::<_, &str>(0),
        "no worker"
    );
    for table in ["queue", "events", "endpoint_targets", "endpoint_secrets", "attempts", "capture_errors"] {
        let read = format!("select from webhook_delivery.{table}");
        assert_eq!(refusal(&mut monitor, &read, &[]).code().code(), "42501", "{table}");
    }
    assert_eq!(refusal(&mut monitor, "select webhook_delivery.pause()", &[]).code().code(), "42501");
}
