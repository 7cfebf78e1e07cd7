//! Why nothing more happens now: each reason typed for scripts, readable for people, and with the instant that ends it.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::event::Actor;
use crate::ids::{AppName, NodeName, RolloutId};
use crate::image::Digest;
use crate::job::JobSubject;
use crate::labels::Selector;
use crate::quiet::Denial;
use crate::release::GateDenial;
use crate::rollout::plan::Unfit;
use crate::step::StepPhase;

/// The word by which scripts know a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitKind {
    /// The quiet hours.
    Window,
    /// Test reports, or the gate's other conditions.
    Tests,
    /// A person.
    Operator,
    /// A node that does not answer, or is busy.
    Node,
    /// An image that cannot be fetched, or is being fetched.
    Image,
    /// The health of other instances.
    Health,
    /// A step in flight.
    Step,
    /// The pause between two steps, or a moment after a start.
    Delay,
    /// Another app's rollout.
    App,
}

impl WaitKind {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Tests => "tests",
            Self::Operator => "operator",
            Self::Node => "node",
            Self::Image => "image",
            Self::Health => "health",
            Self::Step => "step",
            Self::Delay => "delay",
            Self::App => "app",
        }
    }
}

/// Why nothing more happens now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitingOn {
    /// The quiet hours forbid it.
    Window(Denial),
    /// The quiet hours forbid it on some nodes; on others they say something else.
    NodeWindow {
        /// The first of them.
        node: NodeName,
        /// How many more there are.
        others: usize,
        /// Why.
        denial: Denial,
    },
    /// The digest was not built for a node.
    Platform {
        /// The node.
        node: NodeName,
        /// What it runs, and what there is.
        unfit: Box<Unfit>,
    },
    /// No allow window names a node, though others are named.
    NoNodeWindow {
        /// The node.
        node: NodeName,
    },
    /// The app has no allow window.
    NoQuietHours,
    /// The newest digest may not be a target.
    Gate {
        /// The digest.
        digest: Digest,
        /// Why not.
        denial: GateDenial,
    },
    /// No digest of the app is known yet.
    NoRelease,
    /// No tag fits the app's rule.
    NoTag {
        /// The rule, as people read it.
        policy: String,
    },
    /// The tag could not be looked at.
    Registry {
        /// What happened.
        error: String,
        /// When it is tried again.
        retry_at: Option<DateTime<Utc>>,
    },
    /// A person paused it, or it paused itself.
    Paused {
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// The canary is good; a person decides.
    Promotion,
    /// The app is not followed.
    Disabled,
    /// The app is followed, but only a person starts its rollouts.
    ManualMode,
    /// A rollout to this digest ended without it, or one went back from it; only a person starts it again.
    GivenUp {
        /// The digest.
        digest: Digest,
        /// That rollout.
        rollout: RolloutId,
    },
    /// A node's image is not there yet.
    Image {
        /// The node.
        node: NodeName,
        /// The last failure, if it failed.
        failure: Option<(String, DateTime<Utc>)>,
    },
    /// A step is in flight.
    Step {
        /// The node.
        node: NodeName,
        /// The container.
        container: String,
        /// How far it is.
        phase: Option<StepPhase>,
        /// Whether it takes longer than it ever should.
        overdue: bool,
    },
    /// A step's agent does not answer.
    Unknown {
        /// The node.
        node: NodeName,
        /// The container.
        container: String,
        /// When it becomes an alarm.
        alarm_at: DateTime<Utc>,
    },
    /// A node is not connected, and its instances count as unavailable.
    NodeDown {
        /// The node.
        node: NodeName,
    },
    /// A node's engine does not answer its agent.
    EngineDown {
        /// The node.
        node: NodeName,
        /// What happened.
        error: String,
    },
    /// A node works on another rollout.
    NodeBusy {
        /// The node.
        node: NodeName,
        /// That rollout.
        rollout: RolloutId,
    },
    /// An instance is not available, so none may be taken away.
    Unavailable {
        /// The node.
        node: NodeName,
        /// The container.
        container: String,
        /// What is wrong with it.
        state: String,
    },
    /// A step was put off.
    PutOff {
        /// The node.
        node: NodeName,
        /// The container.
        container: String,
        /// Why.
        reason: String,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// The pause between two steps.
    Delay {
        /// Until when.
        until: DateTime<Utc>,
    },
    /// Agents may still be on their way back.
    Settling {
        /// Until when at the latest.
        until: DateTime<Utc>,
    },
    /// A newer digest takes over when the steps in flight have ended.
    GivesWay {
        /// That digest.
        to: Digest,
    },
    /// Another app goes first.
    After {
        /// That app.
        app: AppName,
    },
    /// Another app selects the same container, so neither replaces it.
    Contested {
        /// The node.
        node: NodeName,
        /// The container.
        container: String,
        /// The other app.
        app: AppName,
    },
    /// An instance cannot be replaced.
    Refused {
        /// The node.
        node: NodeName,
        /// The container.
        container: String,
        /// Why not.
        reason: String,
    },
    /// A job is being done.
    Job {
        /// What it is about.
        subject: JobSubject,
        /// The node.
        node: NodeName,
    },
    /// A job is due, and every node that fits has another one.
    JobQueued {
        /// What it is about.
        subject: JobSubject,
        /// Which nodes fit.
        nodes: Selector,
    },
    /// A job is due, and no node can do it.
    NoJobNode {
        /// What it is about.
        subject: JobSubject,
        /// Which nodes would fit.
        nodes: Selector,
        /// How many there are.
        known: usize,
    },
    /// A job could not be done, and is tried again.
    JobPutOff {
        /// What it is about.
        subject: JobSubject,
        /// Why.
        reason: String,
        /// Until when.
        until: DateTime<Utc>,
    },
}

impl WaitingOn {
    /// The word by which scripts know it.
    #[must_use]
    pub const fn kind(&self) -> WaitKind {
        match self {
            Self::Window(_) | Self::NodeWindow { .. } | Self::NoNodeWindow { .. } | Self::NoQuietHours => {
                WaitKind::Window
            }
            Self::Gate { .. } | Self::NoRelease | Self::NoTag { .. } | Self::Job { .. } | Self::JobPutOff { .. } => {
                WaitKind::Tests
            }
            Self::Paused { .. } | Self::Promotion | Self::Disabled | Self::ManualMode | Self::GivenUp { .. } => {
                WaitKind::Operator
            }
            Self::Image { .. } | Self::Registry { .. } | Self::Platform { .. } => WaitKind::Image,
            Self::Step { .. } | Self::GivesWay { .. } => WaitKind::Step,
            Self::Unknown { .. }
            | Self::NodeDown { .. }
            | Self::EngineDown { .. }
            | Self::NodeBusy { .. }
            | Self::JobQueued { .. }
            | Self::NoJobNode { .. } => WaitKind::Node,
            Self::Unavailable { .. } => WaitKind::Health,
            Self::PutOff { .. } | Self::Delay { .. } | Self::Settling { .. } => WaitKind::Delay,
            Self::After { .. } => WaitKind::App,
            Self::Refused { .. } | Self::Contested { .. } => WaitKind::Operator,
        }
    }

    /// What it is about, where it is about one place: two reasons about the same say the same.
    pub(super) fn place(&self) -> Option<(WaitKind, &NodeName, Option<&str>)> {
        let (node, container) = match self {
            Self::NodeDown { node } | Self::EngineDown { node, .. } => (node, Some("")),
            Self::NodeBusy { node, .. }
            | Self::Image { node, .. }
            | Self::NodeWindow { node, .. }
            | Self::Platform { node, .. }
            | Self::NoNodeWindow { node } => (node, None),
            Self::Step { node, container, .. }
            | Self::Unknown { node, container, .. }
            | Self::Unavailable { node, container, .. }
            | Self::PutOff { node, container, .. }
            | Self::Contested { node, container, .. }
            | Self::Refused { node, container, .. } => (node, Some(container.as_str())),
            Self::Window(_)
            | Self::NoQuietHours
            | Self::Gate { .. }
            | Self::NoRelease
            | Self::NoTag { .. }
            | Self::Registry { .. }
            | Self::Paused { .. }
            | Self::Promotion
            | Self::Disabled
            | Self::ManualMode
            | Self::GivenUp { .. }
            | Self::Delay { .. }
            | Self::Settling { .. }
            | Self::GivesWay { .. }
            | Self::Job { .. }
            | Self::JobQueued { .. }
            | Self::NoJobNode { .. }
            | Self::JobPutOff { .. }
            | Self::After { .. } => return None,
        };
        Some((self.kind(), node, container))
    }

    /// The instant that ends it, where time alone does.
    #[must_use]
    pub fn until(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Window(denial) | Self::NodeWindow { denial, .. } => denial.wake_at(),
            Self::Gate { denial: GateDenial::CoolingDown { until }, .. }
            | Self::PutOff { until, .. }
            | Self::JobPutOff { until, .. }
            | Self::Delay { until }
            | Self::Settling { until } => Some(*until),
            Self::Image { failure: Some((_, retry_at)), .. } => Some(*retry_at),
            Self::Registry { retry_at, .. } => *retry_at,
            Self::Unknown { alarm_at, .. } => Some(*alarm_at),
            Self::Gate {
                denial:
                    GateDenial::Quarantined { .. }
                    | GateDenial::TestFailed { .. }
                    | GateDenial::NotTagged
                    | GateDenial::NotTested { .. }
                    | GateDenial::NotSigned { .. }
                    | GateDenial::TestsTooOld { .. },
                ..
            }
            | Self::Image { failure: None, .. }
            | Self::Platform { .. }
            | Self::NoQuietHours
            | Self::NoNodeWindow { .. }
            | Self::NoRelease
            | Self::NoTag { .. }
            | Self::Paused { .. }
            | Self::Promotion
            | Self::Disabled
            | Self::ManualMode
            | Self::GivenUp { .. }
            | Self::Step { .. }
            | Self::NodeDown { .. }
            | Self::EngineDown { .. }
            | Self::NodeBusy { .. }
            | Self::Unavailable { .. }
            | Self::GivesWay { .. }
            | Self::After { .. }
            | Self::Contested { .. }
            | Self::Job { .. }
            | Self::JobQueued { .. }
            | Self::NoJobNode { .. }
            | Self::Refused { .. } => None,
        }
    }
}

