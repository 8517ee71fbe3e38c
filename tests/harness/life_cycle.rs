//! The life of servers: stops, crashes, a standby that takes over, a killed process.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::Cluster;
use crate::installation::installation;
use crate::settings;
use crate::template::run;
use crate::wait::{DEADLINE, wait_until};

/// What `pg_ctl stop --mode` takes.
#[derive(Clone, Copy, Debug)]
pub enum StopMode {
    /// Waits for the clients to leave.
    Smart,
    /// Ends the sessions, then writes everything down.
    Fast,
    /// As if the machine had lost power.
    Immediate,
}

impl Cluster {
    /// Has the server read its configuration again, and waits until what every session does next goes by it.
    ///
    /// A process of the extension that is at work just then may go by the old one until it looks up.
    #[track_caller]
    pub fn reload(&self) {
        let told: SystemTime = self.query_one("select clock_timestamp()", &[]);
        self.pg_ctl("reload", &[]);
        // Whoever is served from now on is so by a postmaster that has read it and has sent word to all that were there.
        wait_until("the server to read its configuration", DEADLINE, || {
            (self.query_one::<SystemTime>("select pg_conf_load_time()", &[]) > told).then_some(())
        });
    }

    /// Stops the server and gives the time that it took.
    #[track_caller]
    pub fn stop(&self, mode: StopMode) -> Duration {
        let started = Instant::now();
        let mode = match mode {
            StopMode::Smart => "--mode=smart",
            StopMode::Fast => "--mode=fast",
            StopMode::Immediate => "--mode=immediate",
        };
        self.pg_ctl("stop", &[mode]);
        started.elapsed()
    }

    /// Starts the server again after [`Cluster::stop`].
    #[track_caller]
    pub fn start_again(&self) {
        let log = self.dir.join("server.log");
        let started = self.try_pg_ctl("start", &["--log", &log.to_string_lossy()]);
        if let Err(written) = started {
            panic!("the server did not start: {written}");
        }
    }

    /// Stops the server and starts it.
    pub fn restart(&self, mode: StopMode) {
        self.stop(mode);
        self.start_again();
    }

    /// Kills the postmaster as the kernel would when memory runs out, and waits until its other processes have noticed and
    /// ended. Start it again with [`Cluster::start_again`].
    #[track_caller]
    pub fn kill9_postmaster(&self) {
        let pid_file = self.data_dir().join("postmaster.pid");
        let lines = fs::read_to_string(&pid_file).expect("a running server has a postmaster.pid");
        let postmaster: i32 = lines.lines().next().and_then(|line| line.parse().ok()).expect("its first line is a pid");
        let data_dir = self.data_dir().canonicalize().expect("a running server has a data directory");
        assert!(is_used(&data_dir), "the server's processes cannot be seen");
        kill_now(postmaster);
        wait_until("the processes of the killed postmaster to end", DEADLINE, || (!is_used(&data_dir)).then_some(()));
        // Where nobody reaps it the killed process still has its number, and the next server would take it for alive.
        for left_behind in [pid_file, self.socket_dir.join(".s.PGSQL.5432.lock")] {
            fs::remove_file(&left_behind).unwrap_or_else(|e| panic!("{} is not removed: {e}", left_behind.display()));
        }
    }

    /// A standby of this server, streaming from it.
    pub fn standby(&self) -> Cluster {
        let standby = self.base_backup(&["--write-recovery-conf"]);
        standby.start_again();
        standby
    }

    /// A copy of this server's files, as `pg_basebackup` makes one. It is not started.
    pub fn base_backup(&self, arguments: &[&str]) -> Cluster {
        let copy = Cluster::reserve();
        run(installation()
            .command("pg_basebackup")
            .args(["--no-sync", "--checkpoint=fast", "--wal-method=stream"])
            .args(arguments)
            .args(["--username=postgres", "--host", &self.socket_dir.to_string_lossy()])
            .arg("--pgdata")
            .arg(copy.data_dir()));
        let conf = copy.data_dir().join(settings::FILE);
        let of_primary = fs::read_to_string(&conf).expect("the copy of the primary's settings");
        let own_socket = format!("{of_primary}unix_socket_directories = '{}'\n", copy.socket_dir.display());
        fs::write(&conf, own_socket).expect("the settings can be written");
        copy
    }

