//! Tables of what counts as healthy, as bad, and as brought back.

use std::time::Duration;

use super::super::watch::Verified;
use super::super::{PROBE_FAILURE_LIMIT, Verdict, Verify, Was, Watch};
use super::model::{instant, view};
use super::order;
use crate::container::{ContainerView, Health, RunState};
use crate::spec::HealthCheck;

const HTTP: fn() -> HealthCheck = || HealthCheck::Http { port: 80, path: "/".to_owned() };

fn running(health: Health) -> ContainerView {
    ContainerView { health, started_at: Some(instant(5)), ..view("new1", "web", RunState::Running) }
}

/// A watch that was begun and has seen the container healthy for some seconds, or never.
fn watch(spent: u64, healthy_for: Option<u64>) -> Watch {
    Watch {
        begun: true,
        spent: Duration::from_secs(spent),
        healthy_for: healthy_for.map(Duration::from_secs),
        was_healthy: healthy_for.is_some(),
        started_at: Some(instant(5)),
        ..Watch::default()
    }
}

fn check(check: &HealthCheck, mut watch: Watch, view: &ContainerView, expect: &str) {
    let mut order = order();
    order.health = check.clone();
    let found = match watch.judge(view, &order) {
        Verdict::Wait(time) => format!("wait {}", crate::duration::format(time)),
        Verdict::Probe => "probe".to_owned(),
        Verdict::Good => "good".to_owned(),
        Verdict::Bad(reason) => reason,
    };
    assert_eq!(found, expect, "{check:?} {view:?}");
}

#[test]
fn a_container_is_judged_by_its_own_health_check_or_by_staying_up() {
    let auto = HealthCheck::Auto;
    for (watch, health, expect) in [
        (watch(0, None), Health::None, "wait 5s"),
        (watch(28, Some(28)), Health::None, "wait 2s"),
        (watch(30, Some(30)), Health::None, "good"),
        (watch(0, None), Health::Starting, "wait 5s"),
        (watch(58, None), Health::Starting, "wait 2s"),
        (watch(60, None), Health::Starting, "not healthy within 1m: its health check has not passed yet"),
        (watch(60, None), Health::Healthy, "wait 5s"),
        (watch(89, Some(29)), Health::Healthy, "wait 1s"),
        (watch(90, Some(30)), Health::Healthy, "good"),
        (watch(9, None), Health::Unhealthy, "its health check says unhealthy"),
        (watch(80, Some(29)), Health::Unhealthy, "its health check says unhealthy"),
    ] {
        check(&auto, watch, &running(health), expect);
    }
    check(&HealthCheck::Docker, watch(0, None), &running(Health::None), "it has no health check of its own");
}

#[test]
fn an_end_or_a_restart_is_bad_at_any_time_and_with_any_check() {
    let ended =
        |state, exit_code, restart_count| ContainerView { state, exit_code, restart_count, ..running(Health::Healthy) };
    let refused = ContainerView { error: "no such file".to_owned(), ..ended(RunState::Created, 127, 0) };
    let out_of_memory = ContainerView { oom_killed: true, ..ended(RunState::Exited, 137, 0) };
    for (view, expect) in [
        (ended(RunState::Exited, 3, 0), "it ended (exit code 3)"),
        (ended(RunState::Exited, 0, 0), "it ended (exit code 0)"),
        (out_of_memory, "it ended (exit code 137, out of memory)"),
        (ended(RunState::Running, 0, 2), "it ended and was restarted 2 times"),
        (ended(RunState::Restarting, 1, 4), "it ends and is restarted again and again (exit code 1)"),
        (ended(RunState::Removing, 0, 0), "someone removes it"),
        (refused, "it could not be started (exit code 127: no such file)"),
    ] {
        for health in [HealthCheck::Auto, HealthCheck::Docker, HTTP()] {
            for healthy_for in [None, Some(29)] {
                check(&health, watch(30, healthy_for), &view, expect);
            }
        }
    }
}

