//! App files: what an operator wants of an app, read into [`AppSpec`].
//!
//! One function for each table, in the files beside this one. What is part of the product but not of this version is refused
//! with that reason, never ignored.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Problems, Table, health, hooks, known_keys, quiet, read, rebuild, self_test, update};
use crate::ids::AppName;
use crate::rebuild::{RebuildBy, RebuildSpec};
use crate::signature::{KEY_LIMIT, PublicKey};
use crate::spec::{APP_LABEL, AppSpec, Freshness, Gate, InstanceSelector, TestKind};
use crate::tags::{TagOrder, TagPattern, TagPolicy};

/// Most apps that one app may wait for: a chain longer than this is a mistake.
const AFTER_LIMIT: usize = 100;

/// Shortest largest age, of a test report or of what runs: below a minute nothing would ever be fresh.
const AGE_MIN: Duration = Duration::from_secs(60);

/// Longest cooldown: a fix that waits longer than a year is not wanted.
const COOLDOWN_LIMIT: Duration = Duration::from_secs(366 * 86_400);

/// Reads an app file. `file` is used in messages alone.
///
/// # Errors
/// Everything that is wrong with the file, each with its place and what is allowed.
pub fn read_app(file: &str, text: &str) -> Result<AppSpec, Problems> {
    read(file, text, app)
}

/// Every key of an app file, in full.
#[must_use]
pub fn app_keys() -> BTreeSet<String> {
    known_keys(app)
}

fn app(file: &mut Table<'_>) -> Option<AppSpec> {
    let name: Option<AppName> = file.required("name");
    let image = file.required("image");
    let tags = file.table("tags", tags).flatten();
    no_tag_beside_a_rule(file);
    let nodes = file.optional("nodes").unwrap_or_default();
    let after = after(file, name.as_ref());
    let instances = file.table("instances", instances);
    let gate = file.table("gate", gate).unwrap_or_default();
    let freshness = file.table("freshness", freshness).flatten();
    let quiet_hours = file.table("quiet_hours", quiet::quiet_hours).flatten();
    let update = file.table("update", update::update).unwrap_or_default();
    let health = file.table("health", health::health).unwrap_or_default();
    let hooks = file.table("hooks", hooks::hooks).unwrap_or_default();
    let self_test = file.table("self_test", self_test::self_test);
    self_test_fits_gate(file, self_test.is_some(), &gate);
    let rebuild = file.table("rebuild", rebuild::rebuild).flatten();
    builder_fits(file, rebuild.as_ref());
    let (name, image, self_test) = (name?, image?, self_test.flatten());
    let own_label = || InstanceSelector::Label { key: APP_LABEL.to_owned(), value: name.to_string() };
    let instances = instances.unwrap_or_else(|| Some(own_label()))?;
    Some(AppSpec {
        name,
        image,
        tags,
        nodes,
        instances,
        gate,
        freshness,
        quiet_hours,
        update,
        health,
        hooks,
        self_test,
        after,
        rebuild,
    })
}

/// The rule by which a tag is chosen.
fn tags(table: &mut Table<'_>) -> Option<TagPolicy> {
    let range = table.optional("semver").map(TagPolicy::Semver);
    let pattern: Option<TagPattern> = table.optional("regex");
    let order = table.one_of("order", &TagOrder::WORDS);
    table.exactly_one(&["semver", "regex"]);
    if table.has("regex") {
        table.require("order");
    } else if table.has("order") {
        let message = format!("`{}` has no meaning without `{}`", table.full("order"), table.full("regex"));
        table.problem("order", &message, None);
    }
    let by_pattern = pattern.and_then(|pattern| Some(TagPolicy::Regex { pattern, order: order? }));
    range.or(by_pattern)
}

/// A gate that asks for self-tests needs to be told how; and a self-test that no gate asks for would decide nothing.
fn self_test_fits_gate(file: &Table<'_>, told: bool, gate: &Gate) {
    match (gate.tests.contains(&TestKind::SelfTest), told) {
        (true, false) => {
            let message = "`gate.tests` asks for `self-test`, and there is no `[self_test]`";
            file.problem("gate", message, Some("say with `self_test.test_nodes` where the image may test itself"));
        }
        (false, true) => {
            let message =
                "`[self_test]` is there, and `gate.tests` does not ask for `self-test`: it would decide nothing";
            file.problem("self_test", message, Some("add `\"self-test\"` to `gate.tests`, or leave `[self_test]` out"));
        }
        (true, true) | (false, false) => {}
    }
}

/// What a node builds is pushed under one tag, and only after it has tested itself.
fn builder_fits(file: &Table<'_>, rebuild: Option<&RebuildSpec>) {
    if !matches!(rebuild.map(|rebuild| &rebuild.by), Some(RebuildBy::Node(_))) {
        return;
    }
    if !file.has("self_test") {
        let message =
            "`rebuild.builder` is there, and there is no `[self_test]`: nothing would decide what may be pushed";
        file.problem("rebuild", message, Some("say with `self_test` how the image tests itself"));
    }
    if file.has("tags") {
        let message = "`rebuild.builder` has no meaning with `[tags]`: a build is pushed under one tag";
        file.problem("rebuild", message, Some("name the tag in `image`, such as `r.example/web:stable`"));
    }
}

