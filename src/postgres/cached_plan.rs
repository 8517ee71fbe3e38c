//! Cached plans: a session plans these statements once.

use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, PreparedStatement, SpiClient, SpiResult};

/// The plan of a statement, made at its first use. For a field of a `thread_local`.
#[derive(Default)]
pub struct CachedPlan(Option<OwnedPreparedStatement>);

impl CachedPlan {
    pub const fn new() -> Self {
        Self(None)
    }

    /// The plan of a statement that only reads.
    pub fn for_reading(
        &mut self,
        client: &SpiClient<'_>,
        sql: &str,
        arguments: &[PgBuiltInOids],
    ) -> SpiResult<&OwnedPreparedStatement> {
        self.or_plan(arguments, |arguments| client.prepare(sql, arguments))
    }

    /// The plan of a statement that writes.
    pub fn for_writing(
        &mut self,
        client: &SpiClient<'_>,
        sql: &str,
        arguments: &[PgBuiltInOids],
    ) -> SpiResult<&OwnedPreparedStatement> {
        self.or_plan(arguments, |arguments| client.prepare_mut(sql, arguments))
    }

    fn or_plan<'conn>(
        &mut self,
        arguments: &[PgBuiltInOids],
        plan: impl FnOnce(&[pg_sys::PgOid]) -> SpiResult<PreparedStatement<'conn>>,
    ) -> SpiResult<&OwnedPreparedStatement> {
        Ok(match &mut self.0 {
            Some(known) => known,
            unplanned => {
                let arguments: Vec<pg_sys::PgOid> = arguments.iter().map(|oid| (*oid).into()).collect();
                unplanned.insert(plan(&arguments)?.keep())
            }
        })
    }
}
