//! `docs/fidelity.md` names every kind, and no other.

use std::collections::BTreeSet;

use crate::kinds::KINDS;

/// In the page a kind stands in backticks in the last column of a table, and a kind is a word of small letters.
fn named(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let last = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    last.flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_page_names_every_kind() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fidelity.md");
    let page = std::fs::read_to_string(path).expect("it is in the tree");
    let kinds: BTreeSet<String> = KINDS.iter().map(|kind| kind.name.to_owned()).collect();
    assert_eq!(kinds.len(), KINDS.len(), "two kinds have one name");
    let named = named(&page);
    assert_eq!(kinds.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new(), "not on the page");
    assert_eq!(named.difference(&kinds).collect::<Vec<_>>(), Vec::<&String>::new(), "only on the page");
}
