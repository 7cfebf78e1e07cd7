//! The unit of a container: what lives in its namespaces, uses its volumes through it, or is linked to it.
//!
//! A container that joined the network, the processes, the shared memory or the volumes of another one, or that is linked
//! to it, holds that very container and not its name. When that one is replaced, it must be made anew, too, or it would
//! hang on to what is gone. So they are one unit: created together, stopped last to first, started first to last, and
//! taken back together.

use std::collections::BTreeMap;

use serde_json::Value;

use super::names;
use super::part::Part;
use crate::container;
use crate::ids::ContainerId;
use crate::precedence::goes_after;
use crate::step::StepKey;

/// Most dependents of one container. A pod of a dozen is large; a hundred is a mistake in somebody's labels.
const DEPENDENT_LIMIT: usize = 32;

/// Settings by which a container can live in a namespace of another one.
const SHARED_NAMESPACES: [(&str, &str); 3] =
    [("NetworkMode", "shares its network"), ("PidMode", "shares its processes"), ("IpcMode", "shares its memory")];

/// A container, by what others may call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The engine's id.
    pub id: ContainerId,
    /// Name without the leading slash.
    pub name: String,
}

impl Place {
    fn of(inspect: &Value) -> Option<Self> {
        let text = |key: &str| inspect.get(key).and_then(Value::as_str);
        Some(Self { id: ContainerId(text("Id")?.to_owned()), name: text("Name")?.trim_start_matches('/').to_owned() })
    }

    /// Whether a setting means this container. The engine takes any unambiguous beginning of an id; what is shorter than
    /// the short form that it shows is not believed to be one.
    fn is_meant_by(&self, reference: &str) -> bool {
        reference == self.name || (reference.len() >= self.id.short().len() && self.id.0.starts_with(reference))
    }
}

/// Which of the other containers depend on this one, directly or through each other: their places in `others`, each after
/// those that it depends on itself.
///
/// # Errors
/// There are more than can be meant.
pub fn dependents(of: &Place, others: &[Value]) -> Result<Vec<usize>, String> {
    let mut unit = vec![of.clone()];
    let mut found: Vec<usize> = Vec::new();
    loop {
        let next = others.iter().enumerate().find(|(index, other)| {
            !found.contains(index) && unit.iter().any(|place| dependence(other, place).is_some())
        });
        let Some((index, other)) = next else { break };
        if found.len() == DEPENDENT_LIMIT {
            return Err(format!("more than {DEPENDENT_LIMIT} containers depend on `{}`", of.name));
        }
        found.push(index);
        unit.extend(Place::of(other));
    }
    Ok(in_order(&found, others))
}

/// Each after those of the same unit that it depends on: by what it shares, and by what its labels say it comes after.
fn in_order(found: &[usize], others: &[Value]) -> Vec<usize> {
    let mut left: Vec<usize> = found.to_vec();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let waits = |index: &usize| {
            let earlier = left.iter().filter(|other| *other != index);
            earlier.into_iter().any(|other| goes_after_in_unit(&others[*index], &others[*other]))
        };
        // In a circle of labels there is no right order: the engine's own will do.
        let free = left.iter().position(|index| !waits(index)).unwrap_or(0);
        ordered.push(left.remove(free));
    }
    ordered
}

fn goes_after_in_unit(inspect: &Value, other: &Value) -> bool {
    let Some(place) = Place::of(other) else { return false };
    let (own, others) = (container::labels(inspect), container::labels(other));
    dependence(inspect, &place).is_some() || goes_after(&own, &place.name, &others)
}

/// How a container depends on another one; `None` when it does not.
pub(super) fn dependence(inspect: &Value, on: &Place) -> Option<&'static str> {
    let host = inspect.get("HostConfig")?;
    let text = |key: &str| host.get(key).and_then(Value::as_str).unwrap_or_default();
    for (key, words) in SHARED_NAMESPACES {
        if text(key).strip_prefix("container:").is_some_and(|target| on.is_meant_by(target)) {
            return Some(words);
        }
    }
    let texts = |key: &str| {
        let list = host.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(|entry| entry.trim_start_matches('/')).collect::<Vec<_>>()
    };
    let first = |entry: &str| on.is_meant_by(entry.split(':').next().unwrap_or_default());
    if texts("VolumesFrom").into_iter().any(first) {
        return Some("uses its volumes");
    }
    texts("Links").into_iter().any(first).then_some("is linked to it")
}

