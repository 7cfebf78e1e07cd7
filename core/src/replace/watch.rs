//! How a container is judged: the new one after its start, and the old one after it was brought back.
//!
//! Time comes in as what has gone by since the last look; it adds up in the journal, so that a deadline is not begun
//! again by a restart of the agent.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::part::{Old, Was};
use super::record::TIMER_GRAIN;
use crate::container::{ContainerView, Health, RunState};
use crate::duration;
use crate::mutation::{Rule, broken};
use crate::spec::HealthCheck;
use crate::step::StepOrder;

/// Time between two probes until the first success: it adds to the downtime that is seen, so it is short.
pub const PROBE_EVERY_STARTING: Duration = Duration::from_millis(500);
/// Time between two probes after that.
pub const PROBE_EVERY_HEALTHY: Duration = Duration::from_secs(2);
/// Failed probes in a row that make a healthy container unhealthy. One lost packet is no verdict; Docker's default too.
pub const PROBE_FAILURE_LIMIT: u32 = 3;
/// How long an old container without a health check must stay up to count as brought back.
pub const VERIFY_UP: Duration = Duration::from_secs(5);

/// The watch over the new container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Whether its start was ordered.
    pub begun: bool,
    /// Time since then.
    pub spent: Duration,
    /// How long it has been healthy without a break; `None`: it is not.
    pub healthy_for: Option<Duration>,
    /// Whether it was ever healthy.
    pub was_healthy: bool,
    /// Whether it runs without the old one beside it: only from then on does the monitor period count.
    #[serde(default)]
    pub alone: bool,
    /// The run that is judged: a restart of the engine begins another one.
    pub started_at: Option<DateTime<Utc>>,
    /// Whether engine or agent were away since it was last seen to run. What ended meanwhile may have been ended by the
    /// engine: one that comes back after a crash stops what has no restart policy, and a stop of the engine stops everything.
    #[serde(default)]
    pub unwatched: bool,
    /// Time since the last probe.
    pub since_probe: Option<Duration>,
    /// Whether the last probe passed.
    pub probe_passed: bool,
    /// Failed probes in a row.
    pub probe_failures: u32,
    /// Why the last one failed.
    pub probe_error: String,
}

/// What the watch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Too early: look again after this time, or when the engine says that something happened.
    Wait(Duration),
    /// Probe now.
    Probe,
    /// Healthy for the whole monitor period.
    Good,
    /// The version is bad, and why.
    Bad(String),
}

/// What one look says about a container's health.
enum Now {
    Healthy,
    NotYet(String),
    Bad(String),
}

impl Watch {
    pub(super) fn pass(&mut self, elapsed: Duration) {
        if self.begun {
            self.spent += elapsed;
            self.healthy_for = self.healthy_for.map(|time| time + elapsed);
            self.since_probe = self.since_probe.map(|time| time + elapsed);
        }
    }

    pub(super) fn probed(&mut self, result: Result<(), String>) {
        self.since_probe = Some(Duration::ZERO);
        self.probe_passed = result.is_ok();
        match result {
            Ok(()) => self.probe_failures = 0,
            Err(reason) => {
                self.probe_failures = self.probe_failures.saturating_add(1);
                self.probe_error = reason;
            }
        }
    }

    /// Nobody looked on for a while.
    pub(super) fn lost_sight(&mut self) {
        self.unwatched |= self.begun;
    }

    /// Whether a start is still to be ordered: for the first time, or because it may have been the engine that ended it.
    pub(super) fn is_to_start(&mut self, view: &ContainerView) -> bool {
        self.begun = true;
        match view.state {
            RunState::Created => view.error.is_empty(),
            RunState::Exited => self.unwatched && view.error.is_empty() && !view.oom_killed,
            RunState::Running | RunState::Paused | RunState::Restarting => {
                self.unwatched = false;
                false
            }
            RunState::Removing | RunState::Dead => false,
        }
    }

    /// The old container is gone: what was good beside it must now be good without it.
    pub(super) fn left_alone(&mut self) {
        if !self.alone {
            self.alone = true;
            self.healthy_for = self.healthy_for.map(|_| Duration::ZERO);
        }
    }

