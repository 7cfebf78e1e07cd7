//! Works out the new containers' configuration and checks the whole plan, before anything is changed.

use serde_json::Value;

use super::names;
use super::observed::fingerprint;
use super::part::{Blueprint, Old, Part};
use super::record::{Record, failure};
use super::unit::{Place, dependence};
use crate::container::ContainerView;
use crate::recreate::{self, ApiVersion, Product, Refusal, start_first_obstacles};
use crate::spec::{HealthCheck, UpdateOrder};
use crate::step::{Failure, FailureKind};

/// A container that depends on the one to be replaced, and its image, raw.
#[derive(Debug, Clone, Copy)]
pub struct Dependent<'a> {
    /// The container.
    pub container: &'a Value,
    /// The image that it was made from, and stays on.
    pub image: &'a Value,
}

/// What must be inspected for a plan, raw.
#[derive(Debug, Clone, Copy)]
pub struct Inspects<'a> {
    /// The old container.
    pub container: &'a Value,
    /// The image that it was made from.
    pub old_image: &'a Value,
    /// The target image.
    pub new_image: &'a Value,
    /// What depends on the container ([`super::dependents`]), in that order.
    pub dependents: &'a [Dependent<'a>],
    /// The version of the engine's API that is spoken.
    pub api_version: ApiVersion,
    /// The engine that the inspects are of.
    pub product: Product,
}

/// The configuration of every new container of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitPlan {
    /// The instance's.
    pub instance: Blueprint,
    /// The dependents, each with its own.
    pub dependents: Vec<Part>,
}

/// The new containers' configuration.
///
/// # Errors
/// A failed precondition: one of them cannot be re-created exactly, the order cannot be kept, or the instance could not be
/// judged as the order says. Nothing was touched.
pub fn blueprint(record: &Record, inspects: &Inspects<'_>) -> Result<UnitPlan, Failure> {
    let order = &record.order;
    if order.order == UpdateOrder::StartFirst {
        check_start_first(record, inspects)?;
    }
    let instance = instance(record, inspects)?;
    if order.health == HealthCheck::Docker && !has_health_check(&instance.create_body, inspects.new_image) {
        return Err(refuse(
            "the app is judged by the container's own health check, and neither container nor new image has one; \
             hint: give the image a HEALTHCHECK, or choose another `[health]` for the app",
        ));
    }
    let mut unit = vec![Place { id: order.container_id.clone(), name: order.container.clone() }];
    let mut dependents = Vec::new();
    for found in inspects.dependents {
        let part = dependent(record, found, &unit, inspects)?;
        unit.push(Place { id: part.id.clone(), name: part.name.clone() });
        dependents.push(part);
    }
    Ok(UnitPlan { instance, dependents })
}

fn instance(record: &Record, inspects: &Inspects<'_>) -> Result<Blueprint, Failure> {
    let order = &record.order;
    let input = recreate::Input {
        container: inspects.container,
        old_image: inspects.old_image,
        new_image: inspects.new_image,
        image_name: &order.image.at(&order.digest),
        new_image_id: record.image_id.as_deref().unwrap_or_default(),
        api_version: inspects.api_version,
        product: inspects.product,
        temporary_name: &names::temporary(&order.container, &order.key),
        labels: &names::labels(order),
    };
    planned(&order.container, &input)
}

