//! Where are we? A copy of a database knows by this that it is one.

use pgrx::prelude::*;

#[pg_schema]
mod webhook_delivery {
    use pgrx::prelude::*;

    /// The identifier of this server's data, which every copy of its files shares and no other server has.
    #[pg_extern(stable, strict, parallel_safe)]
    fn system_identifier() -> i64 {
        // SAFETY: reads the control file's copy in shared memory.
        (unsafe { pg_sys::GetSystemIdentifier() }) as i64
    }

    /// The oid of this database, which a renamed one keeps and a copy does not share.
    #[pg_extern(stable, strict, parallel_safe)]
    fn database_oid() -> pg_sys::Oid {
        // SAFETY: set when the session began.
        unsafe { pg_sys::MyDatabaseId }
    }
}
