//! How does what is due reach its endpoint, and what became of it?

mod due;
mod equipment;
mod health;
mod intake;
mod next_due;
mod outcome_rows;
mod parking;
mod parking_statements;
mod pulse;
mod queue;
mod recapture;
mod record;
mod rest;
mod room;
mod step;
mod telling;
mod worker;

pub use pulse::Totals;
pub use record::Locked;
