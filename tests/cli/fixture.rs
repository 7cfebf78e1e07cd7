//! What the double answers: a small fleet in the middle of its night. All times lie days back, so that texts keep still.

use nightshift_proto::pb::{self, RolloutState, StepState};

/// Midnight of 2026-01-05 in UTC.
const NIGHT: i64 = 1_767_571_200;
pub(crate) const ROLLOUT: &str = "019b8c2e-5f00-7d3a-9c1e-3f2a6b7c8d9e";

pub(crate) fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: NIGHT + seconds, nanos: 0 })
}

pub(crate) fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

pub(crate) fn window_wait() -> pb::Wait {
    pb::Wait {
        kind: "window".into(),
        message: "window opens at 2026-01-05 22:00 America/Moncton".into(),
        until: at(93_600),
    }
}

pub(crate) fn tested() -> pb::Release {
    pb::Release {
        app: "web".into(),
        digest: digest('a'),
        first_seen: at(60),
        created: at(0),
        reports: vec![pb::TestReport {
            kind: "ci".into(),
            suite: "default".into(),
            passed: true,
            by: "token ci-web".into(),
            at: at(120),
            url: "https://ci.example/17".into(),
            from: "192.0.2.17".into(),
        }],
        known_good_at: at(7200),
        eligible: true,
        running: 1,
        ..pb::Release::default()
    }
}

pub(crate) fn untested() -> pb::Release {
    pb::Release {
        app: "web".into(),
        digest: digest('b'),
        first_seen: at(3600),
        created: at(3500),
        denial: "no passed report of `ci`".into(),
        ..pb::Release::default()
    }
}

pub(crate) fn quarantined() -> pb::Release {
    pb::Release {
        digest: digest('c'),
        quarantine_reason: "unhealthy on n1".into(),
        quarantine_by: "rollout".into(),
        quarantined_at: at(5000),
        known_good_at: None,
        eligible: false,
        denial: "quarantined: unhealthy on n1".into(),
        running: 0,
        ..tested()
    }
}

pub(crate) fn releases(empty: bool) -> pb::ListReleasesResponse {
    let releases = if empty { Vec::new() } else { vec![untested(), quarantined(), tested()] };
    pb::ListReleasesResponse { releases }
}

pub(crate) fn job_logs(empty: bool) -> pb::ListJobLogsResponse {
    let passed = pb::JobLog {
        job: "20261124-010000-000-2".into(),
        kind: "self-test".into(),
        node: "t1".into(),
        digest: digest('b'),
        result: "passed".into(),
        reason: String::new(),
        at: at(3_600),
        text: "12 tests\n12 passed\n".into(),
        cut: true,
    };
    let not_done = pb::JobLog {
        job: "20261124-003000-000-1".into(),
        result: "not-done".into(),
        reason: "the engine went away in the middle of it".into(),
        at: at(1_800),
        text: String::new(),
        cut: false,
        ..passed.clone()
    };
    pb::ListJobLogsResponse { logs: if empty { Vec::new() } else { vec![passed, not_done] } }
}

fn instance(node: &str, container: &str, digit: char, connected: bool) -> pb::AppInstance {
    pb::AppInstance {
        node: node.into(),
        node_connected: connected,
        digest: digest(digit),
        age: connected.then(|| age(5, pb::AgeOrigin::Built, pb::AgeState::Aging)),
        instance: Some(pb::Instance {
            app: "web".into(),
            container_id: digit.to_string().repeat(64),
            container: container.into(),
            image: "127.0.0.1:5000/web:stable".into(),
            image_id: digest(digit),
            digests: vec![digest(digit)],
            state: pb::ContainerState::Running.into(),
            health: pb::ContainerHealth::Healthy.into(),
            refusal: if connected { String::new() } else { "network mode `container:` is not supported".into() },
            image_created: at(0),
            after: vec![],
            start_first_obstacles: vec![],
        }),
    }
}

fn age(days: i64, counted_from: pb::AgeOrigin, state: pb::AgeState) -> pb::Age {
    let (counted_from, state) = (counted_from.into(), state.into());
    pb::Age { since: at(-86_400 * days), age: Some(days_of(days)), counted_from, state }
}

const fn days_of(days: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: 86_400 * days, nanos: 0 }
}

