//! Capture: from row changes to events and queue rows, in the user's transaction.
//!
//! | step | file |
//! |---|---|
//! | a trigger (`../triggers.rs`) notes the key of the changed row, or the whole row | `fire.rs`, `firing.rs`, `builtin_trigger.rs`, `row_event.rs` |
//! | a row that moves to another partition is an update | `partition_moves.rs` |
//! | with Citus, triggers fire on shards, and on each copy of a table | `placement.rs` |
//! | the owner can switch capture off | `toggle.rs` |
//! | previous values and whole rows are saved | `row_snapshot.rs` |
//! | small numbers that stand for events | `event_key.rs` |
//! | the notes of the transaction, which a rollback to a savepoint removes | `pending_changes.rs` |
//! | code emits an event itself, or events of rows that existed before | `emit.rs`, `emitted.rs`, `backfill.rs` |
//! | who may attach triggers and set payload functions | `caller_rights.rs` |
//! | the interested endpoints, cached by the session | `subscriptions.rs` |
//! | an endpoint's condition on the data of its events | `filter.rs`, `apply_filters.rs` |
//! | at commit the events are built and written | `at_commit.rs` |
//! | the data of all noted rows is read, and one queue row is written per interested endpoint | `event_builder.rs`, `payload.rs`, `fan_out.rs` |
//! | foreign tables cannot be read during a commit | `foreign_tables.rs` |
//! | an event that cannot be built becomes a dead letter, and can be recaptured | `capture_errors.rs`, `recapture.rs` |
//!
//! Events are built right before the commit, after the user's last deferred trigger. The events
//! therefore show rows as they are committed: a submission has the entries that were inserted after
//! it. A transaction that changed a thousand rows pays the fixed costs once.

mod apply_filters;
mod at_commit;
mod backfill;
mod builtin_trigger;
mod caller_rights;
mod capture_errors;
mod emit;
mod emitted;
mod event_builder;
mod event_key;
mod fan_out;
mod filter;
mod fire;
mod firing;
mod foreign_tables;
mod partition_moves;
mod payload;
mod pending_changes;
mod placement;
mod recapture;
mod row_event;
mod row_snapshot;
mod subscriptions;
mod toggle;

pub use at_commit::init;
pub use builtin_trigger::capture_row_change;
pub use fire::fire;
pub use row_event::row_event;
