//! Events of `row_event()` on distributed tables.

use std::collections::BTreeMap;
use std::time::Instant;

use uuid::Uuid;
use webhook_harness::{DEADLINE, Receiver, Reply, wait_until};

use crate::citus::nodes::{Nodes, psql};

#[test]
#[ignore = "needs Citus"]
fn events_of_shards_are_delivered_once_by_their_nodes() {
    let nodes = Nodes::start(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    // Enough tenants for each worker to have some.
    let tenants: Vec<Uuid> = (0..8).map(|_| Uuid::new_v4()).collect();
    for tenant in &tenants {
        nodes.endpoint(*tenant, &receiver.url("/"));
    }
    for (number, tenant) in tenants.iter().enumerate() {
        psql(
            &nodes.coordinator,
            &format!(
                "begin; insert into orders values ({number}, '{tenant}', 1); commit;
                 begin; insert into orders values (1000 + {number}, '{tenant}', 1); rollback;
                 begin; savepoint a; insert into orders values (2000 + {number}, '{tenant}', 1); rollback to a;
                 insert into orders values (3000 + {number}, '{tenant}', 1); commit;"
            ),
        );
    }
    receiver.wait_for_distinct(16, DEADLINE);
    wait_until("the history", DEADLINE, || {
        (nodes.deliveries() == BTreeMap::from([("success".to_owned(), 16)])).then_some(())
    });
    assert_eq!(receiver.count(), 16, "no delivery arrives twice");
    let by_node: Vec<i64> =
        nodes.workers.iter().map(|node| node.query_one("select count(*) from webhook_deliveries", &[])).collect();
    assert!(by_node.iter().all(|count| *count > 0), "each worker delivers its shards: {by_node:?}");
    let ids: Vec<i64> =
        receiver.requests().iter().map(|request| request.json()["data"]["id"].as_i64().unwrap()).collect();
    assert!(ids.iter().all(|id| !(1000..3000).contains(id)), "{ids:?}");
}

#[test]
#[ignore = "needs Citus"]
fn transaction_over_two_nodes_is_delivered_without_polling() {
    let nodes = Nodes::start(&[("webhook_delivery.poll_interval", "60s")]);
    let receiver = Receiver::start(|_| Reply::ok());
    let tenants: Vec<Uuid> = (0..8).map(|_| Uuid::new_v4()).collect();
    for tenant in &tenants {
        nodes.endpoint(*tenant, &receiver.url("/"));
    }
    for round in 1..=3 {
        let rows: Vec<String> = tenants
            .iter()
            .enumerate()
            .map(|(number, tenant)| format!("({}, '{tenant}', 1)", round * 100 + number))
            .collect();
        let started = Instant::now();
        psql(&nodes.coordinator, &format!("begin; insert into orders values {}; commit;", rows.join(", ")));
        receiver.wait_for_distinct(round * 8, DEADLINE);
        println!("round {round}: {:?} after the transaction began", started.elapsed());
    }
}

#[test]
#[ignore = "needs Citus"]
fn transaction_with_local_tables_and_shards_of_all_nodes_makes_all_events() {
    let nodes = Nodes::start(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    let tenants: Vec<Uuid> = (0..12).map(|_| Uuid::new_v4()).collect();
    for tenant in &tenants {
        nodes.endpoint(*tenant, &receiver.url("/"));
    }
    let host = nodes.coordinator.socket_dir().display().to_string();
    psql(
        &nodes.coordinator,
        &format!(
            "select citus_set_node_property('{host}', 5432, 'shouldhaveshards', true);
             set citus.enable_unsafe_triggers = on;
             create table spread (id bigint, auction_id uuid);
             select create_distributed_table('spread', 'auction_id', colocate_with => 'none');
             create table kept_local (id bigint, auction_id uuid);
             create trigger made after insert on spread for each row
                 execute function webhook_delivery.row_event('order.created', 'auction_id');
             create trigger made after insert on kept_local for each row
                 execute function webhook_delivery.row_event('order.created', 'auction_id');
             create table tenants as select unnest('{{{}}}'::uuid[]) as auction_id",
            tenants.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        ),
    );
    // Triggers of local shards fire while other nodes run their part of the statement.
    psql(
        &nodes.coordinator,
        "begin;
         insert into kept_local select 1, auction_id from tenants;
         insert into spread select 2, auction_id from tenants;
         savepoint a;
         insert into spread select 3, auction_id from tenants;
         insert into kept_local select 3, auction_id from tenants;
         rollback to a;
         insert into spread select 4, auction_id from tenants;
         insert into kept_local select 5, auction_id from tenants;
         commit;",
    );
    receiver.wait_for_distinct(48, DEADLINE);
    wait_until("the history", DEADLINE, || {
        (nodes.deliveries() == BTreeMap::from([("success".to_owned(), 48)])).then_some(())
    });
    let mut ids: Vec<i64> =
        receiver.requests().iter().map(|request| request.json()["data"]["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 4, 5].map(|id| [id; 12]).concat());
}
