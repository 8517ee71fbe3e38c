//! History: the calls with which tenants and operators redeliver, recover, replay, cancel, expunge
//! and show deliveries.
//!
//! Each call first selects, with the caller's rights, the deliveries that the caller sees
//! (`authorization.rs`). It then changes these with the extension owner's rights.

mod all_nodes;
mod allowance;
mod authorization;
mod cancel;
mod expunge;
mod pacing;
mod redeliver;
mod replay;
mod request_preview;
mod retry_moved_row;
