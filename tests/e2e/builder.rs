//! Builds on a node, with real engines, a real registry and a real repository: what passes is pushed, known as tested, and rolled
//! out; what fails is pushed nowhere; and nothing stays behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chrono::{Days, NaiveTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::clock::Clock;
use crate::support::fleet::{self, GOOD, Hours, ROLLOUT, SOON};
use crate::support::parts::{Network, Parts, node};
use crate::support::{Image, Outcome, Surroundings, eventually, source};

/// The node that may build.
const BUILDER: usize = 2;
/// A build of a few kilobytes with its test; the rest is room for a busy machine.
const BUILD: Duration = Duration::from_secs(150);
const HEALTHY: [&str; 5] = ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1/"];

/// A fleet whose third node may build from a directory of the scenario.
struct Scene {
    parts: Parts,
    v1: Image,
    source: PathBuf,
}

impl Scene {
    fn start(scenario: &str) -> Option<Self> {
        Some(Self::start_in(Surroundings::of(scenario)?, |_| ()).0)
    }

    /// The same; `before` prepares the scenario's directory.
    fn start_in<T>(surroundings: Surroundings, before: impl FnOnce(&Path) -> T) -> (Self, T) {
        let home = surroundings.directory.path().to_owned();
        let prepared = before(&home);
        let (mut parts, v1) = Parts::start_on(surroundings, Network::Shared, &GOOD, &json!({}));
        let source = home.join("source");
        std::fs::create_dir(&source).expect("the directory can be written");
        source::with_busybox(&source);
        parts.agent_crash(BUILDER);
        let file = home.join(format!("{}.toml", node(BUILDER)));
        let agent = std::fs::read_to_string(&file).expect("written before");
        let limits = format!(
            "[labels]\nrole = \"build\"\n[limits.build]\nimages = [\"{}/*\"]\ndirectories = [\"{}\"]\ngit = [\"file://{}\"]\n",
            parts.surroundings.registry.address(),
            source.display(),
            source.display()
        );
        std::fs::write(&file, agent + &limits).expect("the directory can be written");
        parts.agent_up(BUILDER);
        fleet::nodes_connected(&parts.control.cli, 3);
        (Self { parts, v1, source }, prepared)
    }

    fn app(&self) -> String {
        self.parts.surroundings.app()
    }

