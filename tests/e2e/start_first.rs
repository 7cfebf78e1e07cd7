//! The new container serves before the old one stops: refused where only one can run, and without any downtime elsewhere.

use serde_json::json;

use crate::support::fleet::{CONTAINER, Fleet, GOOD, Hours, ROLLOUT};

#[test]
fn apply_refuses_start_first_where_a_host_port_is_fixed_and_says_which() {
    // Nobody listens there: the containers have it only among themselves, each on its own engine.
    let port = "28471";
    let fixed = json!({"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": port}]}}});
    let Some(fleet) = Fleet::start_with("fixed-port", &fixed) else { return };
    let file = format!(
        "name = \"{}\"\nimage = \"{}:stable\"\n[update]\norder = \"start-first\"\n",
        fleet.app(),
        fleet.registry().repository("web")
    );
    let path = fleet.surroundings.directory.path().join("start-first.toml");
    std::fs::write(&path, file).expect("the directory can be written");
    for arguments in [&["apply", "--dry-run"][..], &["apply"]] {
        let all: Vec<&str> = arguments.iter().copied().chain([path.to_str().expect("text")]).collect();
        let refused = fleet.cli.run(&all);
        assert_eq!(refused.code, 5, "{refused:?}");
        for words in ["start-first", &format!("80/tcp on host port {port}"), "stop-first"] {
            assert!(refused.err.contains(words), "{words}: {}", refused.err);
        }
    }
    assert_eq!(fleet.cli.json(&["app", "list"]), json!([]), "nothing was changed");
    fleet.apply(Hours::Never);
}

#[test]
fn with_start_first_no_instance_is_ever_away() {
    let Some(fleet) = Fleet::start("start-first") else { return };
    let hooks = "order = \"start-first\"\n[hooks]\n\
                 drain = { exec = [\"sh\", \"-c\", \"echo drained >>/data/hooks\"] }\n\
                 after = { exec = [\"sh\", \"-c\", \"echo serves >>/data/hooks\"] }\n";
    fleet.apply_with(Hours::Always, hooks);
    let v2 = fleet.push("v2", &GOOD);
    fleet.report_passed(&v2);
    let rollout = fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&v2);
    for step in rollout["steps"].as_array().expect("steps") {
        assert_eq!(step["downtime_ms"], 0, "{step:#}");
    }
    for engine in &fleet.surroundings.engines {
        let called = engine.exec(&engine.name(CONTAINER), "cat /data/hooks");
        let called: Vec<&str> = called.lines().map(str::trim).collect();
        assert_eq!(called, ["serves", "drained"], "on {}", engine.url());
    }
}
