//! The report: the measured figures as a table for a reader and as JSON for comparison over time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;
use webhook_harness::installation;

use crate::large_insert::ROWS;
use crate::rounds::{Round, Rounds};
use crate::signing_cost::SigningRatio;

#[derive(Clone, Default, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

/// The 99th percentile of a healthy endpoint's latency while others hang, in milliseconds.
#[derive(Default, Serialize)]
pub struct WithHanging {
    pub one_tenant_200: f64,
    pub many_tenants_200: f64,
}

/// Speed with the triggers as a share of the speed without them.
#[derive(Default, Serialize)]
pub struct InsertRatio {
    /// With no interested endpoint, with one, with five.
    pub none: f64,
    pub one: f64,
    pub five: f64,
    /// A hundred rows in one statement, with one endpoint.
    pub hundred_rows: f64,
    /// Eight concurrent sessions, with one endpoint.
    pub eight_clients: f64,
}

/// Speed of an INSERT with a filter as a share of the speed without one.
#[derive(Default, Serialize)]
pub struct FilterRatio {
    /// The filter accepts the event, or rejects it.
    pub accepts: f64,
    pub rejects: f64,
}

/// Seconds, and peaks of the session's private memory in MiB.
#[derive(Default, Serialize)]
pub struct LargeInsert {
    pub bare_s: f64,
    pub none_s: f64,
    pub one_s: f64,
    pub none_mb: f64,
    pub one_mb: f64,
}

/// Milliseconds for pages of the history and for `webhook_delivery.status`.
#[derive(Default, Serialize)]
pub struct History {
    pub endpoint: f64,
    pub all: f64,
    pub count: f64,
    pub with_queue: f64,
    pub status: f64,
}

/// Peaks of the worker's memory in MiB.
#[derive(Default)]
pub struct Memory {
    /// Including the shared buffers that it has accessed.
    pub resident: f64,
    pub own: f64,
}

#[derive(Default)]
pub struct Report {
    pub rounds: Rounds,
    /// Deliveries/s of a burst after an idle time as a share of those at other times.
    pub burst_after_quiet: f64,
    pub worker_memory: Memory,
    pub history_ms: History,
    pub large_insert: LargeInsert,
    pub latency_idle: Latency,
    pub latency_loaded: Latency,
    pub latency_beside_hanging_ms: WithHanging,
    /// Deliveries/s to the reachable endpoints while a fifth is unreachable, as a share of those
    /// while all are reachable.
    pub with_unreachable_ratio: f64,
    pub insert_ratio: InsertRatio,
    /// Speed of a statement that causes an event as a share of the speed without triggers, by
    /// family.
    pub family_ratio: BTreeMap<&'static str, f64>,
    pub insert_ratio_while_delivering: InsertRatio,
    pub filter_ratio: FilterRatio,
    pub signing_ratio: SigningRatio,
    pub emit_us: f64,
    pub emit_with_key_us: f64,
    pub duplicates_per_kill: f64,
}