impl fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window(denial) => denial.fmt(f),
            Self::NodeWindow { node, others: 0, denial } => write!(f, "{node}: {denial}"),
            Self::NodeWindow { node, others, denial } => write!(f, "{node} and {others} more: {denial}"),
            Self::Platform { node, unfit } => write!(f, "{node}: {unfit}"),
            Self::NoNodeWindow { node } => {
                write!(f, "no allow window names {node}, so nothing is installed automatically there")
            }
            Self::NoQuietHours => write!(f, "the app has no quiet hours, so nothing is installed automatically"),
            Self::Gate { digest, denial } => write!(f, "{}: {denial}", digest.short()),
            Self::NoTag { policy } => write!(f, "no tag of the repository fits the app's rule: {policy}"),
            Self::NoRelease => write!(f, "no digest is known yet"),
            Self::Registry { error, .. } => write!(f, "the registry cannot be asked: {error}"),
            Self::Paused { by, reason } if reason.is_empty() => write!(f, "paused by {by}"),
            Self::Paused { by, reason } => write!(f, "paused by {by}: {reason}"),
            Self::Promotion => write!(f, "the canary is good; `rollout promote` lets it go on"),
            Self::Disabled => write!(f, "the app is disabled"),
            Self::ManualMode => write!(f, "the app's mode is manual; `rollout start` starts it"),
            Self::GivenUp { digest, rollout } => {
                write!(f, "{} was given up with rollout {rollout}; `rollout start` brings it back", digest.short())
            }
            Self::Image { node, failure: None } => write!(f, "{node} fetches the image"),
            Self::Image { node, failure: Some((error, _)) } => write!(f, "{node} cannot fetch the image: {error}"),
            Self::Step { node, container, phase, overdue } => {
                let phase = phase.map_or("ordered", StepPhase::as_str);
                let late = if *overdue { ", and takes longer than its deadlines allow" } else { "" };
                write!(f, "{container} on {node} is {phase}{late}")
            }
            Self::Unknown { node, container, .. } => {
                write!(f, "the agent of {node} does not answer in the middle of a step of {container}")
            }
            Self::NodeDown { node } => write!(
                f,
                "{node} is not connected, so its instances count as unavailable; `node drain {node}` goes on without it"
            ),
            Self::EngineDown { node, error } => write!(f, "the engine of {node} does not answer: {error}"),
            Self::NodeBusy { node, rollout } => write!(f, "{node} works on rollout {rollout}"),
            Self::Unavailable { node, container, state } => {
                write!(f, "{container} on {node} is {state}, so no other instance is taken away")
            }
            Self::PutOff { node, container, reason, .. } => write!(f, "{container} on {node} is put off: {reason}"),
            Self::Delay { .. } => write!(f, "the pause between two steps"),
            Self::Settling { .. } => write!(f, "the coordinator has just started; agents may still be on their way"),
            Self::GivesWay { to } => {
                write!(f, "no further step starts: {} takes over when those in flight have ended", to.short())
            }
            Self::After { app } => write!(f, "app {app} goes first"),
            Self::Contested { node, container, app } => {
                write!(
                    f,
                    "{container} on {node} is selected by app {app}, too, so neither replaces it; change a selector"
                )
            }
            Self::Refused { node, container, reason } => {
                write!(f, "{container} on {node} cannot be replaced: {reason}")
            }
            Self::Job { .. } | Self::JobQueued { .. } | Self::NoJobNode { .. } | Self::JobPutOff { .. } => {
                f.write_str(&self.about_job())
            }
        }
    }
}

impl WaitingOn {
    /// The sentence about a job; none for what is about something else.
    fn about_job(&self) -> String {
        if let Self::Job { subject, node } = self {
            return format!("the {subject} runs on {node}");
        }
        if let Self::JobQueued { subject, nodes } = self {
            return format!("the {subject} waits: every node of `{nodes}` has another job");
        }
        if let Self::NoJobNode { subject, nodes, known } = self {
            return match known {
                0 => format!("the {subject} waits: no node has the labels `{nodes}`"),
                _ => {
                    let also = if subject.digest().is_some() { ", and of the image's platform" } else { "" };
                    format!(
                        "the {subject} waits: no node of `{nodes}` is active, connected to an engine that answers{also}"
                    )
                }
            };
        }
        let Self::JobPutOff { subject, reason, .. } = self else { return String::new() };
        format!("the {subject} could not be done, and is tried again: {reason}")
    }
}

/// How long after its worst case a step counts as overdue: reports may be on their way.
pub(super) const OVERDUE_MARGIN: Duration = Duration::from_secs(60);
