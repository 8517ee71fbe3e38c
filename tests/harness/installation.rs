//! The PostgreSQL installation that the tests run, and the user that runs it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::unistd::{User, geteuid};

/// Names another server than the one that `make setup` prepared: the path of its `pg_config`.
const OVERRIDE: &str = "WEBHOOK_DELIVERY_PG_CONFIG";

/// The copy of a PostgreSQL installation under `target/`, with the extension installed in it.
pub struct Installation {
    /// The checkout's `target/`, where everything that tests write goes.
    target_dir: PathBuf,
    pg_config: PathBuf,
    bin_dir: PathBuf,
    major: u16,
    run_as: RunAs,
}

/// PostgreSQL refuses to run as root, so root's tests hand it to someone else.
enum RunAs {
    /// Whoever runs the tests.
    Me,
    /// A user without privileges who can reach `target/`.
    Other(User),
    /// The same where a folder above `target/` is closed to others (`/root` is 0700): the server gets the one
    /// capability to pass through it. Without this a checkout in root's home could not run its own tests.
    OtherPassingThrough(User),
}

/// The checkout that the working directory lies in. A program that was copied works in the copy, not where it was compiled.
///
/// # Panics
/// Outside a checkout.
pub fn checkout() -> PathBuf {
    let here = std::env::current_dir().expect("the working directory exists");
    let is_checkout = |folder: &&Path| folder.join("webhook_delivery.control").exists();
    here.ancestors()
        .find(is_checkout)
        .unwrap_or_else(|| panic!("{} is not in a checkout of webhook_delivery", here.display()))
        .to_owned()
}

/// The installation, looked up once per process.
///
/// # Panics
/// When there is none yet: `make build` makes it.
pub fn installation() -> &'static Installation {
    static FOUND: OnceLock<Installation> = OnceLock::new();
    FOUND.get_or_init(Installation::find)
}

impl Installation {
    fn find() -> Installation {
        let target_dir = checkout().join("target");
        let pg_config =
            std::env::var_os(OVERRIDE).map_or_else(|| target_dir.join("server/bin/pg_config"), PathBuf::from);
        let bin_dir = PathBuf::from(pg_config_answer(&pg_config, "--bindir"));
        let version = pg_config_answer(&pg_config, "--version");
        let major = version
            .split(|c: char| !c.is_ascii_digit())
            .find_map(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no version number in {version:?}"));
        let run_as = RunAs::find(&bin_dir.join("pg_config"));
        Installation { target_dir, pg_config, bin_dir, major, run_as }
    }

    /// The checkout's `target/`.
    pub fn target_dir(&self) -> &Path {
        &self.target_dir
    }

    /// The installation's `pg_config`.
    pub fn pg_config(&self) -> &Path {
        &self.pg_config
    }

    /// Where the server looks for the scripts of extensions, in `extension/`.
    pub fn share_dir(&self) -> PathBuf {
        let output = Command::new(&self.pg_config).arg("--sharedir").output().expect("pg_config runs");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    }

    /// Whether the server has this module of PostgreSQL's contrib. Says so where it has not: such a server can be tested, but for what takes
    /// the module.
    pub fn has_module(&self, name: &str) -> bool {
        let libraries = PathBuf::from(pg_config_answer(&self.pg_config, "--pkglibdir"));
        let is_there = libraries.join(name).with_extension("so").exists();
        if !is_there {
            eprintln!("not shown on this server: it has no {name}");
        }
        is_there
    }

    /// 15 to 18.
    pub fn major(&self) -> u16 {
        self.major
    }

    /// The path of one of the server's programs: `psql`, `pg_dump`, …
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// A command that runs one of the server's programs as the user who may run a server.
    pub fn command(&self, name: &str) -> Command {
        self.as_server_user(&self.program(name))
    }

    /// A command that runs `program` as that user, without the environment that would change what a server does.
    pub fn as_server_user(&self, program: &Path) -> Command {
        let mut command = match &self.run_as {
            RunAs::Me => Command::new(program),
            RunAs::Other(user) => as_other(user, program),
            RunAs::OtherPassingThrough(user) => passing_through(user, program),
        };
        // The folder that the tests run in may be closed to that user.
        command.current_dir("/").stdin(Stdio::null());
        // With this one set, pgrx puts a Rust backtrace into the DETAIL of every SQL error.
        command.env_remove("RUST_BACKTRACE");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Gives a file or folder to the user who runs the server.
    pub fn give_to_server_user(&self, path: &Path) {
        if let RunAs::Other(user) | RunAs::OtherPassingThrough(user) = &self.run_as {
            nix::unistd::chown(path, Some(user.uid), Some(user.gid))
                .unwrap_or_else(|e| panic!("could not give {} to {}: {e}", path.display(), user.name));
        }
    }
}

impl RunAs {
    fn find(pg_config: &Path) -> RunAs {
        if !geteuid().is_root() {
            return RunAs::Me;
        }
        let user = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .expect("root cannot run a PostgreSQL server, and there is no user postgres or nobody to run it");
        if answers(as_other(&user, pg_config)) {
            RunAs::Other(user)
        } else if answers(passing_through(&user, pg_config)) {
            RunAs::OtherPassingThrough(user)
        } else {
            panic!(
                "user {} cannot run {}: make the folders above it passable (chmod o+x), or move the checkout to where they are",
                user.name,
                pg_config.display()
            )
        }
    }
}

fn as_other(user: &User, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    command
}

fn passing_through(user: &User, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)])
        .args(["--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"])
        // PostgreSQL looks for its programs with access(2), which ignores the capability without this.
        .args(["--securebits=+no_setuid_fixup", "--"])
        .arg(program);
    command
}

/// Whether the program finds itself and its folders, which is what a server does first.
fn answers(mut pg_config: Command) -> bool {
    let output = pg_config.arg("--bindir").current_dir("/").stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

fn pg_config_answer(pg_config: &Path, question: &str) -> String {
    let output = Command::new(pg_config).arg(question).output().unwrap_or_else(|e| {
        panic!(
            "could not run {}: {e}. `make build` prepares a server for the tests, or set {OVERRIDE}",
            pg_config.display()
        )
    });
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
