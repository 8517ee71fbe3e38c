//! The PostgreSQL installation that the tests use, and the user that runs its servers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::unistd::{User, geteuid};

/// Environment variable with the path of the `pg_config` of another server than the one that
/// `make setup` prepared.
const OVERRIDE: &str = "WEBHOOK_DELIVERY_PG_CONFIG";

/// A copy of a PostgreSQL installation under `target/`, with the extension installed.
pub struct Installation {
    /// The checkout's `target/`. Tests write only there.
    target_dir: PathBuf,
    pg_config: PathBuf,
    bin_dir: PathBuf,
    major: u16,
    run_as: RunAs,
}

/// The user that runs the servers. PostgreSQL refuses to run as root, so tests that root runs use
/// another user.
enum RunAs {
    /// The user that runs the tests.
    CurrentUser,
    /// A user without privileges who can reach `target/`.
    OtherUser(User),
    /// The same where a folder above `target/` is closed to others (`/root` is 0700): the server
    /// gets the capability DAC_OVERRIDE to pass through it. Without it the tests could not run in
    /// a checkout in root's home.
    OtherUserWithDacOverride(User),
}

/// The checkout that contains the working directory. In a copied checkout this is the copy, not
/// the folder in which the program was compiled.
///
/// # Panics
/// If the working directory is not in a checkout.
pub fn checkout() -> PathBuf {
    let here = std::env::current_dir().expect("the working directory exists");
    let is_checkout = |folder: &&Path| folder.join("webhook_delivery.control").exists();
    here.ancestors()
        .find(is_checkout)
        .unwrap_or_else(|| panic!("{} is not in a checkout of webhook_delivery", here.display()))
        .to_owned()
}

/// The installation. It is looked up once per process.
///
/// # Panics
/// If there is no installation yet. `make build` creates one.
pub fn installation() -> &'static Installation {
    static FOUND: OnceLock<Installation> = OnceLock::new();
    FOUND.get_or_init(Installation::find)
}

impl Installation {
    fn find() -> Installation {
        let target_dir = checkout().join("target");
        let pg_config =
            std::env::var_os(OVERRIDE).map_or_else(|| target_dir.join("server/bin/pg_config"), PathBuf::from);
        let bin_dir = PathBuf::from(pg_config_value(&pg_config, "--bindir"));
        let version = pg_config_value(&pg_config, "--version");
        let major = version
            .split(|c: char| !c.is_ascii_digit())
            .find_map(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{version:?} contains no version number"));
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

    /// The folder whose subfolder `extension/` holds the scripts of extensions.
    pub fn share_dir(&self) -> PathBuf {
        let output = Command::new(&self.pg_config).arg("--sharedir").output().expect("pg_config runs");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    }

    /// Major version of the server, 15 to 18.
    pub fn major(&self) -> u16 {
        self.major
    }

    /// The path of one of the server's programs: `psql`, `pg_dump`, …
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// A command that runs one of the server's programs as the user that runs the servers.
    pub fn command(&self, name: &str) -> Command {
        self.as_server_user(&self.program(name))
    }

    /// A command that runs `program` as that user, without environment variables that change the
    /// behaviour of a server.
    pub fn as_server_user(&self, program: &Path) -> Command {
        let mut command = match &self.run_as {
            RunAs::CurrentUser => Command::new(program),
            RunAs::OtherUser(user) => as_user(user, program),
            RunAs::OtherUserWithDacOverride(user) => as_user_with_dac_override(user, program),
        };
        // That user may have no access to the working directory of the tests.
        command.current_dir("/").stdin(Stdio::null());
        // If this is set, pgrx adds a Rust backtrace to the DETAIL of every SQL error.
        command.env_remove("RUST_BACKTRACE");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Makes the user that runs the servers the owner of a file or folder.
    pub fn give_to_server_user(&self, path: &Path) {
        if let RunAs::OtherUser(user) | RunAs::OtherUserWithDacOverride(user) = &self.run_as {
            nix::unistd::chown(path, Some(user.uid), Some(user.gid))
                .unwrap_or_else(|e| panic!("could not change the owner of {} to {}: {e}", path.display(), user.name));
        }
    }
}

/// Writes a file that only the user that runs the servers can read.
///
/// # Panics
/// If it cannot be written.
pub fn private_file(content: &str) -> PathBuf {
    let dir = installation().target_dir().join("certificates");
    fs::create_dir_all(&dir).expect("a folder");
    let file = tempfile::NamedTempFile::new_in(dir).expect("a file");
    fs::write(file.path(), content).expect("written");
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).expect("the file is ours");
    installation().give_to_server_user(file.path());
    file.into_temp_path().keep().expect("the file stays")
}

impl RunAs {
    fn find(pg_config: &Path) -> RunAs {
        if !geteuid().is_root() {
            return RunAs::CurrentUser;
        }
        let user = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .expect("root cannot run a PostgreSQL server, and neither user postgres nor user nobody exists");
        if can_run(as_user(&user, pg_config)) {
            RunAs::OtherUser(user)
        } else if can_run(as_user_with_dac_override(&user, pg_config)) {
            RunAs::OtherUserWithDacOverride(user)
        } else {
            panic!(
                "user {} cannot run {}: allow access to the folders above it (chmod o+x), or move the checkout to another folder",
                user.name,
                pg_config.display()
            )
        }
    }
}

fn as_user(user: &User, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    command
}

fn as_user_with_dac_override(user: &User, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)])
        .args(["--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"])
        // PostgreSQL finds its programs with access(2), which ignores the capability without this.
        .args(["--securebits=+no_setuid_fixup", "--"])
        .arg(program);
    command
}

/// Whether this `pg_config` finds itself and its folders, which is the first thing that a server
/// does.
fn can_run(mut pg_config: Command) -> bool {
    let output = pg_config.arg("--bindir").current_dir("/").stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

fn pg_config_value(pg_config: &Path, option: &str) -> String {
    let output = Command::new(pg_config).arg(option).output().unwrap_or_else(|e| {
        panic!(
            "could not run {}: {e}. `make build` prepares a server for the tests, or set {OVERRIDE}",
            pg_config.display()
        )
    });
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
