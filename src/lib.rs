//! webhook_delivery: signed webhooks from inside the database.
//!
//! One delivery, from the row change to the recorded attempt:
//!
//! | step | where |
//! |---|---|
//! | a row changes, its key is noted, the event is built and written at commit | `capture/`, `sql/families/` |
//! | the commit wakes the worker | `postgres/wakeup.rs` |
//! | the launcher has started a worker in each database | `postgres/launcher.rs`, `delivery/worker.rs` |
//! | the fetcher reads what is due | `delivery/fetcher.rs` |
//! | a thread signs and sends | `sender/`, a crate of its own that links without PostgreSQL |
//! | the completer records finished attempts | `delivery/completer.rs`, `delivery/statements.rs` |
//!
//! The other parts: `endpoint/` (what a customer writes: URL, headers, secret; diagnosis),
//! `history/` (redeliver, recover, replay, cancel, expunge), `page/` (the administrator's page),
//! `postgres/` (how the extension lives inside a server), `access.rs` (who administers an auction:
//! the auction is the tenant), `ids.rs` (time-ordered uuids), `timestamp.rs` (PostgreSQL's
//! timestamps), `triggers.rs` (the trigger functions).

use pgrx::prelude::*;

mod access;
mod capture;
mod delivery;
mod endpoint;
mod error_kind;
mod history;
mod ids;
mod page;
mod postgres;
mod timestamp;
mod triggers;

pgrx::pg_module_magic!(name, version);

/// Runs in the postmaster when the server starts, and in any backend of a server that does not
/// preload us.
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // SAFETY: both are plain flags that Postgres set before it loaded us; nothing else runs in this
    // process yet.
    let (preloading, upgrading) =
        unsafe { (pg_sys::process_shared_preload_libraries_in_progress, pg_sys::IsBinaryUpgrade) };
    if upgrading {
        // pg_upgrade loads every library to check that it can be loaded; a worker would write while
        // pg_upgrade copies.
        return;
    }
    if !preloading {
        refuse_to_load_late();
    }
    postgres::installation::detect_restore();
    page::define_settings();
    postgres::settings::define();
    postgres::wakeup::init();
    postgres::worker_stats::init();
    postgres::invalidation::init();
    postgres::planner::init();
    capture::init();
    endpoint::secret::init();
    postgres::launcher::init();
    postgres::launcher::register();
}

/// Shared memory and the launcher are created only at the server's start. Without them events would
/// be queued and never sent.
fn refuse_to_load_late() {
    // SAFETY: a NUL-terminated name in, a NUL-terminated value (or NULL, for an unknown name) out,
    // valid until the next change.
    let config_file = unsafe {
        let value = pg_sys::GetConfigOption(c"config_file".as_ptr(), true, false);
        if value.is_null() { "postgresql.conf".into() } else { std::ffi::CStr::from_ptr(value).to_string_lossy() }
    };
    pg_sys::panic::ErrorReport::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "webhook_delivery must be loaded when the server starts",
        pgrx::function_name!(),
    )
    .set_hint(format!(
        "Add the line shared_preload_libraries = 'webhook_delivery' to {config_file} (after a comma if the setting \
         already names libraries) and restart the server."
    ))
    .report(PgLogLevel::ERROR);
}

extension_sql_file!("../sql/install/begin.sql", name = "begin", bootstrap);
extension_sql_file!(
    "../sql/install/event_types.sql",
    name = "event_types",
    requires = [uuid_v7, uuid_v7_time, announce_change]
);
extension_sql_file!("../sql/install/endpoints.sql", name = "endpoints", requires = ["event_types", new_endpoint_id]);
extension_sql_file!(
    "../sql/install/endpoint_checks.sql",
    name = "endpoint_checks",
    requires = ["endpoints", closest_name]
);
extension_sql_file!(
    "../sql/install/filter.sql",
    name = "filter",
    requires = ["endpoint_checks", preview_filter, matches_filter, normal_filter]
);
extension_sql_file!(
    "../sql/install/endpoint_writes.sql",
    name = "endpoint_writes",
    requires = ["filter", take_new_endpoint_id, seal_secret, stash_signing_key, take_stashed_signing_key]
);
extension_sql_file!("../sql/install/storage.sql", name = "storage", requires = ["endpoint_writes"]);
extension_sql_file!("../sql/install/queue.sql", name = "queue", requires = ["storage", uuid_v7_time]);
extension_sql_file!(
    "../sql/install/clone_fence.sql",
    name = "clone_fence",
    requires = ["queue", system_identifier, database_oid, restore_id]
);
extension_sql_file!("../sql/install/partitions.sql", name = "partitions", requires = ["clone_fence"]);
extension_sql_file!("../sql/install/citus.sql", name = "citus", requires = ["partitions"]);
extension_sql_file!("../sql/install/contract.sql", name = "contract", requires = ["citus"]);
// Each of these files has one family of events.
extension_sql_file!("../sql/families/submission.sql", name = "submission", requires = ["contract"]);
extension_sql_file!("../sql/families/inspection.sql", name = "inspection", requires = ["submission"]);
extension_sql_file!("../sql/families/problem.sql", name = "problem", requires = ["inspection"]);
extension_sql_file!("../sql/families/message.sql", name = "message", requires = ["problem"]);
extension_sql_file!("../sql/families/channel.sql", name = "channel", requires = ["message"]);
extension_sql_file!("../sql/families/member.sql", name = "member", requires = ["channel"]);
extension_sql_file!(
    "../sql/install/install_triggers.sql",
    name = "install_triggers",
    requires = ["member", capture_row_change, capture_partition_move]
);
extension_sql_file!(
    "../sql/install/own_events.sql",
    name = "own_events",
    requires = ["install_triggers", row_event, set_payload_function, check_attached_triggers, backfill_rows]
);
extension_sql_file!("../sql/install/idempotent_emit.sql", name = "idempotent_emit", requires = ["own_events", emit]);
extension_sql_file!("../sql/install/access.sql", name = "access", requires = ["idempotent_emit"]);
extension_sql_file!("../sql/install/history.sql", name = "history", requires = ["access"]);
extension_sql_file!("../sql/install/test_webhook.sql", name = "test_webhook", requires = ["history"]);
extension_sql_file!("../sql/install/rotate_secret.sql", name = "rotate_secret", requires = ["test_webhook"]);
extension_sql_file!(
    "../sql/install/redeliver.sql",
    name = "redeliver",
    requires = ["rotate_secret", redeliver_visible, cancel, replay]
);
extension_sql_file!("../sql/install/all_nodes.sql", name = "all_nodes", requires = ["redeliver", deliveries_of_nodes]);
extension_sql_file!("../sql/install/request.sql", name = "request", requires = ["all_nodes", request_of]);
extension_sql_file!("../sql/install/expunge.sql", name = "expunge_data", requires = ["request", expunge]);
extension_sql_file!(
    "../sql/install/operator.sql",
    name = "operator",
    requires = ["expunge_data", worker_report, launcher_state]
);
extension_sql_file!("../sql/install/health.sql", name = "health", requires = ["operator", wake]);
extension_sql_file!("../sql/install/diagnose.sql", name = "diagnose", requires = ["health", diagnose_endpoint]);
extension_sql_file!("../sql/install/metrics.sql", name = "metrics", requires = ["diagnose"]);
extension_sql_file!("../sql/install/page.sql", name = "page", requires = ["metrics", named_auctions, webhook_admin]);
extension_sql_file!("../sql/install/worker.sql", name = "worker", requires = ["page"]);
extension_sql_file!("../sql/install/finish.sql", name = "finish", requires = ["worker", emit], finalize);