    /// Judges the new container of one that depends on the instance, by its own health check, if the old one passed it: who
    /// was unhealthy before needs only to run.
    pub(super) fn judge_dependent(&mut self, view: &ContainerView, old: Option<&Old>, order: &StepOrder) -> Verdict {
        let order = StepOrder { health: HealthCheck::Auto, ..order.clone() };
        match old.map(|old| old.was) {
            Some(Was::RunningHealthy) => self.judge(view, &order),
            Some(Was::Running) => self.judge(&ContainerView { health: Health::None, ..view.clone() }, &order),
            Some(Was::Restarting | Was::Stopped) | None => Verdict::Good,
        }
    }

    /// Judges the new container. Time has been added before by [`Watch::pass`].
    pub(super) fn judge(&mut self, view: &ContainerView, order: &StepOrder) -> Verdict {
        if let Some(reason) = ended(view) {
            return Verdict::Bad(reason);
        }
        if self.started_at != view.started_at {
            // Another run, and not by a restart policy: the engine itself was restarted, or a person did it.
            self.healthy_for = None;
            self.since_probe = None;
            self.probe_passed = false;
            self.started_at = view.started_at;
        }
        if self.probe_is_due(view, &order.health) {
            return Verdict::Probe;
        }
        match self.now(view, &order.health) {
            Now::Bad(reason) => Verdict::Bad(reason),
            Now::Healthy => {
                self.was_healthy = true;
                let healthy_for = *self.healthy_for.get_or_insert(Duration::ZERO);
                match order.monitor.checked_sub(healthy_for) {
                    None | Some(Duration::ZERO) => Verdict::Good,
                    Some(_) if broken(Rule::Monitor) => Verdict::Good,
                    Some(left) => Verdict::Wait(self.wake(left, &order.health)),
                }
            }
            Now::NotYet(why) => {
                self.healthy_for = None;
                match order.healthy_deadline.checked_sub(self.spent) {
                    None | Some(Duration::ZERO) => {
                        let limit = duration::format(order.healthy_deadline);
                        Verdict::Bad(format!("not healthy within {limit}: {why}"))
                    }
                    Some(left) => Verdict::Wait(self.wake(left, &order.health)),
                }
            }
        }
    }

    fn now(&self, view: &ContainerView, check: &HealthCheck) -> Now {
        if view.state == RunState::Paused {
            return Now::NotYet("someone paused it".to_owned());
        }
        match (check, view.health) {
            (HealthCheck::Auto, Health::None) | (HealthCheck::Auto | HealthCheck::Docker, Health::Healthy) => {
                Now::Healthy
            }
            (HealthCheck::Auto | HealthCheck::Docker, Health::Starting) => {
                Now::NotYet("its health check has not passed yet".to_owned())
            }
            (HealthCheck::Auto | HealthCheck::Docker, Health::Unhealthy) => {
                Now::Bad("its health check says unhealthy".to_owned())
            }
            (HealthCheck::Docker, Health::None) => Now::Bad("it has no health check of its own".to_owned()),
            (HealthCheck::Http { .. } | HealthCheck::Tcp { .. } | HealthCheck::Exec { .. }, _) => {
                let was_healthy = self.healthy_for.is_some();
                if self.probe_passed || (was_healthy && self.probe_failures < PROBE_FAILURE_LIMIT) {
                    Now::Healthy
                } else if was_healthy {
                    Now::Bad(format!("{} probes in a row failed: {}", self.probe_failures, self.probe_error))
                } else {
                    Now::NotYet(self.probe_error.clone())
                }
            }
        }
    }

    fn probe_every(&self, check: &HealthCheck) -> Option<Duration> {
        match check {
            HealthCheck::Auto | HealthCheck::Docker => None,
            HealthCheck::Http { .. } | HealthCheck::Tcp { .. } | HealthCheck::Exec { .. } => {
                Some(if self.healthy_for.is_some() { PROBE_EVERY_HEALTHY } else { PROBE_EVERY_STARTING })
            }
        }
    }

