//! Addresses of git repositories, in the one strict form in which they can be judged.
//!
//! Two programs that read the same text differently are how a limit is passed by. So only plain addresses are taken: what
//! could be read in a second way (encoded characters, `..`, a user before the host) is refused, and git is given the text
//! that was judged.

use std::fmt;
use std::str::FromStr;

/// Longest address: longer ones name no repository of a person.
const URL_LIMIT_BYTES: usize = 1_000;
/// Characters of a path beside letters and digits. No `%`: nothing has to be decoded to be compared.
const PATH_MARKS: &str = "-._~+@,/";

/// How a repository is reached. Its name is also what git calls the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Over TLS.
    Https,
    /// In the clear.
    Http,
    /// By an SSH client.
    Ssh,
    /// On this node's disk.
    File,
}

/// The schemes by their names, with the port that need not be written.
const SCHEMES: [(&str, Scheme, Option<&str>); 4] = [
    ("https", Scheme::Https, Some("443")),
    ("http", Scheme::Http, Some("80")),
    ("ssh", Scheme::Ssh, Some("22")),
    ("file", Scheme::File, None),
];

impl Scheme {
    /// `https`, `http`, `ssh` or `file`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::File => "file",
        }
    }
}

/// The address of a repository. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUrl {
    scheme: Scheme,
    /// `host`, `host:port`, with SSH also `user@host`; the host in lower case, without the port that goes without saying.
    authority: String,
    /// From its first `/`.
    path: String,
}

/// Repositories that are allowed: one, or with a `/` at the end all below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitPrefix(GitUrl);

/// Text that is no address in this form. The text itself is shown only where it cannot hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {reason}, allowed is {ALLOWED}", shown.as_deref().unwrap_or("the address"))]
pub struct InvalidGitUrl {
    shown: Option<String>,
    reason: &'static str,
}

const ALLOWED: &str = "`https://host/path`, `http://host/path`, `ssh://user@host/path` or `file:///path`";

impl GitUrl {
    /// How the repository is reached.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        if text.len() > URL_LIMIT_BYTES {
            return Err("is too long");
        }
        let (scheme, rest) = text.split_once("://").ok_or("has no scheme")?;
        let known = SCHEMES.into_iter().find(|(name, ..)| name.eq_ignore_ascii_case(scheme));
        let (_, scheme, port) = known.ok_or("has another scheme")?;
        let (authority, path) = rest.split_at(rest.find('/').ok_or("has no path")?);
        check_path(path)?;
        Ok(Self { scheme, authority: read_authority(scheme, port, authority)?, path: path.to_owned() })
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.chars().all(|char| char.is_ascii_alphanumeric() || PATH_MARKS.contains(char)) {
        return Err("has a character in its path that is not one of `a-z A-Z 0-9 - . _ ~ + @ , /`");
    }
    let inner = path.strip_suffix('/').unwrap_or(path);
    if inner.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
        return Err("has an empty part, `.` or `..` in its path");
    }
    Ok(())
}

fn read_authority(scheme: Scheme, usual_port: Option<&str>, text: &str) -> Result<String, &'static str> {
    let (user, host) = match text.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, text),
    };
    match (scheme, user) {
        (Scheme::File, _) => return if text.is_empty() { Ok(String::new()) } else { Err("has a host") },
        (Scheme::Ssh, Some(user)) if is_word(user, "-._") => {}
        (Scheme::Ssh, Some(_)) => return Err("has a password or an odd user before the host"),
        // A token can be the user's name alone.
        (Scheme::Https | Scheme::Http, Some(_)) => {
            return Err("has credentials before the host (they belong in `limits.build.git_config`)");
        }
        (Scheme::Ssh | Scheme::Https | Scheme::Http, None) => {}
    }
    let (host, port) = match host.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (host, None),
    };
    if !is_word(host, "-.") {
        return Err("has no host name or IPv4 address");
    }
    if port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err()) {
        return Err("has a port that is no number");
    }
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let port = port.filter(|port| Some(*port) != usual_port).map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{user}{}{port}", host.to_ascii_lowercase()))
}

/// Letters and digits with these marks, not begun by one: a word that begins with `-` would be an option.
fn is_word(text: &str, marks: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || marks.contains(char))
}

fn invalid(text: &str, reason: &'static str) -> InvalidGitUrl {
    let harmless = text.len() <= URL_LIMIT_BYTES && !text.contains('@') && text.bytes().all(|b| b.is_ascii_graphic());
    InvalidGitUrl { shown: harmless.then(|| format!("`{text}`")), reason }
}

impl FromStr for GitUrl {
    type Err = InvalidGitUrl;
    fn from_str(text: &str) -> Result<Self, InvalidGitUrl> {
        let url = Self::read(text).map_err(|reason| invalid(text, reason))?;
        if url.path.ends_with('/') { Err(invalid(text, "names no repository: it ends in `/`")) } else { Ok(url) }
    }
}

impl FromStr for GitPrefix {
    type Err = InvalidGitUrl;
    fn from_str(text: &str) -> Result<Self, InvalidGitUrl> {
        GitUrl::read(text).map(Self).map_err(|reason| invalid(text, reason))
    }
}

