//! Agent files: what one node's agent is told by its host's operator, and the limits that no coordinator can widen.
//!
//! Every key is in `docs/configuration.md`. Relative paths are relative to the folder of the file: the shell that opened it
//! resolves them, and fills in what is `None` here (host name, docker's own files).

mod build;

use std::path::PathBuf;

use nightshift_core::config::{self, CoordinatorUrl, ImagePattern, LogConfig, Problems, Secret, Table};
use nightshift_core::ids::NodeName;
use nightshift_core::labels::{Labels, Selector};
use nightshift_core::signature::KEY_LIMIT;

use crate::engine::DockerEngine;
use crate::limits::BuildLimits;

/// Where agents keep their certificate and journal.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/nightshift/agent";
/// Where Docker listens.
pub const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";

/// Most labels of a node: they are compared for each app and shown in one line.
const LABEL_LIMIT: usize = 100;

/// The settings of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Where the coordinator listens.
    pub coordinator: CoordinatorUrl,
    /// This node's name; `None`: the host's name.
    pub node: Option<NodeName>,
    /// This node's labels, for the selectors of apps.
    pub labels: Labels,
    /// The engine's URL in its full form.
    pub engine: String,
    /// Where the agent keeps what must survive a restart.
    pub data_dir: PathBuf,
    /// What the agent shows to join the fleet; not needed once it has.
    pub join_token: Option<JoinToken>,
    /// Docker's `config.json` with the credentials for pulls; `None`: that of the user who runs the agent.
    pub docker_config: Option<PathBuf>,
    /// What the agent refuses, whoever asks.
    pub limits: LimitsConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// Where the join token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinToken {
    /// In the agent file itself.
    Inline(Secret),
    /// In a file of its own, which can be removed after the first start.
    File(PathBuf),
}

/// What an agent refuses, whoever asks. With the keys read it becomes [`crate::limits::Limits`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitsConfig {
    /// Repositories that may run here; empty: any.
    pub allow_images: Vec<ImagePattern>,
    /// Images that must be signed.
    pub signed: Vec<SignedConfig>,
    /// What may be built here; `None`: nothing.
    pub build: Option<BuildLimits>,
}

/// Images that must be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedConfig {
    /// Which.
    pub images: Vec<ImagePattern>,
    /// Files (PEM) with the keys of which one must have signed.
    pub key_files: Vec<PathBuf>,
}

/// Reads an agent file. `file` is used in messages alone.
///
/// # Errors
/// Everything that is wrong with the file, each with its place and what is allowed.
pub fn read(file: &str, text: &str) -> Result<AgentConfig, Problems> {
    config::read(file, text, agent)
}

fn agent(file: &mut Table<'_>) -> Option<AgentConfig> {
    let coordinator = file.required("coordinator");
    let node = file.optional("node");
    let labels = labels(file);
    let engine = engine(file);
    let data_dir = file.optional("data_dir").unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    let join_token = join_token(file);
    let docker_config = file.optional("docker_config");
    let limits = file.table("limits", |limits| LimitsConfig {
        allow_images: limits.list("allow_images").unwrap_or_default(),
        signed: limits.tables("signed", signed),
        build: limits.table("build", build::read).flatten(),
    });
    let log = config::log(file);
    Some(AgentConfig {
        coordinator: coordinator?,
        node,
        labels,
        engine,
        data_dir,
        join_token,
        docker_config,
        limits: limits.unwrap_or_default(),
        log,
    })
}

fn signed(table: &mut Table<'_>) -> Option<SignedConfig> {
    for key in ["images", "key_files"] {
        table.require(key);
    }
    let images: Option<Vec<ImagePattern>> = table.list("images");
    let key_files: Option<Vec<PathBuf>> = table.list("key_files");
    // Either of them empty would look like a limit and be none, or one that nothing can satisfy.
    for (key, entries) in [("images", images.as_ref().map(Vec::len)), ("key_files", key_files.as_ref().map(Vec::len))] {
        let name = table.full(key);
        match entries {
            Some(0) => table.problem(key, &format!("`{name}` is empty, allowed is one entry or more"), None),
            Some(found) if found > KEY_LIMIT => {
                table.problem(key, &format!("`{name}` has {found} entries, allowed are up to {KEY_LIMIT}"), None);
            }
            Some(_) | None => {}
        }
    }
    Some(SignedConfig { images: images?, key_files: key_files? })
}

fn labels(file: &mut Table<'_>) -> Labels {
    let labels = file.labels("labels");
    if labels.len() > LABEL_LIMIT {
        file.problem(
            "labels",
            &format!("`labels` has {} entries, allowed are up to {LABEL_LIMIT}", labels.len()),
            None,
        );
    }
    for (key, value) in &labels {
        if format!("{key}={value}").parse::<Selector>().is_err() {
            let message = format!(
                "`labels` has `{key}` with a key or value that no selector can name, allowed are texts that are not empty, \
                 without space and without `= ! ,`"
            );
            file.problem("labels", &message, None);
        }
    }
    labels
}

