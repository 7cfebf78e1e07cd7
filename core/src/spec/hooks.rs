//! Hooks: what an operator wants to be called around the replacement of an instance, for example by a load balancer.
//!
//! They are called in this order, each at most once when all goes well and possibly again after a crash:
//! `before` anything of the instance is changed; `drain` before the old container stops; `after`, once an instance serves
//! again, be it the new one or, when it was taken back, the old one. So whatever `before` and `drain` took out of service,
//! `after` puts back.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Exit code of a command that means "not this time" (`EX_TEMPFAIL` of sysexits.h, as Watchtower has it).
pub const SKIP_EXIT_CODE: i64 = 75;
/// Answer of an HTTP hook that means the same: 425, Too Early (RFC 8470).
pub const SKIP_HTTP_STATUS: u16 = 425;
/// How long a hook may take when the file says nothing.
pub const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// The hooks of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Before anything of the instance is changed. Asked to skip or failing, it leaves the instance untouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Hook>,
    /// Before the old container stops. The call lasts as long as the draining does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Hook>,
    /// When an instance serves again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Hook>,
}

impl Hooks {
    /// The hook of a point, where there is one.
    #[must_use]
    pub const fn at(&self, point: HookPoint) -> Option<&Hook> {
        match point {
            HookPoint::Before => self.before.as_ref(),
            HookPoint::Drain => self.drain.as_ref(),
            HookPoint::After => self.after.as_ref(),
        }
    }

    /// Whether nothing is called.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Time that the hooks of one step may take at worst: `after` is called again when the instance is taken back.
    #[must_use]
    pub fn worst_case(&self) -> Duration {
        let of = |hook: &Option<Hook>| hook.as_ref().map_or(Duration::ZERO, |hook| hook.timeout);
        of(&self.before) + of(&self.drain) + of(&self.after) * 2
    }
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// What is called.
    pub call: HookCall,
    /// How long it may take; longer counts as failed.
    #[serde(with = "crate::duration::text")]
    pub timeout: Duration,
}

/// What a hook calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookCall {
    /// A POST from the agent with a JSON body that says what happens; 200 to 299 is good.
    Http {
        /// `http://…` or `https://…`.
        url: String,
    },
    /// A command inside the container (for `after`: the one that serves then); 0 is good.
    Exec {
        /// Program and arguments, no shell.
        command: Vec<String>,
    },
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// Before anything is changed.
    Before,
    /// Before the old container stops.
    Drain,
    /// When an instance serves again.
    After,
}

impl HookPoint {
    /// Every point, in order.
    pub const ALL: [Self; 3] = [Self::Before, Self::Drain, Self::After];

    /// The word in files and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Drain => "drain",
            Self::After => "after",
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_counts_after_twice() {
        let hook = |seconds| {
            let call = HookCall::Exec { command: vec!["true".to_owned()] };
            Some(Hook { call, timeout: Duration::from_secs(seconds) })
        };
        assert_eq!(Hooks::default().worst_case(), Duration::ZERO);
        let hooks = Hooks { before: hook(1), drain: hook(10), after: hook(100) };
        assert_eq!(hooks.worst_case(), Duration::from_secs(211));
        for point in HookPoint::ALL {
            assert!(hooks.at(point).is_some());
        }
    }
}
