//! Hosts in configuration files: the coordinator's address and names, and registries.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::image::Repository;

/// Longest DNS name, and longest part of one, in bytes: the limits of DNS.
const DNS_LIMIT_BYTES: usize = 253;
const DNS_PART_LIMIT_BYTES: usize = 63;

/// Text that names no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Neither a DNS name nor an address.
    #[error("`{0}` is no host, allowed are DNS names such as `coordinator.example` and IP addresses")]
    Host(String),
    /// No URL of a coordinator. What was found may hold credentials and is not shown.
    #[error("the address cannot be used, allowed is `https://host:port`, such as `https://coordinator.example:7443`")]
    Url,
    /// No registry's host.
    #[error(
        "`{0}` is no registry, allowed is the host as image references name it: `registry.example`, `127.0.0.1:5000`"
    )]
    Registry(String),
}

fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A DNS name in lower case, or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl FromStr for Host {
    type Err = InvalidHost;
    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let part_good = |part: &str| {
            (1..=DNS_PART_LIMIT_BYTES).contains(&part.len())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        // A name of digits and dots alone is a mistyped address.
        let good = text.len() <= DNS_LIMIT_BYTES
            && text.split('.').all(part_good)
            && text.bytes().any(|byte| byte.is_ascii_alphabetic());
        if good { Ok(Self::Name(text.to_ascii_lowercase())) } else { Err(InvalidHost::Host(excerpt(text))) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.pad(name),
            Self::Address(address) => fmt::Display::fmt(address, f),
        }
    }
}

/// Where a coordinator listens: `https://host:port`. There is no plaintext mode, and no default port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorUrl {
    host: Host,
    port: u16,
}

impl CoordinatorUrl {
    /// The host, which must stand in the coordinator's certificate.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for CoordinatorUrl {
    type Err = InvalidHost;
    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let authority = text.strip_prefix("https://").ok_or(InvalidHost::Url)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':').ok_or(InvalidHost::Url)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host: Host = bracketed.unwrap_or(host).parse().map_err(|_| InvalidHost::Url)?;
        let brackets_good = matches!(host, Host::Address(IpAddr::V6(_))) == bracketed.is_some();
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if port > 0 && digits && brackets_good => Ok(Self { host, port }),
            Ok(_) | Err(_) => Err(InvalidHost::Url),
        }
    }
}

impl fmt::Display for CoordinatorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "https://[{address}]:{}", self.port),
            Host::Address(IpAddr::V4(_)) | Host::Name(_) => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

/// A registry's host and optional port, just as [`Repository::registry`] says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegistryHost(String);

impl RegistryHost {
    /// The host as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegistryHost {
    type Err = InvalidHost;
    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let invalid = || InvalidHost::Registry(excerpt(text));
        // Asked of the parser of references, so that every registry that an app can name can be configured, and no other.
        let repository: Repository = format!("{text}/x").parse().map_err(|_| invalid())?;
        let plain = !text.contains('/') && matches!(repository.path(), "x" | "library/x");
        if plain { Ok(Self(repository.registry().to_owned())) } else { Err(invalid()) }
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        for good in ["localhost", "coordinator.example", "10.0.0.1", "::1", "a-1.b"] {
            assert_eq!(good.parse::<Host>().map(|host| host.to_string()), Ok(good.to_owned()));
        }
        assert_eq!("Coordinator.Example".parse::<Host>(), "coordinator.example".parse());
        for bad in ["", "a b", "-a", "a..b", "10.0.0.256", "1.2", "a:1", "https://a", &"x".repeat(64), "*.example"] {
            assert!(bad.parse::<Host>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_coordinator_is_reached_by_https_host_and_port_alone() {
        for good in ["https://coordinator.example:7443", "https://10.0.0.1:1", "https://[::1]:65535"] {
            assert_eq!(good.parse::<CoordinatorUrl>().map(|url| url.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "coordinator.example:7443",
            "http://coordinator.example:7443",
            "https://coordinator.example",
            "https://coordinator.example:0",
            "https://coordinator.example:+80",
            "https://coordinator.example:70000",
            "https://coordinator.example:7443/path",
            "https://user:hunter2@coordinator.example:7443",
            "https://::1:7443",
            "https://[10.0.0.1]:7443",
        ] {
            let error = bad.parse::<CoordinatorUrl>().expect_err(bad);
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn registries_are_named_as_in_references() {
        for (typed, expect) in [
            ("registry.example", "registry.example"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("localhost", "localhost"),
            ("docker.io", "docker.io"),
            ("index.docker.io", "docker.io"),
        ] {
            assert_eq!(typed.parse::<RegistryHost>().map(|host| host.to_string()), Ok(expect.to_owned()));
        }
        for bad in ["", "registry", "https://registry.example", "registry.example/web", "a b.example"] {
            assert!(bad.parse::<RegistryHost>().is_err(), "{bad:?} was accepted");
        }
    }
}
