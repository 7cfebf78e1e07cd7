//! Who goes when: one at a time, canary first, the pause between steps, other apps first.

use super::bench::*;

#[test]
fn instances_are_replaced_one_at_a_time_in_order() {
    let mut bench = Bench::new(&["n2", "n3", "n1"]);
    bench.tested(2);
    let mut order = Vec::new();
    while !bench.orders.is_empty() {
        assert_eq!(bench.orders.len(), 1, "never two at once");
        order.push(bench.commit());
    }
    assert_eq!(order, ["n1", "n2", "n3"]);
    assert_eq!(bench.state(), RolloutState::Completed);
    assert!(bench.is_known_good(2));
    assert_eq!(bench.waits(), Vec::<String>::new());
}

#[test]
fn a_node_with_the_canary_label_goes_first_and_is_watched_longer() {
    let mut bench = Bench::new(&["n1", "n2"]);
    let labels = [("canary".to_owned(), "true".to_owned())].into();
    let events = bench.control.connected(&node("n2"), &labels, &[], at(0));
    bench.store(events);
    bench.tested(2);
    let (name, first) = bench.orders[0].clone();
    assert_eq!((name.as_str(), first.monitor), ("n2", Duration::from_secs(60)));
    bench.commit();
    let (name, second) = bench.orders[0].clone();
    assert_eq!((name.as_str(), second.monitor), ("n1", Duration::from_secs(30)));
}

#[test]
fn on_a_node_labels_say_which_container_goes_first() {
    let mut bench = Bench::new(&["n1", "n2"]);
    let named = |name: &str, after: &[&str]| InstanceView {
        after: after.iter().map(|&other| other.to_owned()).collect(),
        ..instance(name, 1)
    };
    bench.inventory("n1", vec![named("a", &["b"]), named("b", &["c"]), named("c", &["elsewhere"])]);
    bench.inventory("n2", vec![named("a", &["b"]), named("b", &["a"])]);
    bench.tested(2);
    let rollout = bench.rollout();
    let order: Vec<_> = rollout.steps.iter().map(|step| format!("{}/{}", step.node, step.container)).collect();
    assert_eq!(order, ["n1/c", "n1/b", "n1/a", "n2/a", "n2/b"]);
}

#[test]
fn the_canary_is_alone_and_then_as_many_as_parallelism_allows() {
    let mut bench = Bench::with(&["n1", "n2", "n3", "n4"], |spec| spec.update.parallelism = 2);
    bench.tested(2);
    assert_eq!(bench.ordered(), ["n1"]);
    bench.commit();
    assert_eq!(bench.state(), RolloutState::Rolling);
    assert_eq!(bench.ordered(), ["n2", "n3"]);
    bench.commit();
    assert_eq!(bench.ordered(), ["n3", "n4"]);
}

#[test]
fn where_the_first_instance_runs_the_target_already_the_next_one_is_the_canary() {
    let mut bench = Bench::new(&["n1", "n2", "n3"]);
    bench.inventory("n1", vec![instance("web", 2)]);
    bench.tested(2);
    let (name, order) = bench.orders[0].clone();
    assert_eq!((name.as_str(), order.monitor), ("n2", Duration::from_secs(60)));
    assert_eq!(bench.commit_all(), ["n2", "n3"]);
}

#[test]
fn a_step_whose_instance_reaches_the_target_by_itself_is_left_out() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.inventory("n2", vec![instance("web", 2)]);
    bench.commit();
    assert!(bench.orders.is_empty());
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn mode_approve_waits_after_the_canary_and_goes_on_when_promoted() {
    let mut bench = Bench::with(&["n1", "n2"], |spec| spec.update.mode = RolloutMode::Approve);
    bench.tested(2);
    bench.commit();
    assert!(bench.orders.is_empty());
    assert_eq!(bench.waits(), ["the canary is good; `rollout promote` lets it go on"]);
    bench.wait(86_400);
    assert_eq!(bench.state(), RolloutState::Canary, "no deadline runs while a person thinks");
    bench.change(Command::Promote).expect("it waits for that");
    assert_eq!(bench.ordered(), ["n2"]);
    assert_eq!(bench.change(Command::Promote).expect_err("it is promoted").kind, RejectionKind::Conflict);
}

