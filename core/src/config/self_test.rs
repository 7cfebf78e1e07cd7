//! `[self_test]` of an app file: where and how a candidate tests itself.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Table;
use crate::labels::{Labels, Selector};
use crate::spec::{DEFAULT_TEST_TIMEOUT, Memory, SelfTest, TEST_VARIABLE, TestLimits, TestRun};

/// Shortest and longest time of a test: a container needs a second to start, and a node that tests for more than six hours
/// tests nothing else that night.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(6 * 3_600));
/// Least memory: engines refuse less than 6 MiB, and nothing useful starts in less than this. Most: no host has more.
const MEMORY: (Memory, Memory) = (Memory(16 << 20), Memory(64 << 40));
/// Processors: engines refuse less than a hundredth, and no host has more.
const CPUS: (f64, f64) = (0.01, 1_024.0);
/// Most processes: what kernels allow at most by default.
const PIDS_LIMIT: u32 = 4_194_304;
/// Most variables: they travel in each order.
const ENV_LIMIT: usize = 100;
/// Longest variable, name and value, in bytes.
const VARIABLE_LIMIT_BYTES: usize = 8 * 1024;
/// Most words of a command, and longest of them in bytes: what an order carries.
const COMMAND_LIMIT: usize = 64;
const WORD_LIMIT_BYTES: usize = 8 * 1024;

pub(super) fn self_test(table: &mut Table<'_>) -> Option<SelfTest> {
    let hint = "an untested image runs only on nodes that are labelled for it";
    let test_nodes = labelled_nodes(table, "test_nodes", "role=test", hint);
    let env = env(table);
    let run = run(table);
    let timeout = table.duration("timeout", TIMEOUT.0..=TIMEOUT.1).unwrap_or(DEFAULT_TEST_TIMEOUT);
    let limits = limits(table);
    let internet = table.flag("internet").unwrap_or(false);
    Some(SelfTest { test_nodes: test_nodes?, env, run, timeout, limits, internet })
}

/// The nodes that do work which nobody expects of a node: only those whose own labels say so. A selector that chooses a node
/// without any label would choose nodes whose operators never thought of it.
pub(super) fn labelled_nodes(table: &mut Table<'_>, key: &'static str, example: &str, hint: &str) -> Option<Selector> {
    let chosen: Selector = table.required(key)?;
    if !chosen.matches(&Labels::new()) {
        return Some(chosen);
    }
    let message = format!(
        "`{}` is `{chosen}`, which chooses nodes without any label, allowed is a selector with at least one label that a node \
         must have, such as `{example}`",
        table.full(key)
    );
    table.problem(key, &message, Some(hint));
    None
}

fn env(table: &mut Table<'_>) -> BTreeMap<String, String> {
    let given = table.has("env");
    let env = table.labels("env");
    if !given {
        return BTreeMap::from([(TEST_VARIABLE.0.to_owned(), TEST_VARIABLE.1.to_owned())]);
    }
    if env.len() > ENV_LIMIT {
        let message = format!("`self_test.env` has {} entries, allowed are up to {ENV_LIMIT}", env.len());
        table.problem("env", &message, None);
    }
    for (key, value) in &env {
        let named = !key.is_empty() && !key.contains('=');
        let short = key.len() + value.len() <= VARIABLE_LIMIT_BYTES;
        if !named || !short || key.contains('\0') || value.contains('\0') {
            let message = format!(
                "`self_test.env` has a variable that cannot be set, allowed are names without `=` and, together with \
                 their value, up to {VARIABLE_LIMIT_BYTES} bytes"
            );
            table.problem("env", &message, None);
        }
    }
    env
}

fn run(table: &mut Table<'_>) -> TestRun {
    let inside = words(table, "command").map(TestRun::Command);
    let instead = words(table, "entrypoint").map(TestRun::Entrypoint);
    if inside.is_some() && instead.is_some() {
        let message = "`self_test` has `command` and `entrypoint`, allowed is at most one of them";
        table.problem("entrypoint", message, None);
    }
    inside.or(instead).unwrap_or_default()
}

fn words(table: &mut Table<'_>, key: &'static str) -> Option<Vec<String>> {
    let words: Vec<String> = table.list(key)?;
    let fits = words.len() <= COMMAND_LIMIT && words.iter().all(|word| word.len() <= WORD_LIMIT_BYTES);
    if words.first().is_none_or(String::is_empty) || !fits {
        let message = format!(
            "`self_test.{key}` is no command, allowed is a program and its arguments, up to {COMMAND_LIMIT} words of up to \
             {WORD_LIMIT_BYTES} bytes"
        );
        table.problem(key, &message, Some("for example `[\"/app/self-test\", \"--quick\"]`"));
        return None;
    }
    Some(words)
}

fn limits(table: &mut Table<'_>) -> TestLimits {
    let default = TestLimits::default();
    let memory: Option<Memory> = table.optional("memory");
    if let Some(memory) = memory.filter(|memory| !(MEMORY.0..=MEMORY.1).contains(memory)) {
        let message = format!("`self_test.memory` is {memory}, allowed are {} to {}", MEMORY.0, MEMORY.1);
        table.problem("memory", &message, None);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
    let cpus = table.float("cpus", CPUS.0..=CPUS.1).map(|cpus| (cpus * 1_000.0).round() as u32);
    TestLimits {
        memory: memory.unwrap_or(default.memory),
        cpus_milli: cpus.unwrap_or(default.cpus_milli),
        pids: table.integer("pids", 1..=PIDS_LIMIT).unwrap_or(default.pids),
    }
}
