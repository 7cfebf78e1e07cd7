//! Adoption: from the containers that run on the nodes to the app files that would keep them fresh. Nothing is changed by it: a person
//! reads the files and applies them.
//!
//! Containers of one image, and of one service of Compose, become one app over all nodes. What Watchtower's labels asked for is asked
//! for in the file's own words; what has no counterpart is said in a comment, and what cannot be adopted is listed with its reason.

mod file;
mod select;
mod watchtower;

use std::collections::{BTreeMap, BTreeSet};

use crate::enablement::taken_out_by;
use crate::ids::{AppName, NodeName};
use crate::image::{ImageRef, repository_of};
use crate::instance::FoundContainer;
use crate::labels::Labels;
use crate::spec::InstanceSelector;

/// Label in which Compose names the service of a container.
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
/// Label in which Compose names its project.
const COMPOSE_PROJECT: &str = "com.docker.compose.project";
/// Label by which Compose marks what `docker compose run` started.
const COMPOSE_ONE_OFF: &str = "com.docker.compose.oneoff";

/// Beginnings of the labels that adoption reads. Agents send no others: labels of other tools hold passwords at times.
pub const LABEL_PREFIXES: [&str; 3] = ["nightshift.", "com.docker.compose.", "com.centurylinklabs.watchtower"];

/// The labels of a container that adoption may see.
#[must_use]
pub fn visible_labels(labels: &Labels) -> Labels {
    let visible = |key: &str| LABEL_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
    labels.iter().filter(|(key, _)| visible(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// An app that could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its name.
    pub app: AppName,
    /// What it would follow.
    pub image: ImageRef,
    /// Its containers, by node and name.
    pub containers: Vec<(NodeName, String)>,
    /// The app file.
    pub toml: String,
}

/// A container that no proposal has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its node.
    pub node: NodeName,
    /// Its name.
    pub container: String,
    /// Its image, as it was written.
    pub image: String,
    /// Why.
    pub reason: String,
}

/// What could be adopted, and what could not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adoption {
    /// Apps, by name.
    pub proposals: Vec<Proposal>,
    /// The others, by node and name.
    pub left_out: Vec<LeftOut>,
}

/// A container with the node that it is on.
type Placed<'a> = (&'a NodeName, &'a FoundContainer);

/// Containers that become one app.
struct Group<'a> {
    image: ImageRef,
    service: Option<String>,
    project: Option<String>,
    members: Vec<Placed<'a>>,
}

/// What could become of these containers. `owner` names the app to which one belongs already; `taken` are names of apps.
#[must_use]
pub fn propose(
    found: &[(NodeName, Vec<FoundContainer>)],
    owner: impl Fn(&NodeName, &FoundContainer) -> Option<AppName>,
    taken: &BTreeSet<AppName>,
) -> Adoption {
    let all: Vec<Placed<'_>> =
        found.iter().flat_map(|(node, containers)| containers.iter().map(move |one| (node, one))).collect();
    let mut adoption = Adoption::default();
    let mut groups: BTreeMap<(ImageRef, Option<String>, Option<String>), Vec<Placed<'_>>> = BTreeMap::new();
    for (node, container) in &all {
        match adoptable(container, owner(node, container)) {
            Ok(image) => {
                let label = |key: &str| container.labels.get(key).cloned();
                let key = (image, label(COMPOSE_SERVICE), label(COMPOSE_PROJECT));
                groups.entry(key).or_default().push((*node, *container));
            }
            Err(reason) => adoption.left_out.push(left_out((*node, *container), reason)),
        }
    }
    let groups = groups.into_iter();
    let groups: Vec<_> =
        groups.map(|((image, service, project), members)| Group { image, service, project, members }).collect();
    let mut names = taken.clone();
    let mut chosen: Vec<(AppName, InstanceSelector, &Group<'_>)> = Vec::new();
    for group in &groups {
        match select::selector(group, &all) {
            Some(selector) => {
                let name = select::name(group, &selector, &names);
                names.insert(name.clone());
                chosen.push((name, selector, group));
            }
            None => adoption.left_out.extend(group.members.iter().map(|one| {
                let hint =
                    "neither its name nor its image tells it from other containers: give it a label `nightshift.app=…`";
                left_out(*one, hint.to_owned())
            })),
        }
    }
    let apps: Vec<(AppName, &Group<'_>)> = chosen.iter().map(|(name, _, group)| (name.clone(), *group)).collect();
    adoption.proposals = chosen.iter().map(|(name, selector, group)| proposal(name, selector, group, &apps)).collect();
    adoption.proposals.sort_by(|a, b| a.app.cmp(&b.app));
    adoption.left_out.sort_by(|a, b| (&a.node, &a.container).cmp(&(&b.node, &b.container)));
    adoption
}

fn left_out((node, container): Placed<'_>, reason: String) -> LeftOut {
    LeftOut { node: node.clone(), container: container.name.clone(), image: container.image.clone(), reason }
}

/// The reference that an app of this container would follow, or why there can be none.
fn adoptable(container: &FoundContainer, owner: Option<AppName>) -> Result<ImageRef, String> {
    if let Some(app) = owner {
        return Err(format!("belongs to app `{app}` already"));
    }
    if let Some(label) = taken_out_by(|key| container.labels.get(key).map(String::as_str)) {
        return Err(format!("its label says `{label}=false`"));
    }
    if container.labels.get(COMPOSE_ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err("a one-off container of `docker compose run`".to_owned());
    }
    if let Some(refusal) = &container.refusal {
        return Err(refusal.clone());
    }
    let (reference, pinned) = match container.image.split_once('@') {
        Some((reference, _)) => (reference, true),
        None => (container.image.as_str(), false),
    };
    let tagged = reference.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if pinned && !tagged {
        return Err("its image is given by a digest alone: there is no tag to follow".to_owned());
    }
    if repository_of(reference).is_err() || reference.starts_with("sha256:") {
        return Err("its image is given by an id: there is no tag to follow".to_owned());
    }
    if !container.from_registry {
        return Err("its image never came from a registry: it was built or loaded on the node".to_owned());
    }
    reference.parse().map_err(|error: crate::image::InvalidImage| error.to_string())
}

fn proposal(
    name: &AppName,
    selector: &InstanceSelector,
    group: &Group<'_>,
    apps: &[(AppName, &Group<'_>)],
) -> Proposal {
    let containers = group.members.iter().map(|(node, one)| ((*node).clone(), one.name.clone())).collect();
    let toml = file::write(name, selector, group, &after(name, group, apps));
    Proposal { app: name.clone(), image: group.image.clone(), containers, toml }
}

/// Apps of which a container goes first on some node, as labels say.
fn after(name: &AppName, group: &Group<'_>, apps: &[(AppName, &Group<'_>)]) -> Vec<AppName> {
    let follows = |other: &Group<'_>| {
        group.members.iter().any(|(node, one)| {
            let mut others = other.members.iter().filter(|(on, _)| on == node);
            others.any(|(_, first)| crate::precedence::goes_after(&one.labels, &first.name, &first.labels))
        })
    };
    apps.iter().filter(|(other, members)| other != name && follows(members)).map(|(other, _)| other.clone()).collect()
}

#[cfg(test)]
mod tests;
