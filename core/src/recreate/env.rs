//! Which variables of a container are the user's.
//!
//! The engine keeps the user's variables in front, in the order typed, and appends those of the image whose key the
//! user did not set. So the user's part is a prefix of the container's list, and the right one is the shortest that the
//! engine's merge continues to exactly this list. An explicit `-e KEY=value` that equals the old image's default is
//! recognised by its place and stays; only where it stands exactly where the default would stand, nothing in the
//! container tells the two apart, and it follows the image.

use std::collections::BTreeSet;

/// The name of a variable: the part before `=`. An entry without `=` (`-e NAME`, to drop a default) is all name.
fn key(entry: &str) -> &str {
    entry.split('=').next().unwrap_or(entry)
}

/// How many entries of the container's list are the user's.
///
/// # Errors
/// The list is no merge of anything with this image; the variable of the image that shows it.
pub(super) fn users_count(container: &[&str], image: &[&str]) -> Result<usize, String> {
    let mut keys = BTreeSet::new();
    for count in 0..=container.len() {
        let rest = container.get(count..).unwrap_or_default();
        if is_merged_tail(rest, image, &keys) {
            return Ok(count);
        }
        if let Some(entry) = container.get(count) {
            keys.insert(key(entry));
        }
    }
    // The last round compared nothing with what the image adds to *all* entries: so the image has a key that is in none.
    let lost = image.iter().find(|entry| !keys.contains(key(entry)));
    Err(key(lost.unwrap_or(&"")).to_owned())
}

/// Whether `tail` is what the engine appends for this image to user's variables of these keys.
fn is_merged_tail(tail: &[&str], image: &[&str], users_keys: &BTreeSet<&str>) -> bool {
    if users_keys.is_empty() {
        // Without any of the user's, the engine takes the image's list as it stands, repeated keys included.
        return tail == image;
    }
    let mut appended = BTreeSet::new();
    let mut tail = tail.iter();
    for entry in image {
        if users_keys.contains(key(entry)) || !appended.insert(key(entry)) {
            continue;
        }
        if tail.next() != Some(entry) {
            return false;
        }
    }
    tail.next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the engine does on creation.
    fn merge(user: &[String], image: &[String]) -> Vec<String> {
        if user.is_empty() {
            return image.to_vec();
        }
        let mut merged = user.to_vec();
        for entry in image {
            if !merged.iter().any(|known| key(known) == key(entry)) {
                merged.push(entry.clone());
            }
        }
        merged
    }

    fn count(container: &[String], image: &[String]) -> Result<usize, String> {
        users_count(
            &container.iter().map(String::as_str).collect::<Vec<_>>(),
            &image.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_users_variables_are_the_shortest_prefix_that_merges_to_the_whole() {
        for (user, image, expect) in [
            ("", "", ""),
            ("", "A=1 B=2", ""),
            ("X=9", "A=1 B=2", "X=9"),
            ("A=9", "A=1 B=2", "A=9"),
            ("B=2", "A=1 B=2", "B=2"),
            ("B=", "A=1 B=2", "B="),
            ("B", "A=1 B=2", "B"),
            ("X=1 B=2", "A=1 B=2", "X=1 B=2"),
            ("X=1 X=2", "A=1", "X=1 X=2"),
            // These stand where the image's own would stand: nothing tells them apart.
            ("A=1", "A=1 B=2", ""),
            ("A=1 B=2", "A=1 B=2", ""),
            ("X=1 A=1", "A=1 B=2", "X=1"),
            // An image that sets a key twice.
            ("", "A=1 A=2", ""),
            ("X=1", "A=1 A=2", "X=1"),
            ("A=3", "A=1 A=2", "A=3"),
        ] {
            let (user, image, expect) = (words(user), words(image), words(expect));
            let container = merge(&user, &image);
            let found = count(&container, &image).map(|count| container[..count].to_vec());
            assert_eq!(found, Ok(expect), "user {user:?}, image {image:?}");
        }
    }

    #[test]
    fn a_list_that_no_merge_makes_is_told() {
        assert_eq!(count(&words("X=1"), &words("A=1")), Err("A".to_owned()));
        assert_eq!(count(&[], &words("A=1")), Err("A".to_owned()));
    }

    fn entries() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[A-D](=[0-2]?)?", 0..6)
    }

    proptest! {
        #[test]
        fn the_users_part_merges_to_the_container_again(user in entries(), old in entries()) {
            let container = merge(&user, &old);
            let count = count(&container, &old).expect("a merge is always recognised");
            prop_assert!(count <= user.len());
            prop_assert_eq!(&user[..count], &container[..count]);
            prop_assert_eq!(merge(&user[..count], &old), container);
        }

        #[test]
        fn on_the_new_image_it_is_what_the_same_command_gives(user in entries(), old in entries(), new in entries()) {
            // What a user types exactly as the old image says it may be taken for the image's: leave it out here.
            let user: Vec<String> = user.into_iter().filter(|entry| !old.contains(entry)).collect();
            let container = merge(&user, &old);
            let count = count(&container, &old).expect("a merge is always recognised");
            prop_assert_eq!(merge(&container[..count], &new), merge(&user, &new));
        }

        #[test]
        fn what_is_taken_for_the_images_equals_its_default(user in entries(), old in entries()) {
            let container = merge(&user, &old);
            let count = count(&container, &old).expect("a merge is always recognised");
            prop_assert!(user[count..].iter().all(|entry| old.contains(entry)), "{:?} of {:?}", count, user);
        }
    }
}
