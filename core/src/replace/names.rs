//! The names and labels that a replacement gives, all derived from the step's key: after a crash they are found again
//! without having been written down.

use crate::ids::AppName;
use crate::labels::Labels;
use crate::step::{StepKey, StepOrder};

/// Label with the rollout's id.
pub const LABEL_ROLLOUT: &str = "nightshift.rollout";
/// Label with the step's index.
pub const LABEL_STEP: &str = "nightshift.step";
/// Label with the part that a container plays; only the new one can carry it, the old one's name says it.
pub const LABEL_ROLE: &str = "nightshift.role";
/// Label with the digest that the container was made for.
pub const LABEL_DIGEST: &str = "nightshift.digest";
/// Value of [`LABEL_ROLE`].
pub const ROLE_NEW: &str = "new";

/// Repository of the local tags that keep images from being pruned. It is never pushed and no registry has it.
pub const KEEP_REPOSITORY: &str = "nightshift/keep";

const NEW_INFIX: &str = ".nightshift-new-";
const OLD_INFIX: &str = ".nightshift-old-";

/// Hexadecimal digits of an image id in a keep tag: what the engine shows, and an app has few images.
const KEEP_ID_CHARS: usize = 12;

/// FNV-1a: a number for a text, the same in every version of the program. No secret depends on it.
pub(super) fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Twelve hexadecimal digits that stand for a step. They keep names apart.
fn short_key(key: &StepKey) -> String {
    let text = format!("{}/{}/{}", key.rollout, key.step, key.generation);
    format!("{:012x}", fnv(&text) >> 16)
}

/// Name of the new container until it takes over the final one.
#[must_use]
pub fn temporary(container: &str, key: &StepKey) -> String {
    format!("{container}{NEW_INFIX}{}", short_key(key))
}

/// Name of the old container while it is parked.
#[must_use]
pub fn parked(container: &str, key: &StepKey) -> String {
    format!("{container}{OLD_INFIX}{}", short_key(key))
}

/// Whether a container bears one of these names, so that it is part of a replacement and no instance of its own.
#[must_use]
pub fn is_in_replacement(name: &str) -> bool {
    name.contains(NEW_INFIX) || name.contains(OLD_INFIX)
}

/// The labels of the new container.
pub(super) fn labels(order: &StepOrder) -> Labels {
    let mut labels = dependent_labels(order);
    labels.insert(LABEL_DIGEST.to_owned(), order.digest.to_string());
    labels
}

/// The labels of a new container that is made only because it depends on the instance: its image is its own.
pub(super) fn dependent_labels(order: &StepOrder) -> Labels {
    [
        (LABEL_ROLLOUT, order.key.rollout.to_string()),
        (LABEL_STEP, order.key.step.to_string()),
        (LABEL_ROLE, ROLE_NEW.to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The tag in [`KEEP_REPOSITORY`] that holds an image of an app.
#[must_use]
pub fn keep_tag(app: &AppName, image_id: &str) -> String {
    let hex = image_id.rsplit(':').next().unwrap_or(image_id);
    format!("{}{}", keep_prefix(app), hex.get(..KEEP_ID_CHARS).unwrap_or(hex))
}

/// The app's part of [`keep_tag`]. A hyphen follows the app's name, and an image id has none: apps do not mix.
pub(super) fn keep_prefix(app: &AppName) -> String {
    format!("{app}-")
}

#[cfg(test)]
mod tests {
    use super::super::tests::order;
    use super::*;

    #[test]
    fn names_are_the_same_in_every_process_and_version() {
        let key = order().key;
        assert_eq!(temporary("web", &key), "web.nightshift-new-59d13469a65a");
        assert_eq!(parked("web", &key), "web.nightshift-old-59d13469a65a");
        assert!(is_in_replacement(&temporary("web", &key)) && is_in_replacement(&parked("web", &key)));
        assert!(!is_in_replacement("web.nightshift"));
    }

    #[test]
    fn another_step_has_other_names() {
        let first = order().key;
        let next_step = StepKey { step: first.step.next(), ..first.clone() };
        let next_generation = StepKey { generation: first.generation.next(), ..first.clone() };
        for (container, key) in [("web", &next_step), ("web", &next_generation), ("web2", &first)] {
            assert_ne!(temporary("web", &first), temporary(container, key));
            assert_ne!(parked("web", &first), parked(container, key));
        }
    }

    #[test]
    fn a_keep_tag_names_app_and_image() {
        let app = "web".parse().expect("well formed");
        assert_eq!(keep_tag(&app, "sha256:0123456789abcdef"), "web-0123456789ab");
        assert_eq!(keep_tag(&app, "odd"), "web-odd");
    }
}
