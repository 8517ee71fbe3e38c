//! The security context: the role and the settings with which our statements run in a user's
//! session.
//!
//! A user who changes a row has no rights on the queue, and the queue's owner must not run code
//! that the user wrote. Therefore we act as two roles, each for its own tables: the extension's
//! owner, and the owner of an application's table.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::errors::refuse;
use super::settings;
use super::worker_settings::{SAME_TEXT_FORMS, TEXT_FORMS};

/// While it lives, this session acts as another role. An error ends the (sub)transaction, which
/// resets the role as well.
pub struct RoleGuard {
    user: pg_sys::Oid,
    security_context: i32,
    is_read_only: bool,
    /// Resets what the application's code has set. `None` if only our code runs, which sets
    /// nothing.
    level: Option<SettingsLevel>,
}

impl RoleGuard {
    /// The role that ran CREATE EXTENSION, for our own tables. Usually a superuser: its statements
    /// run under [`PinnedSettings`] (see [`as_extension_owner`]), or have every name and operator
    /// qualified. Raises 3F000 if the extension does not exist.
    pub fn of_extension_owner() -> Self {
        let Some(owner) = extension_owner() else {
            ereport!(ERROR, PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME, "schema webhook_delivery does not exist");
        };
        Self::take(owner, 0)
    }

    /// The owner of a table, for reading the application's tables; `None` if there is no such
    /// table.
    ///
    /// Views, casts and functions of the application run with the rights of the table's owner. As
    /// in the refresh of a materialized view, they can neither write nor leave anything behind in
    /// the session.
    pub fn of_owner_of(relation: pg_sys::Oid) -> Option<Self> {
        Self::of_table_owner(owner_of_relation(relation)?)
    }

    /// The same for this role, which owned a table of the application; the table may have been
    /// dropped. `None` if there is no such role.
    pub fn of_table_owner(owner: pg_sys::Oid) -> Option<Self> {
        attribute(pg_sys::SysCacheIdentifier::AUTHOID, owner, pg_sys::Anum_pg_authid_oid)?;
        let mut rights = Self::take(owner, pg_sys::SECURITY_RESTRICTED_OPERATION);
        rights.level = Some(SettingsLevel::begin());
        // SAFETY: a flag of the transaction; `drop` restores what `take` found.
        unsafe { pg_sys::XactReadOnly = true };
        Some(rights)
    }

    /// The role that the worker acts as. Statements that run while the guard lives cannot change
    /// the role.
    pub fn of_worker() -> Self {
        let name = settings::role();
        // SAFETY: a look-up by a NUL-terminated name, inside a transaction.
        let role = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
        if role == pg_sys::InvalidOid {
            let name = name.to_string_lossy();
            refuse(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                format!("role {name} does not exist"),
                format!(
                    "It is the value of webhook_delivery.role. Create it with nologin bypassrls, and then: select webhook_delivery.grant_worker('{name}')."
                ),
            );
        }
        Self::take(role, 0)
    }

    fn take(role: pg_sys::Oid, restriction: u32) -> Self {
        // SAFETY: plain reads and writes of this session's state; `drop` restores what is saved
        // here.
        unsafe {
            let (mut user, mut security_context) = (pg_sys::InvalidOid, 0);
            pg_sys::GetUserIdAndSecContext(&mut user, &mut security_context);
            pg_sys::SetUserIdAndSecContext(
                role,
                security_context | (pg_sys::SECURITY_LOCAL_USERID_CHANGE | restriction) as i32,
            );
            Self { user, security_context, is_read_only: pg_sys::XactReadOnly, level: None }
        }
    }
}

impl Drop for RoleGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // An SQL error is being raised: the abort resets all of this, in its own order.
            return;
        }
        if let Some(level) = &self.level {
            level.end();
        }
        // SAFETY: these are the values that `take` found.
        unsafe {
            pg_sys::SetUserIdAndSecContext(self.user, self.security_context);
            pg_sys::XactReadOnly = self.is_read_only;
        }
    }
}

/// While the value lives, statements run as the extension's owner and under [`PinnedSettings`].
pub fn as_extension_owner() -> (RoleGuard, PinnedSettings) {
    let settings = PinnedSettings::begin();
    (RoleGuard::of_extension_owner(), settings)
}

/// While it lives, our statements are parsed and planned independently of the user's settings.
pub struct PinnedSettings(SettingsLevel);

