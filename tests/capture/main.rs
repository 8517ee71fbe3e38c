//! Capture: from a row change to an event in the queue.

mod bytes;
mod capture_failures;
mod capture_rights;
mod catalogue;
mod emit;
mod event_type;
mod families;
mod filter;
mod idempotent_emit;
mod large_transactions;
mod lock_contention;
mod max_payload;
mod moves;
mod never_aborts;
mod payload_function;
mod rollback;
mod row_event;
mod session;
mod subscriptions;
mod switch;
mod transactions;