pub(crate) fn app() -> pb::App {
    pb::App {
        name: "web".into(),
        image: "127.0.0.1:5000/web:stable".into(),
        version: 3,
        enabled: true,
        instances: vec![instance("n1", "web-1", 'a', true), instance("n2", "web-2", '9', false)],
        newest: Some(untested()),
        target: Some(tested()),
        rollout: ROLLOUT.into(),
        waiting_on: vec![pb::Wait { kind: "tests".into(), message: "no passed report of `ci`".into(), until: None }],
        spec_json: r#"{"name":"web","update":{"monitor":"30s","parallelism":1},"after":[]}"#.into(),
        instances_current: 1,
        window: Some(pb::WindowState {
            open: false,
            changes_at: at(93_600),
            text: "opens at 2026-01-05 22:00 America/Moncton".into(),
        }),
        freshness: Some(pb::Freshness {
            max_age: Some(days_of(7)),
            oldest: Some(age(9, pb::AgeOrigin::Built, pb::AgeState::Stale)),
            last_tested: Some(age(1, pb::AgeOrigin::FirstSeen, pb::AgeState::Fresh)),
            stale: 1,
        }),
        rebuilds: Some(pb::Rebuilds {
            schedule: "30 2 * * * America/Moncton".into(),
            next_due: at(109_800),
            open: None,
            last: Some(overdue()),
        }),
    }
}

/// A rebuild that has just begun.
pub(crate) fn rebuilding() -> pb::Rebuild {
    pb::Rebuild {
        app: "web".into(),
        number: 8,
        state: "waiting".into(),
        message: "the CI system is being told".into(),
        started_at: at(0),
        deadline_at: at(7_200),
        ..pb::Rebuild::default()
    }
}

/// The same when it has brought a digest.
pub(crate) fn rebuilt() -> pb::Rebuild {
    pb::Rebuild {
        state: "tested".into(),
        message: "sha256:aaaaaaaaaaaa has passed its tests".into(),
        ended: true,
        deadline_at: None,
        ended_at: at(900),
        digest: digest('a'),
        ..rebuilding()
    }
}

/// One that has not.
pub(crate) fn overdue() -> pb::Rebuild {
    pb::Rebuild {
        number: 7,
        state: "overdue".into(),
        message: "no new digest came and no report".into(),
        digest: String::new(),
        ..rebuilt()
    }
}

pub(crate) fn apps(empty: bool) -> Vec<pb::App> {
    let idle = pb::App { name: "db".into(), image: "postgres:17".into(), version: 1, ..pb::App::default() };
    if empty { Vec::new() } else { vec![app(), idle] }
}

pub(crate) fn history() -> pb::AppHistoryResponse {
    let version = |version, differences: &[&str]| pb::app_history_response::Version {
        version,
        at: at(version.cast_signed()),
        by: "token alice".into(),
        differences: differences.iter().map(|&text| text.to_owned()).collect(),
    };
    let changed = ["update.monitor: 30s -> 10s", "update.parallelism: 1 -> 2"];
    pb::AppHistoryResponse { versions: vec![version(2, &changed), version(1, &[])] }
}

pub(crate) fn applied() -> pb::ApplyResponse {
    use pb::apply_response::{Change, change::Kind};
    let change = |app: &str, kind: Kind, version, differences: &[&str]| Change {
        app: app.into(),
        kind: kind.into(),
        version,
        differences: differences.iter().map(|&text| text.to_owned()).collect(),
    };
    let changes = vec![
        change("web", Kind::Updated, 2, &["update.monitor: 30s -> 10s"]),
        change("db", Kind::Created, 1, &[]),
        change("cache", Kind::Unchanged, 4, &[]),
    ];
    pb::ApplyResponse { changes }
}

pub(crate) fn step(index: u32, node: &str, state: StepState) -> pb::rollout::Step {
    let begun = state != StepState::Pending;
    let ended = matches!(state, StepState::Committed | StepState::RolledBack);
    pb::rollout::Step {
        index,
        node: node.into(),
        container: format!("web-{}", index + 1),
        state: state.into(),
        from: digest('9'),
        to: digest('a'),
        old_container_id: "1".repeat(64),
        new_container_id: if begun { "2".repeat(64) } else { String::new() },
        downtime_ms: ended.then_some(1_234),
        started_at: if begun { at(10) } else { None },
        ended_at: if ended { at(80) } else { None },
        canary: index == 0,
        purpose: pb::Purpose::Update.into(),
        ..pb::rollout::Step::default()
    }
}

