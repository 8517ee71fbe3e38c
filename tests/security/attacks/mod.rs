//! Attacks by roles that have more privileges than they should have.

mod bounds;
mod deputy;
mod grants;
mod membership;
mod neighbours;
mod triggers;
