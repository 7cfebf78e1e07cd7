//! What survives the wire, and what is refused by name.

use std::time::Duration;

use nightshift_core::signature::Signature;
use nightshift_core::spec::{Hook, HookCall, Hooks, UpdateOrder};
use nightshift_core::step::{FailureKind, Purpose, StepPhase};

use super::*;

fn order() -> StepOrder {
    StepOrder {
        key: StepKey { rollout: "r1".parse().expect("a name"), step: StepIndex(0), generation: Generation(3) },
        epoch: Epoch(7),
        purpose: Purpose::Rollback,
        node: "node1".parse().expect("a name"),
        app: "web".parse().expect("a name"),
        container: "web-1".into(),
        container_id: ContainerId("0123456789abcdef".into()),
        image: "127.0.0.1:5000/web:stable".parse().expect("a reference"),
        digest: format!("sha256:{}", "0a".repeat(32)).parse().expect("a digest"),
        order: UpdateOrder::StartFirst,
        health: HealthCheck::Http { port: 8080, path: "/healthz".into() },
        hooks: Hooks {
            drain: Some(Hook {
                call: HookCall::Exec { command: vec!["drain".into()] },
                timeout: Duration::from_secs(60),
            }),
            ..Hooks::default()
        },
        healthy_deadline: Duration::from_secs(300),
        monitor: Duration::from_millis(2500),
        keep_images: 2,
        start_within: Duration::from_secs(20),
        signatures: vec![Signature { payload: "{}".into(), signature: "MEUCIQ==".into() }],
    }
}

fn report() -> StepReport {
    StepReport {
        key: order().key,
        phase: StepPhase::RolledBack,
        old_container_id: Some(ContainerId("old".into())),
        new_container_id: Some(ContainerId("new".into())),
        downtime_ms: Some(1200),
        failure: Some(Failure {
            kind: FailureKind::Unhealthy,
            reason: "it exited with 1".into(),
            log: "boom\n".into(),
        }),
    }
}

#[test]
fn orders_and_reports_survive_the_wire() {
    let mut order = order();
    for health in [
        HealthCheck::Auto,
        HealthCheck::Docker,
        HealthCheck::Http { port: 1, path: "/".into() },
        HealthCheck::Tcp { port: 65535 },
        HealthCheck::Exec { command: vec!["true".into(), String::new()] },
    ] {
        order.health = health;
        assert_eq!(StepOrder::try_from(pb::StepOrder::from(&order)), Ok(order.clone()));
    }
    assert_eq!(StepReport::try_from(pb::StepReport::from(&report())), Ok(report()));
    let bare = StepReport {
        phase: StepPhase::Assigned,
        old_container_id: None,
        new_container_id: None,
        downtime_ms: None,
        failure: None,
        ..report()
    };
    assert_eq!(StepReport::try_from(pb::StepReport::from(&bare)), Ok(bare));
}

#[test]
fn an_order_without_a_field_is_refused_by_the_fields_name() {
    type Breaks = fn(&mut pb::StepOrder);
    let cases: [(&str, Breaks); 14] = [
        ("key", |order| order.key = None),
        ("key.rollout", |order| order.key.as_mut().expect("set").rollout.clear()),
        ("epoch", |order| order.epoch = 0),
        ("purpose", |order| order.purpose = 0),
        ("app", |order| order.app.clear()),
        ("container", |order| order.container.clear()),
        ("container_id", |order| order.container_id.clear()),
        ("image", |order| order.image.clear()),
        ("digest", |order| order.digest.clear()),
        ("order", |order| order.order = 0),
        ("health", |order| order.health = None),
        ("healthy_deadline", |order| order.healthy_deadline = None),
        ("monitor", |order| order.monitor = None),
        ("start_within", |order| order.start_within = None),
    ];
    for (field, breaks) in cases {
        let mut wire = pb::StepOrder::from(&order());
        breaks(&mut wire);
        assert_eq!(StepOrder::try_from(wire), Err(Error::missing(field)));
    }
}

