//! What can go wrong with a call, on purpose.

use std::collections::VecDeque;

/// A call of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the method of the same name")]
pub enum Call {
    Info,
    List,
    Inspect,
    InspectImage,
    ListImages,
    Pull,
    Build,
    Push,
    Tag,
    RemoveImage,
    Create,
    ConnectNetwork,
    CreateNetwork,
    Networks,
    RemoveNetwork,
    SetRestartPolicy,
    Start,
    Stop,
    Pause,
    Unpause,
    Rename,
    Remove,
    Discard,
    DiscardWithVolumes,
    LogsTail,
    Exec,
    RunCommand,
    Events,
}

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The engine answers with an error and has done nothing.
    Refused {
        /// HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The engine never answers and never does it.
    Hang,
    /// The engine does it and never answers.
    DoneButHangs,
    /// The engine does it, and the connection breaks before the answer.
    DoneButReplyLost,
    /// The engine never sees the request: the connection cannot be opened.
    NotSent,
}

/// Faults that wait for their call.
#[derive(Debug, Default)]
pub(super) struct Faults {
    waiting: VecDeque<(Call, Fault)>,
    /// Those that struck, in order.
    pub(super) struck: Vec<(Call, Fault)>,
}

impl Faults {
    pub(super) fn add(&mut self, call: Call, fault: Fault) {
        self.waiting.push_back((call, fault));
    }

    /// The first fault that waits for this call: each strikes once.
    pub(super) fn take(&mut self, call: Call) -> Option<Fault> {
        let position = self.waiting.iter().position(|(waits_for, _)| *waits_for == call)?;
        let (call, fault) = self.waiting.remove(position)?;
        self.struck.push((call, fault.clone()));
        Some(fault)
    }

    /// None waits any more.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}