#[test]
fn a_promotion_before_the_canary_is_good_counts() {
    let mut bench = Bench::with(&["n1", "n2"], |spec| spec.update.mode = RolloutMode::Approve);
    bench.tested(2);
    bench.change(Command::Promote).expect("open");
    assert_eq!(bench.commit_all(), ["n1", "n2"]);
}

#[test]
fn nobody_has_to_promote_a_rollout_that_has_nothing_left_to_do() {
    let mut bench = Bench::with(&["n1"], |spec| spec.update.mode = RolloutMode::Approve);
    bench.tested(2);
    bench.commit();
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn the_pause_between_two_steps_is_kept_to_the_second() {
    let mut bench = Bench::with(&["n1", "n2"], |spec| spec.update.delay = Duration::from_secs(90));
    bench.tested(2);
    bench.commit();
    assert_eq!((bench.orders.len(), bench.wake_at), (0, Some(at(90))));
    assert_eq!(bench.waits(), ["the pause between two steps"]);
    bench.wait(89);
    assert!(bench.orders.is_empty());
    bench.wait(1);
    assert_eq!(bench.ordered(), ["n2"]);
}

fn with_db(bench: &mut Bench) {
    let mut db = web();
    db.name = "db".parse().expect("well formed");
    db.quiet_hours = bench.control.catalog().app(&app()).expect("applied").spec.quiet_hours.clone();
    let both = InstanceView { app: db.name.clone(), ..instance("db", 1) };
    bench.ask(Request::Apply(vec![db])).expect("a good spec");
    bench.inventory("n1", vec![both, instance("web", 1)]);
}

#[test]
fn an_app_waits_for_the_apps_that_go_first_even_if_their_rollout_is_only_due() {
    let mut bench = Bench::with(&["n1", "n2"], |spec| {
        spec.name = app();
        spec.after = vec!["db".parse().expect("well formed")];
    });
    with_db(&mut bench);
    let db: AppName = "db".parse().expect("well formed");
    // Both get a digest before the coordinator looks: `db` has to begin, though `web` could at once.
    let see = |of: &AppName| Event::ReleaseSeen {
        app: of.clone(),
        digest: digest(2),
        tag: None,
        created: None,
        platforms: Vec::new(),
    };
    let passed = |of: &AppName| {
        let report = crate::release::TestReport {
            kind: crate::spec::TestKind::Ci,
            suite: "default".into(),
            result: TestResult::Passed,
            by: "ci".into(),
            at: at(0),
            url: None,
            from: None,
        };
        Event::TestReported {
            app: of.clone(),
            digest: digest(2),
            report,
            created: None,
            platforms: Vec::new(),
            signatures: Vec::new(),
        }
    };
    let events = [see(&app()), passed(&app()), see(&db), passed(&db)];
    let by = Actor("ci".into());
    bench.store(events.into_iter().map(|event| Recorded { at: at(0), by: by.clone(), event }).collect());
    bench.run();
    assert_eq!(bench.orders.iter().map(|(_, order)| &order.app).collect::<Vec<_>>(), [&db]);
    assert_eq!(bench.waits(), ["app db goes first"]);
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::Committed, None);
    assert_eq!(bench.orders.iter().map(|(_, order)| &order.app).collect::<Vec<_>>(), [&app()]);
}

#[test]
fn apps_that_would_wait_for_each_other_are_refused() {
    let mut bench = Bench::new(&["n1"]);
    let named = |name: &str, after: &str| {
        let mut spec = web();
        spec.name = name.parse().expect("well formed");
        spec.after = vec![after.parse().expect("well formed")];
        spec
    };
    for circle in [vec![named("web", "web")], vec![named("a", "b"), named("b", "a")]] {
        let refused = bench.ask(Request::Apply(circle)).expect_err("a circle");
        assert_eq!(refused.kind, RejectionKind::Usage);
    }
    bench.ask(Request::Apply(vec![named("a", "b")])).expect("no circle yet");
    bench.ask(Request::Apply(vec![named("b", "a")])).expect_err("now it is one");
    let twice = bench.ask(Request::Apply(vec![web(), web()])).expect_err("one of them would be lost");
    assert_eq!(twice.message, "app `web` is given twice");
}

