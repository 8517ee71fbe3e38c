//! What makes this extension a good citizen of its server: settings, processes and the wake-up between them, and how it
//! works inside a user's session: with whose rights, how long, and without ending his transaction.

pub mod background_worker;
pub mod cached_plan;
pub mod errors;
pub mod installation;
pub mod invalidation;
pub mod launcher;
pub mod planner;
pub mod security_context;
pub mod settings;
pub mod subtransaction;
pub mod timeouts;
pub mod wakeup;
pub mod warning;
pub mod worker_settings;
pub mod worker_stats;
