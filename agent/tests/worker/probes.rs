//! Probes from outside of the engine's network, on a real engine.

use std::time::Duration;

use nightshift_core::spec::HealthCheck;
use nightshift_core::step::{StepPhase, StepReport};

use crate::docker::DockerFixture;
use crate::fixture::{Fixture, Kind};
use crate::node::{Node, order, running};

async fn carry_out(check: &str, health: HealthCheck) -> Option<StepReport> {
    let fixture = DockerFixture::from_environment(check).await?;
    let (name, id) = running(&fixture).await;
    let image = fixture.push(Kind::Web).await;
    let mut order = order(0, &name, &id, &image);
    order.health = health;
    order.healthy_deadline = Duration::from_secs(5);
    let story = async { Node::new(fixture.engine()).await.carry_out(&order).await };
    let end = tokio::time::timeout(crate::DEADLINE, story).await.expect("in time");
    fixture.clean_up().await;
    Some(end)
}

#[tokio::test]
async fn a_web_server_is_found_healthy_by_http_and_by_tcp() {
    for (check, health) in [
        ("http-good", HealthCheck::Http { port: 80, path: "/".to_owned() }),
        ("tcp-good", HealthCheck::Tcp { port: 80 }),
    ] {
        let Some(end) = carry_out(check, health).await else { return };
        assert_eq!(end.phase, StepPhase::Committed, "{end:?}");
    }
}

#[tokio::test]
async fn a_page_or_port_that_is_not_there_takes_the_image_back() {
    for (check, health, words) in [
        (
            "http-bad",
            HealthCheck::Http { port: 80, path: "/missing".to_owned() },
            "not healthy within 5s: HTTP :80/missing answers 404",
        ),
        ("tcp-bad", HealthCheck::Tcp { port: 81 }, "not healthy within 5s: port 81: "),
    ] {
        let Some(end) = carry_out(check, health).await else { return };
        let reason = end.failure.expect("told").reason;
        assert_eq!(end.phase, StepPhase::RolledBack, "{reason}");
        assert!(reason.contains(words), "{reason}");
    }
}
