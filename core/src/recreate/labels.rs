//! Which labels of a container are the user's, and which ones a replacement writes.

use serde_json::{Map, Value};

use crate::labels::Labels;

/// Labels in which a replacement keeps its own books on a container. They are never the user's. Every other label of
/// Nightshift (`nightshift.app`, `nightshift.after`, …) is written by the user.
pub const BOOKKEEPING_LABELS: [&str; 4] =
    ["nightshift.rollout", "nightshift.step", "nightshift.role", "nightshift.digest"];

/// Label in which Compose notes the id of the image; when it does not fit, `docker compose up` re-creates the container.
const COMPOSE_IMAGE_LABEL: &str = "com.docker.compose.image";

/// The labels of the new container: the user's (what the old image does not set just so), with Compose's note of the
/// image brought up to date, and this replacement's own.
pub(super) fn for_new(
    container: &Map<String, Value>,
    old_image: &Map<String, Value>,
    new_image_id: &str,
    own: &Labels,
) -> Map<String, Value> {
    let mut labels: Map<String, Value> = container
        .iter()
        .filter(|(key, value)| old_image.get(*key) != Some(*value) && !BOOKKEEPING_LABELS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if let Some(noted) = labels.get_mut(COMPOSE_IMAGE_LABEL) {
        *noted = Value::from(new_image_id);
    }
    labels.extend(own.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
    labels
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_of_the_user_stay_those_of_image_and_books_do_not() {
        let container = json!({
            "same": "as the image", "changed": "by the user", "added": "by the user", "empty": "",
            "nightshift.app": "web", "nightshift.after": "db",
            "nightshift.rollout": "r1", "nightshift.step": "1", "nightshift.role": "new", "nightshift.digest": "sha256:0",
            "com.docker.compose.image": "sha256:1", "com.docker.compose.service": "web",
        });
        let image = json!({"same": "as the image", "changed": "default", "com.docker.compose.service": "other"});
        let own = Labels::from([("nightshift.rollout".into(), "r2".into()), ("nightshift.role".into(), "new".into())]);
        let map = |value: Value| value.as_object().expect("an object").clone();
        let found = for_new(&map(container), &map(image), "sha256:2", &own);
        let expect = json!({
            "changed": "by the user", "added": "by the user", "empty": "",
            "nightshift.app": "web", "nightshift.after": "db",
            "nightshift.rollout": "r2", "nightshift.role": "new",
            "com.docker.compose.image": "sha256:2", "com.docker.compose.service": "web",
        });
        assert_eq!(Value::Object(found), expect);
    }
}
