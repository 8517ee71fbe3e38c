//! The history, and what can be done with deliveries, in SQL and over REST.

mod all_nodes;
mod event;
mod expunge;
mod generated_types;
mod plans;
mod redeliver;
mod rest_calls;
