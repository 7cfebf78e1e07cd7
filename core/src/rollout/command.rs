//! What a person may ask of a rollout, and when it is refused.

use std::fmt;

use crate::event::{Actor, Event, Recorded};
use crate::release::GateDenial;
use crate::rollout::{Context, Rollout, RolloutState, Step};
use crate::step::FailureKind;

/// What a person asks of an open rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Start no further step.
    Pause,
    /// Go on after a pause. What has failed is accepted.
    Resume,
    /// End it; the step in flight ends by itself.
    Abort,
    /// Go on after the canary.
    Promote,
    /// Do failed steps again, and go on.
    Retry,
}

/// How a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionKind {
    /// A rule of the product forbids it: untested, quarantined, window, freeze.
    Rule,
    /// It was asked wrongly.
    Usage,
    /// There is no such thing.
    NotFound,
    /// It does not fit the present state.
    Conflict,
}

/// A refused request: what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Rejection {
    /// How it was refused.
    pub kind: RejectionKind,
    /// What is wrong.
    pub message: String,
    /// What to do, if there is something.
    pub hint: Option<String>,
}

impl Rejection {
    /// A refusal without a hint.
    #[must_use]
    pub fn new(kind: RejectionKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The same with what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Rollout {
    /// The facts that a person's request brings about.
    ///
    /// # Errors
    /// The request does not fit the rollout's state, or a rule forbids it.
    pub fn command(
        &self,
        command: Command,
        by: &Actor,
        reason: &str,
        context: &Context<'_>,
    ) -> Result<Vec<Recorded>, Rejection> {
        if self.state.is_end() {
            let message = format!("rollout `{}` has ended: {}", self.id, self.state);
            return Err(Rejection::new(RejectionKind::Conflict, message)
                .hint(format!("`nightshift rollout start {}` starts a new one", self.app())));
        }
        let moved = |to| Event::RolloutMoved { rollout: self.id.clone(), to, reason: reason.to_owned() };
        let events = match command {
            Command::Pause if self.state == RolloutState::Paused => Vec::new(),
            Command::Pause => vec![moved(RolloutState::Paused)],
            Command::Resume => {
                self.must_be_paused("resume")?;
                self.must_not_be_denied(Step::is_pending, context)?;
                vec![moved(self.resume_to)]
            }
            Command::Abort => vec![moved(RolloutState::Aborted)],
            Command::Promote => {
                if !self.needs_promotion() {
                    let message = format!("rollout `{}` does not wait for a promotion", self.id);
                    return Err(Rejection::new(RejectionKind::Conflict, message));
                }
                vec![Event::RolloutPromoted { rollout: self.id.clone(), reason: reason.to_owned() }]
            }
            Command::Retry => {
                self.must_be_paused("retry")?;
                self.must_not_be_denied(|step| step.is_pending() || step.has_failed(), context)?;
                let mut events = self.requeue_failed(context);
                events.push(moved(self.resume_to));
                events
            }
        };
        Ok(events.into_iter().map(|event| Recorded { at: context.now, by: by.clone(), event }).collect())
    }

    fn requeue_failed(&self, context: &Context<'_>) -> Vec<Event> {
        let requeue = |step: &Step| Event::StepRequeued {
            rollout: self.id.clone(),
            step: step.index,
            not_before: context.now,
            because: step.failure.as_ref().map_or(FailureKind::Engine, |failure| failure.kind),
            reason: "a person asked to try again".into(),
        };
        // The steps that led to a retreat are done with; what is done again is what goes on now.
        self.current_steps().filter(|step| step.has_failed()).map(requeue).collect()
    }

    fn must_be_paused(&self, verb: &str) -> Result<(), Rejection> {
        if self.state == RolloutState::Paused {
            return Ok(());
        }
        let message = format!("rollout `{}` is {}, so there is nothing to {verb}", self.id, self.state);
        Err(Rejection::new(RejectionKind::Conflict, message))
    }

    /// A pause that would come back at once is not ended.
    fn must_not_be_denied(&self, which: impl Fn(&Step) -> bool, context: &Context<'_>) -> Result<(), Rejection> {
        let Some((digest, denial)) = self.denial(which, context) else { return Ok(()) };
        let clear = match denial {
            GateDenial::Quarantined { .. } => {
                format!(", or `nightshift release clear {} {digest} --reason …` if you know it is good", self.app())
            }
            GateDenial::TestFailed { .. }
            | GateDenial::NotTagged
            | GateDenial::NotTested { .. }
            | GateDenial::NotSigned { .. }
            | GateDenial::TestsTooOld { .. }
            | GateDenial::CoolingDown { .. } => String::new(),
        };
        let message = format!("rollout `{}` may not start {}: {denial}", self.id, digest.short());
        let hint = format!("`nightshift rollout abort {}`{clear}", self.id);
        Err(Rejection::new(RejectionKind::Rule, message).hint(hint))
    }
}
