//! `[hooks]` of an app file: what is called around a replacement.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Host, Table};
use crate::duration;
use crate::spec::{DEFAULT_HOOK_TIMEOUT, Hook, HookCall, Hooks};

/// Shortest time for a hook: with less, none would ever end in time on a busy machine.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Longest time for a hook: draining long downloads takes minutes; a step that waits for hours does not fit a night.
const TIMEOUT_LIMIT: Duration = Duration::from_secs(3_600);
/// Longest URL: what servers and proxies take in a request line at least.
const URL_LIMIT_BYTES: usize = 2_048;

pub(super) fn hooks(table: &mut Table<'_>) -> Hooks {
    let mut one = |key| table.text_or_table(key, from_text, from_table);
    Hooks { before: one("before"), drain: one("drain"), after: one("after") }
}

fn from_text(text: &str) -> Result<Hook, String> {
    let call = HookCall::Http { url: text.parse::<HookUrl>()?.0 };
    Ok(Hook { call, timeout: DEFAULT_HOOK_TIMEOUT })
}

fn from_table(table: &mut Table<'_>) -> Option<Hook> {
    let http = table.optional("http").map(|HookUrl(url)| HookCall::Http { url });
    let command: Option<Vec<String>> = table.list("exec");
    let timeout = table.duration("timeout", TIMEOUT_MIN..=TIMEOUT_LIMIT).unwrap_or(DEFAULT_HOOK_TIMEOUT);
    if command.as_ref().is_some_and(|command| command.first().is_none_or(String::is_empty)) {
        let message = format!("`{}` has no program, allowed is a program and its arguments", table.full("exec"));
        table.problem("exec", &message, Some("for example `exec = [\"/bin/drain\", \"--wait\"]`"));
        return None;
    }
    table.exactly_one(&["http", "exec"]);
    let call = http.or_else(|| command.map(|command| HookCall::Exec { command }))?;
    Some(Hook { call, timeout })
}

/// The URL of a hook. What stands in it is shown to everybody who may see the app, so it must not hold credentials.
struct HookUrl(String);

impl FromStr for HookUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let authority = rest.and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
        if authority.contains('@') {
            return Err(
                "a URL with credentials in it is refused, for everybody who may see the app would see them".into()
            );
        }
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains('#');
        if graphic && text.len() <= URL_LIMIT_BYTES && is_authority(authority) {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(60).collect();
        Err(format!("`{shown}` is no URL of a hook, allowed is `http://host:port/path` or `https://…`"))
    }
}

fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let port_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    port_good && bracketed.unwrap_or(host).parse::<Host>().is_ok()
}

/// A hook in a few words.
impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.call {
            HookCall::Http { url } => write!(f, "http {url}")?,
            HookCall::Exec { command } => write!(f, "exec {command:?}")?,
        }
        write!(f, " within {}", duration::format(self.timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_http_without_credentials() {
        for (text, good) in [
            ("http://lb.example/drain", true),
            ("https://lb.example:8443/drain?node=1", true),
            ("http://127.0.0.1:9000", true),
            ("http://[::1]:9000/x", true),
            ("http://user:secret@lb.example/", false),
            ("ftp://lb.example/", false),
            ("http://", false),
            ("http://lb example/", false),
            ("http://lb.example:0/", false),
            ("http://lb.example:99999/", false),
            ("http://lb.example/#part", false),
            ("lb.example/drain", false),
        ] {
            assert_eq!(text.parse::<HookUrl>().is_ok(), good, "{text}");
        }
        let refused = "http://user:secret@lb.example/".parse::<HookUrl>().err().expect("refused");
        assert!(!refused.contains("secret"), "{refused}");
    }
}
