//! The life cycle of servers: stop, start, crash, promotion of a standby, killed processes.

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

/// The modes of `pg_ctl stop`.
#[derive(Clone, Copy, Debug)]
pub enum StopMode {
    /// Waits until all clients have disconnected.
    Smart,
    /// Ends the sessions and writes a checkpoint.
    Fast,
    /// Stops like a machine that loses power.
    Immediate,
}

impl Cluster {
    /// Reloads the server's configuration, and waits until the next statement of every session uses
    /// it.
    ///
    /// A process of the extension that is working at this moment may use the old configuration
    /// until it has finished.
    #[track_caller]
    pub fn reload(&self) {
        let requested_at: SystemTime = self.query_one("select clock_timestamp()", &[]);
        self.pg_ctl("reload", &[]);
        // A new session belongs to a postmaster that has read the configuration and has signalled
        // all sessions that existed.
        wait_until("the server to read its configuration", DEADLINE, || {
            (self.query_one::<SystemTime>("select pg_conf_load_time()", &[]) > requested_at).then_some(())
        });
    }

    /// Stops the server and returns the time that this took.
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

    /// Stops the server and starts it again.
    pub fn restart(&self, mode: StopMode) {
        self.stop(mode);
        self.start_again();
    }

    /// Kills the postmaster as the kernel does when memory runs out, and waits until its other
    /// processes have noticed and exited. [`Cluster::start_again`] starts the server again.
    #[track_caller]
    pub fn kill9_postmaster(&self) {
        let pid_file = self.data_dir().join("postmaster.pid");
        let lines = fs::read_to_string(&pid_file).expect("a running server has a postmaster.pid");
        let postmaster: i32 = lines.lines().next().and_then(|line| line.parse().ok()).expect("its first line is a pid");
        let data_dir = self.data_dir().canonicalize().expect("a running server has a data directory");
        assert!(has_process_in(&data_dir), "the server's processes cannot be seen");
        send_sigkill(postmaster);
        wait_until("the processes of the killed postmaster to end", DEADLINE, || {
            (!has_process_in(&data_dir)).then_some(())
        });
        // A killed process that no parent reaps keeps its process id, and the next server would
        // believe that it is alive.
        for stale_file in [pid_file, self.socket_dir.join(".s.PGSQL.5432.lock")] {
            fs::remove_file(&stale_file).unwrap_or_else(|e| panic!("could not remove {}: {e}", stale_file.display()));
        }
    }

    /// Starts a standby of this server with streaming replication.
    pub fn standby(&self) -> Cluster {
        let standby = self.base_backup(&["--write-recovery-conf"]);
        standby.start_again();
        standby
    }

    /// Copies this server's files with `pg_basebackup`. The copy is not started.
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
        let primary_settings = fs::read_to_string(&conf).expect("the copy of the primary's settings");
        let own_socket = format!("{primary_settings}unix_socket_directories = '{}'\n", copy.socket_dir.display());
        fs::write(&conf, own_socket).expect("the settings can be written");
        copy
    }

    /// Promotes a standby, so that it accepts writes.
    pub fn promote(&self) {
        self.pg_ctl("promote", &[]);
    }

    /// The process id of the extension's worker in a database. `None` if there is no worker or the
    /// server accepts no connection.
    pub fn worker_pid(&self, database: &str) -> Option<i32> {
        self.worker_pids(database).first().copied()
    }

    /// Waits for a worker and returns its process id. `except` is the process id of a terminated
    /// worker that may still be listed.
    #[track_caller]
    pub fn wait_for_worker(&self, database: &str, except: Option<i32>) -> i32 {
        wait_until(&format!("a worker in database {database}"), DEADLINE, || {
            self.worker_pids(database).into_iter().find(|pid| Some(*pid) != except)
        })
    }

    /// Terminates the worker of the database `postgres`, and waits for the next one.
    #[track_caller]
    pub fn restart_worker(&self) -> i32 {
        let old = self.wait_for_worker("postgres", None);
        self.execute(&format!("select pg_terminate_backend({old})"));
        self.wait_for_worker("postgres", Some(old))
    }

    /// Counts the turns of the worker within this number of seconds of the server's clock, as far
    /// as pg_stat_activity shows them.
    #[track_caller]
    pub fn worker_turns_within(&self, seconds: f64) -> usize {
        let sql = "select state_change, extract(epoch from clock_timestamp())::float8
                   from pg_stat_activity where backend_type = 'webhook_delivery worker'";
        let (mut client, mut turns, mut began) = (self.connect(), HashSet::new(), None);
        wait_until("the server's clock to advance", DEADLINE, || {
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
        // After a process was killed the server terminates the others, and refuses connections
        // during recovery.
        let rows = self.try_connect_as("postgres", "postgres").and_then(|mut client| client.query(sql, &[&database]));
        rows.unwrap_or_default().iter().map(|row| row.get(0)).collect()
    }

    /// Kills a process of the server as the kernel does when memory runs out. PostgreSQL then ends
    /// all sessions and recovers, as after a crash. Sessions that are opened after this call belong
    /// to the recovered server.
    #[track_caller]
    pub fn kill9(&self, pid: i32) {
        let crashes = || self.log().matches("all server processes terminated; reinitializing").count();
        let before = crashes();
        send_sigkill(pid);
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
fn send_sigkill(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_else(|e| panic!("could not kill process {pid}: {e}"));
}

/// Whether a process has this working directory. All processes of a server work in its data
/// directory.
///
/// A process whose first thread has ended looks dead, but keeps its shared memory until the last
/// thread has ended, so this checks all threads.
fn has_process_in(folder: &Path) -> bool {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let mut threads = entries("/proc".into()).flat_map(|process| entries(process.path().join("task")));
    threads.any(|thread| fs::read_link(thread.path().join("cwd")).is_ok_and(|used| used == folder))
}
