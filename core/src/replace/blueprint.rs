//! Works out the new container's configuration and checks the whole plan, before anything is changed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::names;
use super::observed::fingerprint;
use super::record::{Blueprint, Record, failure};
use crate::ids::ContainerId;
use crate::recreate::{self, ApiVersion};
use crate::spec::HealthCheck;
use crate::step::{Failure, FailureKind};

/// Settings by which a container can live in a namespace of another one.
const SHARED_NAMESPACES: [&str; 3] = ["NetworkMode", "PidMode", "IpcMode"];

/// What must be inspected for a plan, raw.
#[derive(Debug, Clone, Copy)]
pub struct Inspects<'a> {
    /// The old container.
    pub container: &'a Value,
    /// The image that it was made from.
    pub old_image: &'a Value,
    /// The target image.
    pub new_image: &'a Value,
    /// Every other container of the engine.
    pub others: &'a [Value],
    /// The version of the engine's API that is spoken.
    pub api_version: ApiVersion,
}

/// The new container's configuration.
///
/// # Errors
/// A failed precondition: the container cannot be re-created exactly, another one lives in its namespaces, or it could
/// not be judged as the order says. Nothing was touched.
pub fn blueprint(record: &Record, inspects: &Inspects<'_>) -> Result<Blueprint, Failure> {
    let order = &record.order;
    let refuse = |reason: String| failure(FailureKind::Precondition, reason);
    check_dependents(&order.container_id, &order.container, inspects.others).map_err(refuse)?;
    let new_image_id = record.image_id.as_deref().unwrap_or_default();
    let plan = recreate::plan(&recreate::Input {
        container: inspects.container,
        old_image: inspects.old_image,
        new_image: inspects.new_image,
        image_name: &order.image.at(&order.digest),
        new_image_id,
        api_version: inspects.api_version,
        temporary_name: &names::temporary(order),
        labels: &names::labels(order),
        resolve: &BTreeMap::new(),
    })
    .map_err(|refusal| {
        refuse(format!("container `{}` cannot be re-created: {refusal}; hint: {}", order.container, refusal.hint()))
    })?;
    if order.health == HealthCheck::Docker && !has_health_check(&plan.create_body, inspects.new_image) {
        return Err(refuse(
            "the app is judged by the container's own health check, and neither container nor new image has one; \
             hint: give the image a HEALTHCHECK, or choose another `[health]` for the app"
                .to_owned(),
        ));
    }
    let connects = plan.connects.into_iter().map(|connect| (connect.network, connect.body)).collect();
    Ok(Blueprint { create_body: plan.create_body, connects, settings: Some(fingerprint(inspects.container)) })
}

/// A container that lives in a namespace of the one to be replaced would lose it with the stop.
fn check_dependents(id: &ContainerId, name: &str, others: &[Value]) -> Result<(), String> {
    for other in others {
        for key in SHARED_NAMESPACES {
            let mode = other.pointer(&format!("/HostConfig/{key}")).and_then(Value::as_str).unwrap_or_default();
            let Some(target) = mode.strip_prefix("container:") else { continue };
            let is_short_id = target.len() >= id.short().len() && id.0.starts_with(target);
            if target == name || is_short_id {
                let dependent = other.get("Name").and_then(Value::as_str).unwrap_or("?").trim_start_matches('/');
                return Err(format!(
                    "container `{dependent}` shares a namespace of `{name}` (`{key}`), and units of several \
                     containers are not replaced yet; hint: leave `{name}` out of the app"
                ));
            }
        }
    }
    Ok(())
}

/// Whether the engine will run a health check: the user's own, else the image's.
fn has_health_check(create_body: &Value, new_image: &Value) -> bool {
    let test = |config: Option<&Value>| -> Option<String> {
        let first = config?.get("Test")?.as_array()?.first()?.as_str()?;
        Some(first.to_owned())
    };
    let own = test(create_body.get("Healthcheck")).or_else(|| test(new_image.pointer("/Config/Healthcheck")));
    own.is_some_and(|kind| kind != "NONE")
}

#[cfg(test)]
mod tests {
    use super::super::tests::order;
    use super::*;
    use serde_json::json;

    fn record() -> Record {
        let mut record = Record::new(order());
        record.image_id = Some("sha256:4e3".to_owned());
        record
    }

