//! Rollouts, their steps and their plans.

use chrono::{DateTime, Utc};
use nightshift_proto::pb;
use serde::Serialize;

use super::{Wait, all, instant, millis, text, wait_lines, word};
use crate::failure::Exit;
use crate::output::table::{facts, or_nothing, parts, short_digest, table};
use crate::output::time::{NOTHING, elapsed, when};
use crate::output::{Human, Page};

/// A rollout as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rollout {
    pub(crate) id: String,
    pub(crate) app: String,
    pub(crate) state: String,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) waiting_on: Vec<Wait>,
    pub(crate) steps: Vec<Step>,
    pub(crate) started_by: Option<String>,
    pub(crate) created_at: Option<DateTime<Utc>>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) ended: bool,
    pub(crate) pulls: Vec<Pull>,
    #[serde(skip)]
    wire_state: pb::RolloutState,
}

/// The replacement of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    pub(crate) index: u32,
    pub(crate) node: String,
    pub(crate) container: String,
    pub(crate) state: String,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) old_container_id: Option<String>,
    pub(crate) new_container_id: Option<String>,
    pub(crate) downtime_ms: Option<u64>,
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) canary: bool,
    pub(crate) purpose: Option<String>,
    /// Last lines of a container that failed.
    pub(crate) log: Option<String>,
    #[serde(skip)]
    wire_state: pb::StepState,
}

/// A pull on a node before the window opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Pull {
    pub(crate) node: String,
    pub(crate) present: bool,
    pub(crate) layers_done: u32,
    pub(crate) layers_total: u32,
    pub(crate) bytes_done: u64,
    pub(crate) bytes_total: u64,
    pub(crate) failure: Option<String>,
}

impl From<pb::Rollout> for Rollout {
    fn from(rollout: pb::Rollout) -> Self {
        let wire_state = rollout.state();
        Self {
            id: rollout.id,
            app: rollout.app,
            state: word(wire_state.as_str_name(), "ROLLOUT_STATE_"),
            from: text(rollout.from),
            to: text(rollout.to),
            reason: text(rollout.reason),
            waiting_on: all(rollout.waiting_on),
            steps: all(rollout.steps),
            started_by: text(rollout.started_by),
            created_at: instant(rollout.created_at),
            ended_at: instant(rollout.ended_at),
            ended: rollout.ended,
            pulls: all(rollout.pulls),
            wire_state,
        }
    }
}

impl From<pb::rollout::Step> for Step {
    fn from(step: pb::rollout::Step) -> Self {
        let (wire_state, purpose) = (step.state(), step.purpose());
        Self {
            index: step.index,
            node: step.node,
            container: step.container,
            state: word(wire_state.as_str_name(), "STEP_STATE_"),
            from: text(step.from),
            to: text(step.to),
            reason: text(step.reason),
            old_container_id: text(step.old_container_id),
            new_container_id: text(step.new_container_id),
            downtime_ms: step.downtime_ms,
            started_at: instant(step.started_at),
            ended_at: instant(step.ended_at),
            canary: step.canary,
            purpose: (purpose != pb::Purpose::Unspecified).then(|| word(purpose.as_str_name(), "PURPOSE_")),
            log: text(step.log),
            wire_state,
        }
    }
}

impl From<pb::rollout::Pull> for Pull {
    fn from(pull: pb::rollout::Pull) -> Self {
        let progress = pull.progress.unwrap_or_default();
        Self {
            node: pull.node,
            present: pull.present,
            layers_done: progress.layers_done,
            layers_total: progress.layers_total,
            bytes_done: progress.bytes_done,
            bytes_total: progress.bytes_total,
            failure: text(pull.failure),
        }
    }
}

impl Rollout {
    /// The exit code for one who waits for it, once nothing more happens by itself: it has ended, or it is paused and no
    /// step is in flight.
    pub(crate) fn outcome(&self) -> Option<Exit> {
        use pb::RolloutState as S;
        match self.wire_state {
            S::Completed => Some(Exit::Done),
            S::CompletedWithLaggards | S::RolledBack | S::Aborted | S::Superseded => Some(Exit::OffTarget),
            S::Paused => (!self.steps.iter().any(Step::in_flight)).then_some(Exit::OffTarget),
            S::Planned | S::Prepulling | S::Waiting | S::Canary | S::Rolling | S::RollingBack => None,
            // A state that this version does not know: only the mark helps.
            S::Unspecified => self.ended.then_some(Exit::OffTarget),
        }
    }

    /// How many steps have reached their target, of how many.
    pub(crate) fn progress(&self) -> (usize, usize) {
        let done = self.steps.iter().filter(|step| step.wire_state == pb::StepState::Committed).count();
        (done, self.steps.len())
    }
}

impl Step {
    /// Whether an agent works on it.
    pub(crate) fn in_flight(&self) -> bool {
        use pb::StepState as S;
        match self.wire_state {
            S::Assigned
            | S::Preflight
            | S::Pulled
            | S::Created
            | S::OldStopped
            | S::Started
            | S::Healthy
            | S::Monitored
            | S::RollingBack => true,
            S::Unspecified
            | S::Pending
            | S::Untouched
            | S::Committed
            | S::RolledBack
            | S::Broken
            | S::Unknown
            | S::Skipped => false,
        }
    }

