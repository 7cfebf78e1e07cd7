//! `[update]` of an app file: Compose's words, and what would contradict itself.

use std::time::Duration;

use super::Table;
use crate::duration;
use crate::spec::{FailureAction, RolloutMode, Supersede, UpdateConfig, UpdateOrder};

/// Most instances in work at once: more than this is no longer one after another, in any fleet.
const PARALLELISM_LIMIT: u32 = 1_000;

/// Shortest time to watch or to wait for health: with less, everything that starts at all would be good, or nothing.
const WATCH_MIN: Duration = Duration::from_secs(1);

/// Longest time for one part of a step: a step that takes days does not fit any window.
const STEP_LIMIT: Duration = Duration::from_secs(86_400);

/// Longest time without progress before a rollout stops: a rollout that nobody misses for a month is not wanted.
const PROGRESS_LIMIT: Duration = Duration::from_secs(30 * 86_400);

/// Most earlier images that a node keeps: its disk is not an archive.
const KEEP_LIMIT: u32 = 100;

pub(super) fn update(table: &mut Table<'_>) -> UpdateConfig {
    let default = UpdateConfig::default();
    let modes = [("auto", RolloutMode::Auto), ("approve", RolloutMode::Approve), ("manual", RolloutMode::Manual)];
    let actions =
        [("pause", FailureAction::Pause), ("continue", FailureAction::Continue), ("rollback", FailureAction::Rollback)];
    let supersedes = [
        ("after_completion", Supersede::AfterCompletion),
        ("at_step_boundary", Supersede::AtStepBoundary),
        ("if_paused", Supersede::IfPaused),
    ];
    let monitor = table.duration("monitor", WATCH_MIN..=STEP_LIMIT).unwrap_or(default.monitor);
    // The canary is watched twice as long as the others, unless the file says otherwise: 60 s next to 30 s by default.
    let canary_monitor = table.duration("canary_monitor", WATCH_MIN..=STEP_LIMIT);
    let update = UpdateConfig {
        mode: table.one_of("mode", &modes).unwrap_or(default.mode),
        parallelism: table.integer("parallelism", 1..=PARALLELISM_LIMIT).unwrap_or(default.parallelism),
        delay: table.duration("delay", Duration::ZERO..=STEP_LIMIT).unwrap_or(default.delay),
        order: order(table),
        monitor,
        canary_monitor: canary_monitor.unwrap_or(monitor.saturating_mul(2).min(STEP_LIMIT)),
        failure_action: table.one_of("failure_action", &actions).unwrap_or(default.failure_action),
        max_failure_permille: max_failure_permille(table),
        healthy_deadline: table
            .duration("healthy_deadline", WATCH_MIN..=STEP_LIMIT)
            .unwrap_or(default.healthy_deadline),
        progress_deadline: table
            .duration("progress_deadline", WATCH_MIN..=PROGRESS_LIMIT)
            .unwrap_or(default.progress_deadline),
        keep_images: table.integer("keep_images", 0..=KEEP_LIMIT).unwrap_or(default.keep_images),
        supersede: table.one_of("supersede", &supersedes).unwrap_or(default.supersede),
        pre_pull: table.flag("pre_pull").unwrap_or(default.pre_pull),
    };
    report_contradictions(table, &update);
    update
}

fn order(table: &mut Table<'_>) -> UpdateOrder {
    let words = [("stop-first", UpdateOrder::StopFirst), ("start-first", UpdateOrder::StartFirst)];
    table.one_of("order", &words).unwrap_or_default()
}

fn max_failure_permille(table: &mut Table<'_>) -> u16 {
    let Some(ratio) = table.float("max_failure_ratio", 0.0..=1.0) else { return 0 };
    // Thousandths of 0 to 1, counted rather than cast: a float cast would be silent about what it cannot hold.
    let permille = (0..=1_000).find(|&permille| f64::from(permille) + 0.5 > ratio * 1_000.0).unwrap_or(1_000);
    if permille == 0 && ratio > 0.0 {
        let message = format!("`update.max_failure_ratio` is {ratio}, allowed are 0 and 0.001 to 1");
        table.problem("max_failure_ratio", &message, None);
    }
    permille
}

fn report_contradictions(table: &Table<'_>, update: &UpdateConfig) {
    if update.max_failure_permille > 0 && update.failure_action != FailureAction::Continue {
        let message =
            "`update.max_failure_ratio` has no meaning here, allowed is 0 unless `failure_action` is `continue`";
        table.problem(
            "max_failure_ratio",
            message,
            Some("set `failure_action = \"continue\"`, or leave the ratio out"),
        );
    }
    let longest_step = update.healthy_deadline + update.monitor.max(update.canary_monitor) + update.delay;
    if update.progress_deadline < longest_step {
        let [found, least] = [update.progress_deadline, longest_step].map(duration::format);
        let message = format!(
            "`update.progress_deadline` is {found}, allowed is {least} or more: one good step may take that long \
             (`healthy_deadline`, the longer `monitor`, and `delay`)"
        );
        table.problem("progress_deadline", &message, None);
    }
}
