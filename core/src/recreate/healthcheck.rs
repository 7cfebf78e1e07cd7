//! Which parts of a health check are the user's.
//!
//! The engine merges key by key: a key that the user did not set is the image's. So a key that equals the image's is
//! taken for the image's, whatever it is called, and the rest is the user's. `--no-healthcheck` is a test of `["NONE"]`.

use serde_json::{Map, Value};

/// The user's keys, or `None` when all are the image's.
pub(super) fn users(container: &Map<String, Value>, image: &Map<String, Value>) -> Option<Map<String, Value>> {
    let own: Map<String, Value> = container
        .iter()
        .filter(|(key, value)| image.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (!own.is_empty()).then_some(own)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_keys_that_differ_from_the_image_are_the_users() {
        for (container, image, expect) in [
            (json!({}), json!({}), json!(null)),
            (json!({"Test": ["CMD", "a"], "Retries": 3}), json!({"Test": ["CMD", "a"], "Retries": 3}), json!(null)),
            (json!({"Test": ["CMD", "a"]}), json!({}), json!({"Test": ["CMD", "a"]})),
            (
                json!({"Test": ["CMD", "a"], "Interval": 5, "Timeout": 7}),
                json!({"Test": ["CMD", "a"], "Interval": 9, "Timeout": 7}),
                json!({"Interval": 5}),
            ),
            (
                json!({"Test": ["NONE"], "Interval": 9}),
                json!({"Test": ["CMD", "a"], "Interval": 9}),
                json!({"Test": ["NONE"]}),
            ),
            // A key that no engine has today.
            (json!({"Test": ["CMD"], "Later": 1}), json!({"Test": ["CMD"]}), json!({"Later": 1})),
            (json!({"Test": ["CMD"], "Later": 1}), json!({"Test": ["CMD"], "Later": 1}), json!(null)),
        ] {
            let map = |value: &Value| value.as_object().expect("an object").clone();
            let found = users(&map(&container), &map(&image)).map_or(Value::Null, Value::Object);
            assert_eq!(found, expect, "{container} on {image}");
        }
    }
}
