//! A clock that was ahead and is set back: ids, worker, rate limits and test limits keep working.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use postgres::Client;
use tempfile::TempDir;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Reply, checkout, installation, wait_until};

const DAY: Duration = Duration::from_secs(24 * 3600);

const RIGHT: Duration = Duration::ZERO;

/// The clock of a test's server.
struct Clock(TempDir);

impl Clock {
    /// Creates a clock that shows the right time.
    fn new() -> Clock {
        let folder = tempfile::tempdir_in(installation().target_dir()).expect("a temporary folder");
        // The server runs as another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the test owns the folder");
        let clock = Clock(folder);
        fs::write(clock.file(), [0; 8]).expect("the clock can be set");
        let source = checkout().join("tests/clock.c");
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(clock.library()).arg(source).status();
        assert!(compiled.expect("cc is installed: make setup").success());
        clock
    }

    /// Sets the clock ahead of the right time by this duration.
    fn set_ahead(&self, by: Duration) {
        let file = File::options().write(true).open(self.file()).expect("the clock file exists");
        // Writes in place because the server's processes have mapped the file.
        file.write_all_at(&by.as_secs().to_ne_bytes(), 0).expect("the clock can be set");
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("clock")
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("clock.so")
    }

    /// Starts a server that uses this clock.
    fn start_cluster(&self) -> Cluster {
        Cluster::builder()
            .env("LD_PRELOAD", &self.library().to_string_lossy())
            .env("TEST_CLOCK", &self.file().to_string_lossy())
            .start()
    }
}

fn time_of_new_id(client: &mut Client) -> SystemTime {
    let sql = "select webhook_delivery.uuid_v7_time(webhook_delivery.uuid_v7())";
    client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn ids_of_a_session_follow_a_clock_that_is_set_back() {
    let clock = Clock::new();
    let cluster = clock.start_cluster();
    let mut client = cluster.connect();
    client.batch_execute("create extension webhook_delivery").unwrap();
    clock.set_ahead(40 * DAY);
    assert!(time_of_new_id(&mut client) > SystemTime::now() + 39 * DAY);
    clock.set_ahead(RIGHT);
    let server_time: SystemTime = client.query_one("select clock_timestamp()", &[]).unwrap().get(0);
    let distance = |time: SystemTime| time.duration_since(server_time).unwrap_or_else(|before| before.duration());
    assert!(distance(SystemTime::now()) < Duration::from_secs(60), "the clock is not set back");
    let time = time_of_new_id(&mut client);
    assert!(distance(time) < Duration::from_secs(60), "{time:?} is far from {server_time:?}");
}

#[test]
fn worker_starts_after_the_clock_is_set_back() {
    let clock = Clock::new();
    let cluster = clock.start_cluster();
    cluster.wait_for_worker("postgres", None);
    clock.set_ahead(40 * DAY);
    cluster.set("webhook_delivery.databases", "none_of_this_name");
    let workers = "select count(*) from pg_stat_activity where backend_type = 'webhook_delivery worker'";
    wait_until("the worker to exit", DEADLINE, || (cluster.query_one::<i64>(workers, &[]) == 0).then_some(()));
    clock.set_ahead(RIGHT);
    cluster.set("webhook_delivery.databases", "postgres");
    cluster.wait_for_worker("postgres", None);
}

#[test]
fn rate_limited_endpoint_receives_after_the_clock_is_set_back() {
    let receiver = Receiver::start(|_| Reply::ok());
    let clock = Clock::new();
    let cluster = clock.start_cluster();
    let mut client = cluster.connect();
    client.batch_execute("create extension webhook_delivery").unwrap();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    client.execute("update webhook_endpoints set max_per_second = 1 where id = $1", &[&endpoint.id]).unwrap();
    clock.set_ahead(40 * DAY);
    // Enough events for the rate limit to hold some of them back when the clock is set back.
    endpoint.emit(&mut client, 50);
    receiver.wait_for(1, DEADLINE);
    clock.set_ahead(RIGHT);
    let before = receiver.count();
    endpoint.emit(&mut client, 1);
    receiver.wait_for(before + 1, DEADLINE);
}

#[test]
fn endpoint_can_be_tested_after_the_clock_is_set_back() {
    let receiver = Receiver::start(|_| Reply::ok());
    let clock = Clock::new();
    let cluster = clock.start_cluster();
    cluster.set("webhook_delivery.tests_per_minute", "1");
    let mut client = cluster.connect();
    client.batch_execute("create extension webhook_delivery").unwrap();
    let endpoint = Endpoint::create(&mut client, &receiver.url("/"));
    let mut test = || client.execute("select test_webhook($1, 'submission.created')", &[&endpoint.id]);
    clock.set_ahead(40 * DAY);
    test().unwrap();
    test().unwrap_err();
    clock.set_ahead(RIGHT);
    test().unwrap();
    test().unwrap_err();
}
