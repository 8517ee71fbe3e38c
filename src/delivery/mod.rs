//! How does what is due reach its endpoint, and what became of it?

mod completer;
mod endpoint_health;
mod fetcher;
mod next_due;
mod outcome;
mod outcome_rows;
mod parking;
mod parking_statements;
mod prefetch;
mod queue_row;
mod recapture;
mod runtime;
mod statements;
mod status_reporter;
mod task;
mod throttle;
mod throughput;
mod worker;

pub use completer::Locked;
pub use throughput::Totals;