/// The create body of a part, now that those before it have been created: what names an old container of the unit by its
/// id, or is bound to it whatever name it bears, gets the new one.
pub(super) fn create_body<'a>(body: &Value, earlier: impl Iterator<Item = &'a Part>, key: &StepKey) -> Value {
    let mut body = body.clone();
    let made: Vec<(&Part, &ContainerId)> = earlier.filter_map(|part| Some((part, part.new_id.as_ref()?))).collect();
    let by_id: BTreeMap<String, String> = made.iter().map(|(part, new)| (part.id.0.clone(), new.0.clone())).collect();
    let by_name = made.iter().map(|(part, _)| (part.name.clone(), names::temporary(&part.name, key))).collect();
    crate::recreate::repoint(&mut body, &by_id, &by_name);
    body
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(letter: char) -> String {
        letter.to_string().repeat(64)
    }

    fn web() -> Place {
        Place { id: ContainerId(id('a')), name: "web".to_owned() }
    }

    fn container(letter: char, name: &str, host: &Value) -> Value {
        json!({"Id": id(letter), "Name": format!("/{name}"), "Config": {"Labels": {}}, "HostConfig": host})
    }

    #[test]
    fn who_shares_something_with_a_container_depends_on_it() {
        let by_id = format!("container:{}", id('a'));
        let by_short_id = format!("container:{}", &id('a')[..12]);
        let too_short = format!("container:{}", &id('a')[..11]);
        for (host, expect) in [
            (json!({"NetworkMode": by_id}), Some("shares its network")),
            (json!({"NetworkMode": by_short_id}), Some("shares its network")),
            (json!({"NetworkMode": "container:web"}), Some("shares its network")),
            (json!({"PidMode": by_id}), Some("shares its processes")),
            (json!({"IpcMode": by_id}), Some("shares its memory")),
            (json!({"VolumesFrom": ["web:ro"]}), Some("uses its volumes")),
            (json!({"VolumesFrom": ["other", id('a')]}), Some("uses its volumes")),
            (json!({"Links": ["/web:/side/www"]}), Some("is linked to it")),
            (json!({"NetworkMode": too_short}), None),
            (json!({"NetworkMode": "container:webber", "VolumesFrom": ["we"], "Links": ["/db:/side/web"]}), None),
            (json!({"NetworkMode": "web", "VolumesFrom": null}), None),
        ] {
            assert_eq!(dependence(&container('b', "side", &host), &web()), expect, "{host}");
        }
    }

    #[test]
    fn a_unit_is_closed_and_in_the_order_of_dependence() {
        let of = |other: &str| json!({"PidMode": format!("container:{other}")});
        let mut late = container('e', "early-name", &of("web"));
        late["Config"]["Labels"]["nightshift.after"] = json!("logger");
        let others = [
            container('b', "shipper", &of(&id('c'))),
            container('c', "logger", &of("web")),
            container('d', "stranger", &of("db")),
            late,
        ];
        let names: Vec<&str> = dependents(&web(), &others)
            .expect("few")
            .into_iter()
            .map(|at| others[at]["Name"].as_str().unwrap_or(""))
            .collect();
        assert_eq!(names, ["/logger", "/shipper", "/early-name"]);
        assert_eq!(dependents(&Place { id: ContainerId(id('f')), name: "none".to_owned() }, &others), Ok(vec![]));
    }

    #[test]
    fn labels_in_a_circle_and_too_many_dependents_end_too() {
        let of_web = json!({"NetworkMode": "container:web"});
        let mut pair = [container('b', "one", &of_web), container('c', "two", &of_web)];
        pair[0]["Config"]["Labels"]["nightshift.after"] = json!("two");
        pair[1]["Config"]["Labels"]["nightshift.after"] = json!("one");
        assert_eq!(dependents(&web(), &pair).expect("two").len(), 2);
        let many: Vec<Value> = (0..=DEPENDENT_LIMIT).map(|n| container('b', &format!("n{n}"), &of_web)).collect();
        assert!(dependents(&web(), &many).is_err());
    }

    #[test]
    fn a_new_part_is_created_on_the_new_ones_before_it() {
        let mut first = Part::new("web".to_owned(), ContainerId(id('a')));
        first.new_id = Some(ContainerId(id('b')));
        let key = super::super::tests::order().key;
        let body = json!({"Image": "i", "HostConfig": {
            "NetworkMode": format!("container:{}", id('a')), "VolumesFrom": ["web", id('a')], "Links": ["web:www", "db:db"],
        }});
        let made = create_body(&body, std::iter::once(&first), &key);
        let expect = json!({"Image": "i", "HostConfig": {
            "NetworkMode": format!("container:{}", id('b')),
            // By name it is what bears the name: at creation the old one, whose volumes the new one has.
            "VolumesFrom": ["web", id('b')],
            // A link holds the container that has the name now, so it is told the right one.
            "Links": ["web.nightshift-new-59d13469a65a:www", "db:db"],
        }});
        assert_eq!(made, expect);
        assert_eq!(create_body(&body, std::iter::empty(), &key), body);
    }
}
