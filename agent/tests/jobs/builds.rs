//! Builds from the order to the report, on every engine: what is pushed, what is not, and what is left.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nightshift_agent::limits::{BuildLimits, Limits};
use nightshift_core::job::{JobOrder, JobOutcome, JobWork};
use nightshift_core::rebuild::RebuildNumber;
use nightshift_core::rebuild::builder::{BuildContext, Builder};
use nightshift_core::spec::{Memory, TestRun};
use tempfile::TempDir;

use crate::fixture::{Fixture, Image, Kind};
use crate::node::Node;

/// A node that may build from one directory, and what is in it.
pub(crate) struct Scene {
    pub(crate) node: Node,
    source: TempDir,
}

impl Scene {
    pub(crate) async fn new(fixture: &dyn Fixture) -> Self {
        let source = tempfile::tempdir().expect("a temporary directory");
        let build = BuildLimits {
            images: vec!["*".parse().expect("a pattern")],
            directories: vec![text(source.path()).parse().expect("a directory")],
            git: vec![format!("file://{}", text(source.path())).parse().expect("a prefix")],
            git_config: None,
            context_size: Memory(1 << 20),
        };
        let node = Node::limited(fixture, Limits { build: Some(build), ..Limits::default() }).await;
        Self { node, source }
    }

    /// An order to build on this image, with more instructions.
    pub(crate) fn order(&self, id: &str, base: &Image, more: &str) -> JobOrder {
        let dockerfile = format!("FROM {}\n{more}", base.name.familiar());
        std::fs::write(self.source.path().join("Dockerfile"), dockerfile).expect("written");
        std::fs::write(self.source.path().join("page"), "welcome\n").expect("written");
        let mut order = self.node.order(id, base, TestRun::Image);
        let JobWork::SelfTest { test, health, .. } = order.work.clone() else { panic!("a self-test") };
        let builder = Builder {
            build_nodes: "role=build".parse().expect("a selector"),
            context: BuildContext::Directory { path: text(self.source.path()).to_owned() },
            dockerfile: "Dockerfile".to_owned(),
            target: None,
            args: [("VERSION".to_owned(), "2".to_owned())].into(),
            timeout: Duration::from_secs(60),
        };
        order.work = JobWork::Build { rebuild: RebuildNumber(1), builder, test, health };
        order.image = format!("{}-built:stable", base.name.repository.familiar()).parse().expect("a reference");
        order
    }