impl GitPrefix {
    /// Whether this repository is the one that is meant, or one of those below.
    #[must_use]
    pub fn allows(&self, url: &GitUrl) -> bool {
        let Self(allowed) = self;
        let path_fits =
            if allowed.path.ends_with('/') { url.path.starts_with(&allowed.path) } else { url.path == allowed.path };
        url.scheme == allowed.scheme && url.authority == allowed.authority && path_fits
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), self.authority, self.path)
    }
}

impl fmt::Display for GitPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_allows_what_is_below_it_and_nothing_that_only_looks_so() {
        for (prefix, url, expect) in [
            ("https://git.example/", "https://git.example/acme/web.git", true),
            ("https://git.example/", "https://GIT.Example/acme/web", true),
            ("https://git.example/", "HTTPS://git.example:443/acme/web", true),
            ("https://git.example:443/", "https://git.example/acme/web", true),
            ("https://git.example/", "https://git.example:8443/acme/web", false),
            ("https://git.example/", "http://git.example/acme/web", false),
            ("https://git.example/", "https://git.example.evil/acme/web", false),
            ("https://git.example/", "https://evil/git.example/acme", false),
            ("https://git.example/acme/", "https://git.example/acme/web", true),
            ("https://git.example/acme/", "https://git.example/Acme/web", false),
            ("https://git.example/acme/", "https://git.example/acme", false),
            ("https://git.example/acme/", "https://git.example/acme-evil/web", false),
            ("https://git.example/acme/web", "https://git.example/acme/web", true),
            ("https://git.example/acme/web", "https://git.example/acme/web2", false),
            ("https://git.example/acme/web", "https://git.example/acme/web/x", false),
            ("ssh://git@git.example/", "ssh://git@git.example:22/web", true),
            ("ssh://git@git.example/", "ssh://root@git.example/web", false),
            ("ssh://git@git.example/", "ssh://git.example/web", false),
            ("file:///srv/git/", "file:///srv/git/web.git", true),
            ("file:///srv/git/", "file:///srv/gitea/web.git", false),
        ] {
            let allowed: GitPrefix = prefix.parse().expect(prefix);
            assert_eq!(allowed.allows(&url.parse().expect(url)), expect, "{prefix} and {url}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_address() {
        for (url, reason) in [
            ("https://git.example/acme/../evil", "has an empty part, `.` or `..` in its path"),
            ("https://git.example/acme/./web", "has an empty part, `.` or `..` in its path"),
            ("https://git.example//evil/web", "has an empty part, `.` or `..` in its path"),
            ("https://git.example/..", "has an empty part, `.` or `..` in its path"),
            ("https://git.example/acme/%2e%2e/evil", "has a character in its path"),
            ("https://git.example/acme/..\\evil", "has a character in its path"),
            ("https://git.example/web?x", "has a character in its path"),
            ("https://git.example/web#x", "has a character in its path"),
            ("https://git.example/web\n", "has a character in its path"),
            ("https://git.example@evil/web", "has credentials before the host"),
            ("https://ann:hunter2@git.example/web", "has credentials before the host"),
            ("https://hunter2@git.example/web", "has credentials before the host"),
            ("ssh://git:hunter2@git.example/web", "has a password or an odd user"),
            ("ssh://-oProxyCommand=x@git.example/web", "has a password or an odd user"),
            ("ssh://-oProxyCommand=x/web", "has no host name"),
            ("https://git.example\\@evil/web", "has credentials before the host"),
            ("https://git.example\\.evil/web", "has no host name"),
            ("https://git.ex%61mple/web", "has no host name"),
            ("https://gıt.example/web", "has no host name"),
            ("https://[::1]/web", "has no host name"),
            ("https:///web", "has no host name"),
            ("https://git.example:/web", "has a port that is no number"),
            ("https://git.example:+22/web", "has a port that is no number"),
            ("https://git.example:99999/web", "has a port that is no number"),
            ("https://git.example", "has no path"),
            ("https://git.example/", "names no repository"),
            ("https://git.example/acme/", "names no repository"),
            ("file://host/srv/git/web", "has a host"),
            ("git@git.example:acme/web", "has no scheme"),
            ("--upload-pack=x", "has no scheme"),
            ("ext://sh/-c/x", "has another scheme"),
            ("git://git.example/web", "has another scheme"),
            ("", "has no scheme"),
        ] {
            let error = url.parse::<GitUrl>().expect_err(url);
            assert!(error.reason.starts_with(reason), "{url}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let long = format!("https://git.example/{}", "x".repeat(URL_LIMIT_BYTES));
        assert_eq!(long.parse::<GitUrl>().expect_err("long").reason, "is too long");
    }

    #[test]
    fn git_is_given_the_text_that_was_judged() {
        for (written, expect) in [
            ("HTTPS://Git.Example:443/Acme/web.git", "https://git.example/Acme/web.git"),
            ("ssh://git@Git.Example:2222/~ann/web", "ssh://git@git.example:2222/~ann/web"),
            ("file:///srv/git/web", "file:///srv/git/web"),
        ] {
            let url: GitUrl = written.parse().expect(written);
            assert_eq!(url.to_string(), expect);
            assert_eq!(expect.parse::<GitUrl>().expect(expect), url);
        }
        let error = "git://git.example/web".parse::<GitUrl>().expect_err("another scheme").to_string();
        assert_eq!(
            error,
            "`git://git.example/web` has another scheme, allowed is `https://host/path`, `http://host/path`, \
             `ssh://user@host/path` or `file:///path`"
        );
    }
}
