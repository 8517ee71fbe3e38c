//! Deliveries per second, and the ceiling. Round after round, until enough of them were undisturbed.

use crate::report::median;
use crate::stand::Stand;
use crate::{ceiling, throughput};

/// So many undisturbed rounds are wanted; their median counts.
const WANTED: usize = 3;

/// After so many rounds the machine will not become quiet any more: all of them count.
const AT_MOST: usize = 8;

/// The ceiling is what the machine can do when left alone. A round in which it is lower than this share of the best one
/// was somebody else's.
const UNDISTURBED: f64 = 0.75;

/// The ceiling and the way through the database, one after the other: what disturbs one disturbs the other.
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
    pub fn measure(stand: &Stand) -> Self {
        let mut rounds = Vec::new();
        for number in 1..=AT_MOST {
            let ceiling_per_s = ceiling::measure(stand);
            println!("  round {number}: ceiling, nothing stored       {ceiling_per_s:>9.0} requests/s");
            let run = throughput::measure(stand);
            println!("  round {number}: commit to last history row    {:>9.0} deliveries/s", run.per_s);
            rounds.push(Round {
                ceiling_per_s,
                deliveries_per_s: run.per_s,
                worker_cpu_us_per_delivery: run.worker_cpu_us_per_delivery,
                wal_bytes_per_delivery: run.wal_bytes_per_delivery,
            });
            let best = rounds.iter().map(|round| round.ceiling_per_s).fold(0.0, f64::max);
            let is_undisturbed = |round: &Round| round.ceiling_per_s >= best * UNDISTURBED;
            let undisturbed = rounds.iter().filter(|round| is_undisturbed(round)).count();
            if undisturbed >= WANTED {
                rounds.retain(is_undisturbed);
                break;
            }
            if number >= WANTED {
                println!("  {} of {number} rounds were disturbed: one more", number - undisturbed);
            }
        }
        Self(rounds)
    }

    pub fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(&self.0.iter().map(figure).collect::<Vec<_>>())
    }
}