impl Report {
    pub fn print(&self) {
        let rounds = &self.rounds;
        println!();
        row("", "measured", "aim", "limit");
        let (ceiling, ratio) = (rounds.median(|round| round.ceiling_per_s), rounds.median(Round::ratio));
        let delivered = rounds.median(|round| round.deliveries_per_s);
        row("deliveries/s, from commit to history", &format!("{delivered:.0}"), "", &format!("{ceiling:.0}"));
        row("the same, of requests/s with nothing stored", &format!("{ratio:.2}"), "0.70", "1");
        let wal = rounds.median(|round| round.wal_bytes_per_delivery);
        row("WAL of a delivery, from commit to history", &format!("{wal:.0} bytes"), "", "");
        let cpu = rounds.median(|round| round.worker_cpu_us_per_delivery);
        row("worker: CPU per delivery", &format!("{cpu:.1} µs"), "", "");
        row("a burst after a quiet time, of another's speed", &format!("{:.2}", self.burst_after_quiet), "0.90", "1");
        row("worker: memory of its own at most", &format!("{:.0} MiB", self.worker_memory.own), "100 MiB", "");
        row("worker: with shared buffers", &format!("{:.0} MiB", self.worker_memory.resident), "", "");
        row("duplicate requests per kill of the worker", &format!("{:.0}", self.duplicates_per_kill), "150", "0");

        let latency = |of: &Latency| format!("{:.2} / {:.2} / {:.2} ms", of.p50, of.p95, of.p99);
        row("commit to arrival, p50 / p95 / p99", &latency(&self.latency_idle), "1 / – / 2 ms", "");
        row("  with 5,000 events/s of another auction", &latency(&self.latency_loaded), "3 / – / 10 ms", "");
        let beside = &self.latency_beside_hanging_ms;
        let p99 = |millis: f64| format!("{millis:.1} ms");
        row("  p99 with 200 hanging endpoints of one tenant", &p99(beside.one_tenant_200), "100 ms", "");
        row("  p99 with 200 hanging endpoints of 200 tenants", &p99(beside.many_tenants_200), "100 ms", "");

        row(
            "deliveries/s with 20 % unreachable, relative to none",
            &format!("{:.2}", self.with_unreachable_ratio),
            "0.80",
            "",
        );

        let SigningRatio { ed25519, encrypted } = self.signing_ratio;
        row("deliveries/s with Ed25519, relative to HMAC", &format!("{ed25519:.2}"), "", "1");
        row("  with an encrypted secret, relative to a plain one", &format!("{encrypted:.2}"), "", "1");

        let history = &self.history_ms;
        row("a tenant's latest 50, of an endpoint with 100,000", &p99(history.endpoint), "5 ms", "");
        row("  of all its endpoints, among 1,000,000", &p99(history.all), "20 ms", "");
        row("  with 1,000,000 waiting", &p99(history.with_queue), "20 ms", "");
        row("  webhook_delivery.status with these", &p99(history.status), "50 ms", "");
        row("  its count by status for the endpoint", &p99(history.count), "100 ms", "");

        row("INSERT, relative to no triggers", "alone, delivering", "alone", "");
        let (alone, delivering) = (&self.insert_ratio, &self.insert_ratio_while_delivering);
        let both = |of: fn(&InsertRatio) -> f64| format!("{:.2}, {:.2}", of(alone), of(delivering));
        row("  no interested endpoint", &both(|ratio| ratio.none), "0.92", "1");
        row("  one endpoint", &both(|ratio| ratio.one), "0.65", "1");
        row("  five endpoints", &both(|ratio| ratio.five), "0.55", "1");
        row("  a hundred rows, one endpoint", &both(|ratio| ratio.hundred_rows), "0.35", "1");
        row("  eight clients, one endpoint", &both(|ratio| ratio.eight_clients), "0.65", "1");
        for (family, ratio) in &self.family_ratio {
            row(&format!("  an event of the family {family}"), &format!("{ratio:.2}"), "0.40", "1");
        }
        let FilterRatio { accepts, rejects } = self.filter_ratio;
        row("INSERT with a filter that accepts, of one without", &format!("{accepts:.2}"), "0.90", "1");
        row("  with a filter that rejects", &format!("{rejects:.2}"), "", "");
        row("emit(), each of 20,000 in one statement", &format!("{:.1} µs", self.emit_us), "20 µs", "");
        row("  with an idempotency key", &format!("{:.1} µs", self.emit_with_key_us), "", "");

        let large = &self.large_insert;
        row(&format!("{ROWS} rows in one INSERT, no triggers"), &format!("{:.1} s", large.bare_s), "", "");
        for (who, seconds, memory) in
            [("  no interested endpoint", large.none_s, large.none_mb), ("  one endpoint", large.one_s, large.one_mb)]
        {
            row(who, &format!("{seconds:.1} s, {memory:.0} MiB"), "300 MiB", "");
        }
    }

    /// Writes `target/bench.json`.
    pub fn write(&self) -> std::io::Result<PathBuf> {
        let path = installation().target_dir().join("bench.json");
        let rounds = &self.rounds;
        let Latency { p50, p95, p99 } = self.latency_idle;
        let figures = json!({
            "ceiling_per_s": rounded(rounds.median(|round| round.ceiling_per_s)),
            "deliveries_per_s": rounded(rounds.median(|round| round.deliveries_per_s)),
            "ratio": rounded(rounds.median(Round::ratio)),
            "burst_after_quiet": rounded(self.burst_after_quiet),
            "history_ms": self.history_ms,
            "latency_ms": { "p50": p50, "p95": p95, "p99": p99, "idle": self.latency_idle, "loaded": self.latency_loaded },
            "latency_beside_hanging_ms": self.latency_beside_hanging_ms,
            "with_dead_ratio": rounded(self.with_unreachable_ratio),
            "large_insert": self.large_insert,
            "family_ratio": self.family_ratio,
            "insert_ratio": self.insert_ratio,
            "insert_ratio_while_delivering": self.insert_ratio_while_delivering,
            "emit_us": rounded(self.emit_us),
            "emit_with_key_us": rounded(self.emit_with_key_us),
            "filter_ratio": self.filter_ratio,
            "signing_ratio": self.signing_ratio,
            "wal_bytes_per_delivery": rounded(rounds.median(|round| round.wal_bytes_per_delivery)),
            "duplicates_per_kill": rounded(self.duplicates_per_kill),
            "worker_cpu_us_per_delivery": rounded(rounds.median(|round| round.worker_cpu_us_per_delivery)),
            "worker_peak_rss_mb": rounded(self.worker_memory.resident),
            "worker_peak_own_mb": rounded(self.worker_memory.own),
        });
        std::fs::write(&path, format!("{figures:#}\n"))?;
        Ok(path)
    }
}

/// Prints a line of the table, wide enough for every text.
fn row(what: &str, measured: &str, aim: &str, limit: &str) {
    println!("  {what:<52} {measured:>24}   {aim:<14} {limit}");
}

pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}
