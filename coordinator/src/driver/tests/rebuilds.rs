//! Requests to CI systems by a driver that dies between storing and sending.

use nightshift_core::rebuild::trigger::TriggerOutcome;

use super::*;
use crate::store::Sequence;

const NIGHTLY: &str = "[rebuild]\n[rebuild.trigger]\nurl = \"https://ci.example/{app}\"\n";

/// The kinds of stored facts about rebuilds, in order.
async fn facts(fixture: &Fixture) -> Vec<String> {
    let stored = fixture.store.load_all(Sequence(0), 1_000).await.expect("it can be read");
    let kinds = stored.iter().filter_map(|fact| fact.body["kind"].as_str());
    kinds.filter(|kind| kind.starts_with("rebuild_")).map(str::to_owned).collect()
}

async fn fired(fixture: &mut Fixture) -> Fire {
    tokio::time::timeout(PATIENCE, fixture.fires.recv()).await.expect("it comes").expect("the driver lives")
}

#[tokio::test]
async fn what_a_dead_driver_stored_and_never_sent_is_sent_by_the_next_one_and_once_it_is_accepted_never_again() {
    let mut fixture = Fixture::start().await;
    let spec = read_app("web.toml", &format!("{WEB}{NIGHTLY}")).unwrap_or_else(|problems| panic!("{problems}"));
    fixture.ask(Request::Apply(vec![spec])).await;
    fixture.ask(Request::Rebuild { app: app(), reason: "openssl is out".into() }).await;
    let first = fired(&mut fixture).await;
    assert_eq!(facts(&fixture).await, ["rebuild_started"], "stored before it is sent");

    // Its queue dies with it: nobody has sent anything.
    fixture.advance(5);
    let mut fixture = fixture.crash().await;
    let again = fired(&mut fixture).await;
    assert_eq!(
        (again.number, again.attempt, again.started_at),
        (first.number, 0, first.started_at),
        "the same request"
    );
    assert_eq!(again.trigger, first.trigger);
    assert_eq!(facts(&fixture).await, ["rebuild_started"], "no second rebuild");

    let outcome = TriggerOutcome::Answered { status: 202, retry_after: None };
    let Fire { app, number, attempt, .. } = again;
    fixture.ask(Request::TriggerAnswered { app, number, attempt, outcome }).await;
    assert_eq!(facts(&fixture).await, ["rebuild_started", "rebuild_triggered"]);
    let mut fixture = fixture.crash().await;
    // Whatever it does by itself it has done when it answers.
    fixture.state().await;
    assert!(fixture.fires.try_recv().is_err(), "CI builds once");
}
