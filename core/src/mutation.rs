//! Rules that can be broken on purpose, one at a time, to show that the simulations notice.
//!
//! Only a build with the feature `mutations` can break one. In every other build [`broken`] is `false`, and the compiler leaves
//! out what hangs on it.

/// A rule that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// No more instances in work than `parallelism`.
    Parallelism,
    /// An instance that does not serve counts as missing.
    Unavailable,
    /// One node never works on two steps at once.
    OneStep,
    /// A failed step stops the rollout.
    Failures,
    /// A coordinator that starts knows how many steps have failed.
    Budget,
    /// A quarantined digest is no target, and no step starts it.
    Quarantine,
    /// A coordinator that starts knows what is quarantined.
    QuarantineKept,
    /// No step starts outside the quiet hours.
    Window,
    /// A window is over at its end, not a second later.
    WindowEnd,
    /// No step starts so late that its worst case ends after the window.
    Cutoff,
    /// No step starts in a freeze.
    Freeze,
    /// Allow windows of some nodes are not those of the others.
    NodeWindow,
    /// A new container is watched before the old one goes.
    Monitor,
    /// The old container stays until the step commits.
    OldKept,
    /// Volumes without a name are carried over.
    Volumes,
    /// What depends on a container is replaced with it.
    Dependents,
    /// A parked container has no restart policy that could revive it.
    ParkedPolicy,
    /// An order of an earlier epoch is refused.
    Epoch,
    /// An order of an earlier generation is refused.
    Generation,
    /// What goes back goes to what was known-good.
    KnownGood,
    /// A rollback is never rolled back.
    OneWayBack,
    /// Only a tested digest is a target.
    Tested,
    /// A test report that is too old does not count.
    TestAge,
    /// Of two reports about a step the later phase wins.
    LaterPhase,
    /// Nothing is done before it is stored.
    StoredFirst,
    /// An agent goes on at its start with what it had begun.
    Resumption,
    /// An order that never arrived is given again.
    LostOrder,
}

impl Rule {
    /// Every rule, with the invariant that it serves.
    pub const ALL: [(Self, &'static str); 27] = [
        (Self::Parallelism, "I1"),
        (Self::Unavailable, "I1"),
        (Self::OneStep, "I1"),
        (Self::Failures, "I2"),
        (Self::Budget, "I2"),
        (Self::Quarantine, "I3"),
        (Self::QuarantineKept, "I3"),
        (Self::Window, "I4"),
        (Self::WindowEnd, "I4"),
        (Self::Cutoff, "I4"),
        (Self::Freeze, "I4"),
        (Self::NodeWindow, "I4"),
        (Self::Monitor, "I5"),
        (Self::OldKept, "I5"),
        (Self::Volumes, "I6"),
        (Self::Dependents, "I6"),
        (Self::ParkedPolicy, "I6"),
        (Self::Epoch, "I7"),
        (Self::Generation, "I7"),
        (Self::KnownGood, "I8"),
        (Self::OneWayBack, "I8"),
        (Self::Tested, "I9"),
        (Self::TestAge, "I9"),
        (Self::LaterPhase, "I10"),
        (Self::StoredFirst, "I10"),
        (Self::Resumption, "L1"),
        (Self::LostOrder, "L1"),
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
