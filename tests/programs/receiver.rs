//! A receiver as a program of its own, for the benchmark and for manual measurements: how fast, how
//! often and in what order webhooks arrive.
//!
//! It reads its options from the command line, prints its address as the first line, and runs until
//! its standard input ends or it is killed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use serde_json::json;
use uuid::Uuid;
use webhook_harness::http_server::{Handler, HttpServer, IncomingRequest};
use webhook_harness::{ReceiverStats, Reply, by_path};

const HELP: &str = "webhook-receiver: receives webhooks and counts them

  --listen ADDRESS   where to listen (127.0.0.1:0: a free port); the first line printed is the address
  --loops N          event loops, one thread each (1)
  --record FILE      writes a line `webhook-id unix-microseconds` for each webhook

The path of a webhook selects the reply: /status/503, /fail-then-ok/2, /slow/250, /hang, /drop, /redirect, /endless,
/trickle. Every other path selects status 200.
GET /stats     counts as JSON
GET /arrivals  first arrival of each id in Unix microseconds, as JSON
GET /reset     deletes all counts and arrivals
The program ends when its standard input ends.";

struct Options {
    listen: SocketAddr,
    loops: usize,
    record: Option<String>,
}

/// Counts of the webhooks that have arrived.
#[derive(Default)]
struct Tally {
    requests: u64,
    first_micros: Option<i64>,
    last_micros: Option<i64>,
    by_id: HashMap<Uuid, Seen>,
    record: Option<BufWriter<File>>,
}

struct Seen {
    times: usize,
    first_micros: i64,
}

struct Counter(Mutex<Tally>);

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { listen: ([127, 0, 0, 1], 0).into(), loops: 1, record: None };
    while let Some(name) = arguments.next() {
        if name == "--help" {
            return Err(HELP.to_owned());
        }
        let value = arguments.next().ok_or_else(|| format!("option {name} requires a value\n\n{HELP}"))?;
        let wrong = |e: &dyn std::fmt::Display| format!("{name} {value}: {e}");
        match name.as_str() {
            "--listen" => options.listen = value.parse().map_err(|e| wrong(&e))?,
            "--loops" => options.loops = value.parse().map_err(|e| wrong(&e))?,
            "--record" => options.record = Some(value),
            _ => return Err(format!("unknown option {name}\n\n{HELP}")),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), String> {
    let create = |path: &String| File::create(path).map_err(|e| format!("could not create {path}: {e}"));
    let record = options.record.as_ref().map(create).transpose()?.map(BufWriter::new);
    let counter = Arc::new(Counter(Mutex::new(Tally { record, ..Tally::default() })));
    let server = HttpServer::start(options.listen, options.loops, None, Arc::clone(&counter))
        .map_err(|e| format!("could not listen on {}: {e}", options.listen))?;
    println!("{}", server.address());

    // The process that started the receiver holds the other end of the input. If that process is
    // killed, the input ends and so does the receiver.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    drop(server);
    counter.lock().flush();
    Ok(())
}

impl Handler for Counter {
    fn handle(&self, request: &IncomingRequest<'_>) -> Reply {
        if request.method != "GET" {
            let attempt = self.lock().count(request);
            return by_path(request.path, attempt);
        }
        let reply = match request.path {
            "/stats" => Reply::ok().body(json!(self.lock().stats()).to_string()),
            "/arrivals" => Reply::ok().body(self.lock().arrivals()),
            "/reset" => {
                self.lock().reset();
                Reply::ok()
            }
            _ => Reply::status(404),
        };
        reply.header("Content-Type", "application/json").close()
    }
}

impl Counter {
    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().expect("no thread panics while it counts")
    }
}

impl Tally {
    /// Counts a webhook and returns how many webhooks with its id have arrived, including this one.
    fn count(&mut self, request: &IncomingRequest<'_>) -> usize {
        let micros = unix_micros(request.arrived_at);
        self.requests += 1;
        self.first_micros.get_or_insert(micros);
        self.last_micros = Some(micros);
        let Some(id) = request.header("webhook-id").and_then(|text| Uuid::try_parse_ascii(text).ok()) else {
            return 1;
        };
        if let Some(record) = &mut self.record {
            let _ = writeln!(record, "{id} {micros}");
        }
        let seen = self.by_id.entry(id).or_insert(Seen { times: 0, first_micros: micros });
        seen.times += 1;
        seen.times
    }

    fn stats(&mut self) -> ReceiverStats {
        self.flush();
        let times: usize = self.by_id.values().map(|seen| seen.times).sum();
        ReceiverStats {
            requests: self.requests,
            distinct_ids: self.by_id.len() as u64,
            duplicates: (times - self.by_id.len()) as u64,
            first_arrival_micros: self.first_micros,
            last_arrival_micros: self.last_micros,
        }
    }

    fn arrivals(&self) -> String {
        let by_id: HashMap<&Uuid, i64> = self.by_id.iter().map(|(id, seen)| (id, seen.first_micros)).collect();
        json!(by_id).to_string()
    }

    fn reset(&mut self) {
        *self = Tally { record: self.record.take(), ..Tally::default() };
    }

    fn flush(&mut self) {
        if let Some(record) = &mut self.record {
            let _ = record.flush();
        }
    }
}

fn unix_micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
