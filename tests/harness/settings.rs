//! The settings of a test's server.

use std::fmt::Write;
use std::path::Path;

/// The name of the file with these settings, included at the end of `postgresql.conf`. What `ALTER SYSTEM` writes comes after it and wins.
pub const FILE: &str = "harness.conf";

/// Where the worker works and may send to; written only when the library is preloaded.
const EXTENSION: &[(&str, &str)] = &[
    ("shared_preload_libraries", "webhook_delivery"),
    ("webhook_delivery.databases", "postgres"),
    // Most receivers of the tests speak plain HTTP, on ports of this machine that are just free.
    ("webhook_delivery.allow_http", "on"),
    ("webhook_delivery.allowed_ports", "1-65535"),
    ("webhook_delivery.allowed_networks", "127.0.0.0/8, ::1"),
];

/// What every server of the tests has.
const COMMON: &[(&str, &str)] = &[
    // Only the socket: nobody else's port can be in the way.
    ("listen_addresses", ""),
    // The tests kill processes, not the machine. A benchmark sets it on.
    ("fsync", "off"),
    ("log_line_prefix", "%m [%p] %b "),
];

/// The text of the settings file: ours, then the test's own, which win.
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
    fn a_tests_own_setting_comes_last_and_is_quoted() {
        let own = [("cluster_name".to_owned(), "it's mine".to_owned())];
        let text = render(Path::new("/tmp/s"), true, &own);
        assert!(text.ends_with("cluster_name = 'it''s mine'\n"), "{text}");
        assert!(text.contains("shared_preload_libraries = 'webhook_delivery'"), "{text}");
    }

    #[test]
    fn a_server_without_the_extension_has_none_of_its_settings() {
        assert!(!render(Path::new("/tmp/s"), false, &[]).contains("webhook_delivery"));
    }
}