#[test]
fn a_node_works_for_one_rollout_at_a_time() {
    let mut bench = Bench::new(&["n1"]);
    with_db(&mut bench);
    bench.tested(2);
    let db: AppName = "db".parse().expect("well formed");
    bench
        .ask(Request::Seen { app: db.clone(), image: web().image, digest: digest(2), about: Default::default() })
        .expect("known");
    let report = Request::Report {
        app: db.clone(),
        digest: digest(2),
        suite: "default".into(),
        result: TestResult::Passed,
        url: None,
        from: None,
        about: Default::default(),
    };
    bench.ask(report).expect("known");
    assert_eq!(bench.orders.len(), 1, "the node works on `web`");
    let waiting = bench.control.open_rollout(&db).expect("planned");
    let waits = bench.control.rollout_waits(waiting, &bench.fleet, at(0));
    let web = bench.rollout().id;
    assert_eq!(waits, [WaitingOn::NodeBusy { node: node("n1"), rollout: web }]);
}

#[test]
fn an_untested_digest_is_not_deployed_and_the_wait_says_so() {
    let mut bench = Bench::new(&["n1"]);
    bench.seen(2);
    assert!(bench.orders.is_empty());
    assert_eq!(bench.waits(), ["sha256:020202020202: no test report of kind `ci`"]);
}

#[test]
fn a_tag_that_moves_on_does_not_change_the_target() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.seen(3);
    assert_eq!(bench.orders.last().expect("ordered").1.digest, digest(2));
    bench.commit();
    assert!(bench.orders.is_empty());
    assert_eq!(bench.waits(), ["sha256:030303030303: no test report of kind `ci`"]);
}

#[test]
fn a_newer_tested_digest_waits_until_the_rollout_has_ended() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.tested(3);
    assert_eq!(bench.rollouts(), 1);
    bench.commit();
    assert_eq!(bench.orders[0].1.digest, digest(2), "the target of a rollout never changes");
    bench.commit();
    assert_eq!((bench.rollouts(), &bench.orders[0].1.digest), (2, &digest(3)));
}

#[test]
fn nothing_goes_back_in_time_by_itself() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.commit();
    bench.reports(1, TestResult::Passed);
    assert!(bench.orders.is_empty());
}

#[test]
fn a_release_that_cools_down_starts_by_a_mere_tick_even_if_a_newer_one_is_untested() {
    let mut bench = Bench::with(&["n1"], |spec| spec.gate.cooldown = Duration::from_secs(3600));
    bench.tested(2);
    bench.seen(3);
    assert_eq!((bench.orders.len(), bench.wake_at), (0, Some(at(3600))));
    bench.wait(3600);
    assert_eq!(bench.orders[0].1.digest, digest(2));
}

#[test]
fn one_node_never_works_on_two_steps_at_once() {
    let mut bench = Bench::with(&["n1", "n2"], |spec| spec.update.parallelism = 3);
    bench.inventory("n1", vec![instance("web", 1), instance("web-2", 1), instance("web-3", 1)]);
    bench.tested(2);
    let (name, first) = bench.take();
    bench.say(&name, &first, StepPhase::Committed, None);
    assert_eq!(bench.ordered(), ["n1", "n2"], "of the two that are left on n1, one");
}

/// The log that the tests of the invariants change in one place: they must not depend on how it comes about.
#[test]
#[expect(clippy::disallowed_methods, reason = "a person asks by the environment to write the sample anew")]
fn the_sample_log_of_the_invariants_is_what_a_rollout_writes() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.commit_all();
    let text = serde_json::to_string_pretty(&bench.log).expect("plain data") + "\n";
    if std::env::var_os("NIGHTSHIFT_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/invariants/tests/good.json");
        std::fs::write(path, &text).expect("the tree can be written to");
    }
    assert_eq!(text, include_str!("../../invariants/tests/good.json"), "NIGHTSHIFT_BLESS=1 writes it");
}

#[test]
fn an_untested_digest_that_runs_everywhere_already_is_waited_for_by_nobody() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.seen(1);
    assert_eq!(bench.waits(), Vec::<String>::new());
    bench.seen(2);
    assert_eq!(bench.waits(), ["sha256:020202020202: no test report of kind `ci`"]);
}
