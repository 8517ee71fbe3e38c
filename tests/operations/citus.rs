//! Citus: three nodes that are set up as in `docs/citus.md`, whose statements this test runs.

mod needs_citus {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Write;
    use std::process::Stdio;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use uuid::Uuid;
    use webhook_harness::{Cluster, DEADLINE, Receiver, Reply, StopMode, checkout, sample, wait_until};

    /// A coordinator and two workers.
    struct Nodes {
        coordinator: Cluster,
        workers: Vec<Cluster>,
    }

    /// The snippets of the guide that its comments say this test runs, with where.
    fn snippets() -> Vec<(String, String)> {
        let guide = std::fs::read_to_string(checkout().join("docs/citus.md")).expect("the guide");
        let mut found = Vec::new();
        let mut parts = guide.split("```sql\n").skip(1);
        for part in &mut parts {
            let (code, rest) = part.split_once("```").expect("the end of a snippet");
            let (comment, _) = rest.trim_start().split_once(" -->").expect("a comment after the snippet");
            let place = comment.split("citus.rs ").nth(1).expect("what the test does");
            found.push((code.to_owned(), place.to_owned()));
        }
        assert!(found.len() >= 5, "{found:?}");
        found
    }

    /// Runs statements in psql, each in a transaction of its own, and returns what they print.
    #[track_caller]
    fn psql(node: &Cluster, sql: &str) -> String {
        let mut command = node.client_command("psql");
        command
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("psql");
        child.stdin.take().expect("a pipe").write_all(sql.as_bytes()).expect("psql reads");
        let done = child.wait_with_output().expect("psql ends");
        assert!(done.status.success(), "{sql}\n{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8")
    }

    impl Nodes {
        /// Follows the guide, with these settings on each node.
        fn start(settings: &[(&str, &str)]) -> Nodes {
            let start = || {
                let usual = [
                    ("shared_preload_libraries", "citus, webhook_delivery"),
                    ("citus.node_conninfo", "sslmode=disable"),
                    ("wal_level", "logical"),
                    ("max_worker_processes", "32"),
                    ("max_prepared_transactions", "20"),
                ];
                let node = Cluster::start(&[&usual[..], settings].concat());
                // A node connects to itself, too.
                node.set("citus.local_hostname", &node.socket_dir().display().to_string());
                node.execute("create extension citus");
                node
            };
            let nodes = Nodes { coordinator: start(), workers: vec![start(), start()] };
            let host = |node: &Cluster| node.socket_dir().display().to_string();
            nodes
                .coordinator
                .execute(&format!("select citus_set_coordinator_host('{}', 5432)", host(&nodes.coordinator)));
            for worker in &nodes.workers {
                nodes.coordinator.execute(&format!("select citus_add_node('{}', 5432)", host(worker)));
            }
            for (code, place) in snippets() {
                match place.as_str() {
                    "runs it on the coordinator" => drop(psql(&nodes.coordinator, &code)),
                    "runs it on each worker" => {
                        for (number, worker) in nodes.workers.iter().enumerate() {
                            let code = code
                                .replace("host=coordinator", &format!("host={}", host(&nodes.coordinator)))
                                .replace("worker_1", &format!("worker_{number}"));
                            psql(worker, &code);
                        }
                    }
                    "resumes each worker" => {
                        for worker in &nodes.workers {
                            let types = "select count(*) from webhook_event_types";
                            wait_until("the configuration", DEADLINE, || {
                                (worker.query_one::<i64>(types, &[]) > 0).then_some(())
                            });
                            psql(worker, &code);
                        }
                    }
                    _ => panic!("{place}"),
                }
            }
            nodes
        }

        /// Creates an endpoint for everything of an auction, and waits until all nodes have it.
        fn endpoint(&self, auction_id: Uuid, url: &str) -> Uuid {
            let insert = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}') returning id";
            let id: Uuid = self.coordinator.query_one(insert, &[&auction_id, &url]);
            self.wait_on_workers(&format!(
                "select exists (select from webhook_delivery.endpoint_secrets where endpoint_id = '{id}')"
            ));
            id
        }

        fn wait_on_workers(&self, condition: &str) {
            for worker in &self.workers {
                wait_until(condition, DEADLINE, || worker.query_one::<bool>(condition, &[]).then_some(()));
            }
        }

        /// The states of the deliveries of all nodes.
        fn deliveries(&self) -> BTreeMap<String, i64> {
            let query = "select result from run_command_on_all_nodes(
                $$ select coalesce(string_agg(status::text, ' '), '') from webhook_deliveries $$)";
            let mut counts = BTreeMap::new();
            for status in psql(&self.coordinator, query).split_whitespace() {
                *counts.entry(status.to_owned()).or_default() += 1;
            }
            counts
        }
    }

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
        let nodes = Nodes::start(&[("webhook_delivery.poll_interval", "1h")]);
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
    fn trigger_on_a_table_with_copies_is_refused() {
        let nodes = Nodes::start(&[]);
        let mut client = nodes.coordinator.connect();
        let trigger = |table: &str| {
            format!(
                "create trigger made after insert on {table} for each row
                 execute function webhook_delivery.row_event('order.created', 'auction_id')"
            )
        };
        for setting in ["citus.enable_unsafe_triggers = on", "citus.shard_replication_factor = 2"] {
            client.batch_execute(&format!("set {setting}")).unwrap();
        }
        for (table, distribute) in
            [("everywhere", "create_reference_table($1)"), ("twice", "create_distributed_table($1, 'auction_id')")]
        {
            client.batch_execute(&format!("create table {table} (auction_id uuid)")).unwrap();
            client.query(&format!("select {distribute}").replace("$1", &format!("'{table}'")), &[]).unwrap();
            let error = webhook_harness::refusal(&mut client, &trigger(table), &[]);
            assert_eq!(error.code().code(), "0A000", "{table}: {error}");
            assert!(error.message().contains("several nodes"), "{table}: {error}");
        }
        // A local table with a number at its end is no shard.
        let shard = "select shardid::text from pg_dist_shard where logicalrelid = 'everywhere'::regclass";
        let shard: String = client.query_one(shard, &[]).unwrap().get(0);
        client.batch_execute(&format!("create table local_{shard} (auction_id uuid)")).unwrap();
        client.batch_execute(&trigger(&format!("local_{shard}"))).unwrap();
    }

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
    fn distributed_tables_of_the_application_are_reported_as_unsuitable() {
        let nodes = Nodes::start(&[]);
        let mut client = nodes.coordinator.connect();
        webhook_harness::application::install_tables(&mut client);
        let installed = "select count(*) from webhook_delivery.install_triggers() where result = 'installed'";
        assert!(client.query_one(installed, &[]).unwrap().get::<_, i64>(0) > 10, "local tables are watched");
        client.batch_execute("select webhook_delivery.remove_triggers()").unwrap();
        // As a reference table, users brings the tables that refer to it to Citus, with their triggers.
        client.batch_execute("select webhook_delivery.install_triggers()").unwrap();
        client.batch_execute("select create_reference_table('users')").unwrap();
        client.batch_execute("create schema app; create table app.submissions (like public.submissions)").unwrap();
        client.batch_execute("select create_distributed_table('app.submissions', 'auction_id')").unwrap();
        let report = "select result || ': ' || detail from webhook_delivery.install_triggers('app') where table_name = 'submissions'";
        let report: String = client.query_one(report, &[]).unwrap().get(0);
        assert!(report.starts_with("unsuitable: app.submissions: Citus distributes it"), "{report}");
    }
}
