//! Builds an image, lets it test itself, and pushes it only when that has passed.
//!
//! A build that fails, and a test that fails, are the source's fault. What the engine, a registry, git or a person did is not:
//! then nothing is known of it. On the node the image has a name of its own ([`build_name`]); the app's own tag stands for it
//! only as long as the push takes, and then for what it stood for before (`clean`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_core::duration;
use nightshift_core::ids::JobId;
use nightshift_core::image::{Digest, ImageRef, Repository};
use nightshift_core::job::{JOB_LOG_LIMIT_BYTES, JobLog, JobOrder, JobOutcome, PUSH_LIMIT, build_name};
use nightshift_core::rebuild::builder::{BuildContext, Builder};
use tokio::time::{Instant, sleep};

use super::context::{self, CloneOptions, Context, GitError};
use super::self_test::{self, Candidate, Stop};
use super::shelf::{Record, Traces};
use super::{Shared, make_ready};
use crate::engine::tail::Tail;
use crate::engine::{BuildFailure, BuildOptions, Engine, Error, PullFailure, RegistryAuth};
use crate::limits::{AllowedDirectory, AllowedGit, Limits};

/// Pauses before a push is tried again: a registry that is restarted must not cost the whole build.
const PUSH_AGAIN: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(45)];
/// What a log's heading may take of the whole.
const HEADING_BYTES: usize = 100;
/// Most registries whose logins are looked for: each may cost a call of a credential helper.
const REGISTRY_LIMIT: usize = 16;
/// Most layers of one build that are remembered: more than a Dockerfile has instructions.
const LAYER_LIMIT: usize = 1_000;

/// Where a context comes from, after this node's own judgement.
pub(super) enum Source {
    Directory(AllowedDirectory),
    Git { branch: AllowedGit, directory: Option<String> },
}

/// Whether this node may build this, from there, and push it.
pub(super) fn allowed(limits: &Limits, repository: &Repository, builder: &Builder) -> Result<Source, String> {
    let judge = || {
        let build = limits.judge_build(repository)?;
        Ok(match &builder.context {
            BuildContext::Directory { path } => Source::Directory(build.judge_directory(path)?),
            BuildContext::Git { url, branch, directory } => {
                Source::Git { branch: build.judge_git(url, branch)?, directory: directory.clone() }
            }
        })
    };
    judge().map_err(|refusal: crate::limits::Refusal| refusal.to_string())
}

/// Builds, tests and pushes. What it makes is left for whoever called, and noted in the record.
pub(super) async fn run(
    shared: &Shared,
    record: &mut Record,
    builder: &Builder,
    candidate: Candidate<'_>,
) -> (JobOutcome, JobLog) {
    let mut log = BuildLog::default();
    let built = build(shared, record, builder, &mut log).await;
    record.build.get_or_insert_default().layers.clone_from(&log.layers);
    let image = match built {
        Ok(image) => image,
        Err(stop) => return (stop.into(), log.into_log(JOB_LOG_LIMIT_BYTES)),
    };
    let (outcome, tested) = self_test::of_image(shared, &record.order, &image, candidate).await;
    let log = joined(log, tested);
    let outcome = match outcome {
        JobOutcome::Failed { reason } => {
            JobOutcome::Failed { reason: format!("it is built, and its test failed: {reason}") }
        }
        JobOutcome::NotDone { reason } => {
            JobOutcome::NotDone { reason: format!("it is built, and could not be tested: {reason}") }
        }
        JobOutcome::Passed | JobOutcome::Built { .. } => match push(shared, record, &image).await {
            Ok(digest) => JobOutcome::Built { digest },
            Err(stop) => stop.into(),
        },
    };
    (outcome, log)
}

/// Everything up to the image's id.
async fn build(shared: &Shared, record: &mut Record, builder: &Builder, log: &mut BuildLog) -> Result<String, Stop> {
    let end = Instant::now() + builder.timeout;
    let left = || end.saturating_duration_since(Instant::now());
    make_ready(shared, &record.order).await.map_err(Stop::Unknown)?;
    record.build = Some(Traces::default());
    let engine = &*shared.parts.engine;
    let begun_at = engine.info().await?.time;
    let context = fetch(shared, &record.order, builder, left(), log).await?;
    let registries = logins(shared, &context, &record.order.image).await?;
    let options = BuildOptions {
        dockerfile: builder.dockerfile.clone(),
        target: builder.target.clone(),
        args: builder.args.clone(),
        registries,
        ..BuildOptions::new(&build_name(&record.order.id, &shared.agent), left())
    };
    let built = engine.build(context.into_tar(), &options, &mut |line: &str| log.line(line)).await;
    log.layers = own_layers(engine, std::mem::take(&mut log.layers), begun_at).await;
    let image = built.map_err(|error| {
        if let Error::Build { failure: BuildFailure::Source, message, .. } = error {
            Stop::Bad(format!("it cannot be built: {message}"))
        } else if matches!(error, Error::Timeout { .. }) && left().is_zero() {
            Stop::Bad(format!("it was not built within {}", duration::format(builder.timeout)))
        } else {
            error.into()
        }
    })?;
    record.build.get_or_insert_default().image = Some(image.clone());
    save(shared, record).await?;
    Ok(image)
}

