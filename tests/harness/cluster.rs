//! A PostgreSQL server for one test, and its removal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use postgres::Client;

use crate::guard::Guard;
use crate::installation::installation;
use crate::settings;
use crate::template::{copy_template_to, new_cluster_dir};

/// A running server with a data directory of its own under `target/clusters/`. It listens only on
/// a socket of its own.
///
/// Dropping it stops the server and removes its files. When the test panics the files stay, and
/// the end of the log is printed.
pub struct Cluster {
    /// Holds `data/` and `server.log`.
    pub(crate) dir: PathBuf,
    pub(crate) socket_dir: PathBuf,
    /// Environment variables that the server is started with.
    pub(crate) environment: Vec<(String, String)>,
    /// Stops the server when the cluster is dropped, and also when this process is killed.
    /// `None` once `drop` has taken it.
    guard: Option<Guard>,
}

/// The configuration of a cluster that is not started yet.
pub struct ClusterBuilder {
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    preloads_extension: bool,
}

impl Cluster {
    /// Starts a server that preloads the extension, with these settings in addition to the
    /// harness's.
    pub fn start(settings: &[(&str, &str)]) -> Cluster {
        let with_settings = |builder: ClusterBuilder, (name, value): &(&str, &str)| builder.set(name, value);
        settings.iter().fold(Cluster::builder(), with_settings).start()
    }

    /// The same, with the extension created in the database `postgres`.
    #[track_caller]
    pub fn with_extension(settings: &[(&str, &str)]) -> Cluster {
        let cluster = Cluster::start(settings);
        cluster.execute("create extension webhook_delivery");
        cluster
    }

    /// The same, and a superuser's session in that database.
    #[track_caller]
    pub fn with_client(settings: &[(&str, &str)]) -> (Cluster, Client) {
        let cluster = Cluster::with_extension(settings);
        let client = cluster.connect();
        (cluster, client)
    }

    /// For a server that needs more than settings.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder { settings: Vec::new(), environment: Vec::new(), preloads_extension: true }
    }

    /// Everything that the server has logged.
    pub fn log(&self) -> String {
        fs::read(self.dir.join("server.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The cluster's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The value for `psql --host` and libpq's `PGHOST`.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// A client program of the server (`psql`, `pg_dump`, `pg_restore`, …) that connects to this
    /// cluster.
    pub fn client_command(&self, program: &str) -> Command {
        let mut command = installation().command(program);
        command.env("PGHOST", &self.socket_dir).env("PGUSER", "postgres").env("PGDATABASE", "postgres");
        command
    }

    /// Creates the folders and the guard, without a server.
    pub(crate) fn reserve() -> Cluster {
        let dir = new_cluster_dir();
        let socket_dir = socket_dir_for(&dir);
        let guard = Guard::watch(&dir, &socket_dir);
        Cluster { dir, socket_dir, environment: Vec::new(), guard: Some(guard) }
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(40)..];
        format!("the end of {}:\n{}", self.dir.join("server.log").display(), tail.join("\n"))
    }
}

impl ClusterBuilder {
    /// Adds a setting. The last one of a name wins, also over the harness's own.
    pub fn set(mut self, name: &str, value: &str) -> ClusterBuilder {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a variable to the server's environment.
    pub fn env(mut self, name: &str, value: &str) -> ClusterBuilder {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The server does not preload the library, and has none of its settings.
    pub fn without_preload(mut self) -> ClusterBuilder {
        self.preloads_extension = false;
        self
    }

    /// Starts the server.
    pub fn start(self) -> Cluster {
        let mut cluster = Cluster::reserve();
        cluster.environment = self.environment;
        let data_dir = cluster.data_dir();
        copy_template_to(&data_dir);
        let text = settings::render(&cluster.socket_dir, self.preloads_extension, &self.settings);
        let include = format!("include '{}'\n", settings::FILE);
        fs::write(data_dir.join(settings::FILE), text).expect("the settings can be written");
        installation().give_to_server_user(&data_dir.join(settings::FILE));
        let conf = data_dir.join("postgresql.conf");
        let from_initdb = fs::read_to_string(&conf).expect("initdb wrote postgresql.conf");
        fs::write(&conf, from_initdb + &include).expect("the settings can be written");
        cluster.start_again();
        cluster
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else {
            return;
        };
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
            guard.stop_server_and_keep_files();
        }
    }
}

/// A socket's address holds 107 bytes, and PostgreSQL's file name for the socket is part of them.
const MAX_SOCKET_DIR_LENGTH: usize = 107 - "/.s.PGSQL.5432".len();

fn socket_dir_for(cluster_dir: &Path) -> PathBuf {
    if cluster_dir.as_os_str().len() <= MAX_SOCKET_DIR_LENGTH {
        return cluster_dir.to_owned();
    }
    let short = tempfile::Builder::new().prefix("webhook-").tempdir().expect("a temporary folder").keep();
    installation().give_to_server_user(&short);
    short
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
