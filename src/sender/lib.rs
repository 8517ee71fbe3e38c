//! The sender: from a job to a signed request and its outcome. It does not depend on PostgreSQL, so
//! worker, benchmark and tests all link it.
//!
//! | what | file |
//! |---|---|
//! | an attempt, before and after it is made | `job.rs` |
//! | body, headers and signature of a request | `body.rs`, `request.rs`, `signature.rs` |
//! | encryption of signing secrets at rest | `secret_keys.rs` |
//! | headers that a customer may add, filters that an endpoint may have | `header.rs`, `filter.rs` |
//! | the HTTP client with its limits of time and size | `client.rs` |
//! | URLs that an endpoint may have, addresses that a request may reach | `url.rs`, `address.rs`, `address_guard.rs` |
//! | name look-up, TCP and TLS connections | `resolver.rs`, `dial.rs`, `race.rs`, `transport.rs`, `tls.rs` |
//! | an HTTP proxy between us and the receivers | `proxy.rs` |
//! | files of the operator, and what can be wrong with them | `files.rs`, `start_error.rs` |
//! | how long each part of a request took | `timing.rs` |
//! | why an attempt failed | `failure.rs` |
//! | threads, and which job they take next | `pool.rs`, `scheduler.rs`, `fair_share.rs` |
//! | the order of events of one row | `row_order.rs` |
//! | how many jobs wait in memory, by auction and endpoint | `backlog.rs` |
//! | successes that are not recorded yet, for the process after a crash | `journal.rs` |
//! | retry schedule | `retry.rs` |
//! | circuit breaker | `breaker.rs` |
//! | time-ordered identifiers | `ids.rs` |

#![warn(missing_docs)]

mod address;
mod address_guard;
mod backlog;
mod body;
mod breaker;
mod client;
mod dial;
mod failure;
mod fair_share;
mod files;
mod filter;
mod header;
mod ids;
mod job;
mod journal;
mod pool;
mod proxy;
mod race;
mod request;
mod resolver;
mod retry;
mod row_order;
mod scheduler;
mod secret_keys;
mod signature;
mod start_error;
#[cfg(test)]
mod testing;
mod timing;
mod tls;
mod transport;
mod url;

pub use address::{InvalidNetworks, Networks};
pub use backlog::{Backlog, Count, Tally};
pub use body::body;
pub use breaker::Breaker;
pub use client::Connections;
pub use failure::Failure;
pub use fair_share::Share;
pub use filter::{InvalidFilter, check_filter, is_costly_as_jsonb};
pub use header::{InvalidHeader, check_header};
pub use ids::uuid_v7;
pub use job::{Attempt, DeliveryKey, Destination, Job};
pub use journal::{Journal, Success};
pub use pool::{Pool, PoolConfig};
pub use proxy::{InvalidNoProxy, InvalidProxyUrl, NoProxy, ProxyConfig, ProxyUrl};
pub use request::headers;
pub use resolver::look_up;
pub use retry::{InvalidSchedule, RetryPolicy, RetrySchedule, backoff};
pub use secret_keys::{SecretKeys, UnopenedSecret};
pub use signature::SigningKey;
pub use start_error::StartError;
pub use timing::Timing;
pub use tls::TlsFiles;
pub use url::{InvalidPorts, InvalidUrl, Ports, Rules};
