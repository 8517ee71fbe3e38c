//! The benchmark: the speed compared with the ceiling of this machine, and the cost for the user.
//!
//! Everything is measured and compared in one run on one machine, because absolute numbers of a
//! shared machine change from day to day and ratios do not. It prints a table for a reader and
//! writes `target/bench.json` for comparison over time.

mod burst_after_idle;
mod ceiling;
mod emit_cost;
mod family_cost;
mod hanging_endpoints;
mod history;
mod insert_cost;
mod large_insert;
mod latency;
mod process_usage;
mod progress;
mod report;
mod rounds;
mod signing_cost;
mod testbed;
mod throughput;
mod unreachable_endpoints;
mod worker_kills;

use std::process::ExitCode;

use report::{Memory, Report};
use rounds::Rounds;
use testbed::Testbed;

fn main() -> ExitCode {
    let testbed = Testbed::set_up();
    let mut report = Report { rounds: Rounds::measure(&testbed), ..Report::default() };
    let worker = testbed.worker_pid();
    report.worker_memory =
        Memory { resident: process_usage::peak_rss_mb(worker), own: process_usage::peak_own_mb(worker) };

    println!("  a burst after an idle time …");
    report.burst_after_quiet = burst_after_idle::measure(&testbed);
    println!("  latency, one event every 50 ms …");
    report.latency_idle = latency::measure(&testbed);
    println!("  latency while another auction has 5,000 events/s …");
    report.latency_loaded = latency::under_load(&testbed);
    println!("  latency with 200 endpoints that never answer: of one tenant, of 200 tenants …");
    report.latency_beside_hanging_ms = hanging_endpoints::measure(&testbed);
    println!("  deliveries with a fifth of the endpoints unreachable, and with none …");
    report.with_unreachable_ratio = unreachable_endpoints::measure(&testbed);
    println!("  deliveries signed with Ed25519, and with an encrypted secret …");
    report.signing_ratio = signing_cost::measure(&testbed);
    println!("  duplicate requests after a kill of the worker …");
    report.duplicates_per_kill = worker_kills::measure(&testbed);
    println!("  cost of an INSERT with 0, 1 and 5 interested endpoints, while the worker delivers …");
    report.insert_ratio_while_delivering = insert_cost::while_delivering(&testbed);
    println!("  {} rows in one INSERT …", large_insert::ROWS);
    report.large_insert = large_insert::measure(&testbed);
    println!("  pages of the history …");
    report.history_ms = history::measure(&testbed);
    println!("  cost of an INSERT for the transaction alone …");
    report.insert_ratio = insert_cost::of_the_transaction_alone(&testbed);
    println!("  cost of a filter …");
    report.filter_ratio = insert_cost::of_a_filter(&testbed);
    println!("  cost of a custom event …");
    (report.emit_us, report.emit_with_key_us) = emit_cost::measure(&testbed);
    println!("  cost of an event of each family for the transaction alone …");
    report.family_ratio = family_cost::measure(&testbed);

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
