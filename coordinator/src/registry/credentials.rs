//! Reads the credentials of a registry: from the configuration, from Docker's `config.json`, from a credential helper.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nightshift_core::docker_config::{Credentials, DockerConfig, Source};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Options;

/// Longest run of a credential helper: one that asks a cloud takes a second or two.
const HELPER_DEADLINE: Duration = Duration::from_secs(10);
/// Most that is read of a helper or of `config.json`, in bytes: both have a few hundred.
const READ_LIMIT_BYTES: u64 = 256 * 1024;
/// How a helper says that it has nothing.
const NOTHING: &str = "credentials not found";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperOutput {
    username: String,
    secret: String,
}

/// The credentials of a registry, if there are any. The error never repeats what was read.
pub(super) async fn of(options: &Options, registry: &str) -> Result<Option<Credentials>, String> {
    if let Some(configured) = options.credentials.get(registry) {
        return Ok(Some(configured.clone()));
    }
    let Some(path) = &options.docker_config else { return Ok(None) };
    let problem = |problem: String| format!("`{}`: {problem}", path.display());
    let text = read(path).await.map_err(|error| problem(error.to_string()))?;
    let config = DockerConfig::parse(&text).map_err(|error| problem(error.to_string()))?;
    match config.source(registry) {
        Source::Nothing => Ok(None),
        Source::Inline(credentials) => Ok(Some(credentials)),
        Source::Helper { name, server } => {
            let program = format!("docker-credential-{name}");
            let asked = timeout(HELPER_DEADLINE, ask(&program, &server)).await;
            asked.unwrap_or_else(|_| Err("it takes too long".into())).map_err(|error| format!("`{program}`: {error}"))
        }
    }
}

async fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    tokio::fs::File::open(path).await?.take(READ_LIMIT_BYTES).read_to_string(&mut text).await?;
    Ok(text)
}

async fn ask(program: &str, server: &str) -> Result<Option<Credentials>, String> {
    // Whatever it complains about may hold a secret: nothing of that is passed on.
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot be run: {error}"))?;
    let output = talk(&mut child, server).await.map_err(|error| format!("does not answer: {error}"))?;
    let status = child.wait().await.map_err(|error| format!("does not end: {error}"))?;
    if !status.success() {
        return if output.contains(NOTHING) { Ok(None) } else { Err(format!("failed ({status})")) };
    }
    let found: HelperOutput = serde_json::from_str(&output).map_err(|_| "its answer is not understood".to_owned())?;
    Ok(Some(Credentials::from_helper(&found.username, &found.secret)))
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
        stdout.take(READ_LIMIT_BYTES).read_to_string(&mut output).await?;
    }
    Ok(output)
}