    fn must(&self, arguments: &[&str]) -> Outcome {
        let ran = self.parts.control.cli.run(arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }

    /// Applies the app, built from this context.
    fn apply(&self, hours: Hours, rebuild: &str, context: &str) {
        let tables = format!(
            // No node tests what is pushed otherwise: the first image would be tested, too, if it is seen before its instances.
            "[gate]\ntests = [\"self-test\"]\n[self_test]\ntest_nodes = \"role=test\"\n\
             command = [\"/bin/busybox\", \"sh\", \"-c\", \"echo testing; /bin/busybox grep welcome /www/index.html\"]\n\
             [rebuild]\n{rebuild}\n[rebuild.builder]\nbuild_nodes = \"role=build\"\n{context}\n"
        );
        fleet::apply_tables(&self.parts.surroundings, &self.parts.control.cli, hours, "", &tables);
    }

    fn directory_context(&self) -> String {
        format!("directory = \"{}\"", self.source.display())
    }

    fn commit(&self, page: &str, more: &str) {
        source::write(&self.source, page, &HEALTHY, more);
    }

    fn rebuild(&self) -> Outcome {
        self.parts.control.cli.run(&["release", "rebuild", &self.app(), "--reason", "openssl is out", "--wait", "150s"])
    }

    /// What the app's tag shows, by the registry's own word.
    fn tagged(&self) -> String {
        self.parts.surroundings.registry.manifest("web", "stable")
    }

    /// The newest digest that has passed.
    fn newest(&self) -> Image {
        let releases = self.parts.control.cli.json(&["app", "show", &self.app()]);
        let digest = releases["newest"]["digest"].as_str().unwrap_or_default().to_owned();
        Image { repository: self.parts.surroundings.registry.repository("web"), digest }
    }

    fn log(&self) -> Value {
        self.parts.control.cli.json(&["release", "show", &self.app(), "--log"])[0].clone()
    }

    fn alarms(&self) -> Vec<String> {
        let status = self.parts.control.cli.json(&["status"]);
        let all = status["alarms"].as_array().expect("a list").iter();
        all.filter_map(Value::as_str).filter(|alarm| alarm.contains(&self.app())).map(str::to_owned).collect()
    }

    /// The id of what the node's own tag stands for.
    fn local_tag(&self) -> Value {
        let name = format!("{}:stable", self.parts.surroundings.registry.repository("web"));
        self.parts.surroundings.engines[BUILDER].call("GET", &format!("/images/{name}/json"), &Value::Null)["Id"]
            .clone()
    }

    /// Images that the node has built and still holds: by the name of a build, or as a layer with the scenario's label.
    fn left(&self, layers: bool) -> Vec<String> {
        let images = self.parts.surroundings.engines[BUILDER].call("GET", "/images/json?all=1", &Value::Null);
        let ours = |image: &&Value| {
            let name = image["RepoTags"][0].as_str().unwrap_or_default();
            name.starts_with("nightshift/build:") || (layers && image["Labels"]["scenario"] == self.app())
        };
        images.as_array().expect("a list").iter().filter(ours).map(ToString::to_string).collect()
    }

    fn nothing_is_left(&self) {
        self.nothing_is_left_with(true);
    }

    /// After a kill in the middle of a build the engine does not tell whose layers are whose.
    fn nothing_is_left_with(&self, layers: bool) {
        eventually("nothing of a build is left", SOON, || {
            let left = self.left(layers);
            if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
        });
        let clones = self.parts.surroundings.directory.path().join(node(BUILDER)).join("builds");
        let clones = std::fs::read_dir(clones).map(|all| all.count()).unwrap_or_default();
        assert_eq!(clones, 0, "no clone is left");
    }

    /// Waits until the newest rebuild is told about in these words.
    fn tells(&self, words: &str, deadline: Duration) {
        eventually(&format!("the log tells `{words}`"), deadline, || {
            let told = self.must(&["events", "--app", &self.app(), "--limit", "0"]).out;
            if told.contains(words) { Ok(()) } else { Err(told) }
        });
    }
}

#[test]
fn a_changed_source_is_built_tested_pushed_and_rolled_out_and_a_bad_one_is_pushed_nowhere() {
    let Some(scene) = Scene::start("builder") else { return };
    let label = format!("LABEL scenario={}\n", scene.app());
    scene.apply(Hours::Never, "", &scene.directory_context());
    let before = (scene.tagged(), scene.local_tag());

    scene.commit("under construction", &label);
    let failed = scene.rebuild();
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.out.contains("its test failed: the test command ended with exit code 1"), "{failed:?}");
    let log = scene.log();
    assert_eq!((&log["kind"], &log["result"]), (&json!("build"), &json!("failed")));
    let text = log["log"].as_str().expect("text");
    assert!(text.starts_with("--- build ---\nStep 1/") && text.ends_with("--- command ---\ntesting\n"), "{text}");
    assert_eq!((scene.tagged(), scene.local_tag()), before, "nothing is pushed");
    assert!(scene.alarms()[0].contains("brought no new tested digest: failed"), "{:?}", scene.alarms());
    scene.nothing_is_left();

