//! What was measured, for a person and for comparison over time?

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

#[derive(Default, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

#[derive(Default, Serialize)]
pub struct InsertRatio {
    pub none: f64,
    pub one: f64,
    pub five: f64,
}

/// Figures of several rounds are kept as they came; the median counts.
#[derive(Default)]
pub struct Report {
    pub ceiling_per_s: Vec<f64>,
    pub deliveries_per_s: Vec<f64>,
    pub worker_cpu_us_per_delivery: Vec<f64>,
    pub worker_peak_rss_mb: f64,
    pub latency_ms: Latency,
    pub insert_ratio: InsertRatio,
    pub insert_ratio_while_delivering: InsertRatio,
}

impl Report {
    /// Of each round: what else the machine did then, it did to both.
    fn ratio(&self) -> f64 {
        let of_rounds: Vec<f64> =
            self.deliveries_per_s.iter().zip(&self.ceiling_per_s).map(|(rate, ceiling)| rate / ceiling).collect();
        median(&of_rounds)
    }

    pub fn print(&self) {
        let latency = &self.latency_ms;
        let (insert, delivering) = (&self.insert_ratio, &self.insert_ratio_while_delivering);
        println!();
        println!("  ceiling                        {:>9.0} requests/s", median(&self.ceiling_per_s));
        println!("  end to end                     {:>9.0} deliveries/s", median(&self.deliveries_per_s));
        println!("  ratio                          {:>9.2}   aim: 0.50 or more", self.ratio());
        println!(
            "  latency p50 / p95 / p99        {:.2} / {:.2} / {:.2} ms   aim: p50 at most 3 ms",
            latency.p50, latency.p95, latency.p99
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
        println!("  worker CPU per delivery        {:>9.1} µs", median(&self.worker_cpu_us_per_delivery));
        println!("  worker memory at most          {:>9.1} MiB", self.worker_peak_rss_mb);
    }

    /// Writes `target/bench.json`.
    pub fn write(&self) -> std::io::Result<PathBuf> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench.json");
        let figures = json!({
            "ceiling_per_s": rounded(median(&self.ceiling_per_s)),
            "deliveries_per_s": rounded(median(&self.deliveries_per_s)),
            "ratio": rounded(self.ratio()),
            "latency_ms": self.latency_ms,
            "insert_ratio": self.insert_ratio,
            "insert_ratio_while_delivering": self.insert_ratio_while_delivering,
            "worker_cpu_us_per_delivery": rounded(median(&self.worker_cpu_us_per_delivery)),
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
