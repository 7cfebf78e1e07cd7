//! Builds of images: what is asked for, and whose fault it is when one fails.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use nightshift_core::image::ImageRef;
use tokio::io::AsyncRead;

use super::{BuildFailure, Error, PullFailure, RegistryAuth, Result, pull};

/// The files of a build, as an uncompressed tar. It is streamed: whoever gives it sees to its length.
pub type BuildContext = Box<dyn AsyncRead + Send + Unpin>;

/// What is called with each line of a build's output.
pub type OnLine<'a> = dyn FnMut(&str) + Send + 'a;

/// How an image is built. Base images are always asked for anew, and nothing is taken from an earlier build.
///
/// Its `Debug` shows the names of the arguments and not their values, which may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct BuildOptions {
    /// The name that the image gets on this engine: `repository:tag`.
    pub name: String,
    /// Where in the context the Dockerfile is.
    pub dockerfile: String,
    /// The stage to build; without it the last one.
    pub target: Option<String>,
    /// Values for the `ARG`s. The engine writes those that are used into the image's history.
    pub args: BTreeMap<String, String>,
    /// Labels that are added to those of the Dockerfile, and win.
    pub labels: BTreeMap<String, String>,
    /// Logins for base images, by registry (`host[:port]`, `docker.io` for Docker Hub).
    pub registries: BTreeMap<String, RegistryAuth>,
    /// Memory of each `RUN`, swap included.
    pub memory_bytes: Option<u64>,
    /// Thousandths of one processor for each `RUN`.
    pub cpus_milli: Option<u32>,
    /// How long the whole build may take. There is none for silence: a `RUN` may work for long without a word.
    pub deadline: Duration,
}

impl BuildOptions {
    /// A build of `Dockerfile` without arguments, labels, logins and limits.
    #[must_use]
    pub fn new(name: &str, deadline: Duration) -> Self {
        Self {
            name: name.to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            target: None,
            args: BTreeMap::new(),
            labels: BTreeMap::new(),
            registries: BTreeMap::new(),
            memory_bytes: None,
            cpus_milli: None,
            deadline,
        }
    }

    /// Whether the name is one: the engine would find out only after it has read the context.
    pub(super) fn check(&self) -> Result<()> {
        let tagged = self.name.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
        if tagged && self.name.parse::<ImageRef>().is_ok() {
            return Ok(());
        }
        let found = self.name.chars().take(300).collect();
        Err(Error::InvalidArgument { expected: "name for an image (`repository:tag`)", found })
    }
}

impl fmt::Debug for BuildOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildOptions")
            .field("name", &self.name)
            .field("dockerfile", &self.dockerfile)
            .field("target", &self.target)
            .field("args", &self.args.keys())
            .field("labels", &self.labels)
            .field("registries", &self.registries)
            .field("memory_bytes", &self.memory_bytes)
            .field("cpus_milli", &self.cpus_milli)
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// What the builder was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It had not begun: it reads context and Dockerfile.
    Before,
    /// `FROM`: it fetches a base image.
    From,
    /// `RUN`: the source's own commands.
    Run,
    /// Any other instruction.
    Other,
}

impl Step {
    /// The step that a message announces: `Step 2/5 : RUN make`, and in Podman's words `STEP 2/5: RUN make`.
    ///
    /// A command can print such a line, too. It deceives nobody but itself: how a command ended is known by other signs.
    pub(super) fn announced(message: &str) -> Option<Self> {
        let number =
            message.get(..5).filter(|word| word.eq_ignore_ascii_case("step ")).and_then(|_| message.get(5..))?;
        let (count, instruction) = number.split_once(':')?;
        if !count.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'/') {
            return None;
        }
        let word = instruction.split_whitespace().next()?.to_ascii_uppercase();
        Some(match word.as_str() {
            "FROM" => Self::From,
            "RUN" => Self::Run,
            _ => Self::Other,
        })
    }
}

