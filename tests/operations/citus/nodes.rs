//! Three nodes that are set up as in `docs/citus.md`, whose statements this runs.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;

use uuid::Uuid;
use webhook_harness::{Cluster, DEADLINE, checkout, wait_until};

/// A coordinator and two workers.
pub struct Nodes {
    pub coordinator: Cluster,
    pub workers: Vec<Cluster>,
}

/// The snippets of the guide that its comments say this test runs, with where.
fn snippets() -> Vec<(String, String)> {
    let guide = std::fs::read_to_string(checkout().join("docs/citus.md")).expect("the guide");
    let mut found = Vec::new();
    let mut parts = guide.split("```sql\n").skip(1);
    for part in &mut parts {
        let (code, rest) = part.split_once("```").expect("the end of a snippet");
        let (comment, _) = rest.trim_start().split_once(" -->").expect("a comment after the snippet");
        let place = comment.split("nodes.rs ").nth(1).expect("what the test does");
        found.push((code.to_owned(), place.to_owned()));
    }
    assert!(found.len() >= 5, "{found:?}");
    found
}

fn snippet(place: &str) -> String {
    snippets().into_iter().find(|(_, known)| known == place).expect("a snippet").0
}

/// Runs statements in psql, each in a transaction of its own, and returns what they print.
#[track_caller]
pub fn psql(node: &Cluster, sql: &str) -> String {
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

fn start_node(settings: &[(&str, &str)]) -> Cluster {
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
}

fn host(node: &Cluster) -> String {
    node.socket_dir().display().to_string()
}

impl Nodes {
    /// Follows the guide, with these settings on each node.
    pub fn start(settings: &[(&str, &str)]) -> Nodes {
        let start = || start_node(settings);
        let nodes = Nodes { coordinator: start(), workers: vec![start(), start()] };
        nodes.coordinator.execute(&format!("select citus_set_coordinator_host('{}', 5432)", host(&nodes.coordinator)));
        for worker in &nodes.workers {
            nodes.coordinator.execute(&format!("select citus_add_node('{}', 5432)", host(worker)));
        }
        for (code, place) in snippets() {
            match place.as_str() {
                "runs it on the coordinator" => drop(psql(&nodes.coordinator, &code)),
                "runs it on each worker" => (0..nodes.workers.len()).for_each(|number| nodes.subscribe(number)),
                "resumes each worker" => (0..nodes.workers.len()).for_each(|number| nodes.resume(number)),
                _ => panic!("{place}"),
            }
        }
        nodes
    }

    /// Subscribes a worker to the coordinator's configuration, as the guide says.
    pub fn subscribe(&self, number: usize) {
        let code = snippet("runs it on each worker")
            .replace("host=coordinator", &format!("host={}", host(&self.coordinator)))
            .replace("worker_1", &format!("worker_{number}"));
        psql(&self.workers[number], &code);
    }

    /// Lets a worker send, when the configuration has arrived.
    fn resume(&self, number: usize) {
        let worker = &self.workers[number];
        let has_all = "select count(*) = 4 and bool_and(srsubstate = 'r') from pg_subscription_rel";
        wait_until("the configuration", DEADLINE, || worker.query_one::<bool>(has_all, &[]).then_some(()));
        psql(worker, &snippet("resumes each worker"));
    }

    /// Adds a worker, as the guide says.
    pub fn add_worker(&mut self) -> &Cluster {
        self.workers.push(start_node(&[]));
        let number = self.workers.len() - 1;
        self.coordinator.execute(&format!("select citus_add_node('{}', 5432)", host(&self.workers[number])));
        self.subscribe(number);
        self.resume(number);
        &self.workers[number]
    }

    /// Creates an endpoint for everything of an auction, and waits until all nodes have it.
    pub fn endpoint(&self, auction_id: Uuid, url: &str) -> Uuid {
        let insert = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{*}') returning id";
        let id: Uuid = self.coordinator.query_one(insert, &[&auction_id, &url]);
        self.wait_on_workers(&format!(
            "select exists (select from webhook_delivery.endpoint_secrets where endpoint_id = '{id}')"
        ));
        id
    }

    pub fn wait_on_workers(&self, condition: &str) {
        for worker in &self.workers {
            wait_until(condition, DEADLINE, || worker.query_one::<bool>(condition, &[]).then_some(()));
        }
    }

    /// The states of the deliveries of all nodes.
    pub fn deliveries(&self) -> BTreeMap<String, i64> {
        let query = "select result from run_command_on_all_nodes(
            $$ select coalesce(string_agg(status::text, ' '), '') from webhook_deliveries $$)";
        let mut counts = BTreeMap::new();
        for status in psql(&self.coordinator, query).split_whitespace() {
            *counts.entry(status.to_owned()).or_default() += 1;
        }
        counts
    }
}
