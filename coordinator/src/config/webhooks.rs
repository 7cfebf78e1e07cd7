//! `[[webhook]]`: registries that tell of pushes, and how each proves who it is.

use std::path::PathBuf;

use nightshift_core::config::{RegistryHost, Table};

/// Most webhooks: a fleet has a handful of registries.
const LIST_LIMIT: usize = 100;
/// Longest name: it stands in an address.
const NAME_LIMIT_BYTES: usize = 63;
/// GitHub's own registry.
const GITHUB_REGISTRY: &str = "ghcr.io";

/// A registry that may tell of pushes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// The last part of its address: `/v1/hooks/registry/NAME`.
    pub name: String,
    /// What sends, and for which registry.
    pub sender: Sender,
    /// The file that holds the secret.
    pub secret_file: PathBuf,
}

/// What sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// The Distribution registry (`docker-registry`, `registry:2`).
    Distribution {
        /// Its host, as image references name it.
        registry: RegistryHost,
    },
    /// Docker Hub.
    DockerHub,
    /// GitHub, for its container registry.
    Github {
        /// Its registry, as image references name it.
        registry: RegistryHost,
    },
    /// Harbor.
    Harbor {
        /// Its host, as image references name it.
        registry: RegistryHost,
    },
    /// Amazon ECR, by an EventBridge rule and an API destination.
    Ecr {
        /// Its host, as image references name it.
        registry: RegistryHost,
    },
    /// Whoever can sign a body.
    Generic,
}

/// Where a sender puts its proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The secret in the header `Authorization`.
    Header,
    /// The secret in the address, as `?token=`: for who can send nothing else.
    Address,
    /// An HMAC of the body in the header `X-Hub-Signature-256`.
    Signature,
}

