//! The address guard: a customer's URL reaches only the public internet.

use uuid::Uuid;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, refusal, wait_until};

const AS_INSTALLED: &[(&str, &str)] =
    &[("webhook_delivery.allowed_networks", ""), ("webhook_delivery.allowed_ports", "80, 443")];

#[test]
fn endpoint_in_a_private_network_is_refused() {
    let (_cluster, mut client) = Cluster::with_client(AS_INSTALLED);
    let insert = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}')";
    let auction = Uuid::new_v4();
    for host in
        ["127.0.0.1", "localhost", "0x7f.1", "[::1]", "169.254.169.254", "10.0.0.5", "[fd00:ec2::254]", "0.0.0.0"]
    {
        for scheme in ["http", "https"] {
            let error = refusal(&mut client, insert, &[&auction, &format!("{scheme}://{host}/")]);
            assert_eq!(error.code().code(), "22023", "{host}");
            assert!(error.message().contains(" address"), "{host}: {error}");
            assert!(error.hint().unwrap().contains("webhook_delivery.allowed_networks"));
        }
    }
    let error = refusal(&mut client, insert, &[&auction, &"https://example.com:5432/"]);
    assert_eq!((error.code().code(), error.message()), ("22023", "port 5432 is not allowed"));
    assert!(error.hint().unwrap().contains("80, 443") && error.hint().unwrap().contains("allowed_ports"));
    client.execute(insert, &[&auction, &"https://example.com/"]).unwrap();
    let error = refusal(&mut client, "update webhook_endpoints set url = 'https://192.168.1.1/'", &[]);
    assert_eq!(error.message(), "192.168.1.1 is a private address");
}

#[test]
fn endpoint_is_not_called_once_its_address_is_not_allowed() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (cluster, mut client) = Cluster::with_client(&[("webhook_delivery.retry_schedule", "")]);
    let by_address = Endpoint::create(&mut client, &receiver.url("/"));
    let port = receiver.url("").rsplit(':').next().unwrap().to_owned();
    // Only name resolution reveals the address of this one.
    let by_name = Endpoint::create(&mut client, &format!("http://localhost:{port}/"));
    let probe = Endpoint::create(&mut client, &Receiver::by_path().url("/"));
    cluster.set("webhook_delivery.allowed_networks", "");
    wait_until("the worker to read the setting", DEADLINE, || {
        probe.emit(&mut client, 1);
        probe.deliveries(&mut client).iter().any(|delivery| delivery.status == "failed").then_some(())
    });
    for endpoint in [by_address, by_name] {
        endpoint.emit(&mut client, 1);
        let failure = endpoint.only_failure(&mut client);
        assert_eq!((failure.error_message.as_deref(), failure.response_excerpt), (Some("address not allowed"), None));
    }
    assert_eq!(receiver.requests().len(), 0);
    cluster.set("webhook_delivery.allowed_networks", "127.0.0.0/8, ::1");
    let allowed_again = Endpoint::create(&mut client, &receiver.url("/"));
    wait_until("the endpoint to be called again", DEADLINE, || {
        allowed_again.emit(&mut client, 1);
        allowed_again.deliveries(&mut client).iter().any(|delivery| delivery.status == "success").then_some(())
    });
}

#[test]
fn invalid_list_of_ports_or_networks_is_refused_with_detail() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    for (setting, value, part) in [
        ("allowed_ports", "80, https", "\"https\""),
        ("allowed_ports", "", "\"\""),
        ("allowed_networks", "10.0.0.0/8, inside", "\"inside\""),
    ] {
        let error = refusal(&mut client, &format!("alter system set webhook_delivery.{setting} = '{value}'"), &[]);
        assert_eq!(error.code().code(), "22023");
        assert!(error.detail().unwrap().contains(part), "{error:?}");
    }
}

#[test]
fn only_a_superuser_reads_the_allowed_networks() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    client.batch_execute("create role tenant; set role tenant").unwrap();
    let error = refusal(&mut client, "show webhook_delivery.allowed_networks", &[]);
    assert_eq!(error.code().code(), "42501");
}

/// Denied networks are the operator's own machines with public addresses. The rule applies to new
/// endpoints and to existing ones.
#[test]
fn endpoint_in_a_denied_network_is_neither_accepted_nor_called() {
    let receiver = Receiver::start(|_| Reply::ok());
    let (cluster, mut client) = Cluster::with_client(&[]);
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    cluster.set("webhook_delivery.denied_networks", "127.0.0.0/8, 203.0.113.0/24");
    let insert = "insert into webhook_endpoints (auction_id, url, events) values (gen_random_uuid(), $1, '{*}')";
    let url = receiver.url("/other");
    wait_until("the setting", DEADLINE, || client.execute(insert, &[&url]).err());
    let error = refusal(&mut client, insert, &[&url]);
    assert_eq!((error.code().code(), error.message()), ("22023", "127.0.0.1 is a loopback address"));
    assert!(error.hint().unwrap().contains("denied_networks"));
    endpoint.emit(&mut client, 1);
    wait_until("the refusal", DEADLINE, || endpoint.attempts(&mut client).pop());
    let attempt = endpoint.attempts(&mut client).pop().unwrap();
    assert_eq!(attempt.error_message.as_deref(), Some("address not allowed"));
    assert_eq!(receiver.count(), 0);
}
