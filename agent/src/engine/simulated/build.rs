//! Builds and pushes of a simulated engine: it reads the context's Dockerfile for real, fetches base images from the simulated
//! registry, and knows of commands only how they end.
//!
//! A built image behaves as its base does. One with a health check of its own becomes healthy after a second, or unhealthy
//! where the check is `false`. Of a `RUN` it does `true`, `false`, `exit N`, `echo …`, `sleep SECONDS`, joined by `&&`.

use std::collections::BTreeMap;
use std::time::Duration;

use nightshift_core::image::{Digest, ImageRef, Repository};
use serde_json::{Map, Value, json};

use super::context::{Files, Unread};
use super::dockerfile::{self, Instruction, command, json_words, pairs, substituted, words};
use super::registry::{Behaviour, Happening, SimulatedImage};
use super::{SimulatedEngine, hashed, short};
use crate::engine::build::{self, Step};
use crate::engine::docker_build::pushed_name;
use crate::engine::lines::Lines;
use crate::engine::{BuildContext, BuildFailure, BuildOptions, Error, PullFailure, RegistryAuth, Result};

/// How long after a start a health check that a Dockerfile brings has spoken.
const HEALTHY_AFTER: Duration = Duration::from_secs(1);

/// Why a build ended without an image.
enum Broken {
    /// The builder says so, at this step, with the exit code of a command.
    Said(Step, Option<i64>, String),
    /// A base image could not be fetched.
    Base(PullFailure, String),
    /// The context could not be read.
    Context(String),
}

impl From<Unread> for Broken {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Broken(reason) => Self::Context(reason),
            Unread::Malformed(said) => Self::Said(Step::Before, None, said.to_owned()),
        }
    }
}

/// What is built so far.
#[derive(Debug, Clone)]
struct Stage {
    name: String,
    image: SimulatedImage,
    /// The values of `ARG` and `ENV`.
    values: BTreeMap<String, String>,
}

impl SimulatedEngine {
    pub(super) async fn built(
        &self,
        context: BuildContext,
        options: &BuildOptions,
        lines: &mut Lines<'_>,
    ) -> Result<String> {
        let broken = match self.steps(context, options, lines).await {
            Ok(image) => return self.keep_built(options, image, lines),
            Err(broken) => broken,
        };
        let (failure, message) = match broken {
            Broken::Context(message) => (Some(BuildFailure::Context), message),
            Broken::Base(failure, message) => (Some(BuildFailure::Surroundings(failure)), message),
            Broken::Said(step, exit_code, message) => (build::sorted(step, exit_code, &message), message),
        };
        lines.whole(&message);
        Err(match failure {
            Some(failure) => Error::Build { name: options.name.clone(), failure, message },
            None => Error::Refused { call: "POST /build", status: 500, message },
        })
    }

    async fn steps(
        &self,
        context: BuildContext,
        options: &BuildOptions,
        lines: &mut Lines<'_>,
    ) -> Result<SimulatedImage, Broken> {
        let files = Files::read(context, &options.dockerfile).await?;
        let before = |message: String| Broken::Said(Step::Before, None, message);
        let missing = || before(format!("Cannot locate specified Dockerfile: {}", options.dockerfile));
        let text = files.dockerfile.as_deref().ok_or_else(missing)?;
        let instructions = dockerfile::parse(&options.dockerfile, text).map_err(before)?;
        let mut global = BTreeMap::new();
        let mut stages: Vec<Stage> = Vec::new();
        for (number, instruction) in instructions.iter().enumerate() {
            let is_target = |stage: &Stage| options.target.as_ref() == Some(&stage.name);
            if instruction.word == "FROM" && stages.last().is_some_and(is_target) {
                break;
            }
            let Instruction { word, rest } = instruction;
            lines.whole(&format!("Step {}/{} : {word} {rest}", number + 1, instructions.len()));
            match (word.as_str(), stages.last_mut()) {
                ("FROM", _) => {
                    let stage = self.begun(&substituted(rest, &global), &stages, options).await?;
                    stages.push(stage);
                }
                ("COPY", _) => self.copied(rest, &files, &mut stages, options).await?,
                ("RUN", Some(stage)) => ran(&substituted(rest, &stage.values), rest, lines).await?,
                ("ARG", Some(stage)) => declared(rest, &options.args, &global, &mut stage.values),
                (_, Some(stage)) => stage.configured(instruction),
                // Only `ARG` may stand before the first `FROM`.
                (_, None) => declared(rest, &options.args, &BTreeMap::new(), &mut global),
            }
        }
        let last = stages.pop().ok_or_else(missing)?;
        if options.target.as_ref().is_some_and(|target| *target != last.name) {
            let target = options.target.as_deref().unwrap_or_default();
            return Err(before(format!("failed to reach build target {target} in Dockerfile")));
        }
        let mut image = last.image;
        for (key, value) in &options.labels {
            image.config["Labels"][key] = json!(value);
        }
        // As the classic builder does it: the image that this one was made from.
        image.config["Image"] = json!(format!("sha256:{}", hashed(&files.hash)));
        image.created = self.with(|world| world.time());
        Ok(image)
    }

