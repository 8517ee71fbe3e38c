//! A PostgreSQL server of a test's own, and its removal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guard::Guard;
use crate::installation::installation;
use crate::settings;
use crate::template::{copy_template_to, new_cluster_dir};

/// A running server with a data directory of its own under `target/clusters/`, reached through a socket only it has.
///
/// Dropping it ends the server and removes its files. When the test panics the files stay, and the end of the log is printed.
pub struct Cluster {
    /// Holds `data/` and `server.log`.
    pub(crate) dir: PathBuf,
    pub(crate) socket_dir: PathBuf,
    /// Variables that the server is started with.
    pub(crate) environment: Vec<(String, String)>,
    /// Taken at the end. It also ends the server when this process is killed.
    guard: Option<Guard>,
}

/// What a cluster should be like before it starts.
pub struct ClusterBuilder {
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    with_extension: bool,
}

impl Cluster {
    /// A server that preloads the extension, with these settings besides the usual ones.
    pub fn start(settings: &[(&str, &str)]) -> Cluster {
        let with_settings = |builder: ClusterBuilder, (name, value): &(&str, &str)| builder.set(name, value);
        settings.iter().fold(Cluster::builder(), with_settings).start()
    }

    /// For what [`Cluster::start`] does not say.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder { settings: Vec::new(), environment: Vec::new(), with_extension: true }
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

    /// What `psql --host` and libpq's `PGHOST` take.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// A client program of the server (`psql`, `pg_dump`, `pg_restore`, …), told where this cluster is.
    pub fn client_command(&self, program: &str) -> Command {
        let mut command = installation().command(program);
        command.env("PGHOST", &self.socket_dir).env("PGUSER", "postgres").env("PGDATABASE", "postgres");
        command
    }

    /// The folders and the guard, before there is a server in them.
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
    /// One more setting; the last one of a name wins, also over the harness's own.
    pub fn set(mut self, name: &str, value: &str) -> ClusterBuilder {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One more variable of the server's environment.
    pub fn env(mut self, name: &str, value: &str) -> ClusterBuilder {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A server that does not preload the library.
    pub fn without_extension(mut self) -> ClusterBuilder {
        self.with_extension = false;
        self
    }

    /// Starts it.
    pub fn start(self) -> Cluster {
        let mut cluster = Cluster::reserve();
        cluster.environment = self.environment;
        let data_dir = cluster.data_dir();
        copy_template_to(&data_dir);
        let text = settings::render(&cluster.socket_dir, self.with_extension, &self.settings);
        let include = format!("include '{}'\n", settings::FILE);
        fs::write(data_dir.join(settings::FILE), text).expect("the settings can be written");
        installation().give_to_server_user(&data_dir.join(settings::FILE));
        let conf = data_dir.join("postgresql.conf");
        let usual = fs::read_to_string(&conf).expect("initdb wrote postgresql.conf");
        fs::write(&conf, usual + &include).expect("the settings can be written");
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
            guard.end_but_keep_files();
        }
    }
}

/// The longest path that a socket's address can hold, less the name that PostgreSQL gives the socket in it.
const LONGEST_SOCKET_DIR: usize = 107 - "/.s.PGSQL.5432".len();

fn socket_dir_for(cluster_dir: &Path) -> PathBuf {
    if cluster_dir.as_os_str().len() <= LONGEST_SOCKET_DIR {
        return cluster_dir.to_owned();
    }
    let short = tempfile::Builder::new().prefix("webhook-").tempdir().expect("a temporary folder").keep();
    installation().give_to_server_user(&short);
    short
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
