//! Copies of a database, as an operator makes them.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cluster::Cluster;

impl Cluster {
    /// Runs `pg_dump` on the database `postgres` and restores what it wrote into a new one. The slightest error fails the test.
    #[track_caller]
    pub fn copy_database(&self, name: &str, arguments: &[&str]) {
        self.execute(&format!("create database {name} template template0"));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dump = folder.path().join("dump");
        let mut pg_dump = self.client_command("pg_dump");
        run(pg_dump.args(arguments).stdout(File::create(&dump).expect("a file in it")));
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
    File::open(path).expect("the dump is there")
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).spawn().and_then(|child| child.wait_with_output()).expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
