//! What tenants and operators do with deliveries: redeliver, recover, replay, cancel, expunge, show.
//!
//! Each call first asks with the caller's rights which deliveries the caller sees (`authorization.rs`), and then changes those with the
//! extension owner's rights.

mod allowance;
mod authorization;
mod cancel;
mod expunge;
mod pacing;
mod redeliver;
mod replay;
mod request_preview;
mod retry_moved_row;
