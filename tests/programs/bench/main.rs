//! How fast is it, against what this machine could do at best, and what does it cost?
//!
//! Everything is measured in one run on one machine, and compared within it: absolute numbers of a shared machine say little
//! tomorrow, ratios do. Prints lines for a person and writes `target/bench.json` for comparison over time.

mod ceiling;
mod insert_cost;
mod latency;
mod process;
mod report;
mod stand;
mod throughput;

use std::process::ExitCode;

use report::Report;
use stand::Stand;

/// The ceiling and the way through the database are measured alternately so often; the median counts.
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    let stand = Stand::set_up();
    let mut report = Report::default();

    let mut ceilings = Vec::new();
    let mut rates = Vec::new();
    for round in 1..=ROUNDS {
        let ceiling = ceiling::measure(&stand);
        println!("  round {round} of {ROUNDS}: ceiling, nothing stored       {ceiling:>9.0} requests/s");
        ceilings.push(ceiling);
        let run = throughput::measure(&stand);
        println!("  round {round} of {ROUNDS}: commit to last history row    {:>9.0} deliveries/s", run.per_s);
        rates.push(run.per_s);
        report.worker_cpu_us_per_delivery.push(run.worker_cpu_us_per_delivery);
    }
    report.worker_peak_rss_mb = process::peak_rss_mb(stand.worker_pid());
    report.ceiling_per_s = ceilings;
    report.deliveries_per_s = rates;

    println!("  latency, one event every 50 ms …");
    report.latency_ms = latency::measure(&stand);
    println!("  cost of an INSERT with 0, 1 and 5 interested endpoints, while the worker delivers …");
    report.insert_ratio_while_delivering = insert_cost::while_delivering(&stand);
    println!("  the same, of the transaction alone …");
    report.insert_ratio = insert_cost::of_the_transaction_alone(&stand);

    report.print();
    match report.write() {
        Ok(path) => {
            println!("written to {}", path.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("could not write the report: {problem}");
            ExitCode::FAILURE
        }
    }
}
