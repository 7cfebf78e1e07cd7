//! `did you mean …`: which of the allowed words a mistyped one is near to.

/// Longest word that is compared: no key or word of ours is longer, and the comparison is quadratic.
const WORD_LIMIT_BYTES: usize = 64;

/// The allowed word that a person most likely meant, if one is near: equal but for case and `-` for `_`, begun with the
/// typed word or ending it, or at most about a third of the letters apart.
#[must_use]
pub fn nearest<'a>(typed: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if typed.len() > WORD_LIMIT_BYTES {
        return None;
    }
    let typed = normal(typed);
    let length = typed.chars().count();
    let scored = allowed.into_iter().filter_map(|word| {
        let plain = normal(word);
        let distance = distance(&typed, &plain);
        let near = distance * 3 <= (length + 1).max(3);
        let part = length >= 4 && (plain.starts_with(&typed) || plain.ends_with(&typed));
        (near || part).then_some((distance, word))
    });
    scored.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

fn normal(word: &str) -> String {
    word.to_lowercase().replace(['-', ' '], "_")
}

/// Letters to insert, remove, replace or swap with their neighbour to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_found_and_a_far_one_is_not() {
        let words = ["monitor", "canary_monitor", "max_age", "mode", "order"];
        for (typed, expect) in [
            ("montior", Some("monitor")),
            ("Monitor", Some("monitor")),
            ("max-age", Some("max_age")),
            ("maxage", Some("max_age")),
            ("canary", Some("canary_monitor")),
            ("mod", Some("mode")),
            ("oder", Some("order")),
            ("ordre", Some("order")),
            ("retries", None),
            ("", None),
            ("xyz", None),
        ] {
            assert_eq!(nearest(typed, words), expect, "{typed}");
        }
        assert_eq!(nearest(&"monitor".repeat(20), words), None);
    }
}