/// A container that depends on one of the unit: the same again, on its own image.
fn dependent(record: &Record, found: &Dependent<'_>, unit: &[Place], inspects: &Inspects<'_>) -> Result<Part, Failure> {
    let (order, inspect) = (&record.order, found.container);
    let malformed = |error: crate::container::Malformed| refuse(error.to_string());
    let view = ContainerView::from_inspect(inspect).map_err(malformed)?;
    let (name, first) = (view.name.clone(), &order.container);
    let why =
        unit.iter().find_map(|place| dependence(inspect, place).map(|words| format!("{words} (`{}`)", place.name)));
    let in_words = |failure: Failure| {
        let why = why.as_deref().unwrap_or("depends on it");
        refuse(format!("container `{name}` would have to be replaced with `{first}`, for it {why}: {}", failure.reason))
    };
    let old = Old::found(&view).map_err(in_words)?;
    let input = recreate::Input {
        container: inspect,
        old_image: found.image,
        new_image: found.image,
        image_name: &view.image,
        new_image_id: &view.image_id,
        api_version: inspects.api_version,
        product: inspects.product,
        temporary_name: &names::temporary(&name, &order.key),
        labels: &names::dependent_labels(order),
    };
    let blueprint = planned(&name, &input).map_err(in_words)?;
    Ok(Part { old: Some(old), blueprint: Some(blueprint), ..Part::new(name.clone(), view.id.clone()) })
}

fn not_recreated(name: &str, refusal: &Refusal) -> Failure {
    refuse(format!("container `{name}` cannot be re-created: {refusal}; hint: {}", refusal.hint()))
}

impl Record {
    /// Folds in which engine it is, and says whether the step may go on: to be asked before the engine is changed at all, by
    /// a pull or a tag neither.
    pub fn found_engine(&mut self, product: Product) -> bool {
        let refusal = product.check().err();
        if let Some(refusal) = &refusal {
            self.failure = Some(not_recreated(&self.order.container, refusal));
        }
        refusal.is_none()
    }
}

fn planned(name: &str, input: &recreate::Input<'_>) -> Result<Blueprint, Failure> {
    let plan = recreate::plan(input).map_err(|refusal| not_recreated(name, &refusal))?;
    let connects = plan.connects.into_iter().map(|connect| (connect.network, connect.body)).collect();
    Ok(Blueprint { create_body: plan.create_body, connects, settings: Some(fingerprint(input.container)) })
}

/// For a moment old and new container run both: nothing may be there that only one of them can have.
fn check_start_first(record: &Record, inspects: &Inspects<'_>) -> Result<(), Failure> {
    let name = &record.order.container;
    let mut obstacles = start_first_obstacles(inspects.container);
    let dependents = inspects.dependents.iter().map(|found| found.container.get("Name").and_then(Value::as_str));
    obstacles.extend(dependents.map(|other| {
        format!("container `{}` depends on it and cannot be with both", other.unwrap_or("?").trim_start_matches('/'))
    }));
    if obstacles.is_empty() {
        return Ok(());
    }
    Err(refuse(format!(
        "`order = \"start-first\"` is not possible for container `{name}`: {}; hint: use `stop-first` for this app",
        obstacles.join("; ")
    )))
}

