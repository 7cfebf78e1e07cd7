//! A replacement as the agent does it, call by call, with the domain's own plan.

use nightshift_agent::engine::EventKind;
use nightshift_core::container::{Health, RunState};
use nightshift_core::ids::ContainerId;
use nightshift_core::labels::Labels;
use nightshift_core::recreate::{self, Input, Plan, Product};
use serde_json::{Value, json};

use crate::fixture::{Fixture, GRACE, Image, Kind, created, events_until, pulled, view};

/// What a person might have typed.
fn typed(port: u16) -> Value {
    json!({
        "Env": ["COLOUR=green"],
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {
            "PortBindings": {"80/tcp": [{"HostPort": port.to_string()}]},
            "RestartPolicy": {"Name": "unless-stopped"},
        },
    })
}

async fn plan(fixture: &dyn Fixture, old: &ContainerId, image: &Image, temporary_name: &str) -> Plan {
    let engine = fixture.engine();
    let container = engine.inspect(&old.0).await.expect("it exists");
    let old_image = engine.inspect_image(container["Image"].as_str().expect("an id")).await.expect("it is in use");
    let new_image = engine.inspect_image(&image.reference()).await.expect("it was pulled");
    let input = Input {
        container: &container,
        old_image: &old_image,
        new_image: &new_image,
        image_name: &image.name.at(&image.digest),
        new_image_id: new_image["Id"].as_str().expect("an id"),
        api_version: engine.info().await.expect("the engine is up").api_version,
        // The re-creation itself is tried, not who may ask for it.
        product: Product::Docker,
        temporary_name,
        labels: &Labels::new(),
    };
    recreate::plan(&input).expect("nothing unusual")
}

fn volume_at<'a>(inspect: &'a Value, destination: &str) -> &'a Value {
    let mounts = inspect["Mounts"].as_array().expect("a list");
    let mount = mounts.iter().find(|mount| mount["Destination"] == destination);
    mount.map_or(&Value::Null, |mount| &mount["Name"])
}

pub(crate) async fn a_container_is_made_again_on_another_image(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (name, old) = created(fixture, Kind::Web, typed(fixture.port())).await;
    let image = pulled(fixture, Kind::Web).await;
    let plan = plan(fixture, &old, &image, &format!("{name}-new")).await;
    let new = engine.create(&plan.temporary_name, &plan.create_body).await.expect("a good configuration");
    let (before, after) = (engine.inspect(&old.0).await.expect("there"), engine.inspect(&new.0).await.expect("there"));
    for pointer in [
        "/Config/Env",
        "/Config/Cmd",
        "/Config/ExposedPorts",
        "/Config/Healthcheck",
        "/HostConfig/PortBindings",
        "/HostConfig/RestartPolicy",
        "/Config/Labels/check",
    ] {
        assert_eq!(before.pointer(pointer), after.pointer(pointer), "{pointer}");
        assert!(after.pointer(pointer).is_some_and(|value| !value.is_null()), "{pointer}");
    }
    assert_ne!(before["Image"], after["Image"]);
    assert_eq!(after["Config"]["Image"], image.name.at(&image.digest));
    assert_ne!(volume_at(&before, "/data"), &Value::Null);
    assert_eq!(volume_at(&before, "/data"), volume_at(&after, "/data"), "the data is carried over");
}

pub(crate) async fn a_replacement_keeps_name_and_data_and_can_be_taken_back(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (name, old) = created(fixture, Kind::Web, typed(fixture.port())).await;
    engine.start(&old).await.expect("the port is free");
    let image = pulled(fixture, Kind::Sick).await;
    let plan = plan(fixture, &old, &image, &format!("{name}-new")).await;
    let new = engine.create(&plan.temporary_name, &plan.create_body).await.expect("a good configuration");

    engine.set_restart_policy(&old, &json!({"Name": "no"})).await.expect("it exists");
    engine.stop(&old, GRACE).await.expect("it runs");
    engine.rename(&old, &format!("{name}-old")).await.expect("the name is free");
    engine.rename(&new, &name).await.expect("the name is free now");
    let mut events = engine.events(None).await.expect("the engine is up");
    engine.start(&new).await.expect("the port is free now");
    events_until(&mut events, &new, |kind| *kind == EventKind::HealthStatus(Health::Unhealthy)).await;

    engine.discard(&new).await.expect("nobody needs it");
    engine.rename(&old, &name).await.expect("the name is free again");
    engine.set_restart_policy(&old, &plan.restart_policy).await.expect("it exists");
    engine.start(&old).await.expect("the port is free again");
    events_until(&mut events, &old, |kind| *kind == EventKind::HealthStatus(Health::Healthy)).await;
    let back = view(fixture, &old).await;
    assert_eq!(
        (back.name, back.state, &back.restart_policy["Name"]),
        (name, RunState::Running, &json!("unless-stopped"))
    );
    let inspect = engine.inspect(&old.0).await.expect("it exists");
    assert_ne!(volume_at(&inspect, "/data"), &Value::Null, "removing the new one left the data alone");
}
