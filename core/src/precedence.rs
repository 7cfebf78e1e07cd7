//! Which containers of a node go first: what labels say about the order of replacements.
//!
//! Three labels are read: Nightshift's own `nightshift.after` and Watchtower's `depends-on`, which name containers, and
//! Compose's `depends_on`, which names services of the same project.

use crate::labels::Labels;

/// Nightshift's label: names of containers, joined by commas.
pub const AFTER_LABEL: &str = "nightshift.after";
/// Watchtower's label for the same; its names may begin with a slash.
pub const WATCHTOWER_DEPENDS_ON_LABEL: &str = "com.centurylinklabs.watchtower.depends-on";
/// Compose's label: `service:condition:restart` entries, joined by commas.
const COMPOSE_DEPENDS_ON_LABEL: &str = "com.docker.compose.depends_on";
const COMPOSE_PROJECT_LABEL: &str = "com.docker.compose.project";
const COMPOSE_SERVICE_LABEL: &str = "com.docker.compose.service";

/// Whether a container with these labels is to be replaced after another one of the same node.
#[must_use]
pub fn goes_after(labels: &Labels, other_name: &str, other_labels: &Labels) -> bool {
    let entries = |key: &str| labels.get(key).into_iter().flat_map(|list| list.split(',')).map(str::trim);
    let mut named = entries(AFTER_LABEL).chain(entries(WATCHTOWER_DEPENDS_ON_LABEL));
    if named.any(|name| name.trim_start_matches('/') == other_name) {
        return true;
    }
    let project = labels.get(COMPOSE_PROJECT_LABEL);
    let Some(service) = other_labels.get(COMPOSE_SERVICE_LABEL) else { return false };
    project.is_some()
        && project == other_labels.get(COMPOSE_PROJECT_LABEL)
        && entries(COMPOSE_DEPENDS_ON_LABEL).any(|entry| entry.split(':').next() == Some(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn own_labels_watchtowers_and_composes_are_read() {
        let db = labels(&[(COMPOSE_PROJECT_LABEL, "shop"), (COMPOSE_SERVICE_LABEL, "db")]);
        let in_shop = |depends: &str| labels(&[(COMPOSE_PROJECT_LABEL, "shop"), (COMPOSE_DEPENDS_ON_LABEL, depends)]);
        for (of, expect) in [
            (labels(&[(AFTER_LABEL, "cache, shop_db_1")]), true),
            (labels(&[(AFTER_LABEL, "shop_db")]), false),
            (labels(&[(WATCHTOWER_DEPENDS_ON_LABEL, "/shop_db_1")]), true),
            (in_shop("db:service_started:false,cache:service_healthy:true"), true),
            (in_shop("cache,db"), true),
            (in_shop("cache"), false),
            (labels(&[(COMPOSE_PROJECT_LABEL, "other"), (COMPOSE_DEPENDS_ON_LABEL, "db")]), false),
            (labels(&[(COMPOSE_DEPENDS_ON_LABEL, "db")]), false),
            (Labels::new(), false),
        ] {
            assert_eq!(goes_after(&of, "shop_db_1", &db), expect, "{of:?}");
        }
        assert!(!goes_after(&in_shop("db"), "db", &Labels::new()), "a service's name is no container's name");
    }
}