    let broken = format!("{label}RUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo no compiler; exit 3\"]\n");
    scene.commit("welcome, but broken", &broken);
    let failed = scene.rebuild();
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.out.contains("it cannot be built: "), "{failed:?}");
    assert!(scene.log()["log"].as_str().expect("text").contains("no compiler"), "{:#}", scene.log());
    assert_eq!((scene.tagged(), scene.local_tag()), before, "nothing is pushed");
    scene.nothing_is_left();

    scene.commit("welcome to v2", &label);
    let good = scene.rebuild();
    assert_eq!(good.code, 0, "{good:?}");
    assert_eq!(scene.alarms(), Vec::<String>::new());
    assert_eq!(scene.log()["result"], "built", "{:#}", scene.log());
    assert_eq!(scene.local_tag(), before.1, "the node's own tag is given back");
    scene.nothing_is_left();
    eventually("the tag shows it", SOON, || {
        let newest = scene.newest();
        let shown = newest.digest != scene.v1.digest && good.out.contains(&newest.digest);
        if shown { Ok(()) } else { Err(format!("{newest:?} {good:?}")) }
    });
    let image = scene.newest();
    assert_eq!(scene.parts.surroundings.registry.manifest("web", &image.digest), scene.tagged());
    scene.apply(Hours::Always, "", &scene.directory_context());
    fleet::rollout_is(&scene.parts.control.cli, &scene.app(), &["completed"], ROLLOUT);
    scene.parts.surroundings.engines.iter().for_each(|engine| fleet::runs(engine, &image));
}

/// A commit on the branch `main` of the source, made anew.
fn git_commit(source: &Path) {
    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main"];
        let ran = Command::new("git")
            .current_dir(source)
            .args(who)
            .args(arguments)
            .output()
            .expect("scripts/test installs git");
        assert!(ran.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "a change"]);
}

#[test]
fn at_night_a_branch_is_built_though_its_agent_is_killed_and_it_is_rolled_out_in_the_window() {
    let Some(surroundings) = Surroundings::of("builder-night") else { return };
    let first = (Utc::now() + Days::new(1)).date_naive().and_time(NaiveTime::MIN).and_utc();
    let (mut scene, clock) = Scene::start_in(surroundings, |home| Clock::in_directory(home, first));
    let Some(mut clock) = clock else { return };
    let window = first + TimeDelta::hours(4);
    let schedule = "schedule = \"0 2 * * *\"\ntimezone = \"UTC\"\ndeadline = \"1h\"";
    let repository = format!("git = \"file://{}\"\nbranch = \"main\"", scene.source.display());
    scene.apply(Hours::From(window), schedule, &repository);
    // Long enough to be killed in the midst of it.
    let slow = format!("LABEL scenario={}\nRUN [\"/bin/busybox\", \"sleep\", \"6\"]\n", scene.app());
    scene.commit("welcome to the night", &slow);
    git_commit(&scene.source);
    clock.set(first + TimeDelta::hours(2));
    scene.tells("job_ordered: build of ", SOON);
    std::thread::sleep(Duration::from_secs(3));
    scene.parts.agent_crash(BUILDER);
    scene.parts.agent_up(BUILDER);
    scene.tells("could not be done: its agent ended in the middle of it", SOON);
    scene.tells("rebuild_ended", BUILD);
    let ended = scene.must(&["events", "--app", &scene.app(), "--limit", "0"]).out;
    assert!(ended.contains("has passed its tests"), "{ended}");
    scene.nothing_is_left_with(false);
    scene.parts.surroundings.engines.iter().for_each(|engine| fleet::runs(engine, &scene.v1));
    clock.set(window);
    fleet::rollout_is(&scene.parts.control.cli, &scene.app(), &["completed"], ROLLOUT);
    let image = scene.newest();
    assert_ne!(image.digest, scene.v1.digest);
    scene.parts.surroundings.engines.iter().for_each(|engine| fleet::runs(engine, &image));
}

#[test]
fn a_node_builds_only_what_its_own_file_allows() {
    let Some(scene) = Scene::start("builder-limits") else { return };
    scene.commit("welcome", "");
    // The coordinator orders it; the node's own file has the last word.
    scene.apply(Hours::Never, "", "directory = \"/etc\"");
    scene.must(&["release", "rebuild", &scene.app(), "--reason", "a try"]);
    scene.tells("limits.build.directories", SOON);
    let before = scene.tagged();
    assert_eq!(before, scene.parts.surroundings.registry.manifest("web", &scene.v1.digest));
    let shown = scene.must(&["app", "show", &scene.app()]).out;
    assert!(shown.contains("not built yet, and tried again"), "{shown}");
}