/// Opens the context, after a clone where it is in a repository.
async fn fetch(
    shared: &Shared,
    order: &JobOrder,
    builder: &Builder,
    within: Duration,
    log: &mut BuildLog,
) -> Result<Context, Stop> {
    let build = shared.parts.limits.judge_build(&order.image.repository);
    let build = build.map_err(|refusal| Stop::Unknown(refusal.to_string()))?;
    let dockerfile = builder.dockerfile.as_str();
    match allowed(&shared.parts.limits, &order.image.repository, builder).map_err(Stop::Unknown)? {
        Source::Directory(directory) => Context::of_directory(build, &directory, dockerfile).await.map_err(unusable),
        Source::Git { branch, directory } => {
            let work = new_scratch(shared, &order.id).map_err(Stop::Unknown)?;
            let directory = directory.as_deref().unwrap_or_default();
            let options = CloneOptions { git: &branch, directory, dockerfile, work: &work, timeout: within };
            let mut said = String::new();
            let checkout = context::clone(build, options, &mut said).await;
            said.lines().for_each(|line| log.line(line));
            let checkout = checkout.map_err(|error| {
                if let GitError::Context(error) = error { unusable(error) } else { Stop::Unknown(error.to_string()) }
            })?;
            log.line(&format!("commit {}", checkout.commit));
            Ok(checkout.context)
        }
    }
}

fn unusable(error: context::Error) -> Stop {
    let words = error.to_string();
    if error.is_of_the_source() { Stop::Bad(format!("it cannot be built: {words}")) } else { Stop::Unknown(words) }
}

/// An empty directory for a job's clone.
fn new_scratch(shared: &Shared, job: &JobId) -> Result<PathBuf, String> {
    let scratch = shared.parts.scratch.as_ref().ok_or("this agent has no directory for clones")?;
    let work = scratch.join(job.as_str());
    let made = std::fs::create_dir_all(&work);
    made.map(|()| work).map_err(|error| format!("cannot make `{}`: {error}", scratch.display()))
}

/// What to show to the registries of the base images, as far as the Dockerfile names them without variables.
async fn logins(shared: &Shared, context: &Context, image: &ImageRef) -> Result<BTreeMap<String, RegistryAuth>, Stop> {
    let mut logins = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for repository in [image.repository.clone()].into_iter().chain(base_images(&context.instructions())) {
        if asked.len() == REGISTRY_LIMIT || !asked.insert(repository.registry().to_owned()) {
            continue;
        }
        if let Some(login) = shared.parts.credentials.find(&repository).await.map_err(Stop::Unknown)? {
            logins.insert(repository.registry().to_owned(), login);
        }
    }
    Ok(logins)
}

/// The images that a Dockerfile begins from or copies from. Names of stages are among them, and do no harm: nobody has a login
/// for them.
fn base_images(dockerfile: &str) -> BTreeSet<Repository> {
    let named = |line: &str| {
        let mut words = line.split_whitespace();
        let first = words.next()?;
        let name = match first.to_ascii_uppercase().as_str() {
            "FROM" => words.find(|word| !word.starts_with("--"))?,
            "COPY" | "ADD" | "RUN" => words.find_map(|word| word.strip_prefix("--from="))?,
            _ => return None,
        };
        let without_digest = name.split('@').next().unwrap_or(name);
        without_digest.parse::<ImageRef>().ok().map(|image| image.repository)
    };
    dockerfile.lines().filter_map(named).collect()
}

/// Those of the layers that this build has made: what has no name, and was not there when it began.
async fn own_layers(engine: &dyn Engine, seen: Vec<String>, begun_at: DateTime<Utc>) -> Vec<String> {
    let mut own = Vec::new();
    for layer in seen {
        let inspect = match engine.inspect_image(&layer).await {
            Ok(inspect) => inspect,
            Err(Error::NotFound { .. }) => continue,
            // An engine that does not answer would be waited for once for each layer.
            Err(_) => break,
        };
        let created = inspect["Created"].as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
        if created.is_some_and(|created| created >= begun_at) {
            own.extend(inspect["Id"].as_str().map(str::to_owned));
        }
    }
    own
}