fn engine(file: &mut Table<'_>) -> String {
    let engine: Option<String> = file.optional("engine");
    let engine = engine.unwrap_or_else(|| DEFAULT_ENGINE.to_owned());
    if engine.contains('@') {
        // What stands before an `@` can be a password, which no message shows.
        let message = "`engine` has an `@`, allowed are `unix:///path/to.sock`, `/path/to.sock` and `tcp://host:port`";
        file.problem("engine", message, None);
        return engine;
    }
    file.check("engine", DockerEngine::check_url(&engine)).unwrap_or(engine)
}

fn join_token(file: &mut Table<'_>) -> Option<JoinToken> {
    let inline = file.optional("join_token").map(JoinToken::Inline);
    let own_file = file.optional("join_token_file").map(JoinToken::File);
    if inline.is_some() && own_file.is_some() {
        let message = "`join_token` and `join_token_file` are both there, allowed is one of them";
        file.problem("join_token_file", message, None);
    }
    inline.or(own_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "coordinator = 'https://coordinator.example:7443'\n";

    #[test]
    fn the_smallest_file_has_the_documented_defaults() {
        let config = read("agent.toml", SMALLEST).expect("valid");
        assert_eq!(
            config,
            AgentConfig {
                coordinator: "https://coordinator.example:7443".parse().expect("well formed"),
                node: None,
                labels: Labels::new(),
                engine: "unix:///var/run/docker.sock".into(),
                data_dir: "/var/lib/nightshift/agent".into(),
                join_token: None,
                docker_config: None,
                limits: LimitsConfig::default(),
                log: LogConfig::default(),
            }
        );
    }

    #[test]
    fn the_example_is_read() {
        let text = include_str!("../../examples/agent.toml");
        let config = read("agent.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        let patterns: Vec<String> = config.limits.allow_images.iter().map(ToString::to_string).collect();
        assert_eq!(patterns, ["registry.example/*"]);
    }

    #[test]
    fn every_problem_is_reported_and_no_secret() {
        let text = "coordinator = 'http://user:hunter2@coordinator.example'\nnode = 'my node'\nengine = 'http://docker'\n\
                    join_token = ' '\njoin_token_file = 7\nlable = {}\n[labels]\nrole = 'a b'\nzone = ''\n\
                    [limits]\nallow_images = ['Web', 'r.example/*', 3]\n[log]\nformat = 'jsno'\n";
        let problems = read("agent.toml", text).expect_err("has problems").to_string();
        assert!(!problems.contains("hunter2"));
        insta::assert_snapshot!(problems);
    }

    #[test]
    fn images_that_must_be_signed_name_keys_and_what_they_are_for() {
        let good = "[limits]\n[[limits.signed]]\nimages = ['r.example/*']\nkey_files = ['a.pub', '/b.pub']\n";
        let config = read("agent.toml", &format!("{SMALLEST}{good}")).expect("valid");
        let expect = SignedConfig {
            images: vec!["r.example/*".parse().expect("a pattern")],
            key_files: vec!["a.pub".into(), "/b.pub".into()],
        };
        assert_eq!(config.limits.signed, [expect]);
        for (wrong, expect) in [
            ("images = ['*']\n", "agent.toml:2:1: `limits.signed.key_files` is missing"),
            ("key_files = ['a']\n", "agent.toml:2:1: `limits.signed.images` is missing"),
            (
                "images = []\nkey_files = ['a']\n",
                "agent.toml:3:10: `limits.signed.images` is empty, allowed is one entry or more",
            ),
            (
                "images = ['*']\nkey_files = []\n",
                "agent.toml:4:13: `limits.signed.key_files` is empty, allowed is one entry or more",
            ),
        ] {
            let problems = read("agent.toml", &format!("{SMALLEST}[[limits.signed]]\n{wrong}")).expect_err(wrong);
            assert_eq!(problems.to_string(), expect);
        }
    }

    #[test]
    fn a_join_token_is_in_one_place_and_never_shown() {
        let config = read("agent.toml", &format!("{SMALLEST}join_token = 'hunter2'")).expect("valid");
        assert!(!format!("{config:?}").contains("hunter2"));
        let both = format!("{SMALLEST}join_token = 'hunter2'\njoin_token_file = 'join'\n");
        let problems = read("agent.toml", &both).expect_err("both").to_string();
        let expect = "agent.toml:3:19: `join_token` and `join_token_file` are both there, allowed is one of them";
        assert_eq!(problems, expect);
    }

    #[test]
    fn the_documentation_names_every_key() {
        let page = include_str!("../../docs/configuration.md");
        let section = page.split("\n## ").find(|section| section.starts_with("Agent file")).expect("a section");
        for key in config::known_keys(agent) {
            assert!(section.contains(&format!("| `{key}` |")), "docs/configuration.md has no row for `{key}`");
        }
    }
}
