//! `[rebuild.builder]` of an app file: on which nodes an image is built, and from what.
//!
//! Only what can be judged without the node is judged here: which directories and repositories a node builds from is said in
//! its agent's own file.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::Table;
use super::self_test::labelled_nodes;
use crate::rebuild::builder::{BuildContext, Builder, DEFAULT_BUILD_TIMEOUT, DEFAULT_DOCKERFILE};

/// Shortest and longest time of a build: less than a night.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(12 * 3_600));
/// Longest path, URL, branch and name of a stage, in bytes.
const TEXT_LIMIT_BYTES: usize = 1_024;
/// Most build arguments, and the longest of them with its name, in bytes: they travel in the order.
const ARG_LIMIT: usize = 100;
const ARG_LIMIT_BYTES: usize = 8 * 1_024;
/// Ways to a repository.
const SCHEMES: [&str; 4] = ["https://", "http://", "ssh://", "file://"];

pub(super) fn builder(table: &mut Table<'_>) -> Option<Builder> {
    let build_nodes =
        labelled_nodes(table, "build_nodes", "role=build", "images are built only on nodes that are labelled for it");
    let context = context(table);
    let dockerfile = table.optional("dockerfile").map_or_else(|| DEFAULT_DOCKERFILE.to_owned(), |Inside(path)| path);
    let target = table.optional("target").map(|Plain(stage)| stage);
    let args = args(table);
    let timeout = table.duration("timeout", TIMEOUT.0..=TIMEOUT.1).unwrap_or(DEFAULT_BUILD_TIMEOUT);
    Some(Builder { build_nodes: build_nodes?, context: context?, dockerfile, target, args, timeout })
}

/// A directory of the node, or a branch of a repository with a directory in it.
fn context(table: &mut Table<'_>) -> Option<BuildContext> {
    let url = table.optional("git").map(|Url(url)| url);
    let branch = table.optional("branch").map(|Plain(branch)| branch);
    if !table.has("git") {
        if table.has("branch") {
            let message = format!("`{}` has no meaning without `git`", table.full("branch"));
            table.problem("branch", &message, None);
        }
        table.require("directory");
        return table.optional("directory").map(|Absolute(path)| BuildContext::Directory { path });
    }
    table.require("branch");
    let directory = table.optional("directory").map(|Inside(path)| path);
    Some(BuildContext::Git { url: url?, branch: branch?, directory })
}

fn args(table: &mut Table<'_>) -> BTreeMap<String, String> {
    let args = table.labels("args");
    let full = table.full("args");
    if args.len() > ARG_LIMIT {
        let message = format!("`{full}` has {} entries, allowed are up to {ARG_LIMIT}", args.len());
        table.problem("args", &message, None);
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let bad = |(key, value): &(&String, &String)| {
        let named = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && key.chars().all(legal);
        !named || value.contains('\0') || key.len() + value.len() > ARG_LIMIT_BYTES
    };
    if let Some((key, _)) = args.iter().find(bad) {
        let shown: String = key.chars().take(60).collect();
        let message = format!(
            "`{full}`: `{shown}` is no build argument, allowed are names of `a-z A-Z 0-9 _` and, together with their value, up \
             to {ARG_LIMIT_BYTES} bytes"
        );
        table.problem("args", &message, None);
    }
    args
}

fn plain(text: &str) -> Result<(), String> {
    let clean = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if clean && !text.starts_with('-') && text.len() <= TEXT_LIMIT_BYTES {
        return Ok(());
    }
    Err(format!("`{}`: {}", shown(text), expected("a text without spaces that does not begin with `-`")))
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

fn expected(what: impl Display) -> String {
    format!("allowed is {what}, up to {TEXT_LIMIT_BYTES} bytes")
}

/// A branch, or a build's stage.
struct Plain(String);

impl FromStr for Plain {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        plain(text).map(|()| Self(text.to_owned()))
    }
}

/// A path inside a context, without a way out of it.
struct Inside(String);

impl FromStr for Inside {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| !part.is_empty() && part != "." && part != "..";
        if plain(text).is_ok() && text.split('/').all(part) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("`{}`: {}", shown(text), expected("a path inside, such as `images/web`, without `.` and `..`")))
    }
}

/// A directory of the node.
struct Absolute(String);

impl FromStr for Absolute {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        match rest.map(Inside::from_str) {
            Some(Ok(Inside(rest))) => Ok(Self(format!("/{rest}"))),
            Some(Err(_)) | None => Err(format!(
                "`{}`: {}",
                shown(text),
                expected("an absolute path, such as `/srv/build/web`, without `.` and `..`")
            )),
        }
    }
}

/// The address of a repository.
struct Url(String);

impl FromStr for Url {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let scheme = SCHEMES.into_iter().find(|scheme| text.starts_with(scheme));
        let Some(rest) = scheme.filter(|_| plain(text).is_ok()).and_then(|scheme| text.strip_prefix(scheme)) else {
            let what = format!("a URL with {}", SCHEMES.map(|scheme| format!("`{scheme}`")).join(", "));
            return Err(format!("`{}`: {}", shown(text), expected(what)));
        };
        let host = rest.split('/').next().unwrap_or_default();
        let user = host.rsplit_once('@').map(|(user, _)| user);
        if user.is_some_and(|user| user.contains(':') || scheme != Some("ssh://")) {
            // Not shown: it holds the credentials.
            return Err(
                "it holds credentials, and everybody who may see the app would see them; they belong in the file \
                        that the agent's `limits.build.git_config` names"
                    .to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}
