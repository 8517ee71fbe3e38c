//! The server and the receiver that the benchmark uses.

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Cluster, ReceiverProgram, wait_until};

use crate::progress::BENCH_DEADLINE;

const APPLICATION: &str = include_str!("../../../sql/auction/schema.sql");
const SAMPLE: &str = include_str!("../../../sql/auction/sample.sql");

/// The auction whose events are measured.
pub const AUCTION: Uuid = Uuid::from_u128(0x00000000_0000_4000_8000_000000000001);

/// A server with default settings for the worker, and a receiver that is a process of its own.
pub struct Testbed {
    pub cluster: Cluster,
    pub receiver: ReceiverProgram,
}

impl Testbed {
    pub fn set_up() -> Self {
        println!("  starting a server (fsync on, the worker's settings as installed) and a receiver …");
        let cluster = Cluster::builder()
            // The default of users. The servers of the tests set it to off.
            .set("fsync", "on")
            .set("shared_buffers", "128MB")
            .set("max_wal_size", "4GB")
            // Records the exact time of each commit.
            .set("track_commit_timestamp", "on")
            .start();
        for sql in ["create extension webhook_delivery", APPLICATION, SAMPLE] {
            cluster.execute(sql);
        }
        cluster.execute("select webhook_delivery.install_triggers()");
        // Rows that are moved into a partition later would lose the time of their commit.
        cluster.execute("select webhook_delivery.create_partitions()");
        let testbed = Self { cluster, receiver: ReceiverProgram::start() };
        testbed.worker_pid();
        testbed
    }

    pub fn connect(&self) -> Client {
        self.cluster.connect()
    }

    /// Replaces all endpoints by `count` endpoints of the auction.
    pub fn set_endpoints(&self, count: i32) {
        self.wait_until_queue_is_empty();
        self.cluster.execute("delete from webhook_endpoints");
        let mut session = self.connect();
        for number in 0..count {
            session
                .execute(
                    "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, '{submission.*}')",
                    &[&AUCTION, &self.receiver.url(&format!("/{number}"))],
                )
                .expect("an endpoint");
        }
    }

    /// Enables `count` of the endpoints and disables the others.
    pub fn activate_endpoints(&self, count: i32) {
        self.cluster.execute(&format!(
            "update webhook_endpoints as endpoint set is_active = numbered.number <= {count}
             from (select id, row_number() over (order by id) as number from webhook_endpoints) as numbered
             where endpoint.id = numbered.id"
        ));
    }

    /// Sets the filter of all endpoints.
    pub fn set_filter(&self, filter: Option<&str>) {
        let set = "update webhook_endpoints set filter = $1";
        self.connect().execute(set, &[&filter]).expect("a filter");
    }

    /// Stops the worker. Nothing is delivered after this call.
    pub fn stop_worker(&self) {
        self.wait_until_queue_is_empty();
        self.cluster.execute("alter system set webhook_delivery.databases = ''");
        self.cluster.execute("select pg_reload_conf()");
        let mut session = self.connect();
        wait_until("the worker to exit", BENCH_DEADLINE, || {
            let stopped: bool = session
                .query_one(
                    "select not exists (select from pg_stat_activity where backend_type = 'webhook_delivery worker')",
                    &[],
                )
                .expect("pg_stat_activity is readable")
                .get(0);
            stopped.then_some(())
        });
    }

    pub fn wait_until_queue_is_empty(&self) {
        let mut session = self.connect();
        wait_until("an empty queue", BENCH_DEADLINE, || {
            let waiting: bool = session
                .query_one("select exists (select from webhook_delivery.queue)", &[])
                .expect("the queue is readable")
                .get(0);
            (!waiting).then_some(())
        });
    }

    /// Restarts the worker and discards the requests in flight.
    pub fn discard_deliveries(&self) {
        self.restart_worker();
        self.cluster.execute("truncate webhook_delivery.queue");
    }

    /// Restarts the worker. The new process has no cached plans.
    pub fn restart_worker(&self) {
        let worker = self.worker_pid();
        self.cluster.execute(&format!("select pg_terminate_backend({worker})"));
        self.cluster.wait_for_worker("postgres", Some(worker));
    }

    /// Waits for the worker and returns its process id.
    pub fn worker_pid(&self) -> i32 {
        let mut session = self.connect();
        wait_until("the worker", BENCH_DEADLINE, || {
            session
                .query_opt("select pid from pg_stat_activity where backend_type = 'webhook_delivery worker'", &[])
                .expect("pg_stat_activity is readable")
                .map(|row| row.get(0))
        })
    }
}
