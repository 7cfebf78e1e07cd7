//! Images that were not built for every node: said before anything is touched, and only where both sides are known.

use super::bench::*;
use crate::platform::Platform;
use crate::release::Description;

fn built_for(names: &[&str]) -> Description {
    Description { created: None, platforms: names.iter().map(|name| platform(name)).collect() }
}

fn platform(name: &str) -> Platform {
    name.parse().expect("a platform")
}

impl Bench {
    /// A node of this platform connects and tells of its instance.
    fn connect_as(&mut self, name: &str, platform_name: &str) {
        let facts = NodeFacts { platform: platform_name.parse().ok(), ..NodeFacts::default() };
        self.connect_with(name, &[]);
        self.fleet.connect(node(name), facts, at(self.now));
        self.inventory(name, vec![instance("web", 1)]);
        self.run();
    }

    /// The tag moves to a tested digest 2 that was built for these.
    fn tag_moves_to(&mut self, names: &[&str]) {
        self.ask(Request::Seen { app: app(), image: web().image, digest: digest(2), about: built_for(names) })
            .expect("known");
        let (suite, result) = ("default".into(), TestResult::Passed);
        let about = Description::default();
        self.ask(Request::Report { app: app(), digest: digest(2), suite, result, url: None, from: None, about })
            .expect("known");
    }
}

#[test]
fn a_node_whose_platform_is_missing_is_left_alone_and_named() {
    let mut bench = Bench::new(&[]);
    bench.connect_as("n1", "linux/amd64");
    bench.connect_as("n2", "linux/arm64");
    bench.tag_moves_to(&["linux/amd64"]);
    assert_eq!(bench.orders.iter().map(|(node, _)| node.as_str()).collect::<Vec<_>>(), ["n1"]);
    let plan = bench.control.plan(&app(), &StartOptions::default(), &bench.fleet, at(0)).expect("a plan");
    let skipped: Vec<_> =
        plan.candidates.iter().filter_map(|one| one.skipped.as_ref()).map(ToString::to_string).collect();
    let short = digest(2).short().to_owned();
    assert_eq!(skipped, [format!("the node is linux/arm64, and {short} has only linux/amd64")]);
}

#[test]
fn a_fleet_of_another_platform_waits_and_says_why_and_goes_on_when_there_is_an_image() {
    let mut bench = Bench::new(&[]);
    bench.connect_as("n2", "linux/arm64");
    bench.tag_moves_to(&["linux/amd64", "linux/386"]);
    assert!(bench.orders.is_empty(), "{:?}", bench.orders);
    let short = digest(2).short().to_owned();
    assert_eq!(bench.waits(), [format!("n2: the node is linux/arm64, and {short} has only linux/amd64, linux/386")]);
    let refused = bench.control.request(
        Request::Start { app: app(), options: StartOptions::default(), id: "r1".parse().expect("an id") },
        &Actor("ann".into()),
        &bench.fleet,
        at(0),
    );
    let refused = refused.expect_err("nothing to move").to_string();
    assert!(refused.contains("the node is linux/arm64"), "{refused}");

    bench
        .ask(Request::Seen { app: app(), image: web().image, digest: digest(3), about: built_for(&["linux/arm64/v8"]) })
        .expect("known");
    let (suite, result, about) = ("default".into(), TestResult::Passed, Description::default());
    bench
        .ask(Request::Report { app: app(), digest: digest(3), suite, result, url: None, from: None, about })
        .expect("known");
    assert_eq!(bench.orders.len(), 1);
}

#[test]
fn what_is_not_known_is_left_to_the_engine_and_learned_when_the_registry_can_say_it() {
    for (node, names) in [("", &["linux/amd64"][..]), ("linux/arm64", &[])] {
        let mut bench = Bench::new(&[]);
        bench.connect_as("n1", node);
        bench.tag_moves_to(names);
        assert_eq!(bench.orders.len(), 1, "{node} {names:?}");
    }
    let mut bench = Bench::new(&[]);
    let seen = |bench: &mut Bench, names: &[&str]| {
        bench
            .ask(Request::Seen { app: app(), image: web().image, digest: digest(2), about: built_for(names) })
            .expect("known");
        let known = bench.control.catalog().app(&app()).expect("applied").release(&digest(2)).expect("seen");
        (known.platforms.len(), bench.log.iter().filter(|one| one.event.kind() == "release_seen").count())
    };
    assert_eq!(seen(&mut bench, &[]), (0, 1));
    assert_eq!(seen(&mut bench, &["linux/amd64"]), (1, 2));
    assert_eq!(seen(&mut bench, &["linux/amd64"]), (1, 2), "said once");
    assert_eq!(seen(&mut bench, &[]), (1, 2), "and not forgotten");
}

#[test]
fn an_event_of_before_platforms_still_folds() {
    let text = format!(r#"{{"kind": "release_seen", "app": "web", "digest": "{}", "created": null}}"#, digest(2));
    let expect = Event::ReleaseSeen { app: app(), digest: digest(2), tag: None, created: None, platforms: Vec::new() };
    assert_eq!(serde_json::from_str::<Event>(&text).expect("an old event"), expect);
}