    /// Makes a standby a server that can be written to.
    pub fn promote(&self) {
        self.pg_ctl("promote", &[]);
    }

    /// The process id of the extension's worker in a database, when there is one and the server can be asked.
    pub fn worker_pid(&self, database: &str) -> Option<i32> {
        self.worker_pids(database).first().copied()
    }

    /// Waits for a worker and gives its process id. `except` is one that was ended and may still be listed.
    #[track_caller]
    pub fn wait_for_worker(&self, database: &str, except: Option<i32>) -> i32 {
        wait_until(&format!("a worker in database {database}"), DEADLINE, || {
            self.worker_pids(database).into_iter().find(|pid| Some(*pid) != except)
        })
    }

    /// Ends the worker of the database `postgres`, and waits for the next one.
    #[track_caller]
    pub fn restart_worker(&self) -> i32 {
        let old = self.wait_for_worker("postgres", None);
        self.execute(&format!("select pg_terminate_backend({old})"));
        self.wait_for_worker("postgres", Some(old))
    }

    /// The turns that the worker takes while the server's clock goes on by this number of seconds, as far as they are seen.
    #[track_caller]
    pub fn turns_within(&self, seconds: f64) -> usize {
        let sql = "select state_change, extract(epoch from clock_timestamp())::float8
                   from pg_stat_activity where backend_type = 'webhook_delivery worker'";
        let (mut client, mut turns, mut began) = (self.connect(), HashSet::new(), None);
        wait_until("the clock to go on", DEADLINE, || {
            let row = client.query_one(sql, &[]).unwrap();
            turns.insert(row.get::<_, SystemTime>(0));
            let now: f64 = row.get(1);
            (now - *began.get_or_insert(now) >= seconds).then_some(())
        });
        turns.len()
    }

    fn worker_pids(&self, database: &str) -> Vec<i32> {
        let sql = "select pid from pg_stat_activity
                   where datname = $1 and backend_type like 'webhook_delivery%' order by backend_start desc";
        // After a process was killed the server ends the others and refuses everybody while it recovers.
        let rows = self.try_connect_as("postgres", "postgres").and_then(|mut client| client.query(sql, &[&database]));
        rows.unwrap_or_default().iter().map(|row| row.get(0)).collect()
    }

    /// Kills a process of the server as the kernel would when memory runs out. PostgreSQL then ends all sessions and recovers, as after a
    /// crash. Whoever connects after this is served by what comes then.
    #[track_caller]
    pub fn kill9(&self, pid: i32) {
        let crashes = || self.log().matches("all server processes terminated; reinitializing").count();
        let before = crashes();
        kill_now(pid);
        wait_until("the server to end its sessions", DEADLINE, || (crashes() > before).then_some(()));
    }

    #[track_caller]
    fn pg_ctl(&self, action: &str, arguments: &[&str]) {
        if let Err(written) = self.try_pg_ctl(action, arguments) {
            panic!("pg_ctl {action} failed: {written}");
        }
    }

    fn try_pg_ctl(&self, action: &str, arguments: &[&str]) -> Result<(), String> {
        let mut command = installation().command("pg_ctl");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args([action, "--silent", "--pgdata"]).arg(self.data_dir()).args(arguments);
        let output = command.output().map_err(|e| e.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }
}

#[track_caller]
fn kill_now(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_else(|e| panic!("could not kill process {pid}: {e}"));
}

/// Whether anybody works in this folder, as every process of a server does in its data directory.
///
/// A process whose first thread has ended looks dead, and holds the shared memory until the last has: so each thread is looked at.
fn is_used(folder: &Path) -> bool {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let mut threads = entries("/proc".into()).flat_map(|process| entries(process.path().join("task")));
    threads.any(|thread| fs::read_link(thread.path().join("cwd")).is_ok_and(|used| used == folder))
}