    /// Whether it has not begun.
    pub(crate) fn is_pending(&self) -> bool {
        self.wire_state == pb::StepState::Pending
    }

    /// `web-1 on n1: healthy (downtime 1.2 s)`.
    pub(crate) fn line(&self) -> String {
        let Self { container, node, state, .. } = self;
        let mut line = format!("{container} on {node}: {}", state.replace('_', " "));
        if let Some(millis) = self.downtime_ms {
            line.push_str(&format!(" (downtime {})", elapsed(millis)));
        }
        if let Some(reason) = &self.reason {
            line.push_str(&format!(": {reason}"));
        }
        line
    }
}

impl Human for Rollout {
    fn human(&self, page: &Page) -> String {
        let (done, total) = self.progress();
        let by = self.started_by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
        let head = facts([
            ("rollout", self.id.clone()),
            ("app", self.app.clone()),
            ("state", format!("{}, {done} of {total} steps committed", self.state)),
            ("from", or_nothing(self.from.as_deref())),
            ("to", or_nothing(self.to.as_deref())),
            ("reason", self.reason.clone().unwrap_or_default()),
            ("started", format!("{}{by}", when(self.created_at, page.now))),
            ("ended", self.ended_at.map_or_else(String::new, |at| when(Some(at), page.now))),
            ("waiting on", wait_lines(&self.waiting_on, page, "            ")),
        ]);
        let row = |step: &Step| {
            [
                step.index.to_string(),
                step.node.clone(),
                step.container.clone(),
                if step.canary { format!("{} (canary)", step.state) } else { step.state.clone() },
                step.downtime_ms.map_or_else(|| NOTHING.to_owned(), elapsed),
                when(step.started_at, page.now),
                or_nothing(step.reason.as_deref()),
            ]
        };
        let header = ["STEP", "NODE", "CONTAINER", "STATE", "DOWNTIME", "STARTED", "REASON"];
        let logs = self.steps.iter().filter_map(|step| {
            let log = step.log.as_ref()?.trim_end().replace('\n', "\n  ");
            Some(format!("last lines of the failed {} on {}:\n  {log}", step.container, step.node))
        });
        let steps = table(page, header, self.steps.iter().map(row), "no steps");
        parts([head, steps].into_iter().chain(logs))
    }
}

impl Human for Vec<Rollout> {
    fn human(&self, page: &Page) -> String {
        let row = |rollout: &Rollout| {
            let (done, total) = rollout.progress();
            [
                rollout.id.clone(),
                rollout.app.clone(),
                rollout.state.clone(),
                format!("{done}/{total}"),
                short_digest(rollout.to.as_deref()),
                when(rollout.created_at, page.now),
            ]
        };
        table(page, ["ID", "APP", "STATE", "STEPS", "TO", "STARTED"], self.iter().map(row), "no rollouts")
    }
}

/// What a rollout would do.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    app: String,
    to: Option<String>,
    steps: Vec<PlanStep>,
    waiting_on: Vec<Wait>,
    /// How long a step takes at worst, rollback included.
    worst_case_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct PlanStep {
    node: String,
    container: String,
    from: Option<String>,
    canary: bool,
    /// Why it would be left out.
    skipped: Option<String>,
}

impl From<pb::RolloutPlan> for Plan {
    fn from(plan: pb::RolloutPlan) -> Self {
        let step = |step: pb::rollout_plan::Step| PlanStep {
            node: step.node,
            container: step.container,
            from: text(step.from),
            canary: step.canary,
            skipped: text(step.skipped),
        };
        Self {
            app: plan.app,
            to: text(plan.to),
            steps: plan.steps.into_iter().map(step).collect(),
            waiting_on: all(plan.waiting_on),
            worst_case_ms: millis(plan.worst_case),
        }
    }
}

impl Human for Plan {
    fn human(&self, page: &Page) -> String {
        let head = facts([
            ("app", self.app.clone()),
            ("to", or_nothing(self.to.as_deref())),
            ("worst case", self.worst_case_ms.map_or_else(String::new, |ms| format!("{} a step", elapsed(ms)))),
            ("waiting on", wait_lines(&self.waiting_on, page, "            ")),
        ]);
        let mut position = 0;
        let row = |step: &PlanStep| {
            let note = match (&step.skipped, step.canary) {
                (Some(why), _) => format!("left out: {why}"),
                (None, true) => "canary".to_owned(),
                (None, false) => NOTHING.to_owned(),
            };
            position += u32::from(step.skipped.is_none());
            let order = if step.skipped.is_some() { NOTHING.to_owned() } else { position.to_string() };
            [order, step.node.clone(), step.container.clone(), short_digest(step.from.as_deref()), note]
        };
        let rows = self.steps.iter().map(row);
        parts([head, table(page, ["ORDER", "NODE", "CONTAINER", "FROM", "NOTE"], rows, "nothing to replace")])
    }
}
