//! Suggestions: what a misspelt name probably means.

use pgrx::prelude::*;

/// Maximum number of characters of a name that is compared: the distance takes time with the product
/// of both, and cannot be cancelled.
const MAX_CHARACTERS: usize = 100;

/// Maximum number of known names.
const MAX_NAMES: usize = 1000;

/// The known name that is most like the unknown one; null if none is alike.
#[pg_extern(immutable, strict, schema = "webhook_delivery")]
fn closest_name(unknown: &str, known: Vec<Option<String>>) -> Option<String> {
    let is_short = |name: &str| name.chars().count() <= MAX_CHARACTERS;
    if !is_short(unknown) {
        return None;
    }
    let distance = |name: &String| strsim::damerau_levenshtein(unknown, name);
    let names = known.into_iter().flatten().take(MAX_NAMES).filter(|name| is_short(name));
    let closest = names.min_by_key(distance)?;
    // A fifth of the characters may differ.
    (distance(&closest) * 5 <= unknown.chars().count()).then_some(closest)
}
