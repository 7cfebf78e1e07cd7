//! The main job: a tested digest goes to every node, one instance after the other, and nothing that a person set is lost.

use serde_json::{Value, json};

use crate::support::Engine;
use crate::support::fleet::{CONTAINER, Fleet, GOOD, Hours, ROLLOUT};

/// What a person, or Compose, may have set.
fn settings() -> Value {
    json!({
        "Labels": {
            "com.docker.compose.project": "shop",
            "com.docker.compose.service": "web",
            "com.docker.compose.config-hash": "0123456789abcdef",
            "owner": "night crew",
        },
        "Env": ["COLOR=blue", "EMPTY="],
        "StopTimeout": 3,
        "HostConfig": {
            "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
            "Memory": 64 * 1024 * 1024,
            "ExtraHosts": ["depot:10.9.8.7"],
        },
    })
}

/// The part of an inspect that must be the same before and after.
fn kept(engine: &Engine) -> Value {
    let inspect = engine.inspect(&engine.name(CONTAINER));
    let volume = &inspect["Mounts"][0];
    json!({
        "name": inspect["Name"],
        "env": inspect["Config"]["Env"],
        "labels": {
            "app": inspect["Config"]["Labels"]["nightshift.app"],
            "project": inspect["Config"]["Labels"]["com.docker.compose.project"],
            "service": inspect["Config"]["Labels"]["com.docker.compose.service"],
            "hash": inspect["Config"]["Labels"]["com.docker.compose.config-hash"],
            "owner": inspect["Config"]["Labels"]["owner"],
        },
        "stop_timeout": inspect["Config"]["StopTimeout"],
        "restart": inspect["HostConfig"]["RestartPolicy"],
        "memory": inspect["HostConfig"]["Memory"],
        "hosts": inspect["HostConfig"]["ExtraHosts"],
        "volume": volume["Name"],
        "at": volume["Destination"],
    })
}

#[test]
fn instances_are_replaced_one_at_a_time_and_keep_what_they_were_given() {
    let Some(fleet) = Fleet::start_with("one-at-a-time", &settings()) else { return };
    for engine in &fleet.surroundings.engines {
        engine.exec(&engine.name(CONTAINER), &format!("echo data of {} >/data/file", engine.url()));
    }
    let before: Vec<Value> = fleet.surroundings.engines.iter().map(kept).collect();
    let old = fleet.ids();
    fleet.apply(Hours::Always);
    let recording = fleet.record();
    let v2 = fleet.push("v2", &GOOD);
    fleet.report_passed(&v2);

    let rollout = fleet.rollout_is(&["completed"], ROLLOUT);

    fleet.runs(&v2);
    let away = recording.away();
    assert_eq!(away.len(), 3, "each instance was away once: {away:?} of {:#?}", recording.all());
    for pair in away.windows(2) {
        assert!(pair[0].to <= pair[1].from, "two instances were away at the same time: {away:?}");
    }
    for (engine, before) in fleet.surroundings.engines.iter().zip(before) {
        assert_eq!(kept(engine), before, "on {}", engine.url());
        let data = engine.exec(&engine.name(CONTAINER), "cat /data/file");
        assert_eq!(data, format!("data of {}", engine.url()));
    }
    let steps = rollout["steps"].as_array().expect("steps");
    let old_of_steps: Vec<&str> = steps.iter().filter_map(|step| step["old_container_id"].as_str()).collect();
    assert_eq!(old_of_steps, old, "the rollout names the containers that it replaced, node after node");
    let new_of_steps: Vec<&str> = steps.iter().filter_map(|step| step["new_container_id"].as_str()).collect();
    assert_eq!(new_of_steps, fleet.ids(), "and those that run now");
}
