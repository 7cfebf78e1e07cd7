//! What an operator says of an image's self-test: where the candidate is launched, what runs it, and within which limits.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::labels::Selector;

/// The variable that switches an image's test tools on where the file names no other.
pub const TEST_VARIABLE: (&str, &str) = ("NIGHTSHIFT_TEST", "1");
/// Label by which an image names its own test, as a JSON list of program and arguments.
pub const TEST_LABEL: &str = "nightshift.self-test";
/// How long a test may take when the file says nothing.
pub const DEFAULT_TEST_TIMEOUT: Duration = Duration::from_secs(600);

/// The self-test of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// Nodes that may run it; never one without labels, so that no node runs an untested image unasked.
    pub test_nodes: Selector,
    /// Variables of the container.
    pub env: BTreeMap<String, String>,
    /// What decides.
    pub run: TestRun,
    /// How long it may take, from the container's start.
    #[serde(with = "crate::duration::text")]
    pub timeout: Duration,
    /// What the container may use.
    pub limits: TestLimits,
    /// Whether the container may reach beyond its own network.
    pub internet: bool,
}

/// What decides whether an image passes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestRun {
    /// The image knows: the command of its label [`TEST_LABEL`] inside the ready container; without that label the container,
    /// started as it is, ends by itself with 0.
    #[default]
    Image,
    /// A command inside the ready container ends with 0.
    Command(Vec<String>),
    /// The container, started with this in place of the image's entrypoint, ends with 0.
    Entrypoint(Vec<String>),
}

/// What the container of a test may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestLimits {
    /// Memory, swap included.
    pub memory: Memory,
    /// Thousandths of one processor.
    pub cpus_milli: u32,
    /// Processes and threads.
    pub pids: u32,
}

impl Default for TestLimits {
    /// Enough for a web service and its tests, and little enough that the node's own services notice nothing.
    fn default() -> Self {
        Self { memory: Memory(1 << 30), cpus_milli: 1_000, pids: 512 }
    }
}

/// An amount of memory in bytes, written as Docker writes it: `512m`, `2g`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Memory(pub u64);

/// Text that is no amount of memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no amount of memory: allowed is a whole number with `k`, `m` or `g`, such as `512m`")]
pub struct InvalidMemory(String);

/// The units, the largest first.
const UNITS: [(char, u64); 3] = [('g', 1 << 30), ('m', 1 << 20), ('k', 1 << 10)];

impl FromStr for Memory {
    type Err = InvalidMemory;
    fn from_str(text: &str) -> Result<Self, InvalidMemory> {
        let read = || {
            let (_, unit) = UNITS.into_iter().find(|(letter, _)| text.ends_with(*letter))?;
            let digits = &text[..text.len() - 1];
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(unit)
        };
        read().map(Self).ok_or_else(|| InvalidMemory(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.into_iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit));
        match whole {
            Some((letter, unit)) => write!(f, "{}{letter}", self.0 / unit),
            // Only whole kibibytes can be written: what comes from elsewhere is rounded up.
            None => write!(f, "{}k", self.0.div_ceil(1 << 10)),
        }
    }
}

impl TryFrom<String> for Memory {
    type Error = InvalidMemory;
    fn try_from(text: String) -> Result<Self, InvalidMemory> {
        text.parse()
    }
}

impl From<Memory> for String {
    fn from(memory: Memory) -> Self {
        memory.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_written_as_docker_writes_it() {
        for (text, bytes) in [("512m", 512 << 20), ("2g", 2 << 30), ("1536m", 1536 << 20), ("100k", 100 << 10)] {
            let memory: Memory = text.parse().expect(text);
            assert_eq!((memory.0, memory.to_string().as_str()), (bytes, text));
        }
        assert_eq!("1024m".parse::<Memory>().expect("good").to_string(), "1g");
        for bad in ["", "m", "512", "512M", "0x10m", "-1m", "+1m", "1.5g", "99999999999999999999g", "9999999999999g"] {
            assert!(bad.parse::<Memory>().is_err(), "{bad:?} was accepted");
        }
    }
}
