//! `nightshift agent`: the role on each Docker host.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use nightshift_agent::config::{self, AgentConfig, JoinToken, LimitsConfig, SignedConfig};
use nightshift_agent::limits::BuildLimits;
use nightshift_agent::service::{self, Options};

use crate::failure::{Exit, Failure};
use crate::role;

/// Where Linux says the host's name.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// Arguments of `nightshift agent`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Agent file; `docs/configuration.md` has every key
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the role.
///
/// # Errors
/// It could not start, or ended by itself.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let config = absolute(&args.config, role::read_config("agent file", &args.config, config::read)?);
    role::start_log(&config.log)?;
    let options = Options::from_config(config, &host_name()).map_err(|error| role::unusable(&error))?;
    role::run(async move |shutdown| service::run(options, shutdown).await.map_err(|error| role::failed(&error)))
}

/// The configuration with paths meant from where its file lies.
fn absolute(file: &Path, config: AgentConfig) -> AgentConfig {
    let join_token = config.join_token.map(|token| match token {
        JoinToken::File(path) => JoinToken::File(role::beside(file, path)),
        JoinToken::Inline(secret) => JoinToken::Inline(secret),
    });
    let signed = config.limits.signed.into_iter().map(|SignedConfig { images, key_files }| {
        let key_files = key_files.into_iter().map(|path| role::beside(file, path)).collect();
        SignedConfig { images, key_files }
    });
    let build = config
        .limits
        .build
        .map(|build| BuildLimits { git_config: build.git_config.map(|path| role::beside(file, path)), ..build });
    let limits = LimitsConfig { allow_images: config.limits.allow_images, signed: signed.collect(), build };
    AgentConfig {
        limits,
        data_dir: role::beside(file, config.data_dir),
        docker_config: config.docker_config.map(|path| role::beside(file, path)),
        join_token,
        ..config
    }
}

fn host_name() -> String {
    std::fs::read_to_string(HOST_NAME_FILE).unwrap_or_default().trim().to_owned()
}