    fn probe_is_due(&self, view: &ContainerView, check: &HealthCheck) -> bool {
        let Some(every) = self.probe_every(check) else { return false };
        view.state == RunState::Running && self.since_probe.is_none_or(|since| since >= every)
    }

    fn wake(&self, left: Duration, check: &HealthCheck) -> Duration {
        let probe = self.probe_every(check).map(|every| every.saturating_sub(self.since_probe.unwrap_or(every)));
        // A paused container is not probed: its probe would be due all the time.
        let probe = probe.map(|left| left.max(PROBE_EVERY_STARTING));
        left.min(TIMER_GRAIN).min(probe.unwrap_or(TIMER_GRAIN))
    }
}

/// Why a container does not run as it should, whatever its health check says.
fn ended(view: &ContainerView) -> Option<String> {
    let how = || {
        let oom = if view.oom_killed { ", out of memory" } else { "" };
        let error = if view.error.is_empty() { String::new() } else { format!(": {}", view.error) };
        format!("exit code {}{oom}{error}", view.exit_code)
    };
    match view.state {
        RunState::Running | RunState::Paused if view.restart_count > 0 => {
            Some(format!("it ended and was restarted {} times", view.restart_count))
        }
        RunState::Running | RunState::Paused => None,
        RunState::Restarting => Some(format!("it ends and is restarted again and again ({})", how())),
        RunState::Exited | RunState::Dead => Some(format!("it ended ({})", how())),
        RunState::Removing => Some("someone removes it".to_owned()),
        RunState::Created => Some(format!("it could not be started ({})", how())),
    }
}

/// The check that the old container is what it was before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Whether it has begun.
    pub begun: bool,
    /// Time since then.
    pub spent: Duration,
    /// How long it has been up without a break.
    pub up_for: Option<Duration>,
    /// The run that is judged.
    pub started_at: Option<DateTime<Utc>>,
}

/// What the check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verified {
    Wait(Duration),
    Yes,
    /// It does not run: start it.
    Start,
    No(String),
}

impl Verify {
    pub(super) fn pass(&mut self, elapsed: Duration) {
        if self.begun {
            self.spent += elapsed;
            self.up_for = self.up_for.map(|time| time + elapsed);
        }
    }

    /// Judges the old container, which was doing `was`. Who was unhealthy before needs only to run.
    pub(super) fn judge(&mut self, view: &ContainerView, was: Was, started: u32, order: &StepOrder) -> Verified {
        let up = match (was, view.state) {
            (Was::Stopped, _) | (Was::Restarting, RunState::Running | RunState::Restarting) => return Verified::Yes,
            // A person did that, and it is not silently resumed.
            (_, RunState::Paused) => return Verified::Yes,
            // It ended again, as it did before the step: its restart policy is back, the rest is as it was.
            (Was::Restarting, RunState::Exited) if started > 0 => return Verified::Yes,
            (_, RunState::Created | RunState::Exited) => return Verified::Start,
            (_, RunState::Running) => true,
            (_, RunState::Restarting | RunState::Removing | RunState::Dead) => false,
        };
        if !up || self.started_at != view.started_at {
            self.up_for = None;
            self.started_at = view.started_at;
        }
        self.begun = true;
        if up {
            let up_for = *self.up_for.get_or_insert(Duration::ZERO);
            let good = match was {
                Was::RunningHealthy => view.health == Health::Healthy,
                Was::Running => up_for >= VERIFY_UP,
                Was::Restarting | Was::Stopped => true,
            };
            if good {
                return Verified::Yes;
            }
        }
        match order.healthy_deadline.max(VERIFY_UP * 2).checked_sub(self.spent) {
            None | Some(Duration::ZERO) => Verified::No(match was {
                Was::RunningHealthy => "its health check does not pass any more".to_owned(),
                Was::Running | Was::Restarting | Was::Stopped => "it does not stay up".to_owned(),
            }),
            Some(left) => Verified::Wait(left.min(TIMER_GRAIN)),
        }
    }
}