    fn plan(health: HealthCheck, container: &Value, new_image: &Value, others: &[Value]) -> Result<Blueprint, Failure> {
        let mut record = record();
        record.order.health = health;
        let old_image = json!({"Id": "sha256:01d", "Os": "linux", "Architecture": "amd64", "Config": {"Env": ["A=1"]}});
        let api_version = "1.41".parse().expect("well formed");
        blueprint(&record, &Inspects { container, old_image: &old_image, new_image, others, api_version })
    }

    fn container() -> Value {
        json!({
            "Id": "old", "Name": "/web", "Image": "sha256:01d", "State": {"Status": "running"},
            "Config": {"Env": ["MINE=1", "A=1"], "Hostname": "h", "Image": "r.example/web:stable",
                       "Labels": {"nightshift.app": "web"}},
            "HostConfig": {"NetworkMode": "backend", "RestartPolicy": {"Name": "always"}},
            "NetworkSettings": {"Networks": {"backend": {"Aliases": ["web"]}, "metrics": {}}},
            "Mounts": [],
        })
    }

    fn image() -> Value {
        json!({"Id": "sha256:4e3", "Os": "linux", "Architecture": "amd64", "Config": {"Env": ["A=2"]}})
    }

    #[test]
    fn the_plan_carries_name_labels_and_networks_of_the_step() {
        let plan = plan(HealthCheck::Auto, &container(), &image(), &[]).expect("plain");
        let body = &plan.create_body;
        assert_eq!(body["Image"], record().order.image.at(&record().order.digest));
        assert_eq!(body["Labels"]["nightshift.rollout"], "r-0001");
        assert_eq!(body["Labels"]["nightshift.step"], "3");
        assert_eq!(body["Labels"]["nightshift.role"], "new");
        assert_eq!(body["Labels"]["nightshift.app"], "web");
        assert_eq!(body["Env"], json!(["MINE=1"]));
        let connects: Vec<&str> = plan.connects.iter().map(|(network, _)| network.as_str()).collect();
        assert_eq!(connects, ["metrics"]);
    }

    #[test]
    fn our_labels_are_those_that_a_re_creation_leaves_out() {
        let order = order();
        let labels = names::labels(&order);
        let ours: std::collections::BTreeSet<&str> = labels.keys().map(String::as_str).collect();
        assert_eq!(ours, std::collections::BTreeSet::from(recreate::BOOKKEEPING_LABELS));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_a_hint() {
        let mut with_rm = container();
        with_rm["HostConfig"]["AutoRemove"] = json!(true);
        let sidecar = |mode: &str| json!({"Name": "/sidecar", "HostConfig": {"NetworkMode": mode}});
        let mut with_check = image();
        with_check["Config"]["Healthcheck"] = json!({"Test": ["CMD", "true"]});
        let mut with_none = image();
        with_none["Config"]["Healthcheck"] = json!({"Test": ["NONE"]});
        for (health, container, image, others, expect) in [
            (HealthCheck::Auto, &container(), &image(), vec![sidecar("bridge")], None),
            (HealthCheck::Auto, &with_rm, &image(), vec![], Some("--rm")),
            (HealthCheck::Auto, &container(), &image(), vec![sidecar("container:old")], Some("`sidecar` shares")),
            (HealthCheck::Auto, &container(), &image(), vec![sidecar("container:web")], Some("`sidecar` shares")),
            (HealthCheck::Auto, &container(), &image(), vec![sidecar("container:older")], None),
            (HealthCheck::Docker, &container(), &image(), vec![], Some("neither container nor new image")),
            (HealthCheck::Docker, &container(), &with_none, vec![], Some("neither container nor new image")),
            (HealthCheck::Docker, &container(), &with_check, vec![], None),
        ] {
            match (plan(health.clone(), container, image, &others), expect) {
                (Ok(_), None) => {}
                (Err(failure), Some(words)) => {
                    assert_eq!(failure.kind, FailureKind::Precondition);
                    assert!(failure.reason.contains(words), "{}", failure.reason);
                    assert!(failure.reason.contains("hint: "), "{}", failure.reason);
                }
                (found, expect) => panic!("{health:?} with {others:?}: {found:?}, expected {expect:?}"),
            }
        }
    }
}
