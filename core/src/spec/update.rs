//! How instances are replaced: Compose's `update_config` words, Nomad's deadlines, and their defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the instances of an app are replaced. The defaults are those of the design: careful first, fast second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateConfig {
    /// Whether a rollout starts by itself, goes on by itself after its canary, or waits for a person.
    pub mode: RolloutMode,
    /// Most instances in work at once, and most that may be away from full availability.
    pub parallelism: u32,
    /// Pause between the end of one step and the start of the next.
    #[serde(with = "crate::duration::text")]
    pub delay: Duration,
    /// Whether the old container stops before the new one starts, or after.
    pub order: UpdateOrder,
    /// How long an instance is watched after it became healthy.
    #[serde(with = "crate::duration::text")]
    pub monitor: Duration,
    /// The same for the first instance of a rollout.
    #[serde(with = "crate::duration::text")]
    pub canary_monitor: Duration,
    /// What a failed step means for the rest of the fleet.
    pub failure_action: FailureAction,
    /// Share of steps that may fail under [`FailureAction::Continue`], 0 to 1, in thousandths.
    pub max_failure_permille: u16,
    /// How long a started container may take to become healthy.
    #[serde(with = "crate::duration::text")]
    pub healthy_deadline: Duration,
    /// How long a rollout may go without a finished step while it is allowed to work.
    #[serde(with = "crate::duration::text")]
    pub progress_deadline: Duration,
    /// How many earlier images of the app a node keeps.
    pub keep_images: u32,
    /// What happens when a newer tested digest appears in mid-rollout.
    pub supersede: Supersede,
    /// Whether nodes fetch the image before the window opens.
    pub pre_pull: bool,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            mode: RolloutMode::Auto,
            parallelism: 1,
            delay: Duration::ZERO,
            order: UpdateOrder::StopFirst,
            monitor: Duration::from_secs(30),
            canary_monitor: Duration::from_secs(60),
            failure_action: FailureAction::Pause,
            max_failure_permille: 0,
            // Docker's own health check needs up to 90 s to say `unhealthy` with default settings.
            healthy_deadline: Duration::from_secs(300),
            progress_deadline: Duration::from_secs(3600),
            keep_images: 2,
            supersede: Supersede::AfterCompletion,
            pre_pull: true,
        }
    }
}

impl UpdateConfig {
    /// Time that one step may need at worst on the node, rollback included: its deadline to become healthy, its monitor
    /// period, and stopping and starting once forward and once back.
    #[must_use]
    pub fn worst_case(&self, canary: bool) -> Duration {
        let monitor = if canary { self.canary_monitor } else { self.monitor };
        self.healthy_deadline + monitor + STOP_START_MARGIN * 2
    }
}

/// What one stop and one start of a container may take: the engine's default grace of 10 s, and as much again for a slow disk.
const STOP_START_MARGIN: Duration = Duration::from_secs(30);

/// Who lets a rollout go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutMode {
    /// Starts by itself in the window and goes on after the canary.
    #[default]
    Auto,
    /// Starts by itself, and waits after the canary for `rollout promote`.
    Approve,
    /// Starts only by `rollout start`.
    Manual,
}

/// Which of the two containers gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// The old container stops, then the new one starts.
    #[default]
    StopFirst,
    /// The new container starts and becomes healthy, then the old one stops.
    StartFirst,
}

/// What a failed step means for the rest of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureAction {
    /// The rollout pauses and waits for a person.
    #[default]
    Pause,
    /// The rollout goes on while the failed share is within the allowed ratio.
    Continue,
    /// Every updated instance goes back to the last known-good digest, in reverse order.
    Rollback,
}

/// When a newer tested digest takes over from a running rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supersede {
    /// It waits until the rollout has ended.
    #[default]
    AfterCompletion,
    /// It takes over when no step is in flight.
    AtStepBoundary,
    /// It takes over from a paused rollout only.
    IfPaused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_in_the_file_everything_is_careful() {
        let update = UpdateConfig::default();
        let seconds =
            [update.canary_monitor, update.monitor, update.healthy_deadline, update.delay].map(|time| time.as_secs());
        assert_eq!(seconds, [60, 30, 300, 0]);
        assert_eq!((update.parallelism, update.max_failure_permille, update.keep_images), (1, 0, 2));
        assert_eq!((update.mode, update.order), (RolloutMode::Auto, UpdateOrder::StopFirst));
        assert_eq!((update.failure_action, update.supersede), (FailureAction::Pause, Supersede::AfterCompletion));
        assert!(update.pre_pull);
        assert!(update.healthy_deadline > Duration::from_secs(90), "longer than Docker's own health check may take");
    }
}
