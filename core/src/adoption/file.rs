//! The app file of a proposal: short, with a comment where a person has to decide.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Group, watchtower};
use crate::ids::AppName;
use crate::spec::InstanceSelector;

/// Containers that are named in a file at most: the others are counted.
const NAMED_LIMIT: usize = 8;

/// The whole text.
pub(super) fn write(name: &AppName, selector: &InstanceSelector, group: &Group<'_>, after: &[AppName]) -> String {
    let mut lines = vec![format!("# {}", found(group)), format!("name = {}", quoted(name.as_str()))];
    lines.push(format!("image = {}", quoted(&group.image.familiar())));
    if !after.is_empty() {
        let names: Vec<_> = after.iter().map(|name| quoted(name.as_str())).collect();
        lines.push("# as labels of the containers say".to_owned());
        lines.push(format!("after = [{}]", names.join(", ")));
    }
    lines.extend(instances(selector));
    lines.extend(GATE.map(str::to_owned));
    if group.members.iter().any(|(_, one)| watchtower::is_monitored_only(&one.labels)) {
        lines.push(
            "\n[update]\n# Watchtower's monitor-only: only `nightshift rollout start` installs\nmode = \"manual\""
                .to_owned(),
        );
    }
    lines.push(QUIET.to_owned());
    if group.members.iter().all(|(_, one)| one.has_health_check) {
        lines.push("\n[health]\n# the image, or the container, has a health check\ndocker = true".to_owned());
    }
    lines.extend(hooks(group));
    let remarks: BTreeSet<_> =
        group.members.iter().flat_map(|(_, one)| watchtower::not_portable(&one.labels)).collect();
    if !remarks.is_empty() {
        lines.push(String::new());
        lines.extend(remarks.into_iter().map(|remark| format!("# {}", plain(&remark))));
    }
    lines.join("\n") + "\n"
}

const GATE: [&str; 1] = [
    "\n[gate]\n# A new digest waits until CI reports that it passed its tests (docs/http.md). `[]` trusts the tag itself, as Watchtower \
does.\ntests = [\"ci\"]",
];

const QUIET: &str = "\n# Nothing is installed by itself until this is filled in:\n# [quiet_hours]\n# timezone = \"America/Moncton\"\n\
# [[quiet_hours.allow]]\n# days = [\"daily\"]\n# start = \"02:00\"\n# duration = \"3h\"";

fn found(group: &Group<'_>) -> String {
    let names: Vec<_> =
        group.members.iter().take(NAMED_LIMIT).map(|(node, one)| format!("{} on {node}", plain(&one.name))).collect();
    let more = group.members.len().saturating_sub(NAMED_LIMIT);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    format!("found: {}{more}", names.join(", "))
}

fn instances(selector: &InstanceSelector) -> Vec<String> {
    let line = match selector {
        InstanceSelector::Label { key, value } => format!("label = {}", quoted(&format!("{key}={value}"))),
        InstanceSelector::Name(pattern) => format!("name = {}", quoted(pattern.as_str())),
        InstanceSelector::Image => "image = true".to_owned(),
    };
    vec!["\n[instances]".to_owned(), line]
}

/// The hooks of the first container that has some; that others have different ones is said.
fn hooks(group: &Group<'_>) -> Vec<String> {
    let of_each: BTreeSet<_> = group.members.iter().map(|(_, one)| describe(&watchtower::hooks(&one.labels))).collect();
    let mut different = of_each.into_iter().filter(|text| !text.is_empty());
    let Some(first) = different.next() else { return Vec::new() };
    let mut lines = vec![first];
    if different.next().is_some() || group.members.iter().any(|(_, one)| watchtower::hooks(&one.labels).is_empty()) {
        lines.insert(0, "\n# The containers' labels differ: these hooks are those of one of them.".to_owned());
    }
    lines
}

fn describe(hooks: &[watchtower::Hook]) -> String {
    let mut text = String::new();
    for hook in hooks {
        let command = quoted(&hook.command);
        let (key, seconds) = (hook.key, hook.seconds);
        write!(text, "\n[hooks.{key}]\nexec = [\"sh\", \"-c\", {command}]\ntimeout = \"{seconds}s\"")
            .expect("memory takes all");
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Text for a comment, which ends with its line.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
