//! A typed view of what an engine says of one container: just what the rules decide on, read from the raw inspect.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::ContainerId;
use crate::labels::Labels;

/// What an engine's inspect did not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the engine's inspect of a container has no usable `{0}`")]
pub struct Malformed(pub &'static str);

/// An engine's word for what a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Made, never started.
    Created,
    /// Its main process runs.
    Running,
    /// Frozen by a person.
    Paused,
    /// Ended; the engine is about to start it again.
    Restarting,
    /// On its way out.
    Removing,
    /// Ended.
    Exited,
    /// Could not be removed.
    Dead,
}

impl RunState {
    /// The state that an engine has this word for; `None` for a word of no known engine.
    ///
    /// Podman's inspect and list have some of their own, for moments between Docker's: one that is set up has never run, one
    /// that is about to stop still does, and one that has stopped waits for its clean-up.
    #[must_use]
    pub fn of_status(word: &str) -> Option<Self> {
        match word {
            "created" | "configured" | "initialized" => Some(Self::Created),
            "running" | "stopping" => Some(Self::Running),
            "paused" => Some(Self::Paused),
            "restarting" => Some(Self::Restarting),
            "removing" => Some(Self::Removing),
            "exited" | "stopped" => Some(Self::Exited),
            "dead" => Some(Self::Dead),
            _ => None,
        }
    }
}

/// What the engine's own health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The container has no health check.
    None,
    /// Too early to say.
    Starting,
    /// The last check passed.
    Healthy,
    /// Too many checks failed in a row.
    Unhealthy,
}

/// One container as its engine describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerView {
    /// The engine's id.
    pub id: ContainerId,
    /// Name without the leading slash.
    pub name: String,
    /// Reference in the container's configuration, as it was typed at its creation.
    pub image: String,
    /// Id of the image it was made from.
    pub image_id: String,
    /// What it does.
    pub state: RunState,
    /// What its own health check says.
    pub health: Health,
    /// How often the engine has restarted it.
    pub restart_count: u64,
    /// Exit code of the last run.
    pub exit_code: i64,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// The engine's own error of the last start, empty when there was none.
    pub error: String,
    /// All its labels.
    pub labels: Labels,
    /// When it last started; `None` when it never did.
    pub started_at: Option<DateTime<Utc>>,
    /// The engine's restart policy as it stands, raw.
    pub restart_policy: Value,
    /// Seconds that the engine waits between stop signal and kill; `None`: the engine's default of 10.
    pub stop_timeout_seconds: Option<u64>,
    /// Whether the engine removes it as soon as it ends (`--rm`).
    pub auto_remove: bool,
}

impl ContainerView {
    /// Reads the view from a raw inspect.
    ///
    /// # Errors
    /// A field without which nothing can be decided is missing or of another type.
    pub fn from_inspect(inspect: &Value) -> Result<Self, Malformed> {
        let text = |pointer: &str| inspect.pointer(pointer).and_then(Value::as_str);
        let required = |pointer: &'static str| text(pointer).filter(|text| !text.is_empty()).ok_or(Malformed(pointer));
        let number = |pointer: &str| inspect.pointer(pointer).and_then(Value::as_i64);
        let flag = |pointer: &str| inspect.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
        Ok(Self {
            id: ContainerId(required("/Id")?.to_owned()),
            name: required("/Name")?.trim_start_matches('/').to_owned(),
            image: text("/Config/Image").unwrap_or_default().to_owned(),
            image_id: required("/Image")?.to_owned(),
            state: RunState::of_status(required("/State/Status")?).ok_or(Malformed("/State/Status"))?,
            health: health(text("/State/Health/Status"))?,
            restart_count: number("/RestartCount").and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
            exit_code: number("/State/ExitCode").unwrap_or(0),
            oom_killed: flag("/State/OOMKilled"),
            error: text("/State/Error").unwrap_or_default().to_owned(),
            labels: labels(inspect),
            started_at: text("/State/StartedAt").and_then(instant),
            restart_policy: inspect.pointer("/HostConfig/RestartPolicy").cloned().unwrap_or(Value::Null),
            stop_timeout_seconds: number("/Config/StopTimeout").and_then(|seconds| u64::try_from(seconds).ok()),
            auto_remove: flag("/HostConfig/AutoRemove"),
        })
    }
}

/// All labels of an inspected container.
#[must_use]
pub fn labels(inspect: &Value) -> Labels {
    match inspect.pointer("/Config/Labels") {
        Some(Value::Object(map)) => {
            map.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        }
        Some(_) | None => Labels::new(),
    }
}

fn health(text: Option<&str>) -> Result<Health, Malformed> {
    match text {
        None | Some("none" | "") => Ok(Health::None),
        Some("starting") => Ok(Health::Starting),
        Some("healthy") => Ok(Health::Healthy),
        Some("unhealthy") => Ok(Health::Unhealthy),
        Some(_) => Err(Malformed("/State/Health/Status")),
    }
}

/// An engine's instant; its zero value, year 1, means never.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    if text.starts_with("0001-") {
        return None;
    }
    DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inspect() -> Value {
        json!({
            "Id": "0123456789abcdef", "Name": "/web", "Image": "sha256:1", "RestartCount": 2,
            "Config": {"Image": "r.example/web:stable", "Labels": {"nightshift.app": "web"}, "StopTimeout": 3},
            "HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}},
            "State": {"Status": "running", "ExitCode": 0, "StartedAt": "2026-11-23T15:27:37.68Z",
                      "Health": {"Status": "healthy"}},
        })
    }

    #[test]
    fn a_real_shape_is_read() {
        let view = ContainerView::from_inspect(&inspect()).expect("complete");
        assert_eq!(view.name, "web");
        assert_eq!((view.state, view.health, view.restart_count), (RunState::Running, Health::Healthy, 2));
        assert_eq!(view.stop_timeout_seconds, Some(3));
        assert_eq!(view.restart_policy["Name"], "always");
        assert!(view.started_at.is_some());
    }

    #[test]
    fn each_required_field_is_missed_by_name() {
        for pointer in ["Id", "Name", "Image", "State"] {
            let mut broken = inspect();
            broken.as_object_mut().expect("an object").remove(pointer);
            let error = ContainerView::from_inspect(&broken).expect_err(pointer);
            assert!(error.to_string().contains(pointer), "{error}");
        }
    }

    #[test]
    fn the_words_of_docker_and_podman_are_states() {
        for (word, expect) in [
            ("created", RunState::Created),
            ("running", RunState::Running),
            ("paused", RunState::Paused),
            ("restarting", RunState::Restarting),
            ("removing", RunState::Removing),
            ("exited", RunState::Exited),
            ("dead", RunState::Dead),
            ("configured", RunState::Created),
            ("initialized", RunState::Created),
            ("stopping", RunState::Running),
            ("stopped", RunState::Exited),
        ] {
            assert_eq!(RunState::of_status(word), Some(expect), "{word}");
        }
        for word in ["", "Running", "unknown"] {
            assert_eq!(RunState::of_status(word), None, "{word}");
        }
    }

    #[test]
    fn a_word_that_we_do_not_know_is_never_guessed() {
        let mut odd = inspect();
        odd["State"]["Status"] = json!("hibernating");
        assert_eq!(ContainerView::from_inspect(&odd), Err(Malformed("/State/Status")));
    }

    #[test]
    fn the_engines_zero_time_means_never() {
        let mut fresh = inspect();
        fresh["State"]["StartedAt"] = json!("0001-01-01T00:00:00Z");
        assert_eq!(ContainerView::from_inspect(&fresh).expect("complete").started_at, None);
    }
}
