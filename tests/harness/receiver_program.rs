//! The receiver as a process of its own, so that it shares nothing with the measured process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A running program `webhook-receiver`. Dropping it ends the program.
pub struct ReceiverProgram {
    child: Child,
    address: SocketAddr,
}

/// The counts of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverStats {
    /// Number of webhooks received, including repeated ones.
    pub requests: u64,
    /// Number of different `webhook-id`s.
    pub distinct_ids: u64,
    /// Number of webhooks whose id was received before.
    pub duplicates: u64,
    /// Unix time of the first webhook in microseconds.
    pub first_arrival_micros: Option<i64>,
    /// Unix time of the last webhook in microseconds.
    pub last_arrival_micros: Option<i64>,
}

impl ReceiverProgram {
    /// Starts the program on a free port of 127.0.0.1.
    pub fn start() -> ReceiverProgram {
        ReceiverProgram::start_with(&[])
    }

    /// Starts the program with more arguments (see `webhook-receiver --help`).
    pub fn start_with(arguments: &[&str]) -> ReceiverProgram {
        let program = program_path();
        let mut child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("could not run {}: {e}", program.display()));
        let mut first_line = String::new();
        let output = child.stdout.as_mut().expect("a pipe");
        BufReader::new(output).read_line(&mut first_line).expect("the receiver writes its address");
        let address = first_line
            .trim()
            .parse()
            .unwrap_or_else(|e| panic!("the receiver's first line is {first_line:?}, not an address: {e}"));
        ReceiverProgram { child, address }
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of the program. The path selects the reply (see [`crate::by_path`]).
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Process id of the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The counts since its start or the last reset.
    pub fn stats(&self) -> ReceiverStats {
        serde_json::from_slice(&self.get("/stats")).expect("statistics in JSON")
    }

    /// When each delivery first arrived, as Unix time in microseconds.
    pub fn arrivals(&self) -> HashMap<Uuid, i64> {
        serde_json::from_slice(&self.get("/arrivals")).expect("arrivals in JSON")
    }

    /// Deletes all counts and arrivals.
    pub fn reset(&self) {
        self.get("/reset");
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).expect("the receiver listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: receiver\r\nConnection: close\r\n\r\n")
            .expect("the receiver reads");
        let mut response = Vec::new();
        stream.read_to_end(&mut response).expect("the receiver answers");
        let end_of_head = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
        response.split_off(end_of_head + 4)
    }
}

impl Drop for ReceiverProgram {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo builds the program in the folder of the running program, or in the folder above that of
/// the running test.
fn program_path() -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    let found = this.ancestors().skip(1).take(2).map(|dir| dir.join("webhook-receiver")).find(|path| path.exists());
    found.unwrap_or_else(|| {
        let folder = this.parent().unwrap_or(Path::new("."));
        panic!(
            "there is no webhook-receiver in or above {}: run `cargo build -p webhook_delivery_tests --bins`",
            folder.display()
        )
    })
}
