//! What customers configure, on every node.

use std::collections::BTreeMap;

use webhook_harness::{DEADLINE, Receiver, Reply, sample};

use crate::citus::nodes::{Nodes, psql};

#[test]
#[ignore = "needs Citus"]
fn configuration_of_the_coordinator_reaches_every_node() {
    let nodes = Nodes::start(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    let id = nodes.endpoint(sample::RIVERSIDE, &receiver.url("/"));
    let insert = |id: i32| {
        psql(&nodes.coordinator, &format!("insert into orders values ({id}, '{}', 1)", sample::RIVERSIDE));
    };
    // Turned off: not queued. Paused: queued. Replaced secret: signs at once.
    psql(&nodes.coordinator, &format!("update webhook_endpoints set is_active = false where id = '{id}'"));
    nodes.wait_on_workers("select not is_active from webhook_endpoints");
    insert(1);
    psql(&nodes.coordinator, &format!("update webhook_endpoints set is_active = true where id = '{id}'"));
    nodes.wait_on_workers("select is_active from webhook_endpoints");
    psql(&nodes.coordinator, &format!("select webhook_delivery.pause('a test', endpoint_id => '{id}')"));
    nodes.wait_on_workers("select exists (select from webhook_delivery.pauses)");
    insert(2);
    assert_eq!(nodes.deliveries(), BTreeMap::from([("pending".to_owned(), 1)]));
    let secret = psql(&nodes.coordinator, &format!("select rotate_webhook_secret('{id}', '0')"));
    let secret = secret.trim();
    nodes.wait_on_workers(&format!("select secret = '{secret}' from webhook_delivery.endpoint_secrets"));
    psql(&nodes.coordinator, &format!("select webhook_delivery.resume(endpoint_id => '{id}')"));
    receiver.wait_for_distinct(1, DEADLINE);
    let requests = receiver.requests();
    webhook_harness::verify::assert_signed(secret, &requests);
    assert_eq!(requests[0].json()["data"]["id"], 2);

    psql(&nodes.coordinator, &format!("delete from webhook_endpoints where id = '{id}'"));
    nodes.wait_on_workers("select not exists (select from webhook_endpoints)");
    insert(3);
    assert_eq!(nodes.deliveries(), BTreeMap::from([("success".to_owned(), 1)]));
}