fn refuse(reason: impl Into<String>) -> Failure {
    failure(FailureKind::Precondition, reason)
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
    use crate::ids::ContainerId;
    use serde_json::json;

    fn record() -> Record {
        let mut record = Record::new(order());
        record.image_id = Some("sha256:4e3".to_owned());
        record
    }

    fn plan(record: &Record, container: &Value, new_image: &Value, dependents: &[Value]) -> Result<UnitPlan, Failure> {
        let old_image = json!({"Id": "sha256:01d", "Os": "linux", "Architecture": "amd64", "Config": {"Env": ["A=1"]}});
        let of_image = |container| Dependent { container, image: &old_image };
        let dependents: Vec<Dependent<'_>> = dependents.iter().map(of_image).collect();
        let api_version = ApiVersion { major: 1, minor: 41 };
        let product = Product::Docker;
        let old_image = &old_image;
        blueprint(record, &Inspects { container, old_image, new_image, dependents: &dependents, api_version, product })
    }

    fn container() -> Value {
        json!({
            "Id": "old", "Name": "/web", "Image": "sha256:01d",
            "State": {"Status": "running"},
            "Config": {"Hostname": "web", "Env": ["MINE=1", "A=1"], "Image": "r.example/web:stable",
                       "Labels": {"nightshift.app": "web"}},
            "HostConfig": {"NetworkMode": "backend", "RestartPolicy": {"Name": "always"}},
            "NetworkSettings": {"Networks": {"backend": {"Aliases": ["web"]}, "metrics": {}}},
            "Mounts": [],
        })
    }

    fn sidecar() -> Value {
        let mut sidecar = container();
        sidecar["Id"] = json!("side");
        sidecar["Name"] = json!("/sidecar");
        sidecar["Config"]["Image"] = json!("r.example/side:1");
        sidecar["HostConfig"]["NetworkMode"] = json!("container:web");
        sidecar["NetworkSettings"]["Networks"] = json!({});
        sidecar
    }

    fn image() -> Value {
        json!({"Id": "sha256:4e3", "Os": "linux", "Architecture": "amd64", "Config": {"Env": ["A=2"]}})
    }

    #[test]
    fn the_plan_carries_name_labels_and_networks_of_the_step() {
        let plan = plan(&record(), &container(), &image(), &[]).expect("plain").instance;
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
    fn a_dependent_is_planned_on_its_own_image_and_without_the_digest() {
        let plan = plan(&record(), &container(), &image(), &[sidecar()]).expect("plain");
        let [part] = plan.dependents.as_slice() else { panic!("{:?}", plan.dependents) };
        assert_eq!((part.name.as_str(), &part.id), ("sidecar", &ContainerId("side".to_owned())));
        let body = &part.blueprint.as_ref().expect("planned").create_body;
        assert_eq!((&body["Image"], &body["Env"]), (&json!("r.example/side:1"), &json!(["MINE=1"])));
        assert_eq!(body["Labels"]["nightshift.step"], "3");
        assert_eq!(body["Labels"]["nightshift.digest"], Value::Null);
        assert_eq!(body["HostConfig"]["NetworkMode"], "container:web");
    }

    #[test]
    fn on_podman_a_step_goes_on_with_nothing() {
        let mut record = record();
        assert!(record.found_engine(Product::Docker));
        assert_eq!(record.failure, None);
        assert!(!record.found_engine(Product::Podman));
        let failure = record.failure.expect("told");
        assert_eq!(failure.kind, FailureKind::Precondition);
        assert!(
            failure.reason.contains("its engine is Podman") && failure.reason.contains("hint:"),
            "{}",
            failure.reason
        );
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
        let with = |pointer: &str, value: Value, mut container: Value| {
            let (parent, key) = pointer.rsplit_once('/').expect("a path");
            container.pointer_mut(parent).expect("there")[key] = value;
            container
        };
        let with_check = |test: Value| with("/Config/Healthcheck", json!({"Test": test}), image());
        let one_port = with("/HostConfig/PortBindings", json!({"80/tcp": [{"HostPort": "8080"}]}), container());
        let (auto, docker) = (HealthCheck::Auto, HealthCheck::Docker);
        let none = "neither container nor new image";
        let stop_first = UpdateOrder::StopFirst;
        for (order, health, container, image, others, expect) in [
            (stop_first, &auto, container(), image(), vec![], None),
            (
                stop_first,
                &auto,
                with("/HostConfig/AutoRemove", json!(true), container()),
                image(),
                vec![],
                Some("--rm"),
            ),
            (
                stop_first,
                &auto,
                container(),
                image(),
                vec![with("/State/Status", json!("paused"), sidecar())],
                Some("`sidecar` would have to be replaced with `web`, for it shares its network (`web`)"),
            ),
            (stop_first, &docker, container(), image(), vec![], Some(none)),
            (stop_first, &docker, container(), with_check(json!(["NONE"])), vec![], Some(none)),
            (stop_first, &docker, container(), with_check(json!(["CMD", "true"])), vec![], None),
            (UpdateOrder::StartFirst, &auto, container(), image(), vec![], None),
            (UpdateOrder::StartFirst, &auto, one_port, image(), vec![], Some("host port 8080")),
            (UpdateOrder::StartFirst, &auto, container(), image(), vec![sidecar()], Some("`sidecar` depends on it")),
        ] {
            let mut record = record();
            (record.order.order, record.order.health) = (order, health.clone());
            match (plan(&record, &container, &image, &others), expect) {
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
