//! README and docs: what is generated is current, every snippet runs, and every link leads
//! somewhere.

use std::fs;
use std::path::PathBuf;

use webhook_harness::checkout;

mod examples;
mod generated;
mod links;
mod snippets;

/// A page, with its path below the checkout.
struct Page {
    path: PathBuf,
    text: String,
}

/// README and the other pages for people.
fn pages() -> Vec<Page> {
    let mut paths: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(PathBuf::from).into();
    for entry in fs::read_dir(checkout().join("docs")).expect("docs/") {
        paths.push(PathBuf::from("docs").join(entry.expect("docs/").file_name()));
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(checkout().join(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Page { path, text }
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn readme_is_short_and_prose_fits_100_columns() {
    for page in pages() {
        if page.path.ends_with("README.md") {
            assert!(page.text.lines().count() <= 200, "README.md has {} lines", page.text.lines().count());
        }
        let mut is_code = false;
        for (number, line) in page.text.lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            let is_prose =
                !is_code && !["|", "<!--", "![", "#"].iter().any(|start| line.trim_start().starts_with(start));
            // Links cannot be broken.
            let length = line.split("](").next().unwrap_or_default().chars().count();
            assert!(!is_prose || length <= 100, "{}:{}: {length} columns", page.path.display(), number + 1);
        }
    }
}
