//! Links between pages, and to headings.

use std::collections::BTreeSet;
use std::path::Path;

use webhook_harness::checkout;

use crate::pages;

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        if is_code || !line.starts_with('#') {
            continue;
        }
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        found.insert(kept.collect::<String>().replace(' ', "-"));
    }
    found
}

/// The targets of the links and images of a page.
fn targets(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let mut count = 0;
    for page in pages() {
        for target in targets(&page.text) {
            if target.starts_with("https://") || target.contains(' ') {
                continue;
            }
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = page.path.parent().unwrap_or(Path::new("")).join(file);
            let path = if file.is_empty() { checkout().join(&page.path) } else { checkout().join(path) };
            assert!(path.exists(), "{}: {target}", page.path.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&path).expect("a page");
                assert!(anchors(&text).contains(anchor), "{}: {target}", page.path.display());
            }
        }
    }
    assert!(count > 50, "{count} links");
}
