//! What an `apply` changes, for people: one line for each value that differs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{AppSpec, HealthCheck, HookPoint, InstanceSelector, SelfTest, TestRun};
use crate::duration;

/// What stands for a value that is not there.
const NONE: &str = "none";

/// The values that differ between two specs of an app, in the order of their keys: `update.monitor: 30s -> 10s`.
#[must_use]
pub fn spec_differences(old: &AppSpec, new: &AppSpec) -> Vec<String> {
    let (old, new) = (flat(old), flat(new));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let value =
        |values: &BTreeMap<String, String>, key: &String| values.get(key).map_or(NONE.to_owned(), String::clone);
    let pairs = keys.into_iter().map(|key| (key, value(&old, key), value(&new, key)));
    pairs.filter(|(_, old, new)| old != new).map(|(key, old, new)| format!("{key}: {old} -> {new}")).collect()
}

/// Every value of a spec by its key, as an app file would name it.
fn flat(spec: &AppSpec) -> BTreeMap<String, String> {
    let mut whole = serde_json::to_value(spec).expect("a spec has only text keys and finite numbers");
    // Choices between kinds read better as one value, and files write a ratio where specs hold exact thousandths.
    whole["health"] = health_text(&spec.health).into();
    for point in HookPoint::ALL {
        if let Some(hook) = spec.hooks.at(point) {
            whole["hooks"][point.as_str()] = hook.to_string().into();
        }
    }
    whole["instances"] = instances_text(&spec.instances).into();
    if let Some(policy) = &spec.tags {
        whole["tags"] = policy.to_string().into();
    }
    if !spec.gate.signature_keys.is_empty() {
        // A key is known by its name; its text is long and tells nobody anything.
        let names: Vec<String> = spec.gate.signature_keys.iter().map(ToString::to_string).collect();
        whole["gate"]["signature_keys"] = names.into();
    }
    if let Some(update) = whole["update"].as_object_mut() {
        update.remove("max_failure_permille");
        update.insert("max_failure_ratio".to_owned(), thousandths_text(spec.update.max_failure_permille.into()).into());
    }
    if let Some(test) = &spec.self_test {
        whole["self_test"] = self_test_values(test);
    }
    let mut values = BTreeMap::new();
    flatten(String::new(), &whole, &mut values);
    values
}

fn health_text(health: &HealthCheck) -> String {
    match health {
        HealthCheck::Auto => "auto".to_owned(),
        HealthCheck::Docker => "docker".to_owned(),
        HealthCheck::Http { port, path } => format!("http :{port}{path}"),
        HealthCheck::Tcp { port } => format!("tcp {port}"),
        HealthCheck::Exec { command } => format!("exec {command:?}"),
    }
}

fn instances_text(instances: &InstanceSelector) -> String {
    match instances {
        InstanceSelector::Label { key, value } => format!("label {key}={value}"),
        InstanceSelector::Name(pattern) => format!("name {}", String::from(pattern.clone())),
        InstanceSelector::Image => "image".to_owned(),
    }
}

/// The self-test by the keys of a file.
fn self_test_values(test: &SelfTest) -> Value {
    let limits = &test.limits;
    let mut values = json!({
        "test_nodes": test.test_nodes, "env": test.env, "timeout": duration::format(test.timeout),
        "memory": limits.memory, "cpus": thousandths_text(limits.cpus_milli), "pids": limits.pids, "internet": test.internet,
    });
    match &test.run {
        TestRun::Image => {}
        TestRun::Command(words) => values["command"] = json!(words),
        TestRun::Entrypoint(words) => values["entrypoint"] = json!(words),
    }
    values
}

fn thousandths_text(number: u32) -> String {
    let text = format!("{}.{:03}", number / 1_000, number % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn flatten(path: String, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(path, value, into);
            }
        }
        Value::Array(entries) if entries.iter().any(Value::is_object) => {
            for (position, value) in entries.iter().enumerate() {
                flatten(format!("{path}[{position}]"), value, into);
            }
        }
        Value::Array(entries) => {
            let texts: Vec<String> = entries.iter().map(text).collect();
            into.insert(path, format!("[{}]", texts.join(", ")));
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            into.insert(path, text(value));
        }
    }
}

fn text(value: &Value) -> String {
    match value.as_str() {
        Some(text) if !text.is_empty() => text.to_owned(),
        Some(_) | None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read_app;

    fn spec(text: &str) -> AppSpec {
        read_app("app.toml", text).expect("well formed")
    }

    #[test]
    fn equal_specs_have_no_differences() {
        let text = "name = 'web'\nimage = 'r.example/web'\n";
        assert_eq!(spec_differences(&spec(text), &spec(text)), Vec::<String>::new());
    }

    #[test]
    fn each_value_that_differs_is_one_line() {
        let old = spec("name = 'web'\nimage = 'r.example/web:1'\nafter = ['db']\n[freshness]\nmax_age = '7d'\n");
        let new = spec(
            "name = 'web'\nimage = 'r.example/web:2'\nnodes = 'role=web'\n\
             [quiet_hours]\ntimezone = 'UTC'\n[[quiet_hours.allow]]\ndays = ['sat']\nstart = '22:00'\nduration = '2h'\n\
             [update]\nmonitor = '10s'\nfailure_action = 'continue'\nmax_failure_ratio = 0.25\n[instances]\nname = 'web-*'\n[health]\ntcp = 80\n\
             [hooks]\ndrain = { exec = ['drain', 'now'], timeout = '1m' }\n\
             [gate]\ntests = ['self-test']\n[self_test]\ntest_nodes = 'role=test'\ncommand = ['t', '-q']\ncpus = 0.5\n",
        );
        let expect = [
            "after: [db] -> []",
            "freshness.max_age: 7d -> none",
            "gate.tests: [ci] -> [self-test]",
            "health: auto -> tcp 80",
            "hooks.drain: none -> exec [\"drain\", \"now\"] within 1m",
            "image: r.example/web:1 -> r.example/web:2",
            "instances: label nightshift.app=web -> name web-*",
            "nodes: \"\" -> role=web",
            "quiet_hours.allow[0].duration: none -> 2h",
            "quiet_hours.allow[0].rule: none -> sat",
            "quiet_hours.allow[0].start: none -> 22:00",
            "quiet_hours.cutoff: none -> auto",
            "quiet_hours.freeze: none -> []",
            "quiet_hours.timezone: none -> UTC",
            "self_test.command: none -> [t, -q]",
            "self_test.cpus: none -> 0.5",
            "self_test.env.NIGHTSHIFT_TEST: none -> 1",
            "self_test.internet: none -> false",
            "self_test.memory: none -> 1g",
            "self_test.pids: none -> 512",
            "self_test.test_nodes: none -> role=test",
            "self_test.timeout: none -> 10m",
            "update.canary_monitor: 1m -> 20s",
            "update.failure_action: pause -> continue",
            "update.max_failure_ratio: 0 -> 0.25",
            "update.monitor: 30s -> 10s",
        ];
        assert_eq!(spec_differences(&old, &new), expect);
    }
}
