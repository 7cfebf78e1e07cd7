//! How an app would find its containers, and what it would be called.

use std::collections::BTreeSet;

use super::{Group, Placed};
use crate::ids::{AppName, NAME_LIMIT_BYTES};
use crate::spec::{APP_LABEL, InstanceSelector, NamePattern};

/// Shortest text before the `*` of a name pattern: less says too little about what comes later.
const STEM_LIMIT: usize = 2;

/// The first way that finds all of the group and nothing else on these nodes: its label, its names, its image.
pub(super) fn selector(group: &Group<'_>, all: &[Placed<'_>]) -> Option<InstanceSelector> {
    let candidates = [label(group), names(group), Some(InstanceSelector::Image)];
    candidates.into_iter().flatten().find(|selector| finds_only(selector, group, all))
}

fn label(group: &Group<'_>) -> Option<InstanceSelector> {
    let mut values = group.members.iter().map(|(_, one)| one.labels.get(APP_LABEL));
    let first = values.next()??.clone();
    values
        .all(|value| value == Some(&first))
        .then(|| InstanceSelector::Label { key: APP_LABEL.to_owned(), value: first })
}

fn names(group: &Group<'_>) -> Option<InstanceSelector> {
    let names: BTreeSet<&str> = group.members.iter().map(|(_, one)| one.name.as_str()).collect();
    let (first, last) = (names.first()?, names.last()?);
    let pattern = if names.len() == 1 {
        (*first).to_owned()
    } else {
        let same = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
        let stem = first.get(..same)?;
        if stem.len() < STEM_LIMIT {
            return None;
        }
        // `web-1` and `web-12` are `web-*`, not `web-1*`.
        format!("{}*", stem.trim_end_matches(|c: char| c.is_ascii_digit()))
    };
    pattern.parse::<NamePattern>().ok().map(InstanceSelector::Name)
}

fn finds_only(selector: &InstanceSelector, group: &Group<'_>, all: &[Placed<'_>]) -> bool {
    let repository = &group.image.repository;
    let finds = |(_, one): &Placed<'_>| selector.matches(&one.name, &one.labels, &one.image, repository);
    let is_member =
        |(node, one): &Placed<'_>| group.members.iter().any(|(on, member)| on == node && member.name == one.name);
    group.members.iter().all(finds) && all.iter().filter(|one| finds(one)).all(is_member)
}

/// A name that no other app has: the label's value, the service, or the last part of the image; with the project's before it, or a number
/// behind it, where that is taken.
pub(super) fn name(group: &Group<'_>, selector: &InstanceSelector, taken: &BTreeSet<AppName>) -> AppName {
    let label = match selector {
        InstanceSelector::Label { value, .. } => Some(value.clone()),
        InstanceSelector::Name(_) | InstanceSelector::Image => None,
    };
    let path = group.image.repository.path();
    let image = path.rsplit('/').next().unwrap_or(path);
    let short = label.or_else(|| group.service.clone()).unwrap_or_else(|| image.to_owned());
    let long = group.project.as_ref().map(|project| format!("{project}-{short}"));
    let numbered = (2..).map(|number| format!("{short}-{number}"));
    let mut words = [Some(short.clone()), long].into_iter().flatten().chain(numbered);
    words.find_map(|word| legal(&word).filter(|name| !taken.contains(name))).expect("some number is free")
}

/// The word as a name, without what a name may not have.
fn legal(word: &str) -> Option<AppName> {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let text: String = word.chars().map(allowed).collect();
    let text = text.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let start = text.len().saturating_sub(NAME_LIMIT_BYTES);
    // A number at the end tells it from others: what is too long loses its beginning.
    text.get(start..)?.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).parse().ok()
}
