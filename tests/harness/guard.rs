//! A guard process that stops a cluster when the test that started it ends.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::installation::installation;

/// A shell that waits for the end of its standard input, then stops the server and removes its
/// folders.
///
/// The input is a pipe from this process. It ends when this value is dropped and also when the
/// process is killed, so that no panic, `kill -9` or Ctrl-C leaves a server running.
pub struct Guard {
    shell: Child,
}

const SCRIPT: &str = r#"
trap '' INT HUP TERM
pg_ctl=$1 cluster_dir=$2 socket_dir=$3
read -r last_line
"$pg_ctl" stop --silent --mode=immediate --pgdata="$cluster_dir/data"
[ "$last_line" = keep ] || rm -rf "$cluster_dir" "$socket_dir"
"#;

impl Guard {
    /// Starts the guard of the cluster in `cluster_dir`.
    pub fn watch(cluster_dir: &Path, socket_dir: &Path) -> Guard {
        let shell = installation()
            .as_server_user(Path::new("sh"))
            .args(["-c", SCRIPT, "guard"])
            .arg(installation().program("pg_ctl"))
            .args([cluster_dir, socket_dir])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        Guard { shell }
    }

    /// Stops the server and keeps its files, so that a failed test can be examined.
    pub fn stop_server_and_keep_files(mut self) {
        if let Some(input) = &mut self.shell.stdin {
            let _ = input.write_all(b"keep\n");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Without this wait the next test would run while this server is still stopping.
        let _ = self.shell.wait();
    }
}
