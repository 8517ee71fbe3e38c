//! The HTTP request: URL, headers, body and signatures are exactly as documented for customers.

use std::collections::HashSet;
use std::time::SystemTime;

use webhook_harness::verify::assert_signed;
use webhook_harness::{Cluster, ClusterBuilder, DEADLINE, Endpoint, Receiver, Reply, Request};

/// JSON whose spacing, key order and escapes would change if it were encoded again.
const DATA: &str = r#"{"z" : 1.50, "a": "é \u00e9 \"quoted\"", "z": [ ],"nested":{"b":null,"a":true}}"#;

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    let values: Vec<&str> = request
        .headers
        .iter()
        .filter(|(header, _)| header.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(values.len(), 1, "{name} is there exactly once in {:?}", request.headers);
    values[0]
}

#[test]
fn request_is_exactly_as_documented() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/hooks/count?tenant=1&x=%20"));
    let sql = "select webhook_delivery.emit('submission.updated', $1, ($2::text)::json)";
    client.execute(sql, &[&endpoint.auction_id, &DATA]).unwrap();

    let request = receiver.wait_for(1, DEADLINE).remove(0);
    let delivery = endpoint.wait_for(&mut client, 1, "success").remove(0);
    let (id, auction_id) = (delivery.id.to_string(), endpoint.auction_id.to_string());
    let stored = "select to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') from webhook_delivery.events";
    let occurred_at: String = client.query_one(stored, &[]).unwrap().get(0);
    let sent_at = delivery.last_attempt_at.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();

    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hooks/count?tenant=1&x=%20"));
    assert_eq!(header(&request, "X-Webhook-ID"), id);
    assert_eq!(header(&request, "X-Webhook-Timestamp"), sent_at.to_string());
    assert_eq!(header(&request, "X-Webhook-Event"), "submission.updated");
    assert_eq!(header(&request, "Content-Type"), "application/json");
    assert_eq!(header(&request, "User-Agent"), "AuctionExcellence-Webhook/1.0");
    assert_eq!(header(&request, "webhook-id"), id);
    assert_eq!(header(&request, "webhook-timestamp"), sent_at.to_string());
    let hex = header(&request, "X-Webhook-Signature").strip_prefix("sha256=").unwrap();
    assert!(hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{hex}");
    assert!(header(&request, "webhook-signature").starts_with("v1,"));

    assert_eq!(occurred_at.len(), "2026-01-02T03:04:05.678Z".len(), "{occurred_at}");
    assert_eq!(
        request.text(),
        format!(
            r#"{{"event":"submission.updated","timestamp":"{occurred_at}","webhook_id":"{id}","auction_id":"{auction_id}","data":{DATA}}}"#
        )
    );
    assert_signed(&endpoint.secret, &[request]);
}

#[test]
fn request_has_only_documented_and_http_headers() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    Endpoint::create(&mut client, &receiver.url("/")).emit(&mut client, 1);

    let request = receiver.wait_for(1, DEADLINE).remove(0);
    let mut names: Vec<String> = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort();
    // Without Accept-Encoding no response is compressed. Without Connection the connection stays
    // open.
    let documented = ["x-webhook-event", "x-webhook-id", "x-webhook-signature", "x-webhook-timestamp"];
    let standard = ["webhook-id", "webhook-signature", "webhook-timestamp"];
    let http = ["accept", "content-length", "content-type", "host", "user-agent"];
    let mut expected: Vec<&str> = [&documented[..], &standard[..], &http[..]].concat();
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(header(&request, "Host"), receiver.address().to_string());
}

