//! What customers configure, on every node.

use std::collections::BTreeMap;
use std::time::Duration;

use webhook_harness::{DEADLINE, Receiver, Reply, StopMode, sample, wait_until};

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

#[test]
#[ignore = "needs Citus"]
fn endpoint_that_nodes_disable_is_disabled_everywhere_with_one_alert() {
    let nodes = Nodes::start(&[]);
    // Both nodes have sent before either knows the answer.
    let gone = Receiver::start(|_| Reply::status(410).after(Duration::from_secs(2)));
    let alerts = Receiver::start(|_| Reply::ok());
    let id = nodes.endpoint(sample::RIVERSIDE, &gone.url("/"));
    psql(
        &nodes.coordinator,
        &format!(
            "insert into webhook_endpoints (auction_id, url, events)
             values ('{}', '{}', '{{webhook.endpoint_disabled}}')",
            sample::RIVERSIDE,
            alerts.url("/")
        ),
    );
    nodes.wait_on_workers("select count(*) = 2 from webhook_delivery.endpoint_secrets");
    let emit = format!("select webhook_delivery.emit('order.created', '{}', '{{}}')", sample::RIVERSIDE);
    for worker in &nodes.workers {
        psql(worker, &emit);
    }
    gone.wait_for_distinct(2, DEADLINE);
    let is_disabled = format!(
        "select not is_active and disabled_reason = 'the receiver has answered 410 Gone' from webhook_endpoints where id = '{id}'"
    );
    nodes.wait_on_workers(&is_disabled);
    assert!(nodes.coordinator.query_one::<bool>(&is_disabled, &[]));
    alerts.wait_for_distinct(1, DEADLINE);
    // Each worker has recorded the failure, and then something else.
    nodes.wait_on_workers("select exists (select from webhook_delivery_attempts where response_status_code = 410)");
    let other = nodes.endpoint(sample::HILLTOP, &alerts.url("/other"));
    for worker in &nodes.workers {
        psql(worker, &format!("select webhook_delivery.emit('order.created', '{}', '{{}}')", sample::HILLTOP));
    }
    nodes.wait_on_workers(&format!(
        "select exists (select from webhook_deliveries where endpoint_id = '{other}' and status = 'success')"
    ));
    let alerts: Vec<_> = alerts.requests().into_iter().filter(|request| request.path == "/").collect();
    assert_eq!(alerts.len(), 1, "one node's failure is reported, not each one's");
    assert_eq!(alerts[0].json()["data"]["endpoint_id"], id.to_string());
}

#[test]
#[ignore = "needs Citus"]
fn coordinator_that_is_down_keeps_no_worker_from_delivering() {
    let nodes = Nodes::start(&[]);
    let receiver = Receiver::start(|request| if request.path == "/gone" { Reply::status(410) } else { Reply::ok() });
    nodes.endpoint(sample::RIVERSIDE, &receiver.url("/gone"));
    nodes.endpoint(sample::HILLTOP, &receiver.url("/"));
    nodes.coordinator.stop(StopMode::Immediate);
    let worker = &nodes.workers[0];
    for auction in [sample::RIVERSIDE, sample::HILLTOP] {
        psql(worker, &format!("select webhook_delivery.emit('order.created', '{auction}', '{{}}')"));
    }
    receiver.wait_for_distinct(2, DEADLINE);
    // Not disabled without the coordinator, and tried again.
    psql(worker, &format!("select webhook_delivery.emit('order.created', '{}', '{{}}')", sample::HILLTOP));
    receiver.wait_for_distinct(3, DEADLINE);
    assert!(worker.query_one::<bool>("select bool_and(is_active) from webhook_endpoints", &[]));
    nodes.coordinator.start_again();
    // The coordinator may still be busy with its own start: the next failure tries again.
    wait_until("the endpoint to be disabled", DEADLINE, || {
        psql(worker, &format!("select webhook_delivery.emit('order.created', '{}', '{{}}')", sample::RIVERSIDE));
        worker.query_one::<bool>("select not bool_and(is_active) from webhook_endpoints", &[]).then_some(())
    });
}

#[test]
#[ignore = "needs Citus"]
fn node_without_configuration_says_so_and_keeps_dead_letters() {
    let nodes = Nodes::start(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    nodes.endpoint(sample::RIVERSIDE, &receiver.url("/"));
    for worker in &nodes.workers {
        let name = worker.query_one::<String>("select subname::text from pg_subscription", &[]);
        psql(
            worker,
            &format!(
                "drop subscription {name}; delete from webhook_endpoints; delete from webhook_delivery.endpoint_secrets"
            ),
        );
        wait_until("the hint", DEADLINE, || {
            let hint = "select hint like '%subscribe to its publication%' from webhook_delivery.status";
            (worker.query_one::<Option<bool>>(hint, &[]) == Some(true)).then_some(())
        });
    }
    psql(&nodes.coordinator, &format!("insert into orders values (1, '{}', 1)", sample::RIVERSIDE));
    let letters = "select result from run_command_on_all_nodes(
        $$ select coalesce(string_agg(error_code || ' ' || error_message, ''), '') from webhook_delivery.capture_errors $$)
        where result <> ''";
    assert_eq!(
        psql(&nodes.coordinator, letters).trim(),
        "55000 this node has not received the endpoints of the coordinator"
    );
    (0..nodes.workers.len()).for_each(|number| nodes.subscribe(number));
    nodes.wait_on_workers("select exists (select from webhook_delivery.endpoint_secrets)");
    nodes.wait_on_workers("select not webhook_delivery.citus_lacks_configuration()");
    for worker in &nodes.workers {
        psql(worker, "select webhook_delivery.recapture(id) from webhook_delivery.capture_errors");
    }
    receiver.wait_for_distinct(1, DEADLINE);
    assert_eq!(receiver.requests()[0].json()["data"]["id"], 1);
}