/// Sorts a failed build; `None` when it is the engine's own trouble. `exit_code` is what the engine tells beside the text.
///
/// A command's failure is looked for first, because its text repeats the command, which may say anything. The source is blamed
/// only where the engine blames it, or where the instruction could not be done with what the source brought.
pub(super) fn sorted(step: Step, exit_code: Option<i64>, message: &str) -> Option<BuildFailure> {
    let text = message.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let begins = |parts: &[&str]| parts.iter().any(|part| text.starts_with(part));
    let of_a_command = text.starts_with("the command '") && text.contains("' returned a non-zero code: ");
    // The second is Podman's.
    if exit_code.is_some_and(|code| code != 0) || of_a_command || text.contains("while running runtime: exit status") {
        return Some(BuildFailure::Source);
    }
    if says(&["no space left on device", "disk quota exceeded"]) {
        return Some(BuildFailure::Surroundings(PullFailure::DiskFull));
    }
    if says(&["cannot allocate memory", "input/output error", "read-only file system", "too many open files"])
        // Podman's for `COPY --from` of an image that it could not fetch: it does not say which of the two it is.
        || says(&["no stage or image found with that name"])
        || says(&["context canceled", "context deadline exceeded", "shutting down"]) && step != Step::From
    {
        return None;
    }
    let of_the_dockerfile = [
        "dockerfile parse error",
        "the dockerfile (",
        "cannot locate specified dockerfile",
        "failed to reach build target",
        "failed to parse dockerfile",
        "base name (",
        "invalid reference format",
        "no image was generated",
    ];
    if begins(&of_the_dockerfile) {
        return Some(BuildFailure::Source);
    }
    match step {
        Step::Before => says(&["archive/tar:", "error processing tar file"]).then_some(BuildFailure::Context),
        Step::From => Some(BuildFailure::Surroundings(pull::classify(None, message))),
        // `COPY --from=IMAGE` fetches as well.
        Step::Other if begins(&["invalid from flag value"]) => {
            let is_fetch =
                says(&["get \"http", "manifest", "access denied", "unauthorized", "toomanyrequests", "registry"]);
            Some(match is_fetch {
                true => BuildFailure::Surroundings(pull::classify(None, message)),
                false => BuildFailure::Source,
            })
        }
        Step::Other => Some(BuildFailure::Source),
        // The command could not even be started: it is not there, or it is no program.
        Step::Run => says(&["process: exec: ", "process caused: exec: "]).then_some(BuildFailure::Source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_known_by_their_announcement() {
        for (message, expect) in [
            ("Step 1/4 : FROM 127.0.0.1:5000/web:v1", Some(Step::From)),
            ("Step 2/4 : from web as build", Some(Step::From)),
            ("Step 3/4 : RUN echo \"Step 1/1 : FROM x\"", Some(Step::Run)),
            ("STEP 2/2: RUN exit 3", Some(Step::Run)),
            ("Step 4/4 : COPY --from=build /a /b", Some(Step::Other)),
            ("Step by step: FROM x", None),
            ("Schritt 1/4 : FROM x", None),
            ("Step", None),
            ("", None),
        ] {
            assert_eq!(Step::announced(message), expect, "{message}");
        }
    }

    #[test]
    fn a_commands_own_words_decide_nothing() {
        for words in
            ["manifest unknown: not found", "i/o timeout", "no space left on device", "toomanyrequests", "denied"]
        {
            let message = format!("The command '/bin/sh -c echo {words}; exit 3' returned a non-zero code: 3");
            for step in [Step::Before, Step::From, Step::Run, Step::Other] {
                assert_eq!(sorted(step, Some(3), &message), Some(BuildFailure::Source), "{step:?} {words}");
                assert_eq!(sorted(step, None, &message), Some(BuildFailure::Source), "{step:?} {words}");
            }
        }
    }

    #[test]
    fn failures_are_sorted_by_what_engine_20_10_says() {
        use PullFailure::{DiskFull, NotFound, Other, RateLimited, Unreachable};
        let source = Some(BuildFailure::Source);
        let around = |failure| Some(BuildFailure::Surroundings(failure));
        let refused = "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused";
        let no_program = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start \
                          container process: exec: \"/nope\": stat /nope: no such file or directory: unknown";
        let flag = format!("invalid from flag value 127.0.0.1:1/x:v1: {refused}");
        for (step, message, expect) in [
            (Step::Before, "dockerfile parse error line 2: unknown instruction: FOO", source),
            (Step::Before, "the Dockerfile (Dockerfile) cannot be empty", source),
            (Step::Before, "failed to parse Dockerfile: file with no instructions", source),
            (Step::Before, "Cannot locate specified Dockerfile: other", source),
            (Step::Before, "failed to reach build target other in Dockerfile", source),
            (Step::Before, "archive/tar: invalid tar header", Some(BuildFailure::Context)),
            (Step::Before, "Error processing tar file(exit status 1): unexpected EOF", Some(BuildFailure::Context)),
            (
                Step::Before,
                "Error processing tar file(exit status 1): write /a: no space left on device",
                around(DiskFull),
            ),
            (Step::Before, "access denied by the proxy", None),
            (Step::From, refused, around(Unreachable)),
            (Step::From, "manifest for r.example/x:v1 not found: manifest unknown: manifest unknown", around(NotFound)),
            (Step::From, "toomanyrequests: You have reached your pull rate limit.", around(RateLimited)),
            (Step::From, "context deadline exceeded", around(Unreachable)),
            (Step::From, "failed to register layer: exit status 1", around(Other)),
            (Step::From, "invalid reference format: repository name must be lowercase", source),
            (Step::From, "base name ($X) should not be blank", source),
            (Step::From, "No image was generated. Is your Dockerfile empty?", source),
            (
                Step::Other,
                "COPY failed: file not found in build context or excluded by .dockerignore: stat x: file does \
                           not exist",
                source,
            ),
            (Step::Other, &flag, around(Unreachable)),
            (Step::Other, "invalid from flag value : invalid reference format", source),
            (Step::Other, "Invalid containerPort: x", source),
            (Step::Other, "open /var/lib/docker/tmp/x: read-only file system", None),
            (Step::Run, no_program, source),
            (Step::Run, "Minimum memory limit allowed is 6MB", None),
            (Step::Run, "Build cancelled: context canceled", None),
        ] {
            assert_eq!(sorted(step, None, message), expect, "{step:?} {message}");
        }
    }

    #[test]
    fn the_values_of_arguments_never_show_in_debug_output() {
        let mut options = BuildOptions::new("web:v1", Duration::from_secs(1));
        options.args.insert("TOKEN".to_owned(), "s3cret-word".to_owned());
        let shown = format!("{options:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn a_build_needs_a_whole_name() {
        for (name, good) in [
            ("web:v1", true),
            ("127.0.0.1:5000/a/web:v1", true),
            ("web", false),
            ("127.0.0.1:5000/web", false),
            ("Web:v1", false),
            ("web:v1&remote=http://x", false),
            ("", false),
        ] {
            assert_eq!(BuildOptions::new(name, Duration::ZERO).check().is_ok(), good, "{name}");
        }
    }
}
