//! `[[secret]]` and `[trigger]`: what triggers of rebuilds may send to which hosts, and whose certificates are trusted.
//!
//! App files travel and are stored, and many may write them. So they hold names alone; the value, and where it may be sent, is
//! for those to say who own the coordinator.

use std::path::PathBuf;

use nightshift_core::config::Table;
use nightshift_core::rebuild::template::SecretName;
use nightshift_core::rebuild::trigger::Origin;

/// Most secrets, and most hosts of one: a fleet has a handful of CI systems.
const LIST_LIMIT: usize = 100;

/// A secret that triggers may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretConfig {
    /// How app files call it.
    pub name: SecretName,
    /// Where its value is.
    pub source: SecretSource,
    /// Where it may be sent.
    pub hosts: Vec<Origin>,
}

/// Where the value of a secret is. It is read each time it is sent, so that it can be changed without a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// In a variable of the environment.
    Env(String),
}

pub(super) fn secrets(file: &mut Table<'_>) -> Vec<SecretConfig> {
    let mut seen: Vec<SecretName> = Vec::new();
    file.tables("secret", |table| {
        let secret = secret(table)?;
        if seen.contains(&secret.name) {
            table.problem("name", &format!("`secret.name` is `{}` twice, allowed is once", secret.name), None);
        } else if seen.len() >= LIST_LIMIT {
            table.problem("name", &format!("more than {LIST_LIMIT} secrets, allowed are up to {LIST_LIMIT}"), None);
        }
        seen.push(secret.name.clone());
        Some(secret)
    })
}

fn secret(table: &mut Table<'_>) -> Option<SecretConfig> {
    let name = table.required("name");
    let path: Option<PathBuf> = table.optional("file");
    let variable: Option<String> = table.optional("env");
    let hint = "write it into a file that only Nightshift may read, and name that file as `file`";
    table.refuse("value", "a secret in this file is not allowed", Some(hint));
    table.require("hosts");
    let hosts: Option<Vec<Origin>> = table.list("hosts");
    if let Some(hosts) = hosts.as_ref().filter(|hosts| hosts.is_empty() || hosts.len() > LIST_LIMIT) {
        let message = format!("`secret.hosts` has {} entries, allowed are 1 to {LIST_LIMIT}", hosts.len());
        table.problem("hosts", &message, None);
    }
    table.exactly_one(&["file", "env"]);
    if variable.as_ref().is_some_and(|name| name.is_empty() || name.contains(['=', '\0'])) {
        table.problem("env", "`secret.env` cannot be the name of a variable", None);
        return None;
    }
    let source = path.map(SecretSource::File).or_else(|| variable.map(SecretSource::Env))?;
    Some(SecretConfig { name: name?, source, hosts: hosts? })
}

pub(super) fn trigger_ca(file: &mut Table<'_>) -> Option<PathBuf> {
    file.table("trigger", |trigger| trigger.optional("ca_file")).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read;

    #[test]
    fn a_secret_has_a_source_and_hosts_that_it_may_be_sent_to() {
        let text = "[[secret]]\nname = 'travis'\nfile = 'travis-token'\nhosts = ['api.travis-ci.com']\n\
                    [[secret]]\nname = 'jenkins'\nenv = 'JENKINS'\nhosts = ['ci.example:8443', 'http://ci.example:8080']\n\
                    [trigger]\nca_file = 'ci-ca.pem'\n";
        let config = read("coordinator.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        let shown = config.secrets.iter().map(|secret| {
            let hosts: Vec<_> = secret.hosts.iter().map(ToString::to_string).collect();
            format!("{} {:?} {}", secret.name, secret.source, hosts.join(" "))
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                "travis File(\"travis-token\") https://api.travis-ci.com:443",
                "jenkins Env(\"JENKINS\") https://ci.example:8443 http://ci.example:8080",
            ]
        );
        assert_eq!(config.trigger_ca, Some(PathBuf::from("ci-ca.pem")));
    }

    #[test]
    fn every_problem_is_reported_and_no_secret() {
        let text = "[[secret]]\nname = 'a b'\nfile = 'f'\nhosts = ['x.example']\n\
                    [[secret]]\nname = 'a'\nfile = 'f'\nenv = 'E'\nvalue = 'hunter2'\nhosts = []\n\
                    [[secret]]\nname = 'a'\nenv = 'E=hunter2'\nhosts = ['https://x.example/path']\n\
                    [[secret]]\n";
        let problems = read("coordinator.toml", text).expect_err("has problems").to_string();
        assert!(!problems.contains("hunter2"), "{problems}");
        insta::assert_snapshot!(problems);
    }
}
