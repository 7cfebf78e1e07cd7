//! Coordinator files: where the coordinator listens, what it keeps, and how it reaches registries.
//!
//! Every key is in `docs/configuration.md`. Relative paths are relative to the folder of the file: the shell that opened it
//! resolves them, and fills in what is `None` here. No file holds a password: passwords are in files of their own.

mod secrets;
mod webhooks;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use nightshift_core::config::{self, Host, LogConfig, Problems, RegistryHost, Table};
use nightshift_core::duration;

pub use secrets::{SecretConfig, SecretSource};
pub use webhooks::{Proof, Sender, WebhookConfig};

/// Where the coordinator keeps its events and its certificate authority.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/nightshift/coordinator";
/// Where agents and people reach the coordinator.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7443);
/// How long a node may be silent before it counts as unknown.
pub const DEFAULT_UNKNOWN_AFTER: Duration = Duration::from_secs(120);
/// How often agents say that they live.
pub const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// How often a repository is looked at.
pub const DEFAULT_WATCH_INTERVAL: Duration = Duration::from_secs(60);

/// How many heartbeats may be lost before a node counts as unknown: one late packet is no alarm.
const HEARTBEATS_UNTIL_UNKNOWN: u32 = 3;
/// Most registries and most names: a fleet has a handful.
const LIST_LIMIT: usize = 100;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// Slowest heartbeat: a lost node is to be seen within minutes.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(300);

/// The settings of a coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// Where the coordinator keeps what must survive a restart.
    pub data_dir: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Hosts in its certificate, each once; `localhost` and `127.0.0.1` are always among them.
    pub names: Vec<Host>,
    /// How long a node may be silent before its step counts as unknown and someone is told.
    pub unknown_after: Duration,
    /// How often agents say that they live.
    pub heartbeat_interval: Duration,
    /// How registries are watched.
    pub watch: WatchConfig,
    /// Docker's `config.json` with credentials for registries; `None`: that of the user who runs the coordinator.
    pub docker_config: Option<PathBuf>,
    /// Registries that need more than the defaults.
    pub registries: Vec<RegistryConfig>,
    /// Registries that tell of pushes.
    pub webhooks: Vec<WebhookConfig>,
    /// What triggers of rebuilds may send.
    pub secrets: Vec<SecretConfig>,
    /// Certificates (PEM) that are trusted for CI systems besides the system's.
    pub trigger_ca: Option<PathBuf>,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// How registries are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchConfig {
    /// How often a repository is looked at.
    pub interval: Duration,
}

/// How one registry is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Which one, as image references name it.
    pub host: RegistryHost,
    /// Whether it speaks HTTP without TLS.
    pub plain_http: bool,
    /// Certificates (PEM) that are trusted for it besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Who logs in; without it docker's `config.json` is asked.
    pub login: Option<RegistryLogin>,
}

/// Who logs in at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryLogin {
    /// The name.
    pub username: String,
    /// The file that holds the password.
    pub password_file: PathBuf,
}

impl CoordinatorConfig {
    /// What is configured for a registry, if anything.
    #[must_use]
    pub fn registry(&self, host: &str) -> Option<&RegistryConfig> {
        self.registries.iter().find(|registry| registry.host.as_str() == host)
    }
}

/// Reads a coordinator file. `file` is used in messages alone.
///
/// # Errors
/// Everything that is wrong with the file, each with its place and what is allowed.
pub fn read(file: &str, text: &str) -> Result<CoordinatorConfig, Problems> {
    config::read(file, text, coordinator)
}

fn coordinator(file: &mut Table<'_>) -> Option<CoordinatorConfig> {
    let data_dir = file.optional("data_dir").unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    let listen = listen(file);
    let names = names(file);
    let unknown_after = file.duration("unknown_after", SECOND..=DAY).unwrap_or(DEFAULT_UNKNOWN_AFTER);
    let heartbeat_interval =
        file.duration("heartbeat_interval", SECOND..=HEARTBEAT_LIMIT).unwrap_or(DEFAULT_HEARTBEAT_INTERVAL);
    let least = heartbeat_interval * HEARTBEATS_UNTIL_UNKNOWN;
    if unknown_after < least {
        let [found, least] = [unknown_after, least].map(duration::format);
        let message = format!(
            "`unknown_after` is {found}, allowed is {least} or more: {HEARTBEATS_UNTIL_UNKNOWN} times `heartbeat_interval`"
        );
        file.problem("unknown_after", &message, None);
    }
    let watch = file.table("watch", |watch| watch.duration("interval", SECOND..=DAY)).flatten();
    let docker_config = file.optional("docker_config");
    let registries = registries(file);
    let webhooks = webhooks::webhooks(file);
    let secrets = secrets::secrets(file);
    let trigger_ca = secrets::trigger_ca(file);
    let log = config::log(file);
    Some(CoordinatorConfig {
        data_dir,
        listen,
        names,
        unknown_after,
        heartbeat_interval,
        watch: WatchConfig { interval: watch.unwrap_or(DEFAULT_WATCH_INTERVAL) },
        docker_config,
        registries,
        webhooks,
        secrets,
        trigger_ca,
        log,
    })
}

