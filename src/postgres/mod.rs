//! How the extension lives inside a PostgreSQL server.
//!
//! | what | file |
//! |---|---|
//! | settings | `settings/` |
//! | one worker per database, restarted when it ends | `launcher.rs` |
//! | signals, latches and transactions of our processes | `background_worker.rs` |
//! | settings that the worker depends on | `worker_settings.rs` |
//! | a commit wakes the worker | `wakeup.rs` |
//! | what a worker publishes in shared memory | `worker_stats.rs` |
//! | the identity of this installation, which the clone fence compares (`sql/install/clone_fence.sql`) | `installation.rs` |
//! | the roles and settings with which our code runs in a user's session | `security_context.rs` |
//! | errors that do not end the user's transaction | `subtransaction.rs` |
//! | errors and warnings that we raise | `errors.rs`, `warning.rs` |
//! | timeouts while we work in a user's commit | `timeouts.rs` |
//! | work that may take only some milliseconds | `time_limit.rs` |
//! | plans that a session keeps | `cached_plan.rs` |
//! | when a session has to reread what it has cached | `invalidation.rs` |
//! | sizes of our tables, for the planner | `planner.rs` |
//! | values of the server that outlive their statement | `varlena.rs` |

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
pub mod time_limit;
pub mod timeouts;
pub mod varlena;
pub mod wakeup;
pub mod warning;
pub mod worker_settings;
pub mod worker_stats;