pub(crate) fn rollout(state: RolloutState, steps: Vec<pb::rollout::Step>) -> pb::Rollout {
    pb::Rollout {
        id: ROLLOUT.into(),
        app: "web".into(),
        state: state.into(),
        from: digest('9'),
        to: digest('a'),
        reason: "new tested release".into(),
        started_by: "scheduler".into(),
        steps,
        created_at: at(0),
        ..pb::Rollout::default()
    }
}

pub(crate) fn waiting() -> pb::Rollout {
    let steps = vec![step(0, "n1", StepState::Pending), step(1, "n2", StepState::Pending)];
    pb::Rollout {
        waiting_on: vec![window_wait()],
        pulls: vec![pb::rollout::Pull {
            node: "n1".into(),
            progress: Some(pb::PullProgress { layers_done: 1, layers_total: 3, bytes_done: 4096, bytes_total: 8192 }),
            present: false,
            failure: String::new(),
        }],
        ..rollout(RolloutState::Waiting, steps)
    }
}

pub(crate) fn rolling() -> pb::Rollout {
    let steps = vec![step(0, "n1", StepState::Committed), step(1, "n2", StepState::Started)];
    rollout(RolloutState::Rolling, steps)
}

pub(crate) fn completed() -> pb::Rollout {
    let steps = vec![step(0, "n1", StepState::Committed), step(1, "n2", StepState::Committed)];
    pb::Rollout { ended: true, ended_at: at(200), ..rollout(RolloutState::Completed, steps) }
}

pub(crate) fn failed() -> pb::Rollout {
    let broken = pb::rollout::Step {
        reason: "unhealthy: exit code 1".into(),
        log: "starting\nno database\n".into(),
        ..step(0, "n1", StepState::RolledBack)
    };
    let operator = pb::Wait {
        kind: "operator".into(),
        message: "paused after a failed step: resume, retry or abort it".into(),
        until: None,
    };
    pb::Rollout {
        waiting_on: vec![operator],
        ..rollout(RolloutState::Paused, vec![broken, step(1, "n2", StepState::Pending)])
    }
}

pub(crate) fn rollouts(empty: bool) -> pb::ListRolloutsResponse {
    let old = pb::Rollout { id: "019b0000-0000-7000-8000-000000000000".into(), ..completed() };
    pb::ListRolloutsResponse { rollouts: if empty { Vec::new() } else { vec![rolling(), old] } }
}

pub(crate) fn plan() -> pb::RolloutPlan {
    let step = |node: &str, container: &str, canary, skipped: &str| pb::rollout_plan::Step {
        node: node.into(),
        container: container.into(),
        from: digest('9'),
        canary,
        skipped: skipped.into(),
    };
    pb::RolloutPlan {
        app: "web".into(),
        to: digest('a'),
        steps: vec![
            step("n1", "web-1", true, ""),
            step("n2", "web-2", false, "drained"),
            step("n3", "web-3", false, ""),
        ],
        waiting_on: vec![window_wait()],
        worst_case: Some(prost_types::Duration { seconds: 720, nanos: 0 }),
    }
}

pub(crate) fn quiet() -> pb::QuietResponse {
    pb::QuietResponse {
        windows: vec![pb::quiet_response::Window {
            starts: at(93_600),
            ends: at(115_200),
            local: "2026-01-05 22:00 to 2026-01-06 04:00 America/Moncton".into(),
            nodes: "zone=east".into(),
        }],
        open: false,
        explanation: vec!["allow: no entry is open".into(), "closed: outside every window".into()],
        timezone: "America/Moncton".into(),
        clock_changes: vec![
            "2026-03-08 02:30:00 does not exist: `daily 02:30 for 1h` starts at 2026-03-08 03:30".into(),
        ],
        warnings: vec!["freeze `exams` is over".into()],
        windows_in_a_year: 209,
        hours_in_a_year: 1254.5,
        longest_gap: Some(prost_types::Duration { seconds: 324_000, nanos: 0 }),
    }
}

pub(crate) fn node() -> pb::Node {
    pb::Node {
        name: "n1".into(),
        availability: pb::Availability::Active.into(),
        connected: true,
        last_seen: at(300),
        engine_version: "20.10.24".into(),
        api_version: "1.41".into(),
        agent_version: "0.1.0".into(),
        labels: [("zone".to_owned(), "a".to_owned()), ("canary".to_owned(), "true".to_owned())].into(),
        instances: 1,
        rollout: ROLLOUT.into(),
        clock_skew_ms: -12,
        problem: String::new(),
    }
}