fn listen(file: &mut Table<'_>) -> SocketAddr {
    let text: Option<String> = file.optional("listen");
    let Some(text) = text else { return DEFAULT_LISTEN };
    let address = text.parse().map_err(|_| {
        let shown: String = text.chars().take(60).collect();
        format!("`{shown}` is no address, allowed is an IP address and a port, such as `0.0.0.0:7443` or `[::]:7443`")
    });
    file.check("listen", address).unwrap_or(DEFAULT_LISTEN)
}

fn names(file: &mut Table<'_>) -> Vec<Host> {
    let configured: Vec<Host> = file.list("names").unwrap_or_default();
    if configured.len() > LIST_LIMIT {
        file.problem(
            "names",
            &format!("`names` has {} entries, allowed are up to {LIST_LIMIT}", configured.len()),
            None,
        );
    }
    let local = [Host::Name("localhost".to_owned()), Host::Address(Ipv4Addr::LOCALHOST.into())];
    let mut names: Vec<Host> = Vec::new();
    for name in configured.into_iter().chain(local) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn registries(file: &mut Table<'_>) -> Vec<RegistryConfig> {
    let mut seen: Vec<RegistryHost> = Vec::new();
    file.tables("registry", |table| {
        let registry = registry(table)?;
        if seen.contains(&registry.host) {
            let message = format!("`registry.host` names `{}` twice, allowed is once", registry.host);
            table.problem("host", &message, None);
        } else if seen.len() >= LIST_LIMIT {
            table.problem("host", &format!("more than {LIST_LIMIT} registries, allowed are up to {LIST_LIMIT}"), None);
        }
        seen.push(registry.host.clone());
        Some(registry)
    })
}

fn registry(table: &mut Table<'_>) -> Option<RegistryConfig> {
    let host = table.required("host");
    let plain_http = table.flag("plain_http").unwrap_or(false);
    let ca_file: Option<PathBuf> = table.optional("ca_file");
    let username: Option<String> = table.optional("username");
    let password_file: Option<PathBuf> = table.optional("password_file");
    let hint = "write it into a file that only Nightshift may read, and name that file as `password_file`";
    table.refuse("password", "a password in this file is not allowed", Some(hint));
    if plain_http && ca_file.is_some() {
        let message = "`registry.ca_file` has no meaning with `plain_http = true`, allowed is one of them";
        table.problem("ca_file", message, None);
    }
    let login = match (username, password_file) {
        (Some(username), Some(password_file)) => Some(RegistryLogin { username, password_file }),
        (None, None) => None,
        (Some(_), None) => {
            table.require("password_file");
            None
        }
        (None, Some(_)) => {
            table.require("username");
            None
        }
    };
    Some(RegistryConfig { host: host?, plain_http, ca_file, login })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        read("coordinator.toml", text).expect_err("has problems").to_string()
    }

    #[test]
    fn an_empty_file_has_the_documented_defaults() {
        let expect = CoordinatorConfig {
            data_dir: "/var/lib/nightshift/coordinator".into(),
            listen: "0.0.0.0:7443".parse().expect("well formed"),
            names: ["localhost", "127.0.0.1"].map(|name| name.parse().expect("well formed")).into(),
            unknown_after: Duration::from_secs(120),
            heartbeat_interval: Duration::from_secs(5),
            watch: WatchConfig { interval: Duration::from_secs(60) },
            docker_config: None,
            registries: Vec::new(),
            webhooks: Vec::new(),
            secrets: Vec::new(),
            trigger_ca: None,
            log: LogConfig::default(),
        };
        assert_eq!(read("coordinator.toml", ""), Ok(expect));
    }

    #[test]
    fn the_example_is_read() {
        let text = include_str!("../../examples/coordinator.toml");
        let config = read("coordinator.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        let names: Vec<String> = config.names.iter().map(Host::to_string).collect();
        assert_eq!(names, ["coordinator.example", "localhost", "127.0.0.1"]);
        assert!(config.registry("registry.example").is_some_and(|registry| registry.login.is_some()));
        assert!(config.registry("other.example").is_none());
        assert_eq!(config.webhooks.len(), 1);
    }

    #[test]
    fn every_problem_is_reported_and_no_secret() {
        let text = "listen = 'localhost'\nnames = ['coordinator.example', 'https://x', '10.0.0.300']\nunknown_after = '10s'\n\
                    heartbeat_interval = '5s'\nport = 7443\n[watch]\ninterval = '500ms'\n\
                    [[registry]]\nhost = 'registry.example'\nusername = 'nightshift'\npassword = 'hunter2'\n\
                    [[registry]]\nhost = 'registry.example'\nplain_http = true\nca_file = 'ca.pem'\npassword_file = 'p'\n\
                    [[registry]]\nhost = 'https://registry.example'\n[log]\nfilter = 1\n";
        let problems = problems(text);
        assert!(!problems.contains("hunter2"));
        insta::assert_snapshot!(problems);
    }

    #[test]
    fn the_documentation_names_every_key() {
        let page = include_str!("../../docs/configuration.md");
        let section = page.split("\n## ").find(|section| section.starts_with("Coordinator file")).expect("a section");
        for key in config::known_keys(coordinator) {
            assert!(section.contains(&format!("| `{key}` |")), "docs/configuration.md has no row for `{key}`");
        }
    }
}
