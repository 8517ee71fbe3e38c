//! Suggestions: what a misspelt name probably means.

use pgrx::prelude::*;

/// The known name that is most like the unknown one; null if none is alike.
#[pg_extern(immutable, strict, schema = "webhook_delivery")]
fn closest_name(unknown: &str, known: Vec<String>) -> Option<String> {
    let distance = |name: &String| strsim::damerau_levenshtein(unknown, name);
    let closest = known.into_iter().min_by_key(distance)?;
    // A fifth of the characters may differ.
    (distance(&closest) * 5 <= unknown.chars().count()).then_some(closest)
}
