//! What was measured, for a person and for comparison over time?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use crate::large_insert::ROWS;
use crate::rounds::{Round, Rounds};

#[derive(Default, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

/// p99 of a good endpoint, in milliseconds.
#[derive(Default, Serialize)]
pub struct BesideHanging {
    pub one_tenant_200: f64,
    pub many_tenants_200: f64,
}

#[derive(Default, Serialize)]
pub struct InsertRatio {
    pub none: f64,
    pub one: f64,
    pub five: f64,
}

/// Seconds, and MiB of the session.
#[derive(Default, Serialize)]
pub struct LargeInsert {
    pub bare_s: f64,
    pub none_s: f64,
    pub one_s: f64,
    pub none_mb: f64,
    pub one_mb: f64,
}

#[derive(Default)]
pub struct Report {
    pub rounds: Rounds,
    pub worker_peak_rss_mb: f64,
    pub large_insert: LargeInsert,
    pub latency_ms: Latency,
    pub latency_beside_hanging_ms: BesideHanging,
    pub insert_ratio: InsertRatio,
    /// Speed of a statement that makes an event, as a share of the bare one's.
    pub family_ratio: BTreeMap<&'static str, f64>,
    pub insert_ratio_while_delivering: InsertRatio,
}

impl Report {
    pub fn print(&self) {
        let (rounds, latency, large) = (&self.rounds, &self.latency_ms, &self.large_insert);
        let (insert, delivering) = (&self.insert_ratio, &self.insert_ratio_while_delivering);
        println!();
        println!("  ceiling                        {:>9.0} requests/s", rounds.median(|round| round.ceiling_per_s));
        println!(
            "  end to end                     {:>9.0} deliveries/s",
            rounds.median(|round| round.deliveries_per_s)
        );
        println!("  ratio                          {:>9.2}   aim: 0.50 or more", rounds.median(Round::ratio));
        println!(
            "  latency p50 / p95 / p99        {:.2} / {:.2} / {:.2} ms   aim: p50 at most 3 ms",
            latency.p50, latency.p95, latency.p99
        );
        let beside = &self.latency_beside_hanging_ms;
        println!(
            "  p99 beside 200 that hang       {:.2} ms of one tenant, {:.2} ms of 200   aim: at most 100 ms",
            beside.one_tenant_200, beside.many_tenants_200
        );
        println!("  INSERT compared with bare      alone, while delivering");
        println!(
            "    nobody interested            {:>9.2} {:>9.2}   aim: 0.85 or more, alone",
            insert.none, delivering.none
        );
        println!(
            "    one endpoint                 {:>9.2} {:>9.2}   aim: 0.50 or more, alone",
            insert.one, delivering.one
        );
        println!("    five endpoints               {:>9.2} {:>9.2}", insert.five, delivering.five);
        println!("  an event with one endpoint, alone   aim: 0.40 or more of the bare statement");
        for (family, ratio) in &self.family_ratio {
            println!("    {family:<12}                 {ratio:>9.2}");
        }
        println!("  {ROWS} rows in one INSERT     time, of bare, memory of the session");
        println!("    bare                         {:>7.1} s", large.bare_s);
        println!(
            "    nobody interested            {:>7.1} s {:>9.2} {:>6.0} MiB   aim: 300 MiB at most",
            large.none_s,
            large.none_s / large.bare_s,
            large.none_mb
        );
        println!(
            "    one endpoint                 {:>7.1} s {:>9.2} {:>6.0} MiB",
            large.one_s,
            large.one_s / large.bare_s,
            large.one_mb
        );
        println!(
            "  worker CPU per delivery        {:>9.1} µs",
            rounds.median(|round| round.worker_cpu_us_per_delivery)
        );
        println!("  worker memory at most          {:>9.1} MiB", self.worker_peak_rss_mb);
    }

    /// Writes `target/bench.json`.
    pub fn write(&self) -> std::io::Result<PathBuf> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench.json");
        let rounds = &self.rounds;
        let figures = json!({
            "ceiling_per_s": rounded(rounds.median(|round| round.ceiling_per_s)),
            "deliveries_per_s": rounded(rounds.median(|round| round.deliveries_per_s)),
            "ratio": rounded(rounds.median(Round::ratio)),
            "latency_ms": self.latency_ms,
            "latency_beside_hanging_ms": self.latency_beside_hanging_ms,
            "large_insert": self.large_insert,
            "family_ratio": self.family_ratio,
            "insert_ratio": self.insert_ratio,
            "insert_ratio_while_delivering": self.insert_ratio_while_delivering,
            "worker_cpu_us_per_delivery": rounded(rounds.median(|round| round.worker_cpu_us_per_delivery)),
            "worker_peak_rss_mb": rounded(self.worker_peak_rss_mb),
        });
        std::fs::write(&path, format!("{figures:#}\n"))?;
        path.canonicalize()
    }
}

pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}
