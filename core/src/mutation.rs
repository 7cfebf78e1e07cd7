//! Rules that can be broken on purpose, one at a time, to show that the simulations notice.
//!
//! Only a build with the feature `mutations` can break one. In every other build [`broken`] is `false`, and the compiler leaves
//! out what hangs on it.

/// A rule that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// No more instances in work than `parallelism`.
    Parallelism,
    /// A failed step stops the rollout.
    Failures,
    /// A quarantined digest is no target, and no step starts it.
    Quarantine,
    /// No step starts outside the quiet hours.
    Window,
    /// No step starts so late that its worst case ends after the window.
    Cutoff,
    /// No step starts in a freeze.
    Freeze,
    /// A new container is watched before the old one goes.
    Monitor,
    /// Volumes without a name are carried over.
    Volumes,
    /// An order of an earlier epoch is refused.
    Epoch,
    /// What goes back goes to what was known-good.
    KnownGood,
    /// Only a tested digest is a target.
    Tested,
    /// Of two reports about a step the later phase wins.
    LaterPhase,
    /// An agent goes on at its start with what it had begun.
    Resumption,
}

impl Rule {
    /// Every rule, with the invariant that it serves.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Parallelism, "I1"),
        (Self::Failures, "I2"),
        (Self::Quarantine, "I3"),
        (Self::Window, "I4"),
        (Self::Cutoff, "I4"),
        (Self::Freeze, "I4"),
        (Self::Monitor, "I5"),
        (Self::Volumes, "I6"),
        (Self::Epoch, "I7"),
        (Self::KnownGood, "I8"),
        (Self::Tested, "I9"),
        (Self::LaterPhase, "I10"),
        (Self::Resumption, "L1"),
    ];
}

/// Whether a rule is broken on this thread.
#[cfg(not(feature = "mutations"))]
#[must_use]
pub const fn broken(_rule: Rule) -> bool {
    false
}

#[cfg(feature = "mutations")]
std::thread_local! {
    static BROKEN: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Whether a rule is broken on this thread.
#[cfg(feature = "mutations")]
#[must_use]
pub fn broken(rule: Rule) -> bool {
    BROKEN.get() == Some(rule)
}

/// Breaks a rule on this thread, or none any more.
#[cfg(feature = "mutations")]
pub fn break_rule(rule: Option<Rule>) {
    BROKEN.set(rule);
}
