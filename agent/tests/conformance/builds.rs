//! Builds and pushes: what is built runs, and who is at fault when it is not.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nightshift_agent::engine::simulated::tar_of;
use nightshift_agent::engine::{BuildContext, BuildFailure, BuildOptions, Error, EventKind, PullFailure, Result};
use nightshift_core::container::RunState;
use nightshift_core::ids::ContainerId;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use crate::fixture::{Fixture, GRACE, Image, Kind, events_until, login, pulled, view};

/// Longer than any build here.
const WITHIN: Duration = Duration::from_secs(60);
/// How long a cancelled build may take to clear up.
const CLEARED_WITHIN: Duration = Duration::from_secs(10);
/// A label of every container that a `RUN` here runs in, inherited from the image so far.
const LABEL: &str = "check.build";

fn context(files: &[(&str, &str)]) -> BuildContext {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    Box::new(io::Cursor::new(tar_of(&files)))
}

fn options(fixture: &dyn Fixture) -> BuildOptions {
    BuildOptions::new(&format!("{}:v1", fixture.name("built")), WITHIN)
}

/// A reader that fails with this reason.
struct Failing(&'static str);

impl AsyncRead for Failing {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::Error::other(self.0)))
    }
}

/// How a build ended, and what it said.
async fn built(fixture: &dyn Fixture, dockerfile: &str, options: &BuildOptions) -> (Result<String>, Vec<String>) {
    let files = context(&[("Dockerfile", dockerfile), ("dir/text", "a file\n")]);
    let mut lines = Vec::new();
    let outcome = fixture.engine().build(files, options, &mut |line: &str| lines.push(line.to_owned())).await;
    (outcome, lines)
}

fn failure_of(outcome: &Result<String>) -> BuildFailure {
    match outcome {
        Err(Error::Build { failure, .. }) => *failure,
        other => panic!("{other:?}"),
    }
}

async fn exists(fixture: &dyn Fixture, reference: &str) -> bool {
    match fixture.engine().inspect_image(reference).await {
        Ok(_) => true,
        Err(error) if error.is_not_found() => false,
        Err(error) => panic!("{error}"),
    }
}

/// The containers that have this build's label.
async fn of_build(fixture: &dyn Fixture, value: &str) -> Vec<ContainerId> {
    let all = fixture.engine().list().await.expect("the engine is up");
    all.into_iter().filter(|one| one.labels.get(LABEL).is_some_and(|label| label == value)).map(|one| one.id).collect()
}

