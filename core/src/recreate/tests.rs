//! What no engine at hand can be made to say: refusals, keys unknown today, newer API versions. The engine's real words
//! are in `tests/recreate.rs`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

const OLD_ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn container() -> Value {
    json!({
        "Id": OLD_ID, "Name": "/web", "Image": "sha256:old", "State": {"Status": "running"}, "Mounts": [],
        "Config": {"Hostname": "0123456789ab", "Env": ["OWN=1", "A=1"], "Image": "app:1"},
        "HostConfig": {"NetworkMode": "default", "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}},
        "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "n1", "IPAddress": "172.17.0.2", "Aliases": null}}},
    })
}

fn image(id: &str) -> Value {
    json!({"Id": id, "Os": "linux", "Architecture": "amd64", "Config": {"Env": ["A=1"]}})
}

fn plan_at(api_version: &str, container: &Value, old_image: &Value, new_image: &Value) -> Result<Plan, Refusal> {
    plan(&Input {
        container,
        old_image,
        new_image,
        image_name: "app:stable@sha256:new",
        new_image_id: "sha256:new",
        api_version: api_version.parse().expect("a version"),
        product: Product::Docker,
        temporary_name: "web-next",
        labels: &Labels::from([("nightshift.role".into(), "new".into())]),
    })
}

fn plan_of(container: &Value) -> Result<Plan, Refusal> {
    plan_at("1.41", container, &image("sha256:old"), &image("sha256:new"))
}

/// The container with the value at a JSON pointer replaced or added.
fn with(pointer: &str, value: Value) -> Value {
    let mut container = container();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    container.pointer_mut(parent).and_then(Value::as_object_mut).expect("a parent").insert(key.to_owned(), value);
    container
}

#[test]
fn a_plan_says_all_that_is_needed() {
    let plan = plan_of(&container()).expect("a plain container");
    let expect = json!({
        "Image": "app:stable@sha256:new", "Env": ["OWN=1"], "Labels": {"nightshift.role": "new"},
        "HostConfig": {"NetworkMode": "default", "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}},
    });
    assert_eq!(plan.create_body, expect);
    assert_eq!(plan.connects, []);
    assert_eq!((plan.final_name.as_str(), plan.temporary_name.as_str()), ("web", "web-next"));
    assert_eq!(plan.restart_policy, json!({"Name": "always", "MaximumRetryCount": 0}));
    assert_eq!(plan.was, RunState::Running);
}

#[test]
fn what_cannot_be_kept_is_refused_with_its_field() {
    let missing = |field: &str| Refusal::Missing { of: Subject::Container, field: field.into() };
    let malformed = |field: &str| Refusal::Malformed { of: Subject::Container, field: field.into() };
    for (container, expect) in [
        (with("/HostConfig/AutoRemove", json!(true)), Refusal::AutoRemove),
        (
            with("/Config/Labels", json!({"com.docker.swarm.service.id": "s1"})),
            Refusal::SwarmService { service: "s1".into() },
        ),
        (
            with("/Config/Labels", json!({"com.centurylinklabs.watchtower.enable": "false"})),
            Refusal::TakenOut { label: "com.centurylinklabs.watchtower.enable" },
        ),
        (with("/State/Status", json!("removing")), Refusal::State { status: "removing".into() }),
        (with("/State/Status", json!("dead")), Refusal::State { status: "dead".into() }),
        (with("/NetworkSettings/Networks", json!({})), Refusal::PrimaryNetworkLeft { network: "default".into() }),
        (with("/HostConfig/NetworkMode", json!("front")), Refusal::PrimaryNetworkLeft { network: "front".into() }),
        (with("/Config/Env", json!(["OWN=1"])), Refusal::EnvNotOfImage { variable: "A".into() }),
        (with("/Id", json!(null)), missing("Id")),
        (with("/Name", json!("")), missing("Name")),
        (with("/Image", json!(null)), missing("Image")),
        (with("/Config", json!(null)), missing("Config")),
        (with("/HostConfig", json!(null)), missing("HostConfig")),
        (with("/HostConfig/NetworkMode", json!(null)), missing("HostConfig.NetworkMode")),
        (with("/HostConfig/RestartPolicy", json!(null)), missing("HostConfig.RestartPolicy")),
        (with("/NetworkSettings", json!(null)), missing("NetworkSettings.Networks")),
        (with("/Mounts", json!(null)), missing("Mounts")),
        (with("/State", json!(null)), missing("State.Status")),
        (with("/Config/Env", json!("A=1")), malformed("Config.Env")),
        (with("/Config/Cmd", json!([1])), malformed("Config.Cmd")),
        (with("/HostConfig/Binds", json!(["no-destination"])), malformed("HostConfig.Binds")),
    ] {
        let refusal = plan_of(&container).expect_err("a refusal");
        assert_eq!(refusal, expect);
        assert!(!refusal.field().is_empty() && !refusal.hint().is_empty());
    }
}

#[test]
fn other_images_than_those_meant_are_refused() {
    let (old, new) = (image("sha256:old"), image("sha256:new"));
    let wrong = |of, wanted: &str, found: &str| Refusal::OtherImage { of, wanted: wanted.into(), found: found.into() };
    assert_eq!(plan_at("1.41", &container(), &new, &new), Err(wrong(Subject::OldImage, "sha256:old", "sha256:new")));
    assert_eq!(plan_at("1.41", &container(), &old, &old), Err(wrong(Subject::NewImage, "sha256:new", "sha256:old")));
    let mut foreign = new;
    foreign["Architecture"] = json!("arm64");
    assert_eq!(
        plan_at("1.41", &container(), &old, &foreign),
        Err(Refusal::OtherPlatform { old: "linux/amd64".into(), new: "linux/arm64".into() })
    );
}

#[test]
fn a_restart_loop_is_meant_to_run() {
    for (status, expect) in [
        ("running", RunState::Running),
        ("restarting", RunState::Running),
        ("paused", RunState::Paused),
        ("exited", RunState::Exited),
        ("created", RunState::Created),
    ] {
        assert_eq!(plan_of(&with("/State/Status", json!(status))).map(|plan| plan.was), Ok(expect), "{status}");
    }
}

#[test]
fn keys_unknown_today_are_passed_on() {
    let mut container = with("/HostConfig/Later", json!({"deep": [1, null]}));
    container["Config"]["Sooner"] = json!("mine");
    container["Config"]["Default"] = json!("of the image");
    container["NetworkSettings"]["Networks"]["bridge"]["GwPriority"] = json!(7);
    let mut old_image = image("sha256:old");
    old_image["Config"]["Default"] = json!("of the image");
    let plan = plan_at("1.41", &container, &old_image, &image("sha256:new")).expect("a plan");
    assert_eq!(plan.create_body["HostConfig"]["Later"], json!({"deep": [1, null]}));
    assert_eq!(plan.create_body["Sooner"], json!("mine"));
    assert_eq!(plan.create_body.get("Default"), None);
    let endpoints = json!({"EndpointsConfig": {"bridge": {"GwPriority": 7}}});
    assert_eq!(plan.create_body["NetworkingConfig"], endpoints);
}

#[test]
fn newer_engines_get_all_networks_and_the_mac_address_at_creation() {
    let mut container = with(
        "/NetworkSettings/Networks",
        json!({
            "back": {"NetworkID": "b", "MacAddress": "02:42:00:00:00:01", "Aliases": ["api", "0123456789ab"]},
            "front": {"NetworkID": "f", "MacAddress": "02:42:00:00:00:02", "IPAMConfig": {"IPv4Address": "10.0.0.9"},
                "DNSNames": ["web"], "IPAddress": "10.0.0.9"},
        }),
    );
    container["HostConfig"]["NetworkMode"] = json!("front");
    container["Config"]["MacAddress"] = json!("02:42:00:00:00:02");

    let older = plan_of(&container).expect("a plan");
    let front = json!({"IPAMConfig": {"IPv4Address": "10.0.0.9"}});
    assert_eq!(older.create_body["MacAddress"], json!("02:42:00:00:00:02"));
    assert_eq!(older.create_body["NetworkingConfig"], json!({"EndpointsConfig": {"front": &front}}));
    let body = json!({"Container": "web-next", "EndpointConfig": {"Aliases": ["api"]}});
    assert_eq!(older.connects, [NetworkConnect { network: "back".into(), body }]);

    let newer = plan_at("1.44", &container, &image("sha256:old"), &image("sha256:new")).expect("a plan");
    assert_eq!(newer.create_body.get("MacAddress"), None);
    let endpoints = json!({
        "back": {"Aliases": ["api"]},
        "front": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}, "MacAddress": "02:42:00:00:00:02"},
    });
    assert_eq!(newer.create_body["NetworkingConfig"], json!({"EndpointsConfig": endpoints}));
    assert_eq!(newer.connects, []);

    // An address that Engine 25.0 made from the IPv4 address 10.0.0.9 and shows as wanted.
    container["Config"]["MacAddress"] = json!("02:42:0A:00:00:09");
    let newer = plan_at("1.44", &container, &image("sha256:old"), &image("sha256:new")).expect("a plan");
    assert_eq!(newer.create_body["NetworkingConfig"]["EndpointsConfig"]["front"], front);
}

