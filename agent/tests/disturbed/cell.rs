//! A cell of the matrix: which step, where in it, and what dies there. Written as
//! `stop-first/good/agent-after/change-3`, which is also how one cell is run alone.

use std::fmt;
use std::str::FromStr;

use nightshift_core::spec::UpdateOrder;
use nightshift_core::step::{FailureKind, StepPhase};

/// The new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Good,
    EndsAtOnce,
    Unhealthy,
    CannotStart,
    /// Healthy only as long as the old one runs beside it. With any other version that is bad, a start-first step ends
    /// before it touches the old one.
    TurnsBad,
}

impl Version {
    const ALL: [Self; 5] = [Self::Good, Self::EndsAtOnce, Self::Unhealthy, Self::CannotStart, Self::TurnsBad];

    /// Those that make a step of its own in this order.
    pub(crate) fn all_of(order: UpdateOrder) -> Vec<Self> {
        let is_distinct = |version: &Self| order == UpdateOrder::StartFirst || *version != Self::TurnsBad;
        Self::ALL.into_iter().filter(is_distinct).collect()
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::EndsAtOnce => "ends-at-once",
            Self::Unhealthy => "unhealthy",
            Self::CannotStart => "cannot-start",
            Self::TurnsBad => "turns-bad",
        }
    }

    /// How a step ends when nothing goes wrong besides the version: what is bad at once is found out before a start-first
    /// step touches the old one.
    pub(crate) const fn expected(self, order: UpdateOrder) -> (StepPhase, Option<FailureKind>) {
        let back = match (order, self) {
            (UpdateOrder::StopFirst, _) | (UpdateOrder::StartFirst, Self::TurnsBad) => StepPhase::RolledBack,
            (UpdateOrder::StartFirst, _) => StepPhase::Untouched,
        };
        match self {
            Self::Good => (StepPhase::Committed, None),
            Self::EndsAtOnce | Self::Unhealthy | Self::TurnsBad => (back, Some(FailureKind::Unhealthy)),
            Self::CannotStart => (back, Some(FailureKind::EngineRefused)),
        }
    }
}

/// What dies, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The agent, before the engine hears of the call; its journal knows of it.
    AgentBefore,
    /// The agent, when the engine has done the call; its journal does not know.
    AgentAfter,
    /// Nobody: the engine does the call and its answer is lost.
    ReplyLost,
    /// The engine, before it hears of the call.
    EngineBefore,
    /// The engine, when it has done the call.
    EngineAfter,
    /// Both of them, before the call.
    BothBefore,
    /// Both of them, after it.
    BothAfter,
}

impl Crash {
    pub(crate) const OF_AGENT: [Self; 3] = [Self::AgentBefore, Self::AgentAfter, Self::ReplyLost];
    pub(crate) const OF_ENGINE: [Self; 4] = [Self::EngineBefore, Self::EngineAfter, Self::BothBefore, Self::BothAfter];

    const fn as_str(self) -> &'static str {
        match self {
            Self::AgentBefore => "agent-before",
            Self::AgentAfter => "agent-after",
            Self::ReplyLost => "reply-lost",
            Self::EngineBefore => "engine-before",
            Self::EngineAfter => "engine-after",
            Self::BothBefore => "both-before",
            Self::BothAfter => "both-after",
        }
    }

    /// Whether the engine does the call before it happens.
    pub(crate) const fn is_after(self) -> bool {
        match self {
            Self::AgentAfter | Self::ReplyLost | Self::EngineAfter | Self::BothAfter => true,
            Self::AgentBefore | Self::EngineBefore | Self::BothBefore => false,
        }
    }

    pub(crate) const fn kills_agent(self) -> bool {
        match self {
            Self::AgentBefore | Self::AgentAfter | Self::BothBefore | Self::BothAfter => true,
            Self::ReplyLost | Self::EngineBefore | Self::EngineAfter => false,
        }
    }

    pub(crate) const fn kills_engine(self) -> bool {
        match self {
            Self::EngineBefore | Self::EngineAfter | Self::BothBefore | Self::BothAfter => true,
            Self::AgentBefore | Self::AgentAfter | Self::ReplyLost => false,
        }
    }
}

/// A place between two calls of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// At the change with this number, counted from 0.
    Change(usize),
    /// At the first look at a container after the journal came to this phase: where no change comes first.
    Phase(StepPhase),
}

impl Boundary {
    /// Whether it makes a difference there: a look that was answered is as one that was not asked.
    pub(crate) fn has(&self, crash: Crash) -> bool {
        matches!(self, Self::Change(_)) || !crash.is_after()
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) order: UpdateOrder,
    pub(crate) version: Version,
    pub(crate) crash: Crash,
    pub(crate) boundary: Boundary,
    /// The call there, when the step was not disturbed; empty in a cell that was asked for by its name.
    pub(crate) call: String,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = order_word(self.order);
        write!(f, "{order}/{}/{}/", self.version.as_str(), self.crash.as_str())?;
        match &self.boundary {
            Boundary::Change(number) => write!(f, "change-{number}"),
            Boundary::Phase(phase) => write!(f, "phase-{phase}"),
        }
    }
}

const fn order_word(order: UpdateOrder) -> &'static str {
    match order {
        UpdateOrder::StopFirst => "stop-first",
        UpdateOrder::StartFirst => "start-first",
    }
}

impl FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is no cell: a cell is written like `stop-first/good/agent-after/change-3`");
        let words: Vec<&str> = text.split('/').collect();
        let [order, version, crash, boundary] = words.as_slice() else { return Err(unknown()) };
        let orders = [UpdateOrder::StopFirst, UpdateOrder::StartFirst];
        let crashes = Crash::OF_AGENT.into_iter().chain(Crash::OF_ENGINE);
        let boundary = match boundary.split_once('-') {
            Some(("change", number)) => number.parse().ok().map(Boundary::Change),
            Some(("phase", word)) => {
                StepPhase::ALL.into_iter().find(|phase| phase.as_str() == word).map(Boundary::Phase)
            }
            _ => None,
        };
        Ok(Self {
            order: orders.into_iter().find(|known| order_word(*known) == *order).ok_or_else(unknown)?,
            version: Version::ALL.into_iter().find(|known| known.as_str() == *version).ok_or_else(unknown)?,
            crash: crashes.into_iter().find(|known| known.as_str() == *crash).ok_or_else(unknown)?,
            boundary: boundary.ok_or_else(unknown)?,
            call: String::new(),
        })
    }
}

#[test]
fn a_cell_is_read_as_it_is_written() {
    for crash in Crash::OF_AGENT.into_iter().chain(Crash::OF_ENGINE) {
        for boundary in [Boundary::Change(12), Boundary::Phase(StepPhase::OldStopped)] {
            for version in Version::ALL {
                for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
                    let cell = Cell { order, version, crash, boundary: boundary.clone(), call: String::new() };
                    assert_eq!(cell.to_string().parse(), Ok(cell));
                }
            }
        }
    }
    for wrong in
        ["", "stop-first/good/agent-after", "stop-first/good/agent-after/change-x", "a/good/reply-lost/change-1"]
    {
        assert!(wrong.parse::<Cell>().is_err(), "{wrong}");
    }
}
