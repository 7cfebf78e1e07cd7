//! Which images of an app a node may let go of.
//!
//! Every image that Nightshift pulls or replaces is held by a tag of its own ([`super::keep_tag`]). After a commit the
//! surplus is removed: by reference, never forced, and nothing that a person tagged or that a container uses.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::names::{KEEP_REPOSITORY, keep_prefix};
use crate::ids::AppName;
use crate::image::Repository;

/// An image of the engine's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldImage {
    /// The engine's id.
    pub id: String,
    /// `repository:tag` names.
    pub tags: Vec<String>,
    /// `repository@sha256:…` names.
    pub digests: Vec<String>,
    /// When it was built.
    pub created: DateTime<Utc>,
}

/// References to remove, in order. `running` is the image that the app runs now on this node, `used` are the ids of
/// images that any container was made from.
///
/// An image built after the running one is no *earlier* image: it may have been fetched for the next rollout and stays.
#[must_use]
pub fn surplus(
    app: &AppName,
    repository: &Repository,
    running: &str,
    keep: u32,
    images: &[HeldImage],
    used: &BTreeSet<String>,
) -> Vec<String> {
    let Some(running_created) = images.iter().find(|image| image.id == running).map(|image| image.created) else {
        return Vec::new();
    };
    let mut earlier: Vec<(&HeldImage, &String)> = images
        .iter()
        .filter(|image| image.id != running && image.created <= running_created)
        .filter_map(|image| Some((image, image.tags.iter().find(|tag| is_kept_for(app, tag))?)))
        .collect();
    earlier.sort_by(|(a, _), (b, _)| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let mut references = Vec::new();
    for (image, keep_tag) in earlier.into_iter().skip(keep).filter(|(image, _)| !used.contains(&image.id)) {
        let ours_alone = image.tags.len() == 1;
        let digest_prefix = format!("{}@", repository.familiar());
        // The tag goes last: until then the image is found again when the clean-up is cut short.
        if ours_alone {
            references.extend(image.digests.iter().filter(|digest| digest.starts_with(&digest_prefix)).cloned());
        }
        references.push(keep_tag.clone());
    }
    references
}

fn is_kept_for(app: &AppName, tag: &str) -> bool {
    let rest = tag.strip_prefix(KEEP_REPOSITORY).and_then(|rest| rest.strip_prefix(':'));
    rest.and_then(|rest| rest.strip_prefix(keep_prefix(app).as_str())).is_some_and(|id| !id.contains('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, day: u32, tags: &[&str]) -> HeldImage {
        HeldImage {
            id: format!("sha256:{id}"),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            digests: vec![format!("r.example/web@sha256:{id}")],
            created: DateTime::from_timestamp(i64::from(day) * 86_400, 0).expect("in range"),
        }
    }

    fn check(keep: u32, used: &[&str], expect: &[&str]) {
        let images = [
            image("next", 9, &["nightshift/keep:web-next"]),
            image("now", 5, &["r.example/web:stable", "nightshift/keep:web-now"]),
            image("tagged", 4, &["r.example/web:1.2", "nightshift/keep:web-tagged"]),
            image("prev", 3, &["nightshift/keep:web-prev"]),
            image("older", 2, &["nightshift/keep:web-older"]),
            image("of-other", 1, &["nightshift/keep:web-b-other"]),
            image("foreign", 1, &["r.example/web:1.0"]),
        ];
        let app = "web".parse().expect("well formed");
        let repository = "r.example/web".parse().expect("well formed");
        let used = used.iter().map(|id| format!("sha256:{id}")).collect();
        assert_eq!(surplus(&app, &repository, "sha256:now", keep, &images, &used), expect, "keep {keep}, {used:?}");
    }

    #[test]
    fn the_last_earlier_images_are_kept() {
        let older = ["r.example/web@sha256:older", "nightshift/keep:web-older"];
        let prev = ["r.example/web@sha256:prev", "nightshift/keep:web-prev"];
        check(3, &[], &[]);
        check(2, &[], &older);
        check(1, &[], &[prev, older].concat());
        // A tag that a person made keeps the image: only our own name goes.
        check(0, &[], &[&["nightshift/keep:web-tagged"], &prev[..], &older[..]].concat());
    }

    #[test]
    fn what_a_container_uses_is_never_touched() {
        check(1, &["older"], &["r.example/web@sha256:prev", "nightshift/keep:web-prev"]);
        check(0, &["older", "prev", "tagged"], &[]);
    }

    #[test]
    fn nothing_goes_when_the_running_image_is_not_in_the_list() {
        let app = "web".parse().expect("well formed");
        let repository = "r.example/web".parse().expect("well formed");
        let images = [image("older", 2, &["nightshift/keep:web-older"])];
        assert_eq!(surplus(&app, &repository, "sha256:now", 0, &images, &BTreeSet::new()), Vec::<String>::new());
    }
}
