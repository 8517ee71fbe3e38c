//! The settings of a cluster.

use std::fmt::Write;
use std::path::Path;

/// Name of the file with these settings, which is included at the end of `postgresql.conf`.
/// Settings of `ALTER SYSTEM` are read after it and win.
pub const FILE: &str = "harness.conf";

/// The worker's database, and the addresses to which it may send. Written only if the library is
/// preloaded.
const EXTENSION: &[(&str, &str)] = &[
    ("shared_preload_libraries", "webhook_delivery"),
    ("webhook_delivery.databases", "postgres"),
    // Most receivers of the tests use HTTP without TLS, on any free port of this machine.
    ("webhook_delivery.allow_http", "on"),
    ("webhook_delivery.allowed_ports", "1-65535"),
    ("webhook_delivery.allowed_networks", "127.0.0.0/8, ::1"),
];

/// Settings of every cluster.
const COMMON: &[(&str, &str)] = &[
    // Only a socket, so that no other process can occupy the port.
    ("listen_addresses", ""),
    // The tests kill processes but never the machine. The benchmark sets it to on.
    ("fsync", "off"),
    ("log_line_prefix", "%m [%p] %b "),
];

/// The content of the settings file: the harness's settings, then those of the test, which win.
pub fn render(socket_dir: &Path, with_extension: bool, own: &[(String, String)]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name} = '{}'", value.replace('\'', "''")).expect("a String takes every text");
    };
    for (name, value) in COMMON {
        line(name, value);
    }
    line("unix_socket_directories", &socket_dir.to_string_lossy());
    if with_extension {
        for (name, value) in EXTENSION {
            line(name, value);
        }
    }
    for (name, value) in own {
        line(name, value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_of_the_test_comes_last_and_is_quoted() {
        let own = [("cluster_name".to_owned(), "it's mine".to_owned())];
        let text = render(Path::new("/tmp/s"), true, &own);
        assert!(text.ends_with("cluster_name = 'it''s mine'\n"), "{text}");
        assert!(text.contains("shared_preload_libraries = 'webhook_delivery'"), "{text}");
    }

    #[test]
    fn server_without_the_extension_has_none_of_its_settings() {
        assert!(!render(Path::new("/tmp/s"), false, &[]).contains("webhook_delivery"));
    }
}