/// A tag and a rule for tags would be two answers to one question.
fn no_tag_beside_a_rule(file: &mut Table<'_>) {
    let image: Option<String> = file.optional("image");
    let tagged = image.is_some_and(|image| image.rsplit('/').next().is_some_and(|name| name.contains(':')));
    if file.has("tags") && tagged {
        let message = "`image` has a tag, allowed beside `[tags]` is the repository alone: the rule chooses the tag";
        file.problem("image", message, None);
    }
}

fn after(file: &mut Table<'_>, name: Option<&AppName>) -> Vec<AppName> {
    let after: Vec<AppName> = file.list("after").unwrap_or_default();
    if after.len() > AFTER_LIMIT {
        let message = format!("`after` names {} apps, allowed are up to {AFTER_LIMIT}", after.len());
        file.problem("after", &message, None);
    }
    if let Some(name) = name
        && after.contains(name)
    {
        file.problem("after", &format!("`after` names `{name}` itself, allowed are other apps"), None);
    }
    report_twice(file, "after", &after);
    after
}

/// Reports what stands in a list more than once.
fn report_twice<T: PartialEq + fmt::Display>(table: &Table<'_>, key: &str, list: &[T]) {
    let twice = list.iter().enumerate().find(|(position, entry)| list[..*position].contains(entry));
    if let Some((_, entry)) = twice {
        table.problem(key, &format!("`{}` names `{entry}` twice, allowed is once", table.full(key)), None);
    }
}

fn instances(table: &mut Table<'_>) -> Option<InstanceSelector> {
    let label = table.optional("label").map(|Label { key, value }| InstanceSelector::Label { key, value });
    let name = table.optional("name").map(InstanceSelector::Name);
    let image = only_true(table, "image").map(|()| InstanceSelector::Image);
    table.exactly_one(&["label", "name", "image"]);
    label.or(name).or(image)
}

/// A key that can only be switched on: `false` would not say what holds instead.
pub(super) fn only_true(table: &mut Table<'_>, key: &'static str) -> Option<()> {
    match table.flag(key)? {
        true => Some(()),
        false => {
            let message = format!("`{}` is false, allowed is `true`", table.full(key));
            table.problem(key, &message, Some("leave the key out"));
            None
        }
    }
}

/// A container's label, written `key=value`.
struct Label {
    key: String,
    value: String,
}

impl FromStr for Label {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let legal = |part: &str| !part.chars().any(|c| c.is_whitespace() || c.is_control());
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && legal(key) && !value.chars().any(char::is_control) => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            Some(_) | None => Err(format!(
                "`{text}` is no label, allowed is `key=value`, such as `{APP_LABEL}=web`, no space in the key"
            )),
        }
    }
}

fn gate(table: &mut Table<'_>) -> Gate {
    let tests: Option<Vec<Kind>> = table.list("tests");
    let tests: Option<Vec<TestKind>> = tests.map(|kinds| kinds.into_iter().map(|Kind(kind)| kind).collect());
    report_twice(table, "tests", tests.as_deref().unwrap_or_default());
    let max_age = table.duration("max_age", AGE_MIN..=crate::duration::LIMIT);
    let cooldown = table.duration("cooldown", Duration::ZERO..=COOLDOWN_LIMIT);
    let default = Gate::default();
    let tests = tests.unwrap_or(default.tests);
    let signature_keys = signature_keys(table, tests.contains(&TestKind::Signature));
    Gate { tests, max_age, cooldown: cooldown.unwrap_or(default.cooldown), signature_keys }
}

/// Keys without a gate that asks for a signature would look like a check and be none.
fn signature_keys(table: &mut Table<'_>, wanted: bool) -> Vec<PublicKey> {
    let keys: Option<Vec<PublicKey>> = table.list("signature_keys");
    let known = keys.as_deref().unwrap_or_default();
    report_twice(table, "signature_keys", known);
    let place = table.full("signature_keys");
    if known.len() > KEY_LIMIT {
        let message = format!("`{place}` has {} keys, allowed are up to {KEY_LIMIT}", known.len());
        table.problem("signature_keys", &message, None);
    }
    match (wanted, table.has("signature_keys")) {
        (true, false) => {
            let message = format!("`{place}` is missing: `{}` asks for a `signature`", table.full("tests"));
            table.problem(
                "tests",
                &message,
                Some("name the public keys that may sign, such as the text of `cosign.pub`"),
            );
        }
        (true, true) if keys.as_ref().is_some_and(Vec::is_empty) => {
            table.problem("signature_keys", &format!("`{place}` is empty, allowed is one key or more"), None);
        }
        (false, true) => {
            let message =
                format!("`{place}` has no meaning, since `{}` does not ask for a `signature`", table.full("tests"));
            table.problem("signature_keys", &message, None);
        }
        (true, true) | (false, false) => {}
    }
    keys.unwrap_or_default()
}

/// A kind of test report that this version can judge.
struct Kind(TestKind);

impl FromStr for Kind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match TestKind::ALL.into_iter().find(|kind| kind.as_str() == text) {
            Some(kind) => Ok(Self(kind)),
            None => Err(format!("`{text}` is no kind of test, allowed are `ci`, `self-test`, `signature`")),
        }
    }
}

fn freshness(table: &mut Table<'_>) -> Option<Freshness> {
    table.require("max_age");
    Some(Freshness { max_age: table.duration("max_age", AGE_MIN..=crate::duration::LIMIT)? })
}
