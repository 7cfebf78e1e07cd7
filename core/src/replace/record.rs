//! What the journal holds of a step: the durable facts, how far it is, and what of its deadlines is used up.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::action::Action;
use super::names;
use super::watch::{Verify, Watch};
use crate::container::ContainerView;
use crate::ids::ContainerId;
use crate::step::{Failure, FailureKind, LOG_LIMIT_BYTES, StepOrder, StepPhase, StepReport};

/// How often one action may be refused before another way is taken. With [`pause_after`] the last try comes half a
/// minute after the first: long enough for a busy mount or a port that is still closing.
pub const TRY_LIMIT: u32 = 5;

/// Longest text kept of a refusal, in characters: an engine's message is a sentence, not a book.
const MESSAGE_LIMIT_CHARS: usize = 500;

/// What a look is called where it is refused.
const LOOK: &str = "look at the containers";

/// Timers that went on by less than this are not worth a write to the journal; a crash loses at most as much of them.
pub const TIMER_GRAIN: Duration = Duration::from_secs(5);

/// Grace period of a container that does not name its own: the engine's default.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// What the old container was doing when the step began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Was {
    /// Running; the engine's health check said healthy.
    RunningHealthy,
    /// Running, without a health check or not (yet) healthy.
    Running,
    /// In a restart loop.
    Restarting,
    /// Stopped or never started: the new one is not started either.
    Stopped,
}

/// What is known of the old container from before anything was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Old {
    /// Id of its image.
    pub image_id: String,
    /// What it was doing.
    pub was: Was,
    /// Its restart policy, raw.
    pub restart_policy: Value,
    /// How long the engine waits between its stop signal and the kill.
    #[serde(with = "crate::duration::text")]
    pub grace: Duration,
}

/// The configuration of the new container, worked out before anything was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blueprint {
    /// Body of the create call.
    pub create_body: Value,
    /// Networks to connect before the start: name and body of the call.
    pub connects: Vec<(String, Value)>,
    /// The settings that it was worked out from: [`super::observed::fingerprint`]. None in a journal of an older version.
    #[serde(default)]
    pub settings: Option<u64>,
}

/// How often the engine refused an action, and its last words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// How often.
    pub count: u32,
    /// The last refusal.
    pub message: String,
}

/// How long the service was away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Downtime {
    /// The old container was not stopped yet.
    #[default]
    NotYet,
    /// It goes on.
    Running(Duration),
    /// It is over.
    Over(Duration),
    /// The agent itself was away meanwhile, and a monotonic clock knows nothing of that time.
    Unknown,
}

/// What time has gone by, as far as the rules ask for it. It counts only while an agent looks on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// Of the new container.
    pub watch: Watch,
    /// Of the old container that was brought back.
    pub verify: Verify,
    /// Time since the order came in, as long as nothing was begun.
    pub waited: Duration,
    /// What is left of the pause after a refusal.
    pub pause: Duration,
    /// How long the service was away.
    pub downtime: Downtime,
}

/// A step in the journal. Everything in it is enough to go on, together with a look at the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The order.
    pub order: StepOrder,
    /// How far the step is. Only grows.
    pub phase: StepPhase,
    /// The old container as it was found.
    pub old: Option<Old>,
    /// Whether a change of the old container was begun. Until then a failure leaves everything untouched.
    pub old_touched: bool,
    /// Whether the engine takes the calls that will be needed.
    #[serde(default)]
    pub calls_tried: bool,
    /// The engine's id of the target image.
    pub image_id: Option<String>,
    /// Images that are held by a tag.
    pub kept_images: Vec<String>,
    /// The new container's configuration.
    pub blueprint: Option<Blueprint>,
    /// The new container.
    pub new_id: Option<ContainerId>,
    /// Set: the step goes backward. Never unset.
    pub failure: Option<Failure>,
    /// Whether the failed container's log was asked for.
    pub log_taken: bool,
    /// How often the old container was started again.
    pub old_starts: u32,
    /// Whether the old container was seen in its former state again.
    pub verified: bool,
    /// Work after the commit that is done: the followed tag.
    pub followed_tagged: bool,
    /// Work after the commit that is done: old images.
    pub images_cleaned: bool,
    /// Refusals, by the action's words.
    pub tried: BTreeMap<String, Tried>,
    /// What time has gone by.
    pub timers: Timers,
}