    fn committed(&self) {
        for arguments in [
            &["init", "-q"][..],
            &["add", "."],
            &["-c", "user.name=ann", "-c", "user.email=a@example.org", "commit", "-q", "-m", "one"],
            &["branch", "-M", "main"],
        ] {
            let ran = Command::new("git").current_dir(self.source.path()).args(arguments).status();
            assert!(ran.expect("scripts/test installs git").success(), "{arguments:?}");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain text")
}

fn context(order: &mut JobOrder) -> &mut BuildContext {
    let JobWork::Build { builder, .. } = &mut order.work else { panic!("a build") };
    &mut builder.context
}

fn reason(outcome: &JobOutcome) -> &str {
    outcome.reason().unwrap_or_else(|| panic!("{outcome:?}"))
}

/// Whether the engine holds an image by this name.
async fn held(fixture: &dyn Fixture, name: &str) -> bool {
    fixture.engine().inspect_image(name).await.is_ok()
}

/// Images without a name that have this label.
async fn nameless(fixture: &dyn Fixture, label: &str) -> Vec<String> {
    let engine = fixture.engine();
    let mut found = Vec::new();
    for image in engine.list_images().await.expect("the engine is up") {
        let inspect = engine.inspect_image(&image.id).await.unwrap_or_default();
        if image.repo_tags.is_empty() && inspect["Config"]["Labels"]["check.layers"] == label {
            found.push(image.id);
        }
    }
    found
}

pub(crate) async fn what_passes_is_pushed_and_nothing_stays(fixture: &dyn Fixture) {
    let scene = Scene::new(fixture).await;
    let base = fixture.push(Kind::Passing).await;
    let order = scene.order("j1", &base, "COPY page /page\n");
    let report = scene.node.carry_out(order.clone()).await;
    let JobOutcome::Built { digest } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(fixture.served(&order.image).await.as_ref(), Some(digest));
    assert_ne!(*digest, base.digest);
    let log = &report.log.text;
    assert!(log.starts_with("--- build ---\n") && log.contains("COPY page /page"), "{log}");
    assert!(log.ends_with("--- container ---\nstarting\nserving\n"), "{log}");
    for name in [order.image.familiar(), order.image.repository.at(digest)] {
        assert!(!held(fixture, &name).await, "{name} is still there");
    }
    // It is what it says it is.
    let reference = order.image.repository.at(digest);
    fixture.engine().pull(&reference, None, &mut |_| ()).await.expect("it was pushed");
}

pub(crate) async fn what_fails_its_test_is_pushed_nowhere(fixture: &dyn Fixture) {
    let scene = Scene::new(fixture).await;
    let base = fixture.push(Kind::Short).await;
    let order = scene.order("j1", &base, "COPY page /page\n");
    let report = scene.node.carry_out(order.clone()).await;
    let expect = "it is built, and its test failed: its container ended with exit code 7";
    assert!(matches!(report.outcome, JobOutcome::Failed { .. }), "{report:?}");
    assert_eq!(reason(&report.outcome), expect);
    assert_eq!(fixture.served(&order.image).await, None);
    assert!(!held(fixture, &order.image.familiar()).await);
    // The node is free for the next one.
    let base = fixture.push(Kind::Passing).await;
    let report = scene.node.carry_out(scene.order("j2", &base, "")).await;
    assert!(report.outcome.built().is_some(), "{report:?}");
}

pub(crate) async fn what_cannot_be_built_is_pushed_nowhere(fixture: &dyn Fixture) {
    let scene = Scene::new(fixture).await;
    let base = fixture.push(Kind::Passing).await;
    let label = fixture.name("layers");
    let more = format!("LABEL check.layers={label}\nCOPY page /page\nCOPY nothing /nothing\n");
    let order = scene.order("j1", &base, &more);
    let report = scene.node.carry_out(order.clone()).await;
    assert!(matches!(report.outcome, JobOutcome::Failed { .. }), "{report:?}");
    assert!(reason(&report.outcome).starts_with("it cannot be built: "), "{report:?}");
    assert!(report.log.text.contains("COPY nothing"), "{}", report.log.text);
    assert_eq!(fixture.served(&order.image).await, None);
    assert_eq!(nameless(fixture, &label).await, Vec::<String>::new());
    let mut order = scene.order("j2", &base, "");
    if let JobWork::Build { builder, .. } = &mut order.work {
        builder.dockerfile = "Containerfile".to_owned();
    }
    let report = scene.node.carry_out(order).await;
    assert!(matches!(report.outcome, JobOutcome::Failed { .. }), "{report:?}");
    assert!(reason(&report.outcome).contains("`Containerfile`"), "{report:?}");
}

pub(crate) async fn a_base_image_out_of_reach_is_no_verdict(fixture: &dyn Fixture) {
    let scene = Scene::new(fixture).await;
    let mut base = fixture.push(Kind::Passing).await;
    base.name.tag = "never-pushed".to_owned();
    let report = scene.node.carry_out(scene.order("j1", &base, "")).await;
    assert!(matches!(report.outcome, JobOutcome::NotDone { .. }), "{report:?}");
    assert!(reason(&report.outcome).contains("cannot build"), "{report:?}");
}

pub(crate) async fn a_registry_that_takes_nothing_is_no_verdict(fixture: &dyn Fixture) {
    let scene = Scene::new(fixture).await;
    let base = fixture.push(Kind::Passing).await;
    let mut order = scene.order("j1", &base, "");
    // Nobody listens there.
    order.image = format!("127.0.0.1:1/{}:stable", fixture.name("away")).parse().expect("a reference");
    let report = scene.node.carry_out(order.clone()).await;
    assert!(matches!(report.outcome, JobOutcome::NotDone { .. }), "{report:?}");
    assert!(reason(&report.outcome).contains("cannot push"), "{report:?}");
    assert!(!held(fixture, &order.image.familiar()).await);
}

pub(crate) async fn what_the_nodes_own_file_does_not_allow_is_refused(fixture: &dyn Fixture) {
    let scene = Scene::new(fixture).await;
    let base = fixture.push(Kind::Passing).await;
    let mut order = scene.order("j1", &base, "");
    *context(&mut order) = BuildContext::Directory { path: "/etc".to_owned() };
    let report = scene.node.carry_out(order).await;
    assert!(matches!(report.outcome, JobOutcome::NotDone { .. }), "{report:?}");
    assert!(reason(&report.outcome).contains("limits.build.directories"), "{report:?}");
    // By default nothing is built at all.
    let plain = Node::new(fixture).await;
    let mut order = scene.order("j1", &base, "");
    order.node = plain.order("j1", &base, TestRun::Image).node;
    let report = plain.carry_out(order).await;
    assert!(reason(&report.outcome).starts_with("this node builds no images"), "{report:?}");
}

pub(crate) async fn a_branch_is_cloned_and_the_clone_goes(fixture: &dyn Fixture) {
    let scene = Scene::new(fixture).await;
    let base = fixture.push(Kind::Passing).await;
    let mut order = scene.order("j1", &base, "COPY page /page\n");
    scene.committed();
    let url = format!("file://{}", text(scene.source.path()));
    *context(&mut order) = BuildContext::Git { url: url.clone(), branch: "main".into(), directory: None };
    let report = scene.node.carry_out(order).await;
    assert!(report.outcome.built().is_some(), "{report:?}");
    assert!(report.log.text.contains("commit "), "{}", report.log.text);
    assert_eq!(scene.node.clones(), 0);
    let mut order = scene.order("j2", &base, "COPY page /page\n");
    *context(&mut order) = BuildContext::Git { url, branch: "gone".into(), directory: None };
    let report = scene.node.carry_out(order).await;
    assert!(matches!(report.outcome, JobOutcome::NotDone { .. }), "{report:?}");
    assert!(reason(&report.outcome).contains("gone"), "{report:?}");
    assert_eq!(scene.node.clones(), 0);
}

pub(crate) async fn the_nodes_own_tag_is_given_back(fixture: &dyn Fixture) {
    let scene = Scene::new(fixture).await;
    let base = fixture.push(Kind::Passing).await;
    let order = scene.order("j1", &base, "COPY page /page\n");
    let engine = fixture.engine();
    engine.pull(&base.reference(), None, &mut |_| ()).await.expect("it was pushed");
    engine.tag(&base.reference(), &order.image.repository.familiar(), &order.image.tag).await.expect("it is there");
    let before = engine.inspect_image(&order.image.familiar()).await.expect("it is there")["Id"].clone();
    let report = scene.node.carry_out(order.clone()).await;
    assert!(report.outcome.built().is_some(), "{report:?}");
    let after = engine.inspect_image(&order.image.familiar()).await.expect("it is there")["Id"].clone();
    assert_eq!(after, before);
    let built = order.image.repository.at(report.outcome.built().expect("it was built"));
    assert!(!held(fixture, &built).await);
}

pub(crate) async fn an_agent_that_is_killed_while_it_builds_leaves_nothing_behind(fixture: &dyn Fixture) {
    let scene = Scene::new(fixture).await;
    let base = fixture.push(Kind::Stubborn).await;
    let order = scene.order("j1", &base, "COPY page /page\n");
    scene.node.jobs.submit(order.clone()).await;
    scene.node.running().await;
    assert_eq!(scene.node.left().await.len(), 3, "a container, a network, and an image");
    let node = scene.node.killed().await;
    let report = node.report(&order.id).await;
    assert_eq!(reason(&report.outcome), "its agent ended in the middle of it");
    node.nothing_is_left().await;
    assert_eq!(fixture.served(&order.image).await, None);
}