/// Pushes the image under the app's own tag.
async fn push(shared: &Shared, record: &mut Record, image: &str) -> Result<Digest, Stop> {
    let engine = &*shared.parts.engine;
    let (repository, tag) = (record.order.image.repository.clone(), record.order.image.tag.clone());
    let login = shared.parts.credentials.find(&repository).await.map_err(Stop::Unknown)?;
    let before = match engine.inspect_image(&record.order.image.familiar()).await {
        Ok(before) => before["Id"].as_str().map(str::to_owned),
        Err(Error::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    record.build.get_or_insert_default().moved = Some(before);
    save(shared, record).await?;
    engine.tag(image, &repository.familiar(), &tag).await?;
    let deadline = Instant::now() + PUSH_LIMIT;
    let mut pauses = PUSH_AGAIN.into_iter();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let pushed = engine.push(&repository.familiar(), &tag, login.as_ref(), left).await;
        let passes = matches!(
            pushed,
            Err(Error::Push { failure: PullFailure::Unreachable | PullFailure::RateLimited | PullFailure::Other, .. })
        );
        match pauses.next() {
            Some(pause) if passes => sleep(pause).await,
            Some(_) | None => return Ok(pushed?),
        }
    }
}

async fn save(shared: &Shared, record: &Record) -> Result<(), Stop> {
    shared.shelf.save(record).await.map_err(|error| Stop::Unknown(error.to_string()))
}

/// What a build writes.
#[derive(Debug)]
struct BuildLog {
    tail: Tail,
    /// Layers that it named, in short.
    layers: Vec<String>,
}

impl Default for BuildLog {
    fn default() -> Self {
        Self { tail: Tail::new(JOB_LOG_LIMIT_BYTES), layers: Vec::new() }
    }
}

impl BuildLog {
    fn line(&mut self, line: &str) {
        // What the builder says of each layer. A command can write the same; only what was made since then, without a name, counts.
        let layer =
            line.trim().strip_prefix("---> ").filter(|id| id.len() == 12 && id.bytes().all(|c| c.is_ascii_hexdigit()));
        if let Some(layer) = layer.filter(|_| self.layers.len() < LAYER_LIMIT) {
            self.layers.push(layer.to_owned());
        }
        self.tail.push(line.as_bytes());
        self.tail.push(b"\n");
    }

    /// The end of it.
    fn into_log(self, limit: usize) -> JobLog {
        let cut = self.tail.is_cut();
        let (text, shortened) = self_test::end_of(self.tail.into_text(), limit);
        JobLog { text, cut: cut || shortened }
    }
}

/// The end of both logs: half of the room for each, and what one leaves for the other.
fn joined(build: BuildLog, test: JobLog) -> JobLog {
    let room = JOB_LOG_LIMIT_BYTES - HEADING_BYTES;
    let (test_text, test_cut) = self_test::end_of(test.text, room / 2);
    let build = build.into_log(room - test_text.len());
    let heading = if test_text.starts_with("--- ") { "" } else { "--- container ---\n" };
    let text = format!("--- build ---\n{}{heading}{test_text}", build.text);
    JobLog { text, cut: build.cut || test.cut || test_cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_a_dockerfile_is_made_of_are_found() {
        let dockerfile = "# FROM r.example/comment\nARG BASE=r.example/argument\nFROM --platform=linux/amd64 r.example/base:1 AS one\n\
                          from debian\nFROM ${BASE}\nFROM r.example/pinned:2@sha256:0a\nFROM\nCOPY --chown=1:1 --from=r.example/files /a /b\n\
                          COPY from=r.example/no /c\nRUN echo FROM r.example/run\n";
        let found: Vec<String> = base_images(dockerfile).iter().map(ToString::to_string).collect();
        let expect = ["docker.io/library/debian", "r.example/base", "r.example/files", "r.example/pinned"];
        assert_eq!(found, expect);
    }

    #[test]
    fn layers_are_read_from_what_the_builder_says() {
        let mut log = BuildLog::default();
        for line in [
            "Step 2/3 : RUN make",
            " ---> Running in 0123456789ab",
            " ---> 0123456789ab",
            " ---> 0123",
            "---> Using cache",
        ] {
            log.line(line);
        }
        assert_eq!(log.layers, ["0123456789ab"]);
        let text = log.into_log(JOB_LOG_LIMIT_BYTES).text;
        assert!(text.starts_with("Step 2/3 : RUN make\n ---> Running in") && text.ends_with("Using cache\n"), "{text}");
    }

    #[test]
    fn both_logs_have_room_and_one_may_use_what_the_other_leaves() {
        let log = |text: &str, count: usize| {
            let mut log = BuildLog::default();
            (0..count).for_each(|_| log.line(text));
            log
        };
        let line = "0123456789012345678901234567890123456789";
        let many = 4 * JOB_LOG_LIMIT_BYTES / line.len();
        let test = |text: String| JobLog { text, cut: false };
        let short = joined(log("built", 1), test("tested\n".into()));
        assert_eq!(short, test("--- build ---\nbuilt\n--- container ---\ntested\n".into()));
        for (build, tested) in [
            (log(line, many), test("--- container ---\na\n--- command ---\ntested\n".into())),
            (log(line, many), test(format!("{line}\n").repeat(many))),
            (log("built", 1), test(format!("{line}\n").repeat(many))),
        ] {
            let whole = joined(build, tested);
            assert!(whole.cut && whole.text.len() <= JOB_LOG_LIMIT_BYTES, "{}", whole.text.len());
            assert!(whole.text.len() > JOB_LOG_LIMIT_BYTES / 2 - 200, "{}", whole.text.len());
            assert_eq!(whole.text.matches("--- container ---").count(), 1);
        }
    }
}
