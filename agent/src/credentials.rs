//! Credentials for pulls, where Docker's own command line finds them: `config.json` and credential helpers.
//!
//! The file is read anew at each pull, so that a login or a rotated password counts at once. What a file or a helper says
//! never reaches an error or a log.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use nightshift_core::docker_config::{self, DockerConfig, Source};
use nightshift_core::image::Repository;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::engine::RegistryAuth;
use crate::files;
use crate::worker::Credentials;

/// Longest run of a credential helper: one that asks a cloud takes a second or two.
const HELPER_DEADLINE: Duration = Duration::from_secs(10);
/// Most that is read of a helper, in bytes: a token is a few kilobytes.
const OUTPUT_LIMIT_BYTES: u64 = 256 * 1024;
/// How a helper says that it has nothing.
const NOTHING: &str = "credentials not found";

/// Docker's `config.json` of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerCredentials {
    path: Option<PathBuf>,
    /// Whether somebody said that it is there.
    configured: bool,
}

impl DockerCredentials {
    /// The file that a configuration names: when it is missing, a pull says so.
    #[must_use]
    pub const fn of_file(path: PathBuf) -> Self {
        Self { path: Some(path), configured: true }
    }

    /// The file of the user who runs the agent (`DOCKER_CONFIG`, else `.docker` in the home directory), which need not
    /// exist.
    #[must_use]
    pub fn of_user() -> Self {
        let directory = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = directory("DOCKER_CONFIG").or_else(|| directory("HOME").map(|home| home.join(".docker")));
        Self { path: folder.map(|folder| folder.join("config.json")), configured: false }
    }

    /// No credentials at all.
    #[must_use]
    pub const fn none() -> Self {
        Self { path: None, configured: false }
    }

    fn read(&self, path: &Path) -> Result<DockerConfig, String> {
        let text = files::read(path).map_err(|error| error.to_string())?;
        let problem = |problem: &dyn std::fmt::Display| format!("`{}`: {problem}", path.display());
        match text {
            Some(text) => DockerConfig::parse(&text).map_err(|error| problem(&error)),
            None if self.configured => Err(problem(&"there is no such file; hint: see `docker_config`")),
            None => Ok(DockerConfig::default()),
        }
    }
}

#[async_trait]
impl Credentials for DockerCredentials {
    async fn find(&self, repository: &Repository) -> Result<Option<RegistryAuth>, String> {
        let Some(path) = &self.path else { return Ok(None) };
        let registry = repository.registry();
        let credentials = match self.read(path)?.source(registry) {
            Source::Nothing => return Ok(None),
            Source::Inline(credentials) => Some(credentials),
            Source::Helper { name, server } => {
                let program = format!("docker-credential-{name}");
                let asked = timeout(HELPER_DEADLINE, ask(&program, &server)).await;
                let late = |_| Err(format!("does not answer within {} s", HELPER_DEADLINE.as_secs()));
                asked.unwrap_or_else(late).map_err(|error| format!("`{program}` {error}"))?
            }
        };
        Ok(credentials.map(|credentials| auth(registry, credentials)))
    }
}

fn auth(registry: &str, credentials: docker_config::Credentials) -> RegistryAuth {
    let server = registry.to_owned();
    match credentials {
        docker_config::Credentials::Login { username, password } => {
            RegistryAuth::Password { server, username, password: password.expose().to_owned() }
        }
        docker_config::Credentials::IdentityToken(token) => {
            RegistryAuth::IdentityToken { server, token: token.expose().to_owned() }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

async fn ask(program: &str, server: &str) -> Result<Option<docker_config::Credentials>, String> {
    // What it complains about may hold a secret: nothing of that is passed on.
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot be run: {error}"))?;
    let output = talk(&mut child, server).await.map_err(|error| format!("does not answer: {error}"))?;
    let status = child.wait().await.map_err(|error| format!("does not end: {error}"))?;
    if !status.success() {
        return if output.contains(NOTHING) { Ok(None) } else { Err(format!("failed ({status})")) };
    }
    let answer: Answer =
        serde_json::from_str(&output).map_err(|_| "gave an answer that is not understood".to_owned())?;
    Ok(Some(docker_config::Credentials::from_helper(&answer.username, &answer.secret)))
}

async fn talk(child: &mut Child, server: &str) -> std::io::Result<String> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(server.as_bytes()).await {
            // It ended without reading: what it printed and its status say more.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            other => other?,
        }
    }
    let mut output = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(OUTPUT_LIMIT_BYTES).read_to_string(&mut output).await?;
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn find(config: &DockerCredentials, repository: &str) -> Result<Option<RegistryAuth>, String> {
        config.find(&repository.parse().unwrap()).await
    }

    fn login(server: &str, password: &str) -> RegistryAuth {
        RegistryAuth::Password { server: server.into(), username: "ann".into(), password: password.into() }
    }

    #[tokio::test]
    async fn each_pull_reads_the_file_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let config = DockerCredentials::of_file(path.clone());
        for (auth, password) in [("YW5uOm9uZQ==", "one"), ("YW5uOnR3bw==", "two")] {
            fs::write(&path, format!(r#"{{"auths": {{"r.example:5000": {{"auth": "{auth}"}}}}}}"#)).unwrap();
            assert_eq!(find(&config, "r.example:5000/web").await, Ok(Some(login("r.example:5000", password))));
        }
        assert_eq!(find(&config, "r.example/web").await, Ok(None));
    }

    #[tokio::test]
    async fn a_file_that_somebody_named_must_be_there_and_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let named = DockerCredentials::of_file(path.clone());
        let expect = format!("`{}`: there is no such file; hint: see `docker_config`", path.display());
        assert_eq!(find(&named, "r.example/web").await, Err(expect));
        let unnamed = DockerCredentials { path: Some(path.clone()), configured: false };
        assert_eq!(find(&unnamed, "r.example/web").await, Ok(None));
        assert_eq!(find(&DockerCredentials::none(), "r.example/web").await, Ok(None));
        fs::write(&path, r#"{"auths": {"r.example": {"auth": "s3cret-word"}}}"#).unwrap();
        let error = find(&named, "r.example/web").await.expect_err("no base64");
        assert!(error.contains("`auth` of `r.example` is not the base64") && !error.contains("s3cret"), "{error}");
    }

    #[tokio::test]
    async fn a_helpers_answer_is_used_and_its_complaints_are_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        for (script, expect) in [
            (
                "read server; echo \"{\\\"ServerURL\\\": \\\"$server\\\", \\\"Username\\\": \\\"ann\\\", \\\"Secret\\\": \\\"for $server\\\"}\"",
                Ok(Some(login("r.example", "for r.example"))),
            ),
            ("echo credentials not found in native keychain; exit 1", Ok(None)),
            ("echo s3cret-word; echo s3cret-word >&2; exit 3", Err("failed (exit status: 3)".to_owned())),
            ("echo s3cret-word", Err("gave an answer that is not understood".to_owned())),
        ] {
            let helper = folder.path().join("helper");
            fs::write(&helper, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&helper, fs::Permissions::from_mode(0o700)).unwrap();
            let answer = ask(helper.to_str().unwrap(), "r.example").await;
            assert_eq!(answer.map(|found| found.map(|found| auth("r.example", found))), expect, "{script}");
        }
        let error = ask("/nowhere/docker-credential-x", "r").await.expect_err("no program");
        assert_eq!(error, "cannot be run: No such file or directory (os error 2)");
    }
}