/// Name resolution, planning, and messages.
const SETTINGS: &[(&CStr, &CStr)] = &[
    // In these schemas no user can create an object that hides another.
    (c"search_path", c"pg_catalog, pg_temp"),
    // A policy that hides rows from the owner of their table would lose events: with off it raises
    // an error.
    (c"row_security", c"off"),
    // Planning a payload for each transaction would cost several times its execution.
    (c"plan_cache_mode", c"force_generic_plan"),
    // Rows are looked up by key. The planner's estimate of a table that this transaction has filled
    // can be wrong by a million rows, and the plan is kept.
    (c"enable_seqscan", c"off"),
    (c"enable_bitmapscan", c"off"),
    // Each row is looked up once.
    (c"enable_memoize", c"off"),
    (c"jit", c"off"),
    // A notice of the application's code may have characters that the client's encoding lacks,
    // which raises an error.
    (c"client_min_messages", c"error"),
];

impl PinnedSettings {
    pub fn begin() -> Self {
        let level = SettingsLevel::begin();
        for (name, value) in SETTINGS {
            set_locally(name, value);
        }
        // Most sessions have most of these values already, and a comparison is cheaper than a
        // change.
        for (name, value) in TEXT_FORMS.iter().filter(|(name, value)| is_set_otherwise(name, value)) {
            set_locally(name, value);
        }
        Self(level)
    }
}

impl Drop for PinnedSettings {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.end();
        }
    }
}

/// Settings that are changed within a level are reset when it ends, like those of a function's SET
/// clause.
pub struct SettingsLevel(i32);

impl SettingsLevel {
    pub fn begin() -> Self {
        // SAFETY: a counter; the level ends with `end`, or with the abort of the (sub)transaction.
        Self(unsafe { pg_sys::NewGUCNestLevel() })
    }

    pub fn end(&self) {
        // SAFETY: the level that `begin` began.
        unsafe { pg_sys::AtEOXact_GUC(false, self.0) };
    }
}

/// Sets a value until the current level ends.
pub fn set_locally(name: &CStr, value: &CStr) {
    // SAFETY: NUL-terminated texts that guc.c copies; a level has begun.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}

/// Whether the setting exists in this version of PostgreSQL and has another value.
fn is_set_otherwise(name: &CStr, value: &CStr) -> bool {
    // SAFETY: a NUL-terminated name in, a NUL-terminated value or null out, which is read before it
    // can change.
    unsafe {
        let present = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        !present.is_null() && {
            let present = CStr::from_ptr(present);
            present != value && !SAME_TEXT_FORMS.contains(&(value, present))
        }
    }
}

/// Whether the extension exists, as this transaction sees it.
pub fn extension_exists() -> bool {
    extension_owner().is_some()
}

/// The relation with this name; `None` if there is none.
pub fn relation(schema: &CStr, name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: look-ups by NUL-terminated names, inside a transaction.
    unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        let relation = pg_sys::get_relname_relid(name.as_ptr(), schema);
        (relation != pg_sys::InvalidOid).then_some(relation)
    }
}

pub fn owner_of_relation(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    attribute(pg_sys::SysCacheIdentifier::RELOID, relation, pg_sys::Anum_pg_class_relowner)
}

pub fn owner_of_function(function: pg_sys::Oid) -> Option<pg_sys::Oid> {
    attribute(pg_sys::SysCacheIdentifier::PROCOID, function, pg_sys::Anum_pg_proc_proowner)
}

fn extension_owner() -> Option<pg_sys::Oid> {
    // SAFETY: a look-up by a NUL-terminated name, inside a transaction.
    let schema = unsafe { pg_sys::get_namespace_oid(c"webhook_delivery".as_ptr(), true) };
    attribute(pg_sys::SysCacheIdentifier::NAMESPACEOID, schema, pg_sys::Anum_pg_namespace_nspowner)
}

/// An attribute of type oid that is never null, from the catalogue's row with this oid; `None` if
/// there is no such row.
fn attribute(cache: pg_sys::SysCacheIdentifier::Type, object: pg_sys::Oid, number: u32) -> Option<pg_sys::Oid> {
    // SAFETY: inside a transaction; the tuple is released after its attribute was copied.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache as i32, object.into());
        if tuple.is_null() {
            return None;
        }
        let mut is_null = false;
        let value = pg_sys::SysCacheGetAttr(cache as i32, tuple, number as i16, &mut is_null);
        pg_sys::ReleaseSysCache(tuple);
        Some(pg_sys::Oid::from(value.value() as u32))
    }
}
