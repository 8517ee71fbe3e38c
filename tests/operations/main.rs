//! Operations: installation, backups, copies, standbys, monitoring.

mod backup_roles;
mod citus;
mod clone_fence;
mod dump;
mod hostile_settings;
mod install;
mod metrics;
mod publication;
mod standby;
mod statistics;
