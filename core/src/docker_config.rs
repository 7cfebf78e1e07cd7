//! Docker's `config.json`: where the credentials of a registry are to be found. Whoever wants them reads the file and runs
//! the helper; this says only which.
//!
//! The rules are those of the docker command line: a helper for this registry, else the store for all, else what stands in
//! the file itself.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use crate::image::DEFAULT_REGISTRY;
use crate::secret::Secret;

/// The name under which Docker keeps the credentials of its own registry.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// User name by which a helper says that the secret is an identity token.
const IDENTITY_TOKEN_USER: &str = "<token>";

/// What a registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User name and password.
    Login {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token that is exchanged for others.
    IdentityToken(Secret),
}

impl Credentials {
    /// Credentials as a helper prints them.
    #[must_use]
    pub fn from_helper(username: &str, secret: &str) -> Self {
        let secret = Secret::new(secret);
        if username == IDENTITY_TOKEN_USER {
            return Self::IdentityToken(secret);
        }
        Self::Login { username: username.to_owned(), password: secret }
    }
}

/// Where the credentials of one registry are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// There are none.
    Nothing,
    /// Here.
    Inline(Credentials),
    /// The program `docker-credential-NAME` has them.
    Helper {
        /// Its name, without `docker-credential-`.
        name: String,
        /// What it is asked for.
        server: String,
    },
}

/// A `config.json` that cannot be understood. Says where, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDockerConfig {
    /// It is no JSON of the right form.
    #[error("no valid `config.json`: line {line}, column {column}")]
    Json {
        /// Line of the problem, from 1.
        line: usize,
        /// Column of the problem, from 1.
        column: usize,
    },
    /// An `auth` is not the base64 of `user:password`.
    #[error("`auth` of `{0}` is not the base64 of `user:password`")]
    Auth(String),
    /// The name of a helper would be a path or worse.
    #[error("`{0}` is no name of a credential helper: allowed are `a-z A-Z 0-9 . _ -`")]
    Helper(String),
}

/// The part of a `config.json` that is about credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerConfig {
    inline: BTreeMap<String, Credentials>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

impl DockerConfig {
    /// Reads the file's text.
    ///
    /// # Errors
    /// It is no such file; the error does not repeat what stands in it.
    pub fn parse(text: &str) -> Result<Self, InvalidDockerConfig> {
        let file: File = serde_json::from_str(text)
            .map_err(|error| InvalidDockerConfig::Json { line: error.line(), column: error.column() })?;
        let mut inline = BTreeMap::new();
        for (key, auth) in file.auths {
            if let Some(credentials) = auth.credentials(&key)? {
                inline.insert(host_of(&key), credentials);
            }
        }
        let store = Some(file.creds_store).filter(|name| !name.is_empty());
        if let Some(wrong) = file.cred_helpers.values().chain(&store).find(|name| !is_helper_name(name)) {
            return Err(InvalidDockerConfig::Helper(wrong.chars().take(100).collect()));
        }
        let helpers = file.cred_helpers.into_iter().map(|(key, name)| (host_of(&key), name)).collect();
        Ok(Self { inline, helpers, store })
    }

    /// Where the credentials of this registry (host and optional port) are.
    #[must_use]
    pub fn source(&self, registry: &str) -> Source {
        let registry = host_of(registry);
        if let Some(name) = self.helpers.get(&registry).or(self.store.as_ref()) {
            let server = if registry == DEFAULT_REGISTRY { DOCKER_HUB_KEY.to_owned() } else { registry };
            return Source::Helper { name: name.clone(), server };
        }
        self.inline.get(&registry).cloned().map_or(Source::Nothing, Source::Inline)
    }
}