/// Waits until the containers of a build are that many.
async fn until_containers(fixture: &dyn Fixture, value: &str, count: usize) {
    let reached = async {
        while of_build(fixture, value).await.len() != count {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(CLEARED_WITHIN, reached).await.unwrap_or_else(|_| panic!("not {count} containers of {value}"));
}

pub(crate) async fn what_is_built_runs(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let base = fixture.push(Kind::Web).await;
    let mut options = options(fixture);
    options.args.insert("FLAVOUR".to_owned(), "dark & bitter".to_owned());
    options.labels.insert("check.revision".to_owned(), "0123 & more".to_owned());
    (options.memory_bytes, options.cpus_milli) = (Some(256 << 20), Some(900));
    let dockerfile = format!(
        "FROM {}\nARG FLAVOUR=none\nARG OTHER=other\nLABEL check.flavour=\"$FLAVOUR\" check.other=$OTHER\nENV MODE=quick\n\
         COPY dir/text /text\nRUN echo built with $OTHER\n",
        base.name.familiar()
    );
    let (outcome, lines) = built(fixture, &dockerfile, &options).await;
    let id = outcome.unwrap_or_else(|error| panic!("{error}: {lines:?}"));
    assert!(lines.iter().any(|line| line == "built with other"), "{lines:?}");
    assert!(lines.iter().any(|line| line.to_lowercase().starts_with("step 7/")), "{lines:?}");
    let inspect = engine.inspect_image(&options.name).await.expect("by its name");
    assert_eq!(inspect["Id"], id.as_str());
    assert_eq!(inspect["Config"]["Labels"]["check.other"], "other");
    assert_eq!(inspect["Config"]["Labels"]["check.flavour"], "dark & bitter");
    assert_eq!(inspect["Config"]["Labels"]["check.revision"], "0123 & more");
    assert!(inspect["Config"]["Env"].as_array().is_some_and(|env| env.contains(&json!("MODE=quick"))), "{inspect}");
    assert!(inspect["Config"]["Healthcheck"].is_object(), "the base's: {inspect}");

    let container = engine.create(&fixture.name("c"), &json!({"Image": options.name})).await.expect("it is there");
    let mut events = engine.events(None).await.expect("the engine is up");
    engine.start(&container).await.expect("it starts");
    events_until(&mut events, &container, |kind| matches!(kind, EventKind::HealthStatus(_))).await;
    assert_eq!(view(fixture, &container).await.state, RunState::Running);
    engine.stop(&container, GRACE).await.expect("it runs");
    engine.discard(&container).await.expect("it exists");
    engine.remove_image(&options.name).await.expect("nobody uses it");
}

pub(crate) async fn an_image_is_built_from_nothing(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let busybox = std::fs::read("/bin/busybox").unwrap_or_else(|_| b"no program".to_vec());
    let mut options = options(fixture);
    options.dockerfile = "build/Dockerfile.small".to_owned();
    let dockerfile =
        b"FROM scratch AS first\nCOPY bin/busybox /bin/sh\nENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"exit 0\"]\n\
                       FROM first\nCOPY --from=first /bin/sh /bin/other\nLABEL check.stage=second\n";
    let files = tar_of(&[("bin/busybox", &busybox), ("build/Dockerfile.small", dockerfile)]);
    let build = async |options: &BuildOptions| {
        let id =
            engine.build(Box::new(io::Cursor::new(files.clone())), options, &mut |_| ()).await.expect("a good build");
        let inspect = engine.inspect_image(&id).await.expect("by its id");
        inspect["Config"]["Labels"]["check.stage"].clone()
    };
    assert_eq!(build(&options).await, "second", "without a target the last stage");
    options.target = Some("first".to_owned());
    assert_eq!(build(&options).await, Value::Null);
    let id = engine.inspect_image(&options.name).await.expect("by its name")["Id"].clone();
    let id = id.as_str().expect("an id").to_owned();
    let inspect = engine.inspect_image(&id).await.expect("by its id");
    assert_eq!(inspect["RepoTags"], json!([options.name]));
    assert_eq!(inspect["Config"]["Entrypoint"], json!(["/bin/sh", "-c"]));
    assert_eq!(inspect["Config"]["Cmd"], json!(["exit 0"]));
    let container = engine.create(&fixture.name("c"), &json!({"Image": id})).await.expect("it is there");
    engine.start(&container).await.expect("it is a program");
    engine.discard(&container).await.expect("it exists");
    engine.remove_image(&options.name).await.expect("nobody uses it");
}

pub(crate) async fn a_build_asks_for_its_base_anew(fixture: &dyn Fixture) {
    let base = fixture.push(Kind::Web).await;
    let dockerfile = format!("FROM {}\nLABEL a=b\n", base.name.familiar());
    let first = built(fixture, &dockerfile, &options(fixture)).await.0.expect("a good build");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let second = built(fixture, &dockerfile, &options(fixture)).await.0.expect("again");
    assert_ne!(first, second, "nothing is taken from the earlier one");
}

pub(crate) async fn a_failed_build_is_the_sources_own_fault(fixture: &dyn Fixture) {
    let base = pulled(fixture, Kind::Web).await.name.familiar();
    let ill = |instruction: &str| format!("FROM {base}\n{instruction}\n");
    // What a command says, and even what it is called, is no verdict on registries and disks.
    let deceiving =
        "RUN echo manifest unknown: not found && echo i/o timeout && echo no space left on device && exit 3";
    for (dockerfile, said) in [
        (ill(deceiving), "returned a non-zero code: 3"),
        (ill("RUN false"), "returned a non-zero code: 1"),
        (ill("RUN no-such-program"), "returned a non-zero code: 127"),
        (ill("COPY nothing /here"), "COPY failed: file not found in build context"),
        (ill("BAKE a cake"), "unknown instruction: BAKE"),
        ("FROM Not/A/Name\nLABEL a=b\n".to_owned(), "invalid reference format"),
        (String::new(), "cannot be empty"),
        ("# nothing\n".to_owned(), "file with no instructions"),
    ] {
        let options = options(fixture);
        let (outcome, lines) = built(fixture, &dockerfile, &options).await;
        assert_eq!(failure_of(&outcome), BuildFailure::Source, "{dockerfile}: {outcome:?}");
        assert!(outcome.is_err_and(|error| error.to_string().contains(said)), "{dockerfile}");
        assert!(lines.last().is_some_and(|line| line.contains(said)), "{dockerfile}: {lines:?}");
        assert!(!exists(fixture, &options.name).await, "{dockerfile}");
    }
    let mut elsewhere = options(fixture);
    elsewhere.dockerfile = "docker/Dockerfile".to_owned();
    let (outcome, lines) = built(fixture, &ill("LABEL a=b"), &elsewhere).await;
    assert_eq!(failure_of(&outcome), BuildFailure::Source, "{outcome:?}");
    assert_eq!(lines, ["Cannot locate specified Dockerfile: docker/Dockerfile"]);
    let mut no_stage = options(fixture);
    no_stage.target = Some("nowhere".to_owned());
    let (outcome, _) = built(fixture, &ill("LABEL a=b"), &no_stage).await;
    assert_eq!(failure_of(&outcome), BuildFailure::Source, "{outcome:?}");
}

pub(crate) async fn a_base_image_that_cannot_be_had_is_nobodys_fault(fixture: &dyn Fixture) {
    let known = pulled(fixture, Kind::Web).await.name;
    let missing = format!("{}:no-such-tag", known.repository.familiar());
    for (instructions, expect) in [
        ("FROM 127.0.0.1:1/web:v1\nLABEL a=b\n".to_owned(), PullFailure::Unreachable),
        (format!("FROM {missing}\nLABEL a=b\n"), PullFailure::NotFound),
        (format!("FROM {}\nCOPY --from=127.0.0.1:1/web:v1 /a /b\n", known.familiar()), PullFailure::Unreachable),
    ] {
        let options = options(fixture);
        let (outcome, lines) = built(fixture, &instructions, &options).await;
        assert_eq!(failure_of(&outcome), BuildFailure::Surroundings(expect), "{instructions}: {outcome:?}");
        assert!(!lines.is_empty(), "{instructions}");
        assert!(!exists(fixture, &options.name).await, "{instructions}");
    }
}

pub(crate) async fn a_private_base_image_is_fetched_with_the_right_password_only(fixture: &dyn Fixture) {
    let (image, right) = fixture.push_private().await;
    let host = image.name.repository.registry().to_owned();
    let dockerfile = format!("FROM {}\nLABEL a=b\n", image.name.familiar());
    for auth in [None, Some(login(&host, "wr0ng-s3cret"))] {
        let mut options = options(fixture);
        options.registries = auth.map(|auth| (host.clone(), auth)).into_iter().collect();
        let (outcome, lines) = built(fixture, &dockerfile, &options).await;
        assert_eq!(failure_of(&outcome), BuildFailure::Surroundings(PullFailure::Denied), "{outcome:?}");
        assert!(!format!("{outcome:?} {lines:?} {options:?}").contains("s3cret"), "{outcome:?} {lines:?}");
    }
    let mut options = options(fixture);
    options.registries = BTreeMap::from([(host, right)]);
    built(fixture, &dockerfile, &options).await.0.expect("the right password");
}

pub(crate) async fn a_context_that_breaks_off_says_why(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let whole = tar_of(&[("Dockerfile", b"FROM scratch\nLABEL a=b\n"), ("data", &[7; 300_000])]);
    let options = options(fixture);
    for bytes in [0, 100, 1_536, 200_000] {
        let torn =
            io::Cursor::new(whole.get(..bytes).expect("shorter").to_vec()).chain(Failing("the download broke off"));
        let error = engine.build(Box::new(torn), &options, &mut |_| ()).await.expect_err("it is not whole");
        assert!(
            matches!(&error, Error::Build { failure: BuildFailure::Context, message, .. } if message == "the download broke off"),
            "{bytes}: {error:?}"
        );
    }
    let no_tar = vec![b'x'; 2_000];
    for bytes in [whole.get(..200_000).expect("shorter").to_vec(), no_tar] {
        let error = engine.build(Box::new(io::Cursor::new(bytes)), &options, &mut |_| ()).await.expect_err("no tar");
        assert!(matches!(&error, Error::Build { failure: BuildFailure::Context, .. }), "{error:?}");
    }
    assert!(!exists(fixture, &options.name).await);
}

/// Begins a build whose command never ends, and comes back with how it ended (`None` if it still goes on) and what it said once
/// the command runs in its container.
async fn hanging(fixture: &dyn Fixture, options: &BuildOptions, is_awaited: bool) -> Option<Result<String>> {
    let base = pulled(fixture, Kind::Web).await.name.familiar();
    let label = &options.name;
    let dockerfile = format!("FROM {base}\nLABEL {LABEL}={label}\nRUN echo hangs && sleep 500\n");
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let mut tell = |line: &str| drop(said.send(line.to_owned()));
    let engine = fixture.engine();
    let build = engine.build(context(&[("Dockerfile", &dockerfile)]), options, &mut tell);
    let seen = async {
        while heard.recv().await.is_some_and(|line| line != "hangs") {}
        let count = of_build(fixture, label).await.len();
        assert_eq!(count, fixture.containers_of_a_run(), "else its absence later proves nothing");
    };
    tokio::pin!(build);
    tokio::select! {
        outcome = &mut build => panic!("too early: {outcome:?}"),
        () = seen => {}
    }
    if is_awaited { Some(build.await) } else { None }
}

pub(crate) async fn a_build_that_hangs_is_ended_by_its_deadline(fixture: &dyn Fixture) {
    let mut options = options(fixture);
    options.deadline = Duration::from_secs(6);
    let outcome = hanging(fixture, &options, true).await;
    assert!(matches!(&outcome, Some(Err(Error::Timeout { after, .. })) if *after == options.deadline), "{outcome:?}");
    until_containers(fixture, &options.name, 0).await;
    assert!(!exists(fixture, &options.name).await);
}

pub(crate) async fn a_build_that_nobody_waits_for_is_cancelled(fixture: &dyn Fixture) {
    let options = options(fixture);
    assert!(hanging(fixture, &options, false).await.is_none());
    until_containers(fixture, &options.name, 0).await;
    assert!(!exists(fixture, &options.name).await);
}

/// Builds an image and gives it this name.
async fn built_as(fixture: &dyn Fixture, base: &Image, repository: &str, tag: &str) {
    let options = options(fixture);
    let dockerfile = format!("FROM {}\nLABEL check.name={}\n", base.name.familiar(), options.name);
    let id = built(fixture, &dockerfile, &options).await.0.expect("a good build");
    fixture.engine().tag(&id, repository, tag).await.expect("it is there");
}

pub(crate) async fn a_push_gives_the_digest_that_the_registry_serves(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let base = fixture.push(Kind::Web).await;
    let repository = base.name.repository.familiar();
    built_as(fixture, &base, &repository, "next").await;
    built_as(fixture, &base, &repository, "stays-here").await;
    let digest = engine.push(&repository, "next", None, WITHIN).await.expect("the registry is up");
    assert_ne!(digest, base.digest);
    assert_eq!(engine.push(&repository, "next", None, WITHIN).await.as_ref(), Ok(&digest), "a second time");
    let served = |tag: &str| format!("{repository}:{tag}").parse().expect("well formed");
    assert_eq!(fixture.served(&served("next")).await, Some(digest.clone()));
    assert_eq!(fixture.served(&served("v1")).await, Some(base.digest.clone()), "another tag is left alone");
    assert_eq!(fixture.served(&served("stays-here")).await, None, "exactly one tag is pushed");
    let exact = base.name.repository.at(&digest);
    let inspect = engine.inspect_image(&format!("{repository}:next")).await.expect("it is here");
    assert!(inspect["RepoDigests"].as_array().is_some_and(|all| all.contains(&json!(exact))), "{inspect}");
    engine.remove_image(&format!("{repository}:next")).await.expect("it has its name only");
    assert!(!exists(fixture, &exact).await);
    engine.pull(&exact, None, &mut |_| ()).await.expect("the registry has it");
}

pub(crate) async fn a_push_says_why_it_failed(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let base = fixture.push(Kind::Web).await;
    let (private, right) = fixture.push_private().await;
    let (private, host) = (private.name.repository.familiar(), private.name.repository.registry().to_owned());
    for (repository, tag) in [("127.0.0.1:1/web", "v1"), (private.as_str(), "next")] {
        built_as(fixture, &base, repository, tag).await;
    }
    let wrong = login(&host, "wr0ng-s3cret");
    for (repository, tag, auth, expect) in [
        ("127.0.0.1:1/web", "v1", None, PullFailure::Unreachable),
        (&private, "next", None, PullFailure::Denied),
        (&private, "next", Some(&wrong), PullFailure::Denied),
    ] {
        let error = engine.push(repository, tag, auth, WITHIN).await.expect_err("it cannot be");
        assert!(matches!(&error, Error::Push { failure, .. } if *failure == expect), "{error:?}");
        assert!(error.to_string().starts_with("cannot push"), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
    engine.push(&private, "next", Some(&right), WITHIN).await.expect("the right password");
    for (repository, tag) in [(private.as_str(), "no-such-tag"), ("127.0.0.1:1/nobody", "v1")] {
        let error = engine.push(repository, tag, Some(&right), WITHIN).await.expect_err("the engine has none");
        assert!(error.is_not_found(), "{error:?}");
    }
    let all = engine.push(&private, "", Some(&right), WITHIN).await.expect_err("no tag would be all of them");
    assert!(matches!(all, Error::InvalidArgument { .. }), "{all:?}");
}
