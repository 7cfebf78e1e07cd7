//! Containers that their labels take out: nothing of them is ever replaced.
//!
//! `nightshift.enable=false` does, and so does Watchtower's label for the same. Where both are there, Nightshift's own decides:
//! who moves from the one to the other sets Watchtower's to `false` and Nightshift's to `true`.

/// Nightshift's label.
pub const ENABLE_LABEL: &str = "nightshift.enable";
/// Watchtower's label for the same.
pub const WATCHTOWER_ENABLE_LABEL: &str = "com.centurylinklabs.watchtower.enable";

/// The label that takes a container out, if one does. A word other than `true` and `false` says nothing, as with Watchtower.
pub fn taken_out_by<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Option<&'static str> {
    let says = |key, word| label(key).is_some_and(|value: &str| value.eq_ignore_ascii_case(word));
    if says(ENABLE_LABEL, "true") {
        return None;
    }
    [ENABLE_LABEL, WATCHTOWER_ENABLE_LABEL].into_iter().find(|key| says(key, "false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_takes_a_container_out_and_nightshifts_own_decides() {
        let (own, other) = (ENABLE_LABEL, WATCHTOWER_ENABLE_LABEL);
        for (labels, expect) in [
            (&[] as &[(&str, &str)], None),
            (&[(own, "false")], Some(own)),
            (&[(other, "False")], Some(other)),
            (&[(own, "true"), (other, "false")], None),
            (&[(own, "false"), (other, "true")], Some(own)),
            (&[(own, "maybe"), (other, "false")], Some(other)),
            (&[(other, "true")], None),
            (&[(other, "")], None),
        ] {
            let label = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
            assert_eq!(taken_out_by(label), expect, "{labels:?}");
        }
    }
}