impl Auth {
    fn credentials(self, key: &str) -> Result<Option<Credentials>, InvalidDockerConfig> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::IdentityToken(Secret::new(self.identitytoken))));
        }
        if self.auth.is_empty() {
            let login = Credentials::Login { username: self.username, password: Secret::new(self.password) };
            return Ok(Some(login)
                .filter(|login| !matches!(login, Credentials::Login { username, .. } if username.is_empty())));
        }
        let wrong = || InvalidDockerConfig::Auth(key.chars().take(100).collect());
        let bytes = STANDARD.decode(&self.auth).or_else(|_| STANDARD_NO_PAD.decode(&self.auth)).map_err(|_| wrong())?;
        let text = String::from_utf8(bytes).map_err(|_| wrong())?;
        let (username, password) = text.split_once(':').ok_or_else(wrong)?;
        // Docker's own encoder may pad the password with zero bytes.
        let password = Secret::new(password.trim_end_matches('\0'));
        Ok(Some(Credentials::Login { username: username.to_owned(), password }))
    }
}

/// The registry that a key of the file means: old versions wrote whole addresses.
fn host_of(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = key.split('/').next().unwrap_or(key);
    match host {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY.to_owned(),
        other => other.to_owned(),
    }
}

fn is_helper_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(username: &str, password: &str) -> Source {
        Source::Inline(Credentials::Login { username: username.into(), password: Secret::new(password) })
    }

    fn helper(name: &str, server: &str) -> Source {
        Source::Helper { name: name.into(), server: server.into() }
    }

    #[test]
    fn credentials_are_found_where_docker_finds_them() {
        let inline = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpwOnE="}, "r.example:5000": {"auth": "dTpw"},
            "http://old.example/v1/": {"username": "u", "password": "p"}, "az.example": {"auth": "AAAA", "identitytoken": "t"},
            "empty.example": {}}, "HttpHeaders": {"x": "y"}}"#;
        let store = r#"{"auths": {"r.example": {}}, "credsStore": "pass"}"#;
        let helpers = r#"{"auths": {"r.example": {"auth": "dTpw"}}, "credHelpers": {"gcr.io": "gcloud"}}"#;
        for (text, registry, expect) in [
            (inline, "docker.io", login("u", "p:q")),
            (inline, "r.example:5000", login("u", "p")),
            (inline, "r.example", Source::Nothing),
            (inline, "old.example", login("u", "p")),
            (inline, "az.example", Source::Inline(Credentials::IdentityToken(Secret::new("t")))),
            (inline, "empty.example", Source::Nothing),
            (store, "r.example", helper("pass", "r.example")),
            (store, "docker.io", helper("pass", DOCKER_HUB_KEY)),
            (helpers, "gcr.io", helper("gcloud", "gcr.io")),
            (helpers, "r.example", login("u", "p")),
            ("{}", "docker.io", Source::Nothing),
        ] {
            assert_eq!(DockerConfig::parse(text).map(|config| config.source(registry)), Ok(expect), "{registry}");
        }
    }

    #[test]
    fn a_broken_file_is_refused_without_showing_what_stands_in_it() {
        for (text, expect) in [
            ("", "no valid `config.json`: line 1, column 0"),
            (r#"{"auths": {"r": {"auth": 7}}}"#, "no valid `config.json`: line 1, column 26"),
            (r#"{"auths": {"r": {"auth": "hunter2!"}}}"#, "`auth` of `r` is not the base64 of `user:password`"),
            (r#"{"auths": {"r": {"auth": "aHVudGVyMg=="}}}"#, "`auth` of `r` is not the base64 of `user:password`"),
            (
                r#"{"credsStore": "../../bin/sh"}"#,
                "`../../bin/sh` is no name of a credential helper: allowed are `a-z A-Z 0-9 . _ -`",
            ),
        ] {
            assert_eq!(DockerConfig::parse(text).map_err(|error| error.to_string()), Err(expect.to_owned()));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let config = DockerConfig::parse(r#"{"auths": {"r": {"auth": "dTpodW50ZXIy"}}}"#).expect("well formed");
        assert_eq!(config.source("r"), login("u", "hunter2"));
        assert!(!format!("{config:?} {:?}", config.source("r")).contains("hunter2"));
        let token = Credentials::from_helper("<token>", "hunter2");
        assert_eq!(format!("{token:?}"), "IdentityToken([redacted])");
    }
}
