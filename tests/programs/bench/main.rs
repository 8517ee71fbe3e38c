//! The benchmark: how fast it is compared with what this machine could do at best, and what it costs.
//!
//! Everything is measured in one run on one machine, and compared within it: absolute numbers of a shared machine say little
//! tomorrow, ratios do. Prints lines for a person and writes `target/bench.json` for comparison over time.

mod burst;
mod ceiling;
mod dead;
mod emit_cost;
mod family_cost;
mod hanging;
mod history;
mod insert_cost;
mod kills;
mod large_insert;
mod latency;
mod patience;
mod process;
mod report;
mod rounds;
mod stand;
mod throughput;

use std::process::ExitCode;

use report::{Memory, Report};
use rounds::Rounds;
use stand::Stand;

fn main() -> ExitCode {
    let stand = Stand::set_up();
    let mut report = Report { rounds: Rounds::measure(&stand), ..Report::default() };
    let worker = stand.worker_pid();
    report.worker_memory = Memory { resident: process::peak_rss_mb(worker), own: process::peak_own_mb(worker) };

    println!("  a burst after a quiet time …");
    report.burst_after_quiet = burst::measure(&stand);
    println!("  latency, one event every 50 ms …");
    report.latency_idle = latency::measure(&stand);
    println!("  latency again, beside 5,000 events a second …");
    report.latency_loaded = latency::under_load(&stand);
    println!("  latency again, beside 200 endpoints that never answer: of one tenant, of 200 tenants …");
    report.latency_beside_hanging_ms = hanging::measure(&stand);
    println!("  deliveries where a fifth of the endpoints is dead, and where none is …");
    report.with_dead_ratio = dead::measure(&stand);
    println!("  requests made twice when the worker is killed …");
    report.duplicates_per_kill = kills::measure(&stand);
    println!("  cost of an INSERT with 0, 1 and 5 interested endpoints, while the worker delivers …");
    report.insert_ratio_while_delivering = insert_cost::while_delivering(&stand);
    println!("  {} rows in one INSERT …", large_insert::ROWS);
    report.large_insert = large_insert::measure(&stand);
    println!("  pages of the history …");
    report.history_ms = history::measure(&stand);
    println!("  cost of an INSERT again, of the transaction alone …");
    report.insert_ratio = insert_cost::of_the_transaction_alone(&stand);
    println!("  cost of an event of one's own …");
    report.emit_us = emit_cost::measure(&stand);
    println!("  cost of an event of each family, of the transaction alone …");
    report.family_ratio = family_cost::measure(&stand);

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