    /// `FROM`: a stage of its own.
    async fn begun(&self, rest: &str, stages: &[Stage], options: &BuildOptions) -> Result<Stage, Broken> {
        let words = words(rest);
        let reference = words.first().map_or("", String::as_str);
        if reference.is_empty() {
            return Err(Broken::Said(Step::From, None, format!("base name ({rest}) should not be blank")));
        }
        let name = match words.get(1..).unwrap_or_default() {
            [keyword, name] if keyword.eq_ignore_ascii_case("as") => name.clone(),
            _ => String::new(),
        };
        let image = match stages.iter().find(|stage| stage.name == reference) {
            Some(stage) => stage.image.clone(),
            None if reference == "scratch" => from_nothing(),
            None => self.fetched_base(reference, options).await?,
        };
        let values = image.config["Env"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let values =
            values.filter_map(|entry| entry.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Ok(Stage { name, image, values })
    }

    /// Pulls a base image, though it may be here: a build asks for everything anew.
    async fn fetched_base(&self, reference: &str, options: &BuildOptions) -> Result<SimulatedImage, Broken> {
        let odd = |_| Broken::Said(Step::From, None, "invalid reference format".to_owned());
        let found = match reference.split_once('@') {
            Some((repository, digest)) => {
                let repository: Repository = repository.parse().map_err(odd)?;
                let digest: Digest = digest.parse().map_err(|_| odd_digest())?;
                let login = options.registries.get(repository.registry());
                self.registry.fetch(&repository, &digest, login).map(|image| (repository.at(&digest), image))
            }
            None => {
                let name: ImageRef = reference.parse().map_err(odd)?;
                let login = options.registries.get(name.repository.registry());
                self.registry.fetch_tag(&name, login).map(|(digest, image)| (name.repository.at(&digest), image))
            }
        };
        let (exact, image) = found.map_err(|(failure, message)| Broken::Base(failure, message))?;
        tokio::time::sleep(image.pull_takes).await;
        self.with(|world| {
            if world.disk_full {
                let message = "failed to register layer: write /layer: no space left on device";
                return Err(Broken::Base(PullFailure::DiskFull, message.to_owned()));
            }
            world.images.add(&exact, image.clone());
            Ok(image)
        })
    }

    async fn copied(
        &self,
        rest: &str,
        files: &Files,
        stages: &mut [Stage],
        options: &BuildOptions,
    ) -> Result<(), Broken> {
        let values = stages.last().map(|stage| stage.values.clone()).unwrap_or_default();
        let rest = substituted(rest, &values);
        let all = json_words(&rest).unwrap_or_else(|| words(&rest));
        let (flags, paths): (Vec<String>, Vec<String>) = all.into_iter().partition(|word| word.starts_with("--"));
        let from = flags.iter().find_map(|flag| flag.strip_prefix("--from="));
        let [sources @ .., _] = paths.as_slice() else {
            return Err(said("COPY requires at least two arguments, but only one was provided".to_owned()));
        };
        let mut size = 0;
        match from {
            Some(from) if stages.iter().any(|stage| stage.name == from) || from.parse::<usize>().is_ok() => {}
            Some(image) => drop(self.fetched_base(image, options).await?),
            None => {
                for source in sources {
                    let missing = "COPY failed: file not found in build context or excluded by .dockerignore";
                    let found = files.size_of(source);
                    size += found.ok_or_else(|| said(format!("{missing}: stat {source}: file does not exist")))?;
                }
            }
        }
        if let Some(stage) = stages.last_mut() {
            stage.image.layers.push(size);
        }
        Ok(())
    }

    fn keep_built(&self, options: &BuildOptions, image: SimulatedImage, lines: &mut Lines<'_>) -> Result<String> {
        let id = image.id();
        let failed = |failure, message: &str| Error::Build {
            name: options.name.clone(),
            failure: BuildFailure::Surroundings(failure),
            message: message.to_owned(),
        };
        self.with(|world| {
            if world.disk_full {
                return Err(failed(PullFailure::DiskFull, "write /layer: no space left on device"));
            }
            let (repository, tag) = options.name.rsplit_once(':').unwrap_or((&options.name, "latest"));
            world.images.add_built(image);
            world.images.tag(&id, repository, tag)
        })?;
        lines.whole(&format!("Successfully built {}", short(id.strip_prefix("sha256:").unwrap_or(&id))));
        lines.whole(&format!("Successfully tagged {}", options.name));
        Ok(id)
    }

    pub(super) async fn pushed(&self, repository: &str, tag: &str, login: Option<&RegistryAuth>) -> Result<Digest> {
        let name = pushed_name(repository, tag)?;
        let missing = || Error::NotFound { message: format!("tag does not exist: {}", name.familiar()) };
        let image = self.with(|world| world.images.find(&name.familiar()).map(|(_, stored)| stored.image.clone()));
        let image = image.map_err(|_| missing())?;
        tokio::time::sleep(image.pull_takes).await;
        let failed = |(failure, message)| Error::Push { reference: name.familiar(), failure, message };
        let digest = self.registry.receive(&name, image.clone(), login).map_err(failed)?;
        self.with(|world| world.images.add(&name.repository.at(&digest), image));
        Ok(digest)
    }
}

fn said(message: String) -> Broken {
    Broken::Said(Step::Other, None, message)
}

fn odd_digest() -> Broken {
    Broken::Said(Step::From, None, "invalid reference format".to_owned())
}

fn from_nothing() -> SimulatedImage {
    let mut image = SimulatedImage::new(chrono::DateTime::UNIX_EPOCH, Behaviour::default());
    image.config = json!({"Env": [], "Cmd": null, "Entrypoint": null, "WorkingDir": "", "User": "", "Labels": {}});
    image.layers.clear();
    image
}

/// `ARG NAME[=default]`: the value that was given, else the default, else what was said before the first `FROM`.
fn declared(
    rest: &str,
    args: &BTreeMap<String, String>,
    global: &BTreeMap<String, String>,
    values: &mut BTreeMap<String, String>,
) {
    let (name, default) = match rest.split_once('=') {
        Some((name, default)) => (name, substituted(words(default).first().map_or("", String::as_str), values)),
        None => (rest, global.get(rest).cloned().unwrap_or_default()),
    };
    values.insert(name.to_owned(), args.get(name).cloned().unwrap_or(default));
}

/// Does what is known of a command. `typed` is how it stands in the Dockerfile.
async fn ran(line: &str, typed: &str, lines: &mut Lines<'_>) -> Result<(), Broken> {
    let exec_form = json_words(line);
    let line = exec_form.as_ref().map_or_else(|| line.to_owned(), |words| words.join(" "));
    let mut exit_code = 0;
    for part in line.split("&&") {
        let words = words(part);
        let argument = words.get(1).map_or("", String::as_str);
        exit_code = match words.first().map_or("", String::as_str) {
            "true" => 0,
            "false" => 1,
            "exit" => argument.parse().unwrap_or(2),
            "echo" => {
                lines.whole(&words.get(1..).unwrap_or_default().join(" "));
                0
            }
            "sleep" => {
                tokio::time::sleep(Duration::from_secs(argument.parse().unwrap_or(0))).await;
                0
            }
            other => {
                lines.whole(&format!("/bin/sh: {other}: not found"));
                127
            }
        };
        if exit_code != 0 {
            break;
        }
    }
    if exit_code == 0 {
        return Ok(());
    }
    let shown = if exec_form.is_some() { line } else { format!("/bin/sh -c {typed}") };
    let message = format!("The command '{shown}' returned a non-zero code: {exit_code}");
    Err(Broken::Said(Step::Run, Some(exit_code), message))
}

impl Stage {
    /// An instruction that only changes the image's configuration.
    fn configured(&mut self, Instruction { word, rest }: &Instruction) {
        let value = substituted(rest, &self.values);
        let config = &mut self.image.config;
        match word.as_str() {
            "LABEL" => pairs(&value).into_iter().for_each(|(key, value)| config["Labels"][key] = json!(value)),
            "ENV" => {
                for (key, value) in pairs(&value) {
                    let mut env: Vec<Value> = config["Env"].as_array().cloned().unwrap_or_default();
                    let start = format!("{key}=");
                    env.retain(|entry| !entry.as_str().is_some_and(|entry| entry.starts_with(&start)));
                    env.push(json!(format!("{start}{value}")));
                    config["Env"] = Value::Array(env);
                    self.values.insert(key, value);
                }
            }
            // Shells put values in at the start, not the builder.
            "CMD" => config["Cmd"] = json!(command(rest)),
            "ENTRYPOINT" => (config["Entrypoint"], config["Cmd"]) = (json!(command(rest)), Value::Null),
            "EXPOSE" => {
                add_keys(&mut config["ExposedPorts"], words(&value).into_iter().map(|port| with_protocol(&port)))
            }
            "VOLUME" => {
                add_keys(&mut config["Volumes"], json_words(&value).unwrap_or_else(|| words(&value)).into_iter())
            }
            "WORKDIR" => config["WorkingDir"] = json!(value),
            "USER" => config["User"] = json!(value),
            _ => self.checked(rest),
        }
    }

    /// `HEALTHCHECK [--option=…] CMD …`, or `NONE`.
    fn checked(&mut self, rest: &str) {
        let mut left = rest;
        while let Some((_, after)) = left.split_once(' ').filter(|_| left.starts_with("--")) {
            left = after.trim_start();
        }
        let test = left.strip_prefix("CMD").map(str::trim);
        let behaviour = &mut self.image.behaviour;
        behaviour.timeline.retain(|(_, happening)| matches!(happening, Happening::Exit(_)));
        let Some(test) = test else {
            self.image.config["Healthcheck"] = json!({"Test": ["NONE"]});
            return;
        };
        let words = json_words(test).map_or_else(|| vec!["CMD-SHELL".to_owned(), test.to_owned()], with_cmd);
        let ill = words.last().is_some_and(|word| word == "false");
        behaviour.timeline.push(match ill {
            true => (2 * HEALTHY_AFTER, Happening::Unhealthy),
            false => (HEALTHY_AFTER, Happening::Healthy),
        });
        self.image.config["Healthcheck"] = json!({"Test": words});
    }
}

fn with_cmd(words: Vec<String>) -> Vec<String> {
    [vec!["CMD".to_owned()], words].concat()
}

fn with_protocol(port: &str) -> String {
    if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") }
}

fn add_keys(map: &mut Value, keys: impl Iterator<Item = String>) {
    let mut all = map.as_object().cloned().unwrap_or_default();
    all.extend(keys.map(|key| (key, Value::Object(Map::new()))));
    *map = Value::Object(all);
}
