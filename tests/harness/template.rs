//! A fresh data directory without paying for `initdb` each time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::installation::{Installation, installation};

/// The folder that all clusters live in. It belongs to the user who runs the servers, so that they can be removed as that user.
pub fn clusters_dir() -> PathBuf {
    let dir = installation().target_dir().join("clusters");
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("could not create {}: {e}", dir.display()));
    installation().give_to_server_user(&dir);
    dir
}

/// A folder of its own for one cluster, empty, given to the user who runs the server.
pub fn new_cluster_dir() -> PathBuf {
    // Processes share the folder and threads share the process: together the two numbers are unique while the process lives.
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = clusters_dir().join(format!("{}-{number}", std::process::id()));
        // One that is there was kept for reading by an earlier process with the same number.
        if fs::create_dir(&dir).is_ok() {
            installation().give_to_server_user(&dir);
            return dir;
        }
    }
}

/// Fills `data_dir` with what `initdb` makes.
pub fn copy_template_to(data_dir: &Path) {
    let template = template();
    run(installation()
        .as_server_user(Path::new("cp"))
        .args(["--archive", "--reflink=auto"])
        .arg(template)
        .arg(data_dir));
}

/// Runs `initdb` once per major version; afterwards the result is copied, which takes a tenth of the time.
fn template() -> PathBuf {
    let clusters = clusters_dir();
    let template = clusters.join(format!("template-{}", installation().major()));
    let lock_path = clusters.join("template.lock");
    let lock = File::create(&lock_path).unwrap_or_else(|e| panic!("could not create {}: {e}", lock_path.display()));
    lock.lock().expect("a lock on a file of our own");
    if !template.exists() {
        init(installation(), &template);
    }
    template
}

fn init(installation: &Installation, template: &Path) {
    // Renamed when it is complete: a killed initdb must not leave a template that looks whole.
    let unfinished = template.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    run(installation
        .command("initdb")
        .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"])
        .arg("--pgdata")
        .arg(&unfinished));
    fs::rename(&unfinished, template).expect("a folder of our own can be renamed");
}

/// Runs a command to its end.
///
/// # Panics
/// When it fails, with what it wrote.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("could not run {command:?}: {e}"));
    let written = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{written}");
    written
}
