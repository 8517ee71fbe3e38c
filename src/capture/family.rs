//! From which tables is the data of an event read?

use std::ffi::CStr;

/// Events about the same kind of row: `submission.created` and `submission.updated` are of the family `submission`.
pub struct Family {
    /// What their types begin with.
    name: &'static str,
    /// The table in `public` whose rows they are about, and with whose owner's rights the data is read.
    pub table: &'static CStr,
    /// Gives `auction_id` and `data` of the rows whose keys are `$1`, of those that exist, in the order of the keys.
    pub payload: &'static str,
}

/// A file in `sql/capture/` each.
pub static FAMILIES: [Family; 1] =
    [Family { name: "submission", table: c"submissions", payload: include_str!("../../sql/capture/submission.sql") }];

/// The place of an event's family among [`FAMILIES`].
pub fn place_of(event_type: &str) -> Option<usize> {
    let (name, _) = event_type.split_once('.')?;
    FAMILIES.iter().position(|family| family.name == name)
}