#[test]
fn signatures_verify_in_python_node_and_standard_webhooks() {
    let receiver = Receiver::by_path();
    let cluster = Cluster::with_extension(&[]);
    let mut client = cluster.connect();
    let generated = Endpoint::create(&mut client, &receiver.url("/generated"));
    let own = Endpoint::create_with_secret(&mut client, &receiver.url("/own"), "the customer's own: ünïcode");
    let standard =
        Endpoint::create_with_secret(&mut client, &receiver.url("/standard"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    assert!(generated.secret.starts_with("whsec_"), "{}", generated.secret);
    for endpoint in [&generated, &own, &standard] {
        endpoint.emit(&mut client, 3);
    }

    receiver.wait_for(9, DEADLINE);
    for (path, endpoint) in [("/generated", &generated), ("/own", &own), ("/standard", &standard)] {
        let requests = receiver.requests_to(path);
        assert_eq!(requests.len(), 3);
        assert_signed(&endpoint.secret, &requests);
    }
}

#[test]
fn many_deliveries_share_few_connections() {
    let receiver = Receiver::start(|_| Reply::ok().body("thank you"));
    let cluster = Cluster::with_extension(&[("webhook_delivery.pool_size", "4")]);
    let mut client = cluster.connect();
    Endpoint::create(&mut client, &receiver.url("/")).emit(&mut client, 500);

    let requests = receiver.wait_for(500, DEADLINE);
    let connections: HashSet<u64> = requests.iter().map(|request| request.connection).collect();
    assert!(connections.len() <= 4, "{} connections for 500 deliveries", connections.len());
}

#[test]
fn failed_response_keeps_its_connection() {
    let receiver = Receiver::start(|_| Reply::status(503).body("x".repeat(20_000)));
    let cluster = Cluster::with_extension(&[
        ("webhook_delivery.pool_size", "4"),
        ("webhook_delivery.retry_schedule", ""),
        ("webhook_delivery.disable_after_failures", "0"),
    ]);
    let mut client = cluster.connect();
    Endpoint::create(&mut client, &receiver.url("/")).emit(&mut client, 100);

    let requests = receiver.wait_for(100, DEADLINE);
    let connections: HashSet<u64> = requests.iter().map(|request| request.connection).collect();
    assert!(connections.len() <= 4, "{} connections for 100 failures", connections.len());
}

#[test]
fn closed_connection_costs_no_delivery_an_attempt() {
    let receiver = Receiver::start(|_| Reply::ok().close());
    let cluster = Cluster::with_extension(&[("webhook_delivery.retry_schedule", "")]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 200);
    endpoint.wait_for(&mut client, 200, "success");
    assert_eq!(receiver.count(), 200);
}

#[test]
fn redirect_is_a_failure_and_is_not_followed() {
    let receiver = Receiver::by_path();
    let cluster = Cluster::with_extension(&[("webhook_delivery.retry_schedule", "")]);
    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/redirect"));
    endpoint.emit(&mut client, 1);

    let attempt = endpoint.only_failure(&mut client);
    assert_eq!(attempt.error_message.unwrap(), "status 302: redirects are not followed (to /elsewhere)");
    assert_eq!(attempt.response_status_code, Some(302));
    assert_eq!(receiver.requests_to("/elsewhere").len(), 0);
    assert_eq!(receiver.count(), 1);
}

#[test]
fn proxy_variables_of_the_server_are_ignored() {
    let (proxy, receiver) = (Receiver::start(|_| Reply::ok()), Receiver::start(|_| Reply::ok()));
    let variables = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let with_proxy = |builder: ClusterBuilder, name: &&str| builder.env(name, &proxy.url("/"));
    let cluster = variables.iter().fold(Cluster::builder(), with_proxy).start();
    cluster.execute("create extension webhook_delivery");
    // A program that a session starts has the server's environment, as the worker does.
    cluster.execute("create table environment (variable text); copy environment from program 'env'");
    let count = "select count(*) from environment where variable ~* '_proxy=http://127.0.0.1'";
    assert_eq!(cluster.query_one::<i64>(count, &[]), variables.len() as i64);

    let mut client = cluster.connect();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    endpoint.emit(&mut client, 1);
    endpoint.wait_for(&mut client, 1, "success");
    assert_eq!((proxy.count(), receiver.count()), (0, 1));
}

#[test]
fn every_accepted_url_can_be_delivered_to() {
    let receiver = Receiver::start(|_| Reply::ok());
    let cluster = Cluster::with_extension(&[("webhook_delivery.retry_schedule", "")]);
    let mut client = cluster.connect();
    let port = receiver.address().port();
    let urls = [
        format!("http://127.0.0.1:{port}"),
        format!("HTTP://127.0.0.1:{port}/upper/scheme"),
        format!("http://localhost:{port}?query=without&path"),
        format!("http://LOCALHOST:{port}/upper/host"),
        format!("http://127.0.0.1:{port}/hash#part"),
        format!("http://127.0.0.1:{port}/é/ü?q=ß"),
        format!("http://127.0.0.1:{port}/{{braces}}|pipe\"quote\"<angle>^`"),
        format!("http://127.0.0.1:{port}/back\\slash"),
        format!("http://127.0.0.1:{port}/a/../b/./c"),
        format!("http://127.1:{port}/short/address"),
        format!("http://0x7f000001:{port}/hex/address"),
        format!("http:127.0.0.1:{port}/no/slashes"),
        format!("http://127.0.0.1:{port}/%zz"),
    ];
    let (mut refused, mut undeliverable) = (Vec::new(), Vec::new());
    for url in urls {
        let sql = "insert into webhook_endpoints (auction_id, url, events) values (gen_random_uuid(), $1, '{*}')
                   returning id, auction_id, generated_secret(webhook_endpoints)";
        let Ok(row) = client.query_one(sql, &[&url]) else {
            refused.push(url);
            continue;
        };
        let endpoint = Endpoint { id: row.get(0), auction_id: row.get(1), secret: row.get(2) };
        endpoint.emit(&mut client, 1);
        let ended = webhook_harness::wait_until("the end of the delivery", DEADLINE, || {
            endpoint.deliveries(&mut client).into_iter().find(|delivery| delivery.completed_at.is_some())
        });
        if let Some(problem) = ended.error_message {
            undeliverable.push(format!("{url}: {problem}"));
        }
    }
    assert_eq!(refused, Vec::<String>::new(), "each of these URLs has a normal form");
    assert!(undeliverable.is_empty(), "accepted but not deliverable:\n{}", undeliverable.join("\n"));
}
