//! `nightshift coordinator`: the role on a control host.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use nightshift_coordinator::config::{self, CoordinatorConfig, SecretSource, WebhookConfig};
use nightshift_coordinator::secret::Secret;
use nightshift_coordinator::service::{Coordinator, Options};
use nightshift_coordinator::triggers::Secrets;
use nightshift_coordinator::{http, registry};
use nightshift_core::docker_config::Credentials;
use tokio_util::sync::CancellationToken;

use crate::context::{self, Target, read_limited};
use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::role;

/// Context file of the first person, in the data directory.
pub(super) const CONTEXT_FILE: &str = "context.toml";

/// The CA's certificate beside it, without anything secret: for CI and other machines.
const CA_FILE: &str = "ca.pem";

/// Arguments of `nightshift coordinator`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Coordinator file; `docs/configuration.md` has every key
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the role.
///
/// # Errors
/// It could not start, or ended by itself.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let config = role::read_config("coordinator file", &args.config, config::read)?;
    role::start_log(&config.log)?;
    let names: Vec<String> = config.names.iter().map(ToString::to_string).collect();
    let options = options(&args.config, config)?;
    role::run(async move |shutdown| serve(options, &names, shutdown).await)
}

async fn serve(options: Options, names: &[String], shutdown: CancellationToken) -> Result<(), Failure> {
    let data_dir = options.data_dir.clone();
    let coordinator = Coordinator::open(options).await.map_err(|error| role::failed(&error))?;
    let address = reachable(coordinator.address(), names);
    let file = write_context(&coordinator, &data_dir, &address).await?;
    tracing::info!(address = %coordinator.address(), context = %file.display(), "coordinator is ready");
    coordinator.run(shutdown).await.map_err(|error| role::failed(&error))
}

/// How people on this machine, or else by its first name, reach the coordinator.
fn reachable(address: SocketAddr, names: &[String]) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let remote = names.iter().find(|name| *name != "localhost" && *name != "127.0.0.1" && *name != "::1");
    format!("{}:{}", remote.map_or("localhost", String::as_str), address.port())
}

/// Makes sure that the first person has a way in: a context file with a token of role `admin`, kept over restarts.
///
/// # Errors
/// The token or the file cannot be made.
pub(super) async fn write_context(
    coordinator: &Coordinator,
    data_dir: &Path,
    address: &str,
) -> Result<PathBuf, Failure> {
    let file = std::path::absolute(data_dir.join(CONTEXT_FILE)).map_err(|error| role::failed(&error))?;
    let ca_file = data_dir.join(CA_FILE);
    std::fs::write(&ca_file, coordinator.ca_pem())
        .map_err(|error| Failure::failed(format!("`{}` cannot be written: {error}", ca_file.display())))?;
    let known = context::token_in(&file);
    let token = match known {
        Some(token) => token,
        // Somebody took the file away on purpose: whoever has a token of their own needs no other.
        None if coordinator.has_admin_token().await.map_err(|error| role::failed(&error))? => {
            note(&format!(
                "no context file is written: `{}` was removed, and tokens of role `admin` exist",
                file.display()
            ));
            return Ok(file);
        }
        None => {
            let secret = coordinator.admin_token("admin").await.map_err(|error| role::failed(&error))?;
            secret.expose().to_owned()
        }
    };
    let target = Target { server: format!("https://{address}"), token, ca_pem: coordinator.ca_pem().to_owned() };
    context::write(&file, &target)
        .map_err(|error| Failure::failed(format!("context file `{}` cannot be written: {error}", file.display())))?;
    Ok(file)
}

/// The settings of a file, with paths made absolute and secrets read.
fn options(file: &Path, config: CoordinatorConfig) -> Result<Options, Failure> {
    let mut credentials = BTreeMap::new();
    let mut insecure = std::collections::BTreeSet::new();
    let mut ca_files = BTreeMap::new();
    for registry in config.registries {
        let host = registry.host.as_str().to_owned();
        if registry.plain_http {
            insecure.insert(host.clone());
        }
        if let Some(ca) = registry.ca_file {
            ca_files.insert(host.clone(), role::beside(file, ca));
        }
        if let Some(login) = registry.login {
            let password = read_limited("password file", &role::beside(file, login.password_file))?;
            let password = password.trim_end_matches(['\n', '\r']);
            credentials.insert(host, Credentials::from_helper(&login.username, password));
        }
    }
    let webhooks = config.webhooks.into_iter().map(|webhook| with_secret(file, webhook)).collect::<Result<_, _>>()?;
    let mut secrets = config.secrets;
    for secret in &mut secrets {
        if let SecretSource::File(path) = &mut secret.source {
            *path = role::beside(file, std::mem::take(path));
        }
    }
    let docker_config = config.docker_config.map(|path| role::beside(file, path)).or_else(users_docker_config);
    Ok(Options {
        data_dir: role::beside(file, config.data_dir),
        listen: config.listen,
        names: config.names.iter().map(ToString::to_string).collect(),
        unknown_after: config.unknown_after,
        heartbeat_interval: config.heartbeat_interval,
        watch_interval: config.watch.interval,
        registry: registry::Options { insecure, ca_files, docker_config, credentials },
        http: http::Limits::default(),
        webhooks,
        secrets: Secrets::new(secrets),
        trigger_ca: config.trigger_ca.map(|path| role::beside(file, path)),
    })
}

/// A webhook with its secret, without the line's end that editors leave.
fn with_secret(file: &Path, webhook: WebhookConfig) -> Result<http::Webhook, Failure> {
    let path = role::beside(file, webhook.secret_file);
    let text = read_limited("secret file", &path)?;
    let key = http::Key::new(&Secret::new(text.trim_end_matches(['\n', '\r'])));
    let key = key.map_err(|weak| {
        let (rule, hint) = (weak.to_string(), weak.hint());
        Failure::usage(format!("the secret of webhook `{}` in `{}`: {rule}", webhook.name, path.display())).hint(hint)
    })?;
    Ok(http::Webhook { name: webhook.name, sender: webhook.sender, key })
}

/// Docker's `config.json` of the user who runs this, if there is one.
pub(super) fn users_docker_config() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".docker")))?;
    Some(folder.join("config.json")).filter(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_listens_everywhere_is_reached_by_name() {
        let address = |text: &str| text.parse().expect("an address");
        let names = ["localhost", "127.0.0.1", "control.example"].map(String::from);
        assert_eq!(reachable(address("0.0.0.0:7443"), &names), "control.example:7443");
        assert_eq!(reachable(address("0.0.0.0:7443"), &names[..2]), "localhost:7443");
        assert_eq!(reachable(address("127.0.0.1:7443"), &names), "127.0.0.1:7443");
    }

    #[test]
    fn a_secret_is_read_without_its_line_end_and_a_weak_one_is_refused_unseen() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("coordinator.toml");
        let read = |secret: &str| {
            std::fs::write(directory.path().join("secret"), secret).expect("written");
            let text = "[[webhook]]\nname = 'main'\nkind = 'generic'\nsecret_file = 'secret'\n";
            options(&file, config::read("coordinator.toml", text).expect("good"))
        };
        let options = read("0123456789abcdef\n").unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(options.webhooks[0].name, "main");
        assert!(!format!("{options:?}").contains("0123456789abcdef"));
        for weak in ["hunter2", "hunter2 with spaces in it", ""] {
            let refused = format!("{:?}", read(weak).expect_err("weak"));
            assert!(refused.contains("main") && refused.contains("openssl rand"), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