/// Pause after so many refusals of one action.
#[must_use]
pub fn pause_after(count: u32) -> Duration {
    Duration::from_secs(1 << count.saturating_sub(1).min(4))
}

fn shortened(text: &str) -> String {
    text.chars().take(MESSAGE_LIMIT_CHARS).collect()
}

/// A failure without a log.
pub(super) fn failure(kind: FailureKind, reason: impl Into<String>) -> Failure {
    Failure { kind, reason: reason.into(), log: String::new() }
}

/// The kind of a refusal, unless the words speak of the node and not of the image: a call that is forbidden, no space, a port that someone
/// else has, or an engine that lost hold of its own runtime, as after a crash (`task … already exists`). None of these
/// must bar a version from the whole fleet.
pub(super) fn node_or(kind: FailureKind, message: &str) -> FailureKind {
    let message = message.to_lowercase();
    let of_node = [
        "no space left on device",
        // A socket proxy, or a plugin of the engine, that forbids the call.
        "refused with status 401",
        "refused with status 403",
        "port is already allocated",
        "address already in use",
        "already exists",
        "ttrpc: closed",
        "transport is closing",
        "context deadline exceeded",
        "context canceled",
    ];
    if of_node.iter().any(|words| message.contains(words)) { FailureKind::Engine } else { kind }
}

impl Record {
    /// A step that has just been ordered.
    #[must_use]
    pub fn new(order: StepOrder) -> Self {
        Self {
            order,
            phase: StepPhase::Assigned,
            old: None,
            old_touched: false,
            calls_tried: false,
            image_id: None,
            kept_images: Vec::new(),
            blueprint: None,
            new_id: None,
            failure: None,
            log_taken: false,
            old_starts: 0,
            verified: false,
            followed_tagged: false,
            images_cleaned: false,
            tried: BTreeMap::new(),
            timers: Timers::default(),
        }
    }

    /// By which the new container is inspected: its id, or its temporary name as long as the id is not known.
    #[must_use]
    pub fn new_handle(&self) -> String {
        self.new_id.as_ref().map_or_else(|| names::temporary(&self.order), |id| id.0.clone())
    }

    /// What is pulled, and by which the target image is inspected.
    #[must_use]
    pub fn pull_reference(&self) -> String {
        self.order.image.repository.at(&self.order.digest)
    }

    /// What the coordinator is told.
    #[must_use]
    pub fn report(&self) -> StepReport {
        let downtime = match self.timers.downtime {
            Downtime::Over(time) => u64::try_from(time.as_millis()).ok(),
            Downtime::NotYet | Downtime::Running(_) | Downtime::Unknown => None,
        };
        let tells_failure = self.phase >= StepPhase::RollingBack;
        StepReport {
            key: self.order.key.clone(),
            phase: self.phase,
            old_container_id: self.old.as_ref().map(|_| self.order.container_id.clone()),
            new_container_id: self.new_id.clone(),
            downtime_ms: downtime,
            failure: self.failure.clone().filter(|_| tells_failure),
        }
    }

    /// To be called once when the record was read from the journal by a new process.
    ///
    /// Nobody knows how long the agent was away: the window may have closed. What has not changed anything yet is given
    /// up, and the coordinator orders it again when it may; what has goes on or back.
    pub fn resumed(&mut self) {
        if !self.old_touched && !self.phase.is_end() && self.failure.is_none() {
            self.failure =
                Some(failure(FailureKind::NotAccepted, "the agent was restarted before anything was changed"));
        }
        if let Downtime::Running(_) = self.timers.downtime {
            self.timers.downtime = Downtime::Unknown;
        }
    }

