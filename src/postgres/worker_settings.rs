//! Settings that the worker depends on, independently of those of the database and the role.

use std::ffi::CStr;

use pgrx::prelude::*;

/// How long a step of the worker waits for a lock of another session before the worker continues
/// with other steps.
const LOCK_TIMEOUT: &CStr = c"100ms";

/// The worker's own values. `ALTER DATABASE ... SET` and `ALTER ROLE ... SET` are meant for other
/// sessions.
const SETTINGS: &[(&CStr, &CStr)] = &[
    // The worker reads few rows by key from tables whose statistics are never right: full one
    // moment, empty the next. The planner must not choose a sequential scan because of them.
    (c"enable_seqscan", c"off"),
    (c"enable_bitmapscan", c"off"),
    (c"enable_sort", c"off"),
    (c"enable_hashjoin", c"off"),
    (c"enable_mergejoin", c"off"),
    (c"enable_nestloop", c"on"),
    (c"enable_indexscan", c"on"),
    (c"enable_tidscan", c"on"),
    (c"enable_indexonlyscan", c"on"),
    (c"enable_partition_pruning", c"on"),
    (c"jit", c"off"),
    (c"max_parallel_workers_per_gather", c"0"),
    (c"plan_cache_mode", c"force_generic_plan"),
    // Names resolve to the objects that we mean.
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"role", c"none"),
    (c"row_security", c"on"),
    // At a stricter level it would conflict with the users' transactions, and one of both would
    // fail.
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_deferrable", c"off"),
    (c"statement_timeout", c"0"),
    (c"transaction_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"idle_session_timeout", c"0"),
    (c"lock_timeout", LOCK_TIMEOUT),
    // The tablespace of the partitions must not depend on the role that creates them.
    (c"default_tablespace", c""),
    (c"default_table_access_method", c"heap"),
    // A damaged page is an error, as for autovacuum: no process may empty it unattended.
    (c"zero_damaged_pages", c"off"),
    // An error that is caught must not end the process.
    (c"exit_on_error", c"off"),
];

/// How statements are parsed, and how values are read and written as text, with the values that
/// pg_dump sets. Used in the worker, and in a user's session while we work there: the bytes of an
/// event must not depend on the session that writes the row.
pub const TEXT_FORMS: &[(&CStr, &CStr)] = &[
    (c"standard_conforming_strings", c"on"),
    (c"backslash_quote", c"safe_encoding"),
    (c"transform_null_equals", c"off"),
    (c"array_nulls", c"on"),
    (c"quote_all_identifiers", c"off"),
    (c"restrict_nonsystem_relation_kind", c""),
    (c"DateStyle", c"ISO, MDY"),
    (c"IntervalStyle", c"postgres"),
    // A day of the retention has 24 hours.
    (c"TimeZone", c"UTC"),
    (c"bytea_output", c"hex"),
    // The shortest text that reads back as the same number.
    (c"extra_float_digits", c"1"),
    (c"xmlbinary", c"base64"),
    (c"xmloption", c"content"),
    (c"lc_monetary", c"C"),
    (c"lc_numeric", c"C"),
    (c"lc_time", c"C"),
];

/// Usual values that write the same text as a value above, so that they need not be changed: to set
/// a value at each commit, and to reset it, takes a twentieth of the commit.
pub const SAME_TEXT_FORMS: &[(&CStr, &CStr)] = &[(c"UTC", c"Etc/UTC"), (c"C", c"C.UTF-8")];

/// Sets these settings for the life of this process; a reload does not change them.
pub fn pin_settings() {
    for (name, value) in SETTINGS.iter().chain(TEXT_FORMS) {
        // SAFETY: a NUL-terminated name; returns NULL for a setting that this version of Postgres
        // does not have.
        if !unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false) }.is_null() {
            set(name, value);
        }
    }
}

fn set(name: &CStr, value: &CStr) {
    // SAFETY: NUL-terminated texts that guc.c copies.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
        );
    }
}
