//! Ends a cluster when the test that started it is gone.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::installation::installation;

/// A shell that waits for the end of its standard input and then stops the server and removes its folders.
///
/// The input is a pipe from this process. It ends when this value is dropped, and also when the process is killed, so that neither a panic nor
/// `kill -9` nor Ctrl-C leaves a server running.
pub struct Guard {
    shell: Child,
}

const SCRIPT: &str = r#"
trap '' INT HUP TERM
pg_ctl=$1 cluster_dir=$2 socket_dir=$3
read -r last_word
"$pg_ctl" stop --silent --mode=immediate --pgdata="$cluster_dir/data"
[ "$last_word" = keep ] || rm -rf "$cluster_dir" "$socket_dir"
"#;

impl Guard {
    /// Watches over the cluster in `cluster_dir`.
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

    /// Ends the cluster; its folder stays, for someone to look into.
    pub fn end_but_keep_files(mut self) {
        if let Some(input) = &mut self.shell.stdin {
            let _ = input.write_all(b"keep\n");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Waited for, so that the next test does not share the machine with this one's server.
        let _ = self.shell.wait();
    }
}
