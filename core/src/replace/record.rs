//! What the journal holds of a step: the durable facts, how far it is, and what of its deadlines is used up.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::blueprint::UnitPlan;
use super::hooks::HookLog;
use super::names;
use super::part::Part;
use crate::ids::ContainerId;
use crate::step::{Failure, FailureKind, LOG_LIMIT_BYTES, StepOrder, StepPhase, StepReport};

/// How often one action may be refused before another way is taken. With [`pause_after`] the last try comes half a
/// minute after the first: long enough for a busy mount or a port that is still closing.
pub const TRY_LIMIT: u32 = 5;

/// Longest text kept of a refusal, in characters: an engine's message is a sentence, not a book.
const MESSAGE_LIMIT_CHARS: usize = 500;

/// Timers that went on by less than this are not worth a write to the journal; a crash loses at most as much of them.
pub const TIMER_GRAIN: Duration = Duration::from_secs(5);

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
    /// The instance.
    pub instance: Part,
    /// Containers that depend on it and are replaced with it, on their own images: each after what it depends on.
    pub dependents: Vec<Part>,
    /// Whether a change of an old container was begun. Until then a failure leaves everything untouched.
    pub old_touched: bool,
    /// Whether the engine takes the calls that will be needed.
    #[serde(default)]
    pub calls_tried: bool,
    /// The engine's id of the target image.
    pub image_id: Option<String>,
    /// Images that are held by a tag.
    pub kept_images: Vec<String>,
    /// Set: the step goes backward. Never unset.
    pub failure: Option<Failure>,
    /// Whether the failed container's log was asked for.
    pub log_taken: bool,
    /// The new container that failed, where it is not the instance's.
    pub culprit: Option<ContainerId>,
    /// Which hooks were called.
    pub hooks: HookLog,
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

pub(super) fn shortened(text: &str) -> String {
    text.chars().take(MESSAGE_LIMIT_CHARS).collect()
}

/// A failure without a log.
pub(super) fn failure(kind: FailureKind, reason: impl Into<String>) -> Failure {
    Failure { kind, reason: reason.into(), log: String::new() }
}

impl Record {
    /// A step that has just been ordered.
    #[must_use]
    pub fn new(order: StepOrder) -> Self {
        let instance = Part::new(order.container.clone(), order.container_id.clone());
        Self {
            order,
            phase: StepPhase::Assigned,
            instance,
            dependents: Vec::new(),
            old_touched: false,
            calls_tried: false,
            image_id: None,
            kept_images: Vec::new(),
            failure: None,
            log_taken: false,
            culprit: None,
            hooks: HookLog::default(),
            followed_tagged: false,
            images_cleaned: false,
            tried: BTreeMap::new(),
            timers: Timers::default(),
        }
    }

    /// The containers of the unit: the instance, then what depends on it. In this order they are created and started, in
    /// the opposite one stopped.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &Part> {
        std::iter::once(&self.instance).chain(&self.dependents)
    }

    /// The same, to be changed.
    pub fn parts_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Part> {
        std::iter::once(&mut self.instance).chain(&mut self.dependents)
    }

    /// The part that an old or new container belongs to.
    pub(super) fn part_of(&mut self, container: &ContainerId) -> Option<&mut Part> {
        self.parts_mut().find(|part| part.id == *container || part.new_id.as_ref() == Some(container))
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
            old_container_id: self.instance.old.as_ref().map(|_| self.order.container_id.clone()),
            new_container_id: self.instance.new_id.clone(),
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
        self.lost_sight();
    }

    /// Nobody looked on for a while, so what has ended meanwhile was perhaps ended by the engine: it is started once more, and
    /// judged by that. To be called when the engine was away, or its events broke off.
    pub fn lost_sight(&mut self) {
        self.parts_mut().for_each(|part| part.watch.lost_sight());
    }

    /// Time in which the engine could not be asked: it counts for the downtime and against the order's `start_within`, and
    /// against no deadline of a container.
    pub fn engine_was_away(&mut self, time: Duration) {
        self.timers.waited += time;
        self.lost_sight();
        if let Downtime::Running(so_far) = self.timers.downtime {
            self.timers.downtime = Downtime::Running(so_far + time);
        }
    }

    /// Whether `self` must be written before anything is done, when `saved` is what the journal holds.
    #[must_use]
    pub fn differs_from(&self, saved: &Self) -> bool {
        let mut same_but_timers = Self { timers: saved.timers.clone(), ..self.clone() };
        for (part, saved) in same_but_timers.parts_mut().zip(saved.parts()) {
            *part = part.with_timers_of(saved);
        }
        let spent =
            |record: &Self| -> Duration { record.parts().map(|part| part.watch.spent + part.verify.spent).sum() };
        same_but_timers != *saved || spent(self).abs_diff(spent(saved)) >= TIMER_GRAIN
    }

    /// Folds in that an action was done, for those whose effect no inspect shows.
    pub fn done(&mut self, action: &Action) {
        match action {
            Action::TryCalls => self.calls_tried = true,
            Action::KeepImage { image_id, .. } => self.kept_images.push(image_id.clone()),
            Action::TagFollowed { .. } => self.followed_tagged = true,
            Action::CleanImages { .. } => self.images_cleaned = true,
            Action::Start { new } => {
                let Some(part) = self.part_of(new) else { return };
                part.watch.unwatched = false;
            }
            Action::StartOld { old } => {
                let Some(part) = self.part_of(old) else { return };
                part.old_starts += 1;
                let starts = part.old_starts;
                self.timers.pause = if starts > 1 { pause_after(starts) } else { Duration::ZERO };
            }
            Action::Pull { .. }
            | Action::Plan
            | Action::Hook { .. }
            | Action::Create { .. }
            | Action::Connect { .. }
            | Action::ParkRestartPolicy { .. }
            | Action::RenameOldAway { .. }
            | Action::RenameNewIn { .. }
            | Action::StopOld { .. }
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

    /// Folds in the answer to [`Action::Plan`]: the configurations, or why there can be none.
    pub fn planned(&mut self, result: Result<UnitPlan, Failure>) {
        match result {
            Ok(plan) => {
                self.instance.blueprint = Some(plan.instance);
                self.dependents = plan.dependents;
            }
            Err(failure) => self.failure = Some(failure),
        }
    }

    /// Folds in the answer to [`Action::Create`].
    pub fn created(&mut self, name: &str, id: ContainerId) {
        let key = self.order.key.clone();
        if let Some(part) = self.parts_mut().find(|part| names::temporary(&part.name, &key) == name) {
            part.new_id = Some(id);
        }
    }

    /// Folds in the answer to [`Action::Probe`]: whether the instance is healthy, or why not.
    pub fn probed(&mut self, result: Result<(), String>) {
        self.instance.watch.probed(result.map_err(|reason| shortened(&reason)));
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

    /// Moves on to a phase, never back.
    pub(super) fn reach(&mut self, phase: StepPhase) {
        self.phase = self.phase.max(phase);
    }
}