impl Sender {
    /// Where it puts its proof.
    #[must_use]
    pub const fn proof(&self) -> Proof {
        match self {
            Self::Distribution { .. } | Self::Harbor { .. } | Self::Ecr { .. } => Proof::Header,
            Self::DockerHub => Proof::Address,
            Self::Github { .. } | Self::Generic => Proof::Signature,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Distribution,
    DockerHub,
    Github,
    Harbor,
    Ecr,
    Generic,
}

const KINDS: [(&str, Kind); 6] = [
    ("distribution", Kind::Distribution),
    ("docker-hub", Kind::DockerHub),
    ("github", Kind::Github),
    ("harbor", Kind::Harbor),
    ("ecr", Kind::Ecr),
    ("generic", Kind::Generic),
];

pub(super) fn webhooks(file: &mut Table<'_>) -> Vec<WebhookConfig> {
    let mut seen: Vec<String> = Vec::new();
    file.tables("webhook", |table| {
        let webhook = webhook(table)?;
        if seen.contains(&webhook.name) {
            let message = format!("`webhook.name` is `{}` twice, allowed is once", webhook.name);
            table.problem("name", &message, None);
        } else if seen.len() >= LIST_LIMIT {
            table.problem("name", &format!("more than {LIST_LIMIT} webhooks, allowed are up to {LIST_LIMIT}"), None);
        }
        seen.push(webhook.name.clone());
        Some(webhook)
    })
}

fn webhook(table: &mut Table<'_>) -> Option<WebhookConfig> {
    let name = name(table);
    table.require("kind");
    let kind = table.one_of("kind", &KINDS);
    let registry: Option<RegistryHost> = table.optional("registry");
    let secret_file = table.required("secret_file");
    let hint = "write it into a file that only Nightshift may read, and name that file as `secret_file`";
    table.refuse("secret", "a secret in this file is not allowed", Some(hint));
    let sender = match kind? {
        Kind::Distribution => Sender::Distribution { registry: needed(table, registry)? },
        Kind::Harbor => Sender::Harbor { registry: needed(table, registry)? },
        Kind::Ecr => Sender::Ecr { registry: needed(table, registry)? },
        Kind::Github => {
            let usual = || GITHUB_REGISTRY.parse().expect("a host");
            Sender::Github { registry: registry.unwrap_or_else(usual) }
        }
        Kind::DockerHub => without(table, registry, "docker-hub", Sender::DockerHub),
        Kind::Generic => without(table, registry, "generic", Sender::Generic),
    };
    Some(WebhookConfig { name: name?, sender, secret_file: secret_file? })
}

fn name(table: &mut Table<'_>) -> Option<String> {
    let name: String = table.required("name")?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if plain && begins && name.len() <= NAME_LIMIT_BYTES {
        return Some(name);
    }
    let message = format!(
        "`webhook.name` is no name, allowed are 1 to {NAME_LIMIT_BYTES} of `A-Z a-z 0-9 . _ -`, first a letter or digit"
    );
    table.problem("name", &message, None);
    None
}

fn needed(table: &Table<'_>, registry: Option<RegistryHost>) -> Option<RegistryHost> {
    if registry.is_none() {
        table.require("registry");
    }
    registry
}

fn without(table: &Table<'_>, registry: Option<RegistryHost>, kind: &str, sender: Sender) -> Sender {
    if registry.is_some() {
        let message = format!("`webhook.registry` has no meaning with `kind = \"{kind}\"`, allowed is to leave it out");
        table.problem("registry", &message, None);
    }
    sender
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read;

    fn webhook(kind: &str, registry: Option<&str>) -> Result<Sender, String> {
        let registry = registry.map(|host| format!("registry = '{host}'\n")).unwrap_or_default();
        let text = format!("[[webhook]]\nname = 'main'\nkind = '{kind}'\nsecret_file = 'secret'\n{registry}");
        let mut config = read("coordinator.toml", &text).map_err(|problems| problems.to_string())?;
        let webhook = config.webhooks.pop().expect("one");
        assert_eq!((webhook.name.as_str(), webhook.secret_file), ("main", PathBuf::from("secret")));
        Ok(webhook.sender)
    }

    #[test]
    fn each_kind_has_the_registry_that_it_speaks_of() {
        let host = |text: &str| -> RegistryHost { text.parse().expect("a host") };
        let registry = host("registry.example:5000");
        for (kind, given, expect, proof) in [
            (
                "distribution",
                Some("registry.example:5000"),
                Sender::Distribution { registry: registry.clone() },
                Proof::Header,
            ),
            ("harbor", Some("registry.example:5000"), Sender::Harbor { registry: registry.clone() }, Proof::Header),
            ("ecr", Some("registry.example:5000"), Sender::Ecr { registry: registry.clone() }, Proof::Header),
            ("github", None, Sender::Github { registry: host("ghcr.io") }, Proof::Signature),
            ("github", Some("registry.example:5000"), Sender::Github { registry }, Proof::Signature),
            ("docker-hub", None, Sender::DockerHub, Proof::Address),
            ("generic", None, Sender::Generic, Proof::Signature),
        ] {
            assert_eq!(expect.proof(), proof);
            assert_eq!(webhook(kind, given), Ok(expect));
        }
    }

    #[test]
    fn every_problem_is_reported_and_no_secret() {
        let text = "[[webhook]]\nname = 'a/b'\nkind = 'distribution'\nsecret = 'hunter2-hunter2-hunter2'\n\
                    [[webhook]]\nname = 'twice'\nkind = 'quay'\nsecret_file = 's'\nurl = 'x'\n\
                    [[webhook]]\nname = 'twice'\nkind = 'docker-hub'\nregistry = 'docker.io'\nsecret_file = 's'\n\
                    [[webhook]]\nname = 'twice'\nkind = 'generic'\nregistry = 'https://r.example'\nsecret_file = 's'\n\
                    [[webhook]]\n";
        let problems = read("coordinator.toml", text).expect_err("has problems").to_string();
        assert!(!problems.contains("hunter2"));
        insta::assert_snapshot!(problems);
    }
}