pub(crate) fn nodes(empty: bool) -> Vec<pb::Node> {
    let lost = pb::Node {
        name: "n2".into(),
        connected: false,
        last_seen: at(10),
        problem: "not heard of since 2026-01-05 00:00:10 UTC".into(),
        rollout: String::new(),
        labels: Default::default(),
        ..node()
    };
    if empty { Vec::new() } else { vec![node(), lost] }
}

pub(crate) fn new_token() -> pb::CreateTokenResponse {
    pb::CreateTokenResponse { id: "t-7".into(), token: "nst_shown-once".into(), expires_at: at(86_400) }
}

pub(crate) fn tokens(empty: bool) -> pb::ListTokensResponse {
    let token = |id: &str, role: &str, apps: &[&str]| pb::list_tokens_response::Token {
        id: id.into(),
        role: role.into(),
        created_at: at(0),
        apps: apps.iter().map(|&app| app.to_owned()).collect(),
        ..pb::list_tokens_response::Token::default()
    };
    let tokens = vec![
        pb::list_tokens_response::Token { name: "dashboard".into(), ..token("t-1", "viewer", &[]) },
        pb::list_tokens_response::Token { expires_at: at(9), ..token("t-2", "ci", &["web", "db"]) },
        pb::list_tokens_response::Token { used: true, ..token("t-3", "node", &[]) },
        pb::list_tokens_response::Token { revoked: true, ..token("t-4", "admin", &[]) },
    ];
    pb::ListTokensResponse { tokens: if empty { Vec::new() } else { tokens } }
}

pub(crate) fn status(empty: bool) -> pb::Status {
    pb::Status {
        now: at(14_400),
        epoch: 7,
        apps: apps(empty),
        nodes: nodes(empty),
        rollouts: if empty { Vec::new() } else { vec![rolling(), waiting()] },
        alarms: if empty { Vec::new() } else { vec!["node `n2` is not connected".into()] },
        raised: if empty { Vec::new() } else { vec![raised()] },
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

pub(crate) fn adoption(empty: bool) -> pb::AdoptResponse {
    use pb::adopt_response::{Container, LeftOut, Proposal, Silent};
    let container = |node: &str, container: &str| Container { node: node.into(), container: container.into() };
    let web = Proposal {
        app: "web".into(),
        image: "registry.example/web:stable".into(),
        containers: vec![container("n1", "shop-web-1"), container("n2", "shop-web-1")],
        toml: "name = \"web\"\nimage = \"registry.example/web:stable\"\n\n[instances]\nname = \"shop-web-1\"\n".into(),
    };
    let db = Proposal {
        app: "db".into(),
        image: "postgres:17".into(),
        containers: vec![container("n1", "db")],
        toml: "name = \"db\"\nimage = \"postgres:17\"\n\n[instances]\nname = \"db\"\n".into(),
    };
    let left = LeftOut {
        node: "n1".into(),
        container: "job".into(),
        image: "job:dev".into(),
        reason: "its image never came from a registry: it was built or loaded on the node".into(),
    };
    let silent = Silent { node: "n3".into(), reason: "it is not connected".into() };
    if empty {
        return pb::AdoptResponse::default();
    }
    pb::AdoptResponse { proposals: vec![db, web], left_out: vec![left], silent: vec![silent] }
}

fn raised() -> pb::Alarm {
    let (kind, node, message) = ("node_away".into(), "n2".into(), "node `n2` is not connected".into());
    pb::Alarm { kind, app: String::new(), node, message, since: at(310) }
}

pub(crate) fn events() -> Vec<pb::Event> {
    let event = |sequence, kind: &str, message: &str| pb::Event {
        sequence,
        at: at(sequence.cast_signed()),
        kind: kind.into(),
        app: "web".into(),
        rollout: ROLLOUT.into(),
        by: "scheduler".into(),
        message: message.into(),
        detail_json: format!(r#"{{"{kind}":{{"to":"{}"}}}}"#, digest('a')),
        ..pb::Event::default()
    };
    vec![
        event(41, "rollout_created", "rollout to sha256:aaaaaaaaaaaa planned"),
        pb::Event { node: "n1".into(), ..event(42, "step_started", "step 0 assigned") },
    ]
}
