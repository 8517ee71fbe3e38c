//! Rounds that measure deliveries per second and the ceiling, until enough rounds were undisturbed.

use crate::report::median;
use crate::testbed::Testbed;
use crate::{ceiling, throughput};

/// Number of undisturbed rounds that are wanted. The result is their median.
const WANTED_ROUNDS: usize = 3;

/// After this number of rounds the machine is assumed to stay busy, and all rounds count.
const MAX_ROUNDS: usize = 8;

/// The ceiling is what the machine can do without other load. A round whose ceiling is lower than
/// this share of the best one was disturbed by other processes.
const UNDISTURBED_SHARE: f64 = 0.75;

/// The ceiling and the deliveries through the database, measured one after the other so that the
/// same load disturbs both.
pub struct Round {
    pub ceiling_per_s: f64,
    pub deliveries_per_s: f64,
    pub worker_cpu_us_per_delivery: f64,
    pub wal_bytes_per_delivery: f64,
}

impl Round {
    pub fn ratio(&self) -> f64 {
        self.deliveries_per_s / self.ceiling_per_s
    }
}

#[derive(Default)]
pub struct Rounds(Vec<Round>);

impl Rounds {
    pub fn measure(testbed: &Testbed) -> Self {
        let mut rounds = Vec::new();
        for number in 1..=MAX_ROUNDS {
            let ceiling_per_s = ceiling::measure(testbed);
            println!("  round {number}: ceiling, nothing stored       {ceiling_per_s:>9.0} requests/s");
            let run = throughput::measure(testbed);
            println!("  round {number}: commit to last history row    {:>9.0} deliveries/s", run.per_s);
            rounds.push(Round {
                ceiling_per_s,
                deliveries_per_s: run.per_s,
                worker_cpu_us_per_delivery: run.worker_cpu_us_per_delivery,
                wal_bytes_per_delivery: run.wal_bytes_per_delivery,
            });
            let best = rounds.iter().map(|round| round.ceiling_per_s).fold(0.0, f64::max);
            let is_undisturbed = |round: &Round| round.ceiling_per_s >= best * UNDISTURBED_SHARE;
            let undisturbed = rounds.iter().filter(|round| is_undisturbed(round)).count();
            if undisturbed >= WANTED_ROUNDS {
                rounds.retain(is_undisturbed);
                break;
            }
            if number >= WANTED_ROUNDS {
                println!("  {} of {number} rounds were disturbed: one more", number - undisturbed);
            }
        }
        Self(rounds)
    }

    pub fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(&self.0.iter().map(figure).collect::<Vec<_>>())
    }
}
