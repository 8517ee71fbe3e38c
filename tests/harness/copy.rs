//! Copies of a database, made with `pg_dump` as an operator makes them.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cluster::Cluster;

impl Cluster {
    /// Dumps the database `postgres` with `pg_dump` and restores the dump into a new database. Any
    /// error fails the test.
    #[track_caller]
    pub fn copy_database(&self, name: &str, arguments: &[&str]) {
        self.execute(&format!("create database {name} template template0"));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dump = folder.path().join("dump");
        let mut pg_dump = self.client_command("pg_dump");
        run(pg_dump.args(arguments).stdout(File::create(&dump).expect("the dump's file")));
        let target = format!("--dbname={name}");
        if arguments.contains(&"--format=custom") {
            run(self.client_command("pg_restore").args(["--exit-on-error", &target]).stdin(open(&dump)));
        } else {
            let quietly = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", &target];
            run(self.client_command("psql").args(quietly).stdin(open(&dump)));
        }
    }
}

fn open(path: &Path) -> File {
    File::open(path).expect("the dump exists")
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|child| child.wait_with_output())
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