#[test]
fn a_pause_or_a_restart_of_the_engine_begins_the_monitor_period_again() {
    let paused = ContainerView { state: RunState::Paused, ..running(Health::None) };
    check(&HealthCheck::Auto, watch(29, Some(29)), &paused, "wait 5s");
    check(&HealthCheck::Auto, watch(60, Some(29)), &paused, "not healthy within 1m: someone paused it");
    let revived = ContainerView { started_at: Some(instant(9)), ..running(Health::None) };
    check(&HealthCheck::Auto, watch(29, Some(29)), &revived, "wait 5s");
    let mut again = watch(29, Some(29));
    again.judge(&revived, &order());
    assert_eq!((again.healthy_for, again.spent), (Some(Duration::ZERO), Duration::from_secs(29)));
}

#[test]
fn probes_decide_where_the_app_names_one() {
    let unhealthy_for_docker = running(Health::Unhealthy);
    let probed = |spent, healthy_for, results: &[Result<(), &str>]| {
        let mut watch = watch(spent, healthy_for);
        for result in results {
            watch.probed(result.map_err(str::to_owned));
        }
        watch
    };
    let refused = Err("connection refused");
    for (watch, expect) in [
        (probed(0, None, &[]), "probe"),
        (probed(0, None, &[refused]), "wait 500ms"),
        (probed(60, None, &[refused]), "not healthy within 1m: connection refused"),
        (probed(0, None, &[refused, Ok(())]), "wait 2s"),
        (probed(30, Some(30), &[Ok(())]), "good"),
        (probed(20, Some(10), &[refused, refused]), "wait 2s"),
        (probed(20, Some(10), &[refused, refused, Ok(())]), "wait 2s"),
        (
            probed(20, Some(10), &[refused; PROBE_FAILURE_LIMIT as usize]),
            "3 probes in a row failed: connection refused",
        ),
    ] {
        check(&HTTP(), watch, &unhealthy_for_docker, expect);
    }
    let mut due = probed(0, None, &[refused]);
    due.pass(Duration::from_millis(500));
    check(&HTTP(), due, &unhealthy_for_docker, "probe");
}

#[test]
fn the_old_container_is_verified_by_what_it_was() {
    let exited = ContainerView { state: RunState::Exited, ..running(Health::None) };
    let restarting = ContainerView { state: RunState::Restarting, ..running(Health::None) };
    let wait = |seconds| Verified::Wait(Duration::from_secs(seconds));
    let no = |why: &str| Verified::No(why.to_owned());
    for (was, up_for, spent, view, starts, expect) in [
        (Was::Stopped, None, 0, &exited, 0, Verified::Yes),
        (Was::Running, None, 0, &exited, 0, Verified::Start),
        (Was::Running, None, 0, &running(Health::None), 1, wait(5)),
        (Was::Running, Some(5), 6, &running(Health::Unhealthy), 1, Verified::Yes),
        (Was::Running, Some(5), 6, &restarting, 1, wait(5)),
        (Was::Running, Some(5), 60, &restarting, 1, no("it does not stay up")),
        (Was::RunningHealthy, Some(50), 55, &running(Health::Starting), 1, wait(5)),
        (Was::RunningHealthy, Some(5), 6, &running(Health::Healthy), 1, Verified::Yes),
        (
            Was::RunningHealthy,
            Some(59),
            60,
            &running(Health::Unhealthy),
            1,
            no("its health check does not pass any more"),
        ),
        (Was::Restarting, None, 0, &exited, 0, Verified::Start),
        (Was::Restarting, None, 0, &exited, 1, Verified::Yes),
        (Was::Restarting, None, 0, &restarting, 1, Verified::Yes),
    ] {
        let mut verify = Verify {
            begun: true,
            spent: Duration::from_secs(spent),
            up_for: up_for.map(Duration::from_secs),
            started_at: Some(instant(5)),
        };
        assert_eq!(verify.judge(view, was, starts, &order()), expect, "{was:?} {view:?} after {spent} s");
    }
}
