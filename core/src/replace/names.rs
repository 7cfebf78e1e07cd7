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
pub fn temporary(order: &StepOrder) -> String {
    format!("{}{NEW_INFIX}{}", order.container, short_key(&order.key))
}

/// Name of the old container while it is parked.
#[must_use]
pub fn parked(order: &StepOrder) -> String {
    format!("{}{OLD_INFIX}{}", order.container, short_key(&order.key))
}

/// Whether a container bears one of these names, so that it is part of a replacement and no instance of its own.
#[must_use]
pub fn is_in_replacement(name: &str) -> bool {
    name.contains(NEW_INFIX) || name.contains(OLD_INFIX)
}

/// The labels of the new container.
#[must_use]
pub fn labels(order: &StepOrder) -> Labels {
    [
        (LABEL_ROLLOUT, order.key.rollout.to_string()),
        (LABEL_STEP, order.key.step.to_string()),
        (LABEL_ROLE, ROLE_NEW.to_owned()),
        (LABEL_DIGEST, order.digest.to_string()),
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
        let order = order();
        assert_eq!(temporary(&order), "web.nightshift-new-59d13469a65a");
        assert_eq!(parked(&order), "web.nightshift-old-59d13469a65a");
        assert!(is_in_replacement(&temporary(&order)) && is_in_replacement(&parked(&order)));
        assert!(!is_in_replacement("web.nightshift"));
    }

    #[test]
    fn another_step_has_other_names() {
        let first = order();
        let mut others = vec![first.clone(), first.clone(), first.clone()];
        others[0].key.step = first.key.step.next();
        others[1].key.generation = first.key.generation.next();
        others[2].container.push('2');
        for other in others {
            assert_ne!(temporary(&first), temporary(&other));
            assert_ne!(parked(&first), parked(&other));
        }
    }

    #[test]
    fn a_keep_tag_names_app_and_image() {
        let app = "web".parse().expect("well formed");
        assert_eq!(keep_tag(&app, "sha256:0123456789abcdef"), "web-0123456789ab");
        assert_eq!(keep_tag(&app, "odd"), "web-odd");
    }
}
