//! Watchtower's labels, and what they are in an app file.

use crate::labels::Labels;

const MONITOR_ONLY: &str = "com.centurylinklabs.watchtower.monitor-only";
const NO_PULL: &str = "com.centurylinklabs.watchtower.no-pull";
const SCOPE: &str = "com.centurylinklabs.watchtower.scope";
const STOP_SIGNAL: &str = "com.centurylinklabs.watchtower.stop-signal";
const HOOKS: &str = "com.centurylinklabs.watchtower.lifecycle.";
/// Seconds that Watchtower gives a hook whose label names no time: a minute.
const HOOK_SECONDS: u64 = 60;

/// Whether a label says that nothing is to be installed by itself.
pub(super) fn is_monitored_only(labels: &Labels) -> bool {
    labels.get(MONITOR_ONLY).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// A command that a label names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hook {
    /// `before` or `after`.
    pub(super) key: &'static str,
    /// For a shell.
    pub(super) command: String,
    /// How long it may take, in seconds.
    pub(super) seconds: u64,
}

/// The hooks that have a counterpart: `pre-update` runs in the old container before anything is touched, `post-update` in the new one.
pub(super) fn hooks(labels: &Labels) -> Vec<Hook> {
    let hook = |(word, key): (&str, &'static str)| {
        let command = labels.get(&format!("{HOOKS}{word}")).filter(|command| !command.is_empty())?.clone();
        let minutes = labels.get(&format!("{HOOKS}{word}-timeout")).and_then(|minutes| minutes.parse::<u64>().ok());
        // Its 0 is no limit; here an hour is the longest.
        let seconds = match minutes {
            None => HOOK_SECONDS,
            Some(0) => 3_600,
            Some(minutes) => minutes.saturating_mul(60).min(3_600),
        };
        Some(Hook { key, command, seconds })
    };
    [("pre-update", "before"), ("post-update", "after")].into_iter().filter_map(hook).collect()
}

/// What these labels ask for and an app file cannot, one sentence each.
pub(super) fn not_portable(labels: &Labels) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(scope) = labels.get(SCOPE) {
        said.push(format!(
            "Watchtower's scope `{scope}` is not needed: an app has its own instances; `nodes` chooses among nodes"
        ));
    }
    if let Some(signal) = labels.get(STOP_SIGNAL) {
        said.push(format!(
            "Watchtower's stop signal `{signal}` is not read: create the container with --stop-signal {signal}"
        ));
    }
    if labels.get(NO_PULL).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        said.push("Watchtower's no-pull has no counterpart: images come from the registry, by digest".to_owned());
    }
    for word in ["pre-check", "post-check"] {
        if labels.contains_key(&format!("{HOOKS}{word}")) {
            said.push(format!(
                "Watchtower's {word} has no counterpart: nothing is run in a container because somebody looks at a tag"
            ));
        }
    }
    said
}
