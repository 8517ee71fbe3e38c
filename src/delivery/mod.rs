//! The worker: it fetches due deliveries, hands them to the sender's threads, and records finished
//! attempts.
//!
//! | what | file |
//! |---|---|
//! | the worker's loop from its start to its end | `worker.rs` |
//! | which due deliveries are fetched now | `fetcher.rs` |
//! | which endpoints wait: backlogged, throttled, disabled | `endpoint_states.rs` |
//! | rate limits, strict order, open and half-open circuit breakers | `throttle.rs` |
//! | how many deliveries may wait in memory, by tenant and endpoint | `prefetch.rs` |
//! | a due row of the queue, its event and its endpoint | `queue_row.rs`, `target.rs` |
//! | when the next fetch is due | `fetch_schedule.rs` |
//! | all SQL statements of the worker | `statements.rs`, `parking_statements.rs`, `columns.rs` |
//! | the outcome of an attempt | `outcome.rs`, `outcome_rows.rs` |
//! | finished attempts are recorded in batches | `completer.rs` |
//! | successes and failures by endpoint, for `record_endpoint_health()`, which disables endpoints (`sql/install/health.sql`) | `endpoint_health.rs` |
//! | deliveries that wait long move to a partition of their own | `parking.rs` |
//! | endpoints whose secret cannot be decrypted wait | `unreadable_secrets.rs` |
//! | partitions, expiry and other maintenance | `worker/maintenance.rs` |
//! | dead letters that a lock caused are captured again | `recapture.rs` |
//! | a part of the work that fails is logged and retried | `task.rs`, `extension_lock.rs` |
//! | threads and plans, which exist only while the extension exists | `runtime.rs` |
//! | why the worker sends nothing, and what other work it does | `idle.rs` |
//! | counts of the last minute, and what the worker reports about itself | `throughput.rs`, `status_reporter.rs` |

mod columns;
mod completer;
mod endpoint_health;
mod endpoint_states;
mod extension_lock;
mod fetch_schedule;
mod fetcher;
mod idle;
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
mod target;
mod task;
mod throttle;
mod throughput;
mod unreadable_secrets;
mod worker;