#[test]
fn names_and_files_that_are_not_the_containers_own_are_left_out() {
    let mut container = with("/HostConfig/UTSMode", json!("host"));
    container["Config"]["Hostname"] = json!("node");
    container["Config"]["Domainname"] = json!("example.test");
    container["HostConfig"]["ContainerIDFile"] = json!("/home/me/web.cid");
    let body = plan_of(&container).expect("a plan").create_body;
    assert_eq!((body.get("Hostname"), body["HostConfig"].get("ContainerIDFile")), (None, None));
    assert_eq!(body["Domainname"], json!("example.test"));
    container["HostConfig"]["UTSMode"] = json!("");
    let body = plan_of(&container).expect("a plan").create_body;
    assert_eq!(body["Hostname"], json!("node"));
}

#[test]
fn links_are_sent_as_typed_and_in_order() {
    let links = with("/HostConfig/Links", json!(["/db:/web/store", "/cache:/web/cache"]));
    let body = plan_of(&links).expect("a plan").create_body;
    assert_eq!(body["HostConfig"]["Links"], json!(["cache:cache", "db:store"]));
}

#[test]
fn other_containers_are_named_by_todays_id() {
    let mut container = with("/HostConfig/PidMode", json!(format!("container:{}", "f".repeat(64))));
    container["HostConfig"]["IpcMode"] = json!("container:by-name");
    container["HostConfig"]["NetworkMode"] = json!(format!("container:{}", "f".repeat(64)));
    container["HostConfig"]["VolumesFrom"] = json!([format!("{}:ro", "f".repeat(64)), "by-name"]);
    container["Config"]["Hostname"] = json!("theirs");
    container["Config"]["Domainname"] = json!("theirs.test");
    let mut plan = plan_of(&container).expect("a plan");
    let replaced = BTreeMap::from([("f".repeat(64), "e".repeat(64))]);
    super::repoint(&mut plan.create_body, &replaced, &BTreeMap::new());
    let now = format!("container:{}", "e".repeat(64));
    let host_config = &plan.create_body["HostConfig"];
    assert_eq!((&host_config["PidMode"], &host_config["NetworkMode"]), (&json!(now), &json!(now)));
    assert_eq!(host_config["IpcMode"], json!("container:by-name"));
    assert_eq!(host_config["VolumesFrom"], json!([format!("{}:ro", "e".repeat(64)), "by-name"]));
    assert_eq!((plan.create_body.get("Hostname"), plan.create_body.get("Domainname")), (None, None));
    assert_eq!(plan.create_body.get("NetworkingConfig"), None);
}