    /// Time in which the engine could not be asked: it counts for the downtime and against the order's `start_within`, and
    /// against no deadline of a container.
    pub fn engine_was_away(&mut self, time: Duration) {
        self.timers.waited += time;
        if let Downtime::Running(so_far) = self.timers.downtime {
            self.timers.downtime = Downtime::Running(so_far + time);
        }
    }

    /// Whether `self` must be written before anything is done, when `saved` is what the journal holds.
    #[must_use]
    pub fn differs_from(&self, saved: &Self) -> bool {
        let same_but_timers = Self { timers: saved.timers.clone(), ..self.clone() } == *saved;
        let spent = |record: &Self| record.timers.watch.spent + record.timers.verify.spent;
        !same_but_timers || spent(self).abs_diff(spent(saved)) >= TIMER_GRAIN
    }

    /// Folds in that an action was done, for those whose effect no inspect shows.
    pub fn done(&mut self, action: &Action) {
        match action {
            Action::TryCalls => self.calls_tried = true,
            Action::KeepImage { image_id, .. } => self.kept_images.push(image_id.clone()),
            Action::TagFollowed { .. } => self.followed_tagged = true,
            Action::CleanImages { .. } => self.images_cleaned = true,
            Action::StartOld { .. } => {
                self.old_starts += 1;
                self.timers.pause = if self.old_starts > 1 { pause_after(self.old_starts) } else { Duration::ZERO };
            }
            Action::Pull { .. }
            | Action::Plan
            | Action::Create { .. }
            | Action::Connect { .. }
            | Action::ParkRestartPolicy { .. }
            | Action::RenameOldAway { .. }
            | Action::RenameNewIn { .. }
            | Action::StopOld { .. }
            | Action::Start { .. }
            | Action::Probe { .. }
            | Action::Wait(_)
            | Action::RemoveOld { .. }
            | Action::TakeLog { .. }
            | Action::ParkNewPolicy { .. }
            | Action::StopNew { .. }
            | Action::RenameNewOut { .. }
            | Action::RenameOldBack { .. }
            | Action::RestoreRestartPolicy { .. }
            | Action::RemoveNew { .. }
            | Action::End => {}
        }
    }

    /// Folds in the answer to [`Action::Plan`]: the configuration, or why there can be none.
    pub fn planned(&mut self, result: Result<Blueprint, Failure>) {
        match result {
            Ok(blueprint) => self.blueprint = Some(blueprint),
            Err(failure) => self.failure = Some(failure),
        }
    }

    /// Folds in the answer to [`Action::Create`].
    pub fn created(&mut self, id: ContainerId) {
        self.new_id = Some(id);
    }

    /// Folds in the answer to [`Action::Probe`]: whether the container is healthy, or why not.
    pub fn probed(&mut self, result: Result<(), String>) {
        self.timers.watch.probed(result.map_err(|reason| shortened(&reason)));
    }

    /// Folds in the answer to [`Action::TakeLog`]; empty when there is none to have. The end of it is kept.
    pub fn logged(&mut self, log: &str) {
        self.log_taken = true;
        if let Some(failure) = &mut self.failure {
            let mut start = log.len().saturating_sub(LOG_LIMIT_BYTES);
            while !log.is_char_boundary(start) {
                start += 1;
            }
            failure.log = log[start..].to_owned();
        }
    }

    /// Folds in that the engine refused an action, in its own words. Not for an engine that is away, and only when a
    /// second look says that the action is still to be done. `transient`: while nothing was touched, trying again makes sense.
    pub fn refused(&mut self, action: &Action, message: &str, transient: bool) {
        let message = shortened(message);
        let count = self.count(action.words(), &message);
        let waits = transient && count < TRY_LIMIT && matches!(action, Action::Pull { .. } | Action::TryCalls);
        let kind = refusal_of(action, &message).filter(|_| !waits);
        self.failed(action, kind, &message, count);
    }