#[test]
fn a_malformed_field_of_an_order_is_refused_by_its_name() {
    type Breaks = fn(&mut pb::StepOrder);
    let cases: [(&str, Breaks); 6] = [
        ("app", |order| order.app = "a b".into()),
        ("image", |order| order.image = "http://x".into()),
        ("digest", |order| order.digest = "sha256:00".into()),
        ("key.rollout", |order| order.key.as_mut().expect("set").rollout = "../x".into()),
        ("container", |order| order.container = "x".repeat(CONTAINER_LIMIT_BYTES + 1)),
        ("container_id", |order| order.container_id = "x".repeat(CONTAINER_LIMIT_BYTES + 1)),
    ];
    for (field, breaks) in cases {
        let mut wire = pb::StepOrder::from(&order());
        breaks(&mut wire);
        let error = StepOrder::try_from(wire).expect_err(field).to_string();
        assert!(error.starts_with(&format!("field `{field}` is ")) && !error.ends_with("missing"), "{error}");
    }
}

#[test]
fn a_health_check_that_cannot_work_is_refused() {
    use pb::health_check::{Check, Exec, Http, Tcp};
    for (check, expect) in [
        (Check::Http(Http { port: 0, path: "/".into() }), "field `http.port` is missing"),
        (Check::Http(Http { port: 80, path: String::new() }), "field `http.path` is missing"),
        (Check::Http(Http { port: 80, path: "x".into() }), "field `http.path` is malformed: does not start with `/`"),
        (Check::Tcp(Tcp { port: 65536 }), "field `tcp.port` is malformed: `65536` is no port: allowed are 1 to 65535"),
        (Check::Exec(Exec { command: vec![] }), "field `exec.command` is missing"),
        (Check::Exec(Exec { command: vec![String::new()] }), "field `exec.command` is missing"),
        (Check::Exec(Exec { command: vec!["x".into(); 65] }), "field `exec.command` is too long: 65, at most 64"),
    ] {
        let refused = HealthCheck::try_from(pb::HealthCheck { check: Some(check) }).expect_err(expect);
        assert_eq!(refused.to_string(), expect);
    }
}

#[test]
fn a_report_without_a_field_is_refused_by_the_fields_name() {
    type Breaks = fn(&mut pb::StepReport);
    let cases: [(&str, Breaks); 5] = [
        ("key", |report| report.key = None),
        ("key.rollout", |report| report.key.as_mut().expect("set").rollout.clear()),
        ("phase", |report| report.phase = 0),
        ("failure.kind", |report| report.failure.as_mut().expect("set").kind = 0),
        ("failure.reason", |report| report.failure.as_mut().expect("set").reason.clear()),
    ];
    for (field, breaks) in cases {
        let mut wire = pb::StepReport::from(&report());
        breaks(&mut wire);
        assert_eq!(StepReport::try_from(wire), Err(Error::missing(field)));
    }
}

#[test]
fn a_long_failure_is_cut_by_its_sender_and_refused_by_its_receiver() {
    let failure = Failure {
        kind: FailureKind::Engine,
        reason: format!("first{}", "r".repeat(REASON_LIMIT_BYTES)),
        log: format!("{}last", "l".repeat(LOG_LIMIT_BYTES)),
    };
    let mut wire = pb::Failure::from(&failure);
    let read = Failure::try_from(wire.clone()).expect("within the limits");
    assert_eq!((read.reason.len(), read.log.len()), (REASON_LIMIT_BYTES, LOG_LIMIT_BYTES));
    assert!(read.reason.starts_with("first") && read.log.ends_with("last"));
    wire.log.push('x');
    let refused = Error::TooLong { field: "log".into(), found: LOG_LIMIT_BYTES + 1, limit: LOG_LIMIT_BYTES };
    assert_eq!(Failure::try_from(wire), Err(refused));
}