#[test]
fn where_wishes_for_a_network_are_not_allowed_none_are_sent() {
    // The default bridge refuses these, so what an engine shows there was not asked for.
    let shown =
        json!({"NetworkID": "n1", "Aliases": ["web"], "Links": ["a:b"], "IPAMConfig": {"IPv4Address": "1.2.3.4"}});
    let on_bridge = with("/NetworkSettings/Networks/bridge", shown);
    assert_eq!(plan_of(&on_bridge).map(|plan| plan.create_body.get("NetworkingConfig").cloned()), Ok(None));
    for mode in ["host", "none", "container:other"] {
        let mut alone = with("/HostConfig/NetworkMode", json!(mode));
        alone["NetworkSettings"]["Networks"] = json!({});
        assert_eq!(plan_of(&alone).map(|plan| plan.create_body.get("NetworkingConfig").cloned()), Ok(None), "{mode}");
    }
}

#[test]
fn an_address_on_a_swarm_network_is_refused_while_it_cannot_be_understood() {
    // As an attachable overlay network looks on 20.10: the address was handed out.
    let overlay = json!({
        "NetworkID": "e4o1vn4n44f84vmqknrwtk35c", "IPAMConfig": {"IPv4Address": "10.0.1.2"}, "IPAddress": "10.0.1.2",
    });
    let mut container = with("/NetworkSettings/Networks", json!({"overlay": overlay}));
    container["HostConfig"]["NetworkMode"] = json!("overlay");
    let refused = Err(Refusal::SwarmAddress { network: "overlay".into() });
    assert_eq!(plan_of(&container), refused);
    container["State"]["Status"] = json!("paused");
    assert_eq!(plan_of(&container), refused);
    // Once it has stopped, what is still there was asked for.
    container["State"]["Status"] = json!("exited");
    let body = plan_of(&container).expect("a plan").create_body;
    let endpoint = &body["NetworkingConfig"]["EndpointsConfig"]["overlay"];
    assert_eq!(endpoint, &json!({"IPAMConfig": {"IPv4Address": "10.0.1.2"}}));
    container["State"]["Status"] = json!("running");
    container["NetworkSettings"]["Networks"]["overlay"]["NetworkID"] = json!("a".repeat(64));
    assert!(plan_of(&container).is_ok());
}

#[test]
fn the_primary_network_may_be_given_by_id() {
    let id = "5".repeat(64);
    let mut container = with("/NetworkSettings/Networks", json!({"front": {"NetworkID": id, "Aliases": ["web"]}}));
    for mode in [&id[..], &id[..12]] {
        container["HostConfig"]["NetworkMode"] = json!(mode);
        let plan = plan_of(&container).expect("a plan");
        let endpoints = json!({"EndpointsConfig": {"front": {"Aliases": ["web"]}}});
        assert_eq!(plan.create_body["NetworkingConfig"], endpoints);
    }
}
