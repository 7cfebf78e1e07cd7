//! Hooks of an app, as a step's order carries them.

use nightshift_core::spec::{Hook, HookCall, Hooks};

use super::field::{Error, Within as _, required, text};
use super::step::command;
use super::time::{duration, from_duration};
use crate::pb;

/// Longest URL, in bytes: what app files may have.
const URL_LIMIT_BYTES: usize = 2 * 1024;

impl From<&Hooks> for pb::Hooks {
    fn from(hooks: &Hooks) -> Self {
        let one = |hook: &Option<Hook>| hook.as_ref().map(pb::Hook::from);
        Self { before: one(&hooks.before), drain: one(&hooks.drain), after: one(&hooks.after) }
    }
}

impl TryFrom<pb::Hooks> for Hooks {
    type Error = Error;
    fn try_from(hooks: pb::Hooks) -> Result<Self, Error> {
        let one = |field: &str, hook: Option<pb::Hook>| hook.map(Hook::try_from).transpose().within(field);
        Ok(Self {
            before: one("before", hooks.before)?,
            drain: one("drain", hooks.drain)?,
            after: one("after", hooks.after)?,
        })
    }
}

impl From<&Hook> for pb::Hook {
    fn from(hook: &Hook) -> Self {
        use pb::hook::{Call, Exec, Http};
        let call = match &hook.call {
            HookCall::Http { url } => Call::Http(Http { url: url.clone() }),
            HookCall::Exec { command } => Call::Exec(Exec { command: command.clone() }),
        };
        Self { call: Some(call), timeout: Some(from_duration(hook.timeout)) }
    }
}

impl TryFrom<pb::Hook> for Hook {
    type Error = Error;
    fn try_from(hook: pb::Hook) -> Result<Self, Error> {
        use pb::hook::Call;
        let call = match required("call", hook.call)? {
            Call::Http(http) => HookCall::Http { url: text("http.url", http.url, URL_LIMIT_BYTES)? },
            Call::Exec(exec) => HookCall::Exec { command: command("exec.command", exec.command)? },
        };
        Ok(Self { call, timeout: duration("timeout", hook.timeout)? })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hooks() -> Hooks {
        let hook = |call| Some(Hook { call, timeout: Duration::from_secs(5) });
        Hooks {
            before: hook(HookCall::Http { url: "http://lb.example/before".to_owned() }),
            drain: hook(HookCall::Exec { command: vec!["drain".to_owned(), String::new()] }),
            after: None,
        }
    }

    #[test]
    fn hooks_survive_the_wire() {
        for hooks in [hooks(), Hooks::default()] {
            assert_eq!(Hooks::try_from(pb::Hooks::from(&hooks)), Ok(hooks));
        }
    }

    #[test]
    fn a_hook_without_a_field_is_refused_by_the_fields_name() {
        type Breaks = fn(&mut pb::Hook);
        let cases: [(&str, Breaks); 3] = [
            ("drain.call", |hook| hook.call = None),
            ("drain.timeout", |hook| hook.timeout = None),
            ("drain.exec.command", |hook| hook.call = Some(pb::hook::Call::Exec(pb::hook::Exec { command: vec![] }))),
        ];
        for (field, breaks) in cases {
            let mut wire = pb::Hooks::from(&hooks());
            breaks(wire.drain.as_mut().expect("there"));
            assert_eq!(Hooks::try_from(wire), Err(Error::missing(field)));
        }
    }
}