    /// Folds in that an action had no answer, or none that can be understood, and that a second look, which the engine did
    /// answer, says that it is still to be done. That may pass, so it is tried again; not for ever.
    pub fn unanswered(&mut self, action: &Action, message: &str) {
        let message = shortened(message);
        let count = self.count(action.words(), &message);
        let kind = refusal_of(action, &message).filter(|_| count >= TRY_LIMIT);
        // Silence says nothing about the version.
        let kind = kind.map(|kind| if kind.blames_the_version() { FailureKind::Engine } else { kind });
        self.failed(action, kind, &message, count);
    }

    /// Folds in that the engine refuses a look at what it holds, and says whether the step ends by that: as long as nothing
    /// was made there is nothing to take back. Later, the next look must be waited for.
    pub fn not_seen(&mut self, message: &str) -> bool {
        let message = shortened(message);
        let count = self.count(LOOK, &message);
        let nothing_made = self.blueprint.is_none() && self.new_id.is_none() && !self.old_touched;
        if self.phase.is_end() || !nothing_made || count < TRY_LIMIT {
            return false;
        }
        self.failure = Some(failure(FailureKind::Engine, format!("could not {LOOK}: {message}")));
        self.reach(StepPhase::Untouched);
        true
    }

    fn count(&mut self, words: &str, message: &str) -> u32 {
        let tried = self.tried.entry(words.to_owned()).or_default();
        tried.count += 1;
        message.clone_into(&mut tried.message);
        tried.count
    }

    fn failed(&mut self, action: &Action, kind: Option<FailureKind>, message: &str, count: u32) {
        match (kind, action) {
            (Some(kind), _) => self.failure = Some(failure(kind, format!("could not {}: {message}", action.words()))),
            (None, Action::TakeLog { .. }) => self.log_taken = true,
            (None, Action::Probe { .. } | Action::Wait(_) | Action::End) => {}
            (None, _) => self.timers.pause = pause_after(count),
        }
    }

    /// Whether an action was refused as often as it may be.
    pub(super) fn exhausted(&self, action: &Action) -> bool {
        self.tried.get(action.words()).is_some_and(|tried| tried.count >= TRY_LIMIT)
    }

    /// Moves on to a phase, never back.
    pub(super) fn reach(&mut self, phase: StepPhase) {
        self.phase = self.phase.max(phase);
    }
}

/// What a refused action says about a step that goes forward; none where it is tried again, or does not matter.
fn refusal_of(action: &Action, message: &str) -> Option<FailureKind> {
    match action {
        Action::Pull { .. } => Some(FailureKind::Pull),
        Action::TryCalls | Action::KeepImage { .. } | Action::Plan => Some(FailureKind::Precondition),
        Action::Create { .. } | Action::Connect { .. } | Action::Start { .. } => {
            Some(node_or(FailureKind::EngineRefused, message))
        }
        Action::ParkRestartPolicy { .. }
        | Action::RenameOldAway { .. }
        | Action::RenameNewIn { .. }
        | Action::StopOld { .. } => Some(FailureKind::Engine),
        Action::TakeLog { .. }
        | Action::Probe { .. }
        | Action::Wait(_)
        | Action::End
        | Action::RemoveOld { .. }
        | Action::TagFollowed { .. }
        | Action::CleanImages { .. }
        | Action::ParkNewPolicy { .. }
        | Action::StopNew { .. }
        | Action::RenameNewOut { .. }
        | Action::RenameOldBack { .. }
        | Action::RestoreRestartPolicy { .. }
        | Action::StartOld { .. }
        | Action::RemoveNew { .. } => None,
    }
}

/// How long a container is given between stop signal and kill.
pub(super) fn grace(view: &ContainerView) -> Duration {
    view.stop_timeout_seconds.map_or(DEFAULT_GRACE, Duration::from_secs)
}
