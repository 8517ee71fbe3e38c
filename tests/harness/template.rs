//! Data directories that are copied from a template, because `initdb` takes ten times as long.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::installation::{Installation, installation};

/// The folder that contains all clusters. It belongs to the user that runs the servers, so that
/// that user can remove them.
pub fn clusters_dir() -> PathBuf {
    let dir = installation().target_dir().join("clusters");
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("could not create {}: {e}", dir.display()));
    installation().give_to_server_user(&dir);
    dir
}

/// Creates an empty folder for one cluster. It belongs to the user that runs the server.
pub fn new_cluster_dir() -> PathBuf {
    // Several processes use the folder, and several threads a process. The process id and this
    // number together are unique while the process runs.
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = clusters_dir().join(format!("{}-{number}", std::process::id()));
        // An existing folder was kept after a failed test of an earlier process with the same id.
        if fs::create_dir(&dir).is_ok() {
            installation().give_to_server_user(&dir);
            return dir;
        }
    }
}

/// Creates `data_dir` as a copy of the template.
pub fn copy_template_to(data_dir: &Path) {
    let template = template();
    run(installation()
        .as_server_user(Path::new("cp"))
        .args(["--archive", "--reflink=auto"])
        .arg(template)
        .arg(data_dir));
}

/// Returns the template. Runs `initdb` once per major version to create it.
fn template() -> PathBuf {
    let clusters = clusters_dir();
    let template = clusters.join(format!("template-{}", installation().major()));
    let lock_path = clusters.join("template.lock");
    let lock = File::create(&lock_path).unwrap_or_else(|e| panic!("could not create {}: {e}", lock_path.display()));
    lock.lock().expect("the lock on the template");
    if !template.exists() {
        run_initdb(installation(), &template);
    }
    template
}

fn run_initdb(installation: &Installation, template: &Path) {
    // It is renamed once it is complete, so that a killed initdb leaves no incomplete template.
    let unfinished = template.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    run(installation
        .command("initdb")
        .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"])
        .arg("--pgdata")
        .arg(&unfinished));
    fs::rename(&unfinished, template).expect("the template can be renamed");
}

/// Runs a command, waits for its end and returns its output.
///
/// # Panics
/// If the command fails. The message contains the output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("could not run {command:?}: {e}"));
    let written = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{written}");
    written
}
