//! From which tables is the data of an event read?

use std::ffi::CStr;

/// Events about the same kind of row: `submission.created` and `submission.updated` are of the family `submission`.
pub struct Family {
    /// What their types begin with.
    name: &'static str,
    /// The table in `public` whose rows they are about, and with whose owner's rights the data is read.
    pub table: &'static CStr,
    /// Gives the auctions and the data of the rows whose keys are `$1`, of those that exist, as two arrays in the order of
    /// the keys; nulls where none exists.
    pub payloads: &'static str,
}

/// A file gives `auction_id` and `data` of each row. The casts are what makes it safe to take the arrays as they are: the
/// columns belong to the application, which may give them any type at any time.
macro_rules! payloads_of {
    ($file:literal) => {
        concat!(
            "select array_agg(built.auction_id::uuid), array_agg(built.data::json) from (",
            include_str!(concat!("../../sql/capture/", $file)),
            ") as built"
        )
    };
}

/// A file in `sql/capture/` each.
pub static FAMILIES: [Family; 1] =
    [Family { name: "submission", table: c"submissions", payloads: payloads_of!("submission.sql") }];

/// The place of an event's family among [`FAMILIES`].
pub fn place_of(event_type: &str) -> Option<usize> {
    let (name, _) = event_type.split_once('.')?;
    FAMILIES.iter().position(|family| family.name == name)
}
