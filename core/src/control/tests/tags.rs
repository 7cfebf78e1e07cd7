//! Apps that choose their tag by a rule: what is followed, what orders name, and what a report alone does not bring about.

use super::bench::*;
use crate::image::ImageRef;
use crate::release::{Description, GateDenial};
use crate::tags::TagPolicy;

fn by_version(range: &str) -> impl FnOnce(&mut AppSpec) {
    let policy = TagPolicy::Semver(range.parse().expect("a range"));
    move |spec| spec.tags = Some(policy)
}

impl Bench {
    fn registry_lists(&mut self, tags: &[&str]) {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.ask(Request::Tags { app: app(), tags }).expect("never refused");
    }

    fn followed(&self) -> Option<String> {
        let known = self.control.catalog().app(&app()).expect("applied");
        known.followed().map(|image| image.tag)
    }

    fn tag_shows(&mut self, tag: &str, number: u8) {
        let image = ImageRef { tag: tag.into(), ..web().image };
        let about = Description::default();
        self.ask(Request::Seen { app: app(), image, digest: digest(number), about }).expect("never refused");
    }

    fn passes(&mut self, number: u8) {
        let (suite, result, about) = ("default".into(), TestResult::Passed, Description::default());
        self.ask(Request::Report { app: app(), digest: digest(number), suite, result, url: None, from: None, about })
            .expect("known");
    }

    fn events(&self, kind: &str) -> Vec<String> {
        let of_kind = |recorded: &&Recorded| recorded.event.kind() == kind;
        self.log.iter().filter(of_kind).map(|recorded| recorded.event.to_string()).collect()
    }
}

#[test]
fn the_chosen_tag_is_followed_said_and_ordered() {
    let mut bench = Bench::with(&["n1"], by_version("^1.4"));
    assert_eq!(
        (bench.followed(), bench.waits()),
        (None, vec!["no tag of the repository fits the app's rule: semver ^1.4".to_owned()],)
    );
    bench.registry_lists(&["latest", "2.0.0"]);
    assert_eq!(bench.followed(), None);
    bench.registry_lists(&["1.4.0", "1.5.0", "2.0.0"]);
    assert_eq!(bench.followed().as_deref(), Some("1.5.0"));
    bench.registry_lists(&["1.4.0", "1.5.0", "2.0.0"]);
    bench.tag_shows("1.5.0", 2);
    bench.passes(2);
    let (_, order) = bench.orders.first().expect("ordered");
    assert_eq!((order.image.to_string(), order.digest.clone()), ("r.example/web:1.5.0".to_owned(), digest(2)));
    assert_eq!(bench.events("tag_chosen"), ["web follows the tag 1.5.0"]);
    let short = digest(2).short().to_owned();
    assert_eq!(bench.events("release_seen"), [format!("the tag 1.5.0 of web points to {short}")]);
}

#[test]
fn a_tag_that_disappears_is_not_replaced_by_an_older_one() {
    let mut bench = Bench::with(&["n1"], by_version("^1.4"));
    bench.registry_lists(&["1.5.0", "1.6.0"]);
    bench.registry_lists(&["1.5.0"]);
    assert_eq!(bench.followed().as_deref(), Some("1.6.0"));
    // What an old look says of a tag that is no longer followed means nothing.
    bench.tag_shows("1.5.0", 2);
    assert_eq!(bench.events("release_seen"), Vec::<String>::new());
    bench.registry_lists(&["1.5.0", "1.7.0"]);
    assert_eq!(bench.followed().as_deref(), Some("1.7.0"));
}

#[test]
fn a_report_for_a_version_outside_the_rule_starts_nothing() {
    let mut bench = Bench::with(&["n1"], by_version("^1.4"));
    bench.registry_lists(&["1.5.0"]);
    bench.tag_shows("1.5.0", 1);
    bench.passes(9);
    assert!(bench.orders.is_empty(), "{:?}", bench.orders);
    let known = bench.control.catalog().app(&app()).expect("applied");
    let release = known.release(&digest(9)).expect("the report made it known");
    assert_eq!(known.spec.gate.judge(release, at(0)), Err(GateDenial::NotTagged));
    let refused = bench.control.plan(
        &app(),
        &StartOptions { digest: Some(digest(9)), ..StartOptions::default() },
        &bench.fleet,
        at(0),
    );
    assert!(refused.expect_err("refused").message.contains("no tag that fits"));
    // CI was faster than the look at the tags.
    bench.registry_lists(&["1.5.0", "1.6.0"]);
    bench.tag_shows("1.6.0", 9);
    assert_eq!(bench.orders.first().map(|(_, order)| order.image.tag.as_str()), Some("1.6.0"));
}

#[test]
fn a_changed_rule_chooses_anew_even_what_is_older() {
    let mut bench = Bench::with(&["n1"], by_version("^1.4"));
    bench.registry_lists(&["1.4.7", "1.6.0"]);
    bench.tag_shows("1.6.0", 1);
    let apply = |bench: &mut Bench, change: &dyn Fn(&mut AppSpec)| {
        let mut spec = bench.control.catalog().app(&app()).expect("applied").spec.clone();
        change(&mut spec);
        bench.ask(Request::Apply(vec![spec])).expect("a good spec");
    };
    apply(&mut bench, &|spec| by_version("~1.4")(spec));
    bench.registry_lists(&["1.4.7", "1.6.0"]);
    assert_eq!(bench.followed().as_deref(), Some("1.4.7"));
    bench.tag_shows("1.4.7", 2);
    bench.passes(2);
    assert_eq!(bench.orders.first().map(|(_, order)| order.image.tag.as_str()), Some("1.4.7"));
}

#[test]
fn an_app_with_a_fixed_tag_has_no_use_for_a_list() {
    let mut bench = Bench::new(&["n1"]);
    bench.registry_lists(&["1.0.0"]);
    assert_eq!(bench.followed().as_deref(), Some("stable"));
    assert_eq!(bench.events("tag_chosen"), Vec::<String>::new());
    bench.passes(2);
    assert_eq!(bench.orders.first().map(|(_, order)| order.image.tag.as_str()), Some("stable"));
}
