//! How does a delivery get from its data to a signed request at the customer's server, and what came back?
//!
//! | question | file |
//! |---|---|
//! | what is one attempt, before and after | `job.rs` |
//! | what stands in the body, and in the header | `body.rs`, `request.rs` |
//! | how is it signed, what headers may a customer add | `signature.rs`, `header.rs` |
//! | how is it sent, within which bounds | `client.rs` |
//! | which URLs may a customer have, where may they lead | `url.rs`, `address.rs`, `guard.rs` |
//! | over which connection, to which addresses | `socket.rs`, `resolver.rs` |
//! | where did the time go | `course.rs` |
//! | which servers are trusted | `trust.rs` |
//! | what is the customer told when it fails | `failure.rs` |
//! | who is served next, with how many threads | `pool.rs`, `lanes.rs`, `share.rs` |
//! | in which order is told of one row | `rows.rs` |
//! | how much of whom waits | `waiting.rs` |
//! | what had succeeded when the process was killed | `journal.rs` |
//! | when is it tried again | `retry.rs` |
//! | who cannot be reached, and is tried with one delivery only | `breaker.rs` |
//! | how are time-ordered identifiers made | `ids.rs` |
//!
//! Nothing here knows PostgreSQL: the extension's worker, the benchmark and the tests link it alike.

mod address;
mod body;
mod breaker;
mod client;
mod course;
mod failure;
mod guard;
mod header;
mod ids;
mod job;
mod journal;
mod lanes;
mod pool;
mod request;
mod resolver;
mod retry;
mod rows;
mod share;
mod signature;
mod socket;
#[cfg(test)]
mod testing;
mod trust;
mod url;
mod waiting;

pub use address::{InvalidNetworks, Networks};
pub use body::body;
pub use breaker::Breaker;
pub use course::Course;
pub use failure::Failure;
pub use header::{InvalidHeader, check_header};
pub use ids::uuid_v7;
pub use job::{Attempt, DeliveryKey, Destination, Job};
pub use journal::{Journal, Success};
pub use pool::{Pool, PoolConfig};
pub use request::headers;
pub use resolver::look_up;
pub use retry::{InvalidSchedule, RetryPolicy, RetrySchedule};
pub use trust::StartError;
pub use url::{InvalidPorts, InvalidUrl, Ports, Rules};
pub use waiting::{Count, Tally, Waiting};
