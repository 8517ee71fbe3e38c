//! Shards that move, and a node that is down.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use uuid::Uuid;
use webhook_harness::{Cluster, DEADLINE, Receiver, Reply, StopMode, sample};

use crate::citus::nodes::{Nodes, psql};

/// The shards of these tenants on each worker.
fn shards(nodes: &Nodes, tenants: &[Uuid]) -> Vec<(i64, usize)> {
    let shard = |tenant: &Uuid| {
        let query = format!(
            "select shardid || ' ' || nodename from pg_dist_shard_placement
             where shardid = get_shard_id_for_distribution_column('orders', '{tenant}'::uuid)"
        );
        let found = psql(&nodes.coordinator, &query);
        let (shard, host) = found.trim().split_once(' ').expect("a shard");
        let is_on = |node: &Cluster| node.socket_dir().display().to_string() == host;
        (shard.parse().expect("a number"), nodes.workers.iter().position(is_on).expect("a worker"))
    };
    let mut all: Vec<_> = tenants.iter().map(shard).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
#[ignore = "needs Citus"]
fn shards_that_move_under_load_lose_no_event() {
    let nodes = Nodes::start(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    let tenants: Vec<Uuid> = (0..8).map(|_| Uuid::new_v4()).collect();
    for tenant in &tenants {
        nodes.endpoint(*tenant, &receiver.url("/"));
    }
    let is_over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = nodes.coordinator.connect();
            let mut number = 0;
            // The deadline ends it if a move fails.
            let started = Instant::now();
            while !is_over.load(Ordering::Relaxed) && started.elapsed() < 2 * DEADLINE {
                let tenant = tenants[number % tenants.len()];
                let row = format!("insert into orders values ({number}, '{tenant}', 1)");
                client.batch_execute(&row).unwrap_or_else(|e| panic!("{row}: {:?}", e.as_db_error()));
                number += 1;
            }
            number
        });
        let host = |worker: usize| nodes.workers[worker].socket_dir().display().to_string();
        for mode in ["block_writes", "force_logical"] {
            for (shard, worker) in shards(&nodes, &tenants) {
                let (from, to) = (host(worker), host(1 - worker));
                let call =
                    format!("select citus_move_shard_placement({shard}, '{from}', 5432, '{to}', 5432, '{mode}')");
                psql(&nodes.coordinator, &call);
            }
        }
        is_over.store(true, Ordering::Relaxed);
        writer.join().expect("every row is written")
    });
    assert!(written > 100, "{written} rows were written while shards moved");
    receiver.wait_for_distinct(written, DEADLINE);
    let ids: BTreeSet<i64> =
        receiver.requests().iter().map(|request| request.json()["data"]["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), written, "every row has its event");
    assert_eq!(receiver.distinct_ids().len(), written, "no row has two events");
    println!("{written} events, {} of them delivered twice", receiver.count() - written);
}

#[test]
#[ignore = "needs Citus"]
fn deliveries_of_a_node_that_was_down_are_made_when_it_is_back() {
    let nodes = Nodes::start(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    let tenants: Vec<Uuid> = (0..8).map(|_| Uuid::new_v4()).collect();
    for tenant in &tenants {
        nodes.endpoint(*tenant, &receiver.url("/"));
    }
    for worker in &nodes.workers {
        psql(worker, "select webhook_delivery.pause()");
    }
    for (number, tenant) in tenants.iter().enumerate() {
        psql(&nodes.coordinator, &format!("insert into orders values ({number}, '{tenant}', 1)"));
    }
    let node = &nodes.workers[0];
    let queued: i64 = node.query_one("select count(*) from webhook_delivery.queue", &[]);
    assert!(queued > 0);
    node.stop(StopMode::Immediate);
    psql(&nodes.workers[1], "select webhook_delivery.resume()");
    receiver.wait_for_distinct(tenants.len() - usize::try_from(queued).unwrap(), DEADLINE);
    node.start_again();
    psql(node, "select webhook_delivery.resume()");
    receiver.wait_for_distinct(tenants.len(), DEADLINE);
    // The configuration is replicated again, too.
    let id = nodes.endpoint(sample::RIVERSIDE, &receiver.url("/"));
    psql(&nodes.coordinator, &format!("delete from webhook_endpoints where id = '{id}'"));
}

#[test]
#[ignore = "needs Citus"]
fn node_that_is_added_delivers_the_shards_that_it_gets() {
    let mut nodes = Nodes::start(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    nodes.endpoint(sample::RIVERSIDE, &receiver.url("/"));
    let insert = |nodes: &Nodes, id: i32| {
        psql(&nodes.coordinator, &format!("insert into orders values ({id}, '{}', 1)", sample::RIVERSIDE));
    };
    insert(&nodes, 1);
    receiver.wait_for_distinct(1, DEADLINE);
    let (shard, worker) = shards(&nodes, &[sample::RIVERSIDE])[0];
    let from = nodes.workers[worker].socket_dir().display().to_string();
    let added = nodes.add_worker().socket_dir().display().to_string();
    psql(
        &nodes.coordinator,
        &format!(
            "select replicate_reference_tables();
             select citus_move_shard_placement({shard}, '{from}', 5432, '{added}', 5432, 'block_writes')"
        ),
    );
    insert(&nodes, 2);
    receiver.wait_for_distinct(2, DEADLINE);
    nodes.wait_on_workers("select count(*) <= 1 from webhook_deliveries");
    assert_eq!(nodes.workers[2].query_one::<i64>("select count(*) from webhook_deliveries", &[]), 1);
}
