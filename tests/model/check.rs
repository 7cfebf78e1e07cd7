//! Model check of the protocol between the coordinator and its agents.
//!
//! `stateright` walks through everything that can happen, in every order, within bounds: a coordinator, three agents, a
//! network that loses, doubles and reorders, crashes of all of them. The coordinator is the product's own `Control`, the
//! agents' fence the product's own `Fence`; see `docs/model-check.md` for what is modelled and what is not.
//!
//! Each property is also shown able to fail: a rule broken on purpose is found.

mod agent;
mod coordinator;
mod world;

use std::time::Duration;

use nightshift_core::invariants::{self, Seen};
use nightshift_core::rollout::RolloutState;
use nightshift_core::spec::FailureAction;
use stateright::{Checker, Model, Property};

use world::{Faults, Mistake, Rules, State, app, reached};

/// States that are looked at in one everyday check, breadth first: every run up to some length, whatever goes wrong in it.
const BY_DAY: usize = 8_000;
/// The same in the long form.
const LONG: usize = 300_000;
/// Within so many states a rule that is broken on purpose must be found.
const FOUND_WITHIN: usize = 100_000;
/// Nothing but the end of the runs ends it.
const NO_LIMIT: usize = usize::MAX;

const COMPLETES: &str = "it completes";
const AWAY: &str = "I1 no more are away than parallelism allows";
const BUDGET: &str = "I2 no step is ordered beyond the failure budget";
const BARRED: &str = "I3 no quarantined digest is ordered";
const JOURNAL: &str = "I6 what is away has a step in its journal";
const STALE: &str = "I7 nothing stale is begun";
const WAY_BACK: &str = "I8 a way back leads to what was known good";
const END: &str = "L1 in the end a rollout is over or waits for a person";

fn properties() -> Vec<Property<Rules>> {
    fn unbroken(state: &State, rule: &str) -> bool {
        !state.broken.contains(rule) && !state.coordinator.broken.contains(rule)
    }
    vec![
        Property::always(AWAY, |rules: &Rules, state: &State| {
            let away = state.agents.iter().filter(|agent| agent.away).count();
            away <= usize::try_from(rules.parallelism).unwrap_or(usize::MAX)
        }),
        Property::always(BUDGET, |_, state| unbroken(state, "I2")),
        Property::always(BARRED, |_, state| unbroken(state, "I3")),
        Property::always(JOURNAL, |_, state: &State| {
            state.agents.iter().all(|agent| !agent.away || agent.job.is_some())
        }),
        Property::always(STALE, |_, state| unbroken(state, "I7")),
        Property::always(WAY_BACK, |_, state| unbroken(state, "I8")),
        Property::always(END, |rules: &Rules, state: &State| !state.is_quiet(rules) || state.coordinator.is_at_rest()),
        Property::always("decisions come to rest", |_, state| unbroken(state, "restless")),
        Property::always("the audit log of every end is good", |rules: &Rules, state: &State| {
            let seen = Seen { allowed: [app()].into(), ..Seen::default() };
            !state.is_quiet(rules) || invariants::check(&state.coordinator.log, &[seen]).is_empty()
        }),
        Property::sometimes(COMPLETES, |_, state| reached(state, RolloutState::Completed)),
    ]
}

fn rules(failure_action: FailureAction, faults: Faults) -> Rules {
    let delay = Duration::ZERO;
    Rules { parallelism: 1, failure_action, max_failure_permille: 0, delay, faults, late: false, mistake: None }
}

/// Checks every run within the bounds. A broken property is told with the way that leads to it.
#[expect(clippy::print_stderr, reason = "how much was looked at must be seen")]
fn check(name: &str, rules: Rules, states: usize) -> impl Checker<Rules> {
    let checker = rules.checker().threads(2).target_state_count(states).spawn_bfs().join();
    eprintln!(
        "{name}: {} states, {} of them different, up to {} steps deep",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    for property in properties() {
        let name = property.name;
        if let Some(path) = checker.discovery(name).filter(|_| name != COMPLETES) {
            panic!("{name}: {:#?}", path.into_actions());
        }
    }
    checker
}

/// A rule is broken on purpose: exactly this property must say so.
#[expect(clippy::print_stderr, reason = "how soon it is found must be seen")]
fn finds(property: &str, mistake: Mistake, mut rules: Rules) {
    rules.mistake = Some(mistake);
    let checker = rules
        .checker()
        .threads(2)
        .target_state_count(FOUND_WITHIN)
        .finish_when(stateright::HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let found: Vec<_> = checker.discoveries().into_iter().filter(|(name, _)| *name != COMPLETES).collect();
    let path = found.iter().find(|(name, _)| *name == property);
    let (_, path) = path.unwrap_or_else(|| panic!("{mistake:?} is not found: {:?}", checker.unique_state_count()));
    eprintln!("{mistake:?}: found in {} states, by {:?}", checker.unique_state_count(), path.clone().into_actions());
}

const EACH_ONCE: Faults =
    Faults { coordinator_crashes: 1, agent_crashes: 1, breaks: 1, doubles: 1, failures: 1, hurries: 1, resumes: 0 };

const NONE: Faults =
    Faults { coordinator_crashes: 0, agent_crashes: 0, breaks: 0, doubles: 0, failures: 0, hurries: 0, resumes: 0 };

/// One fault of each kind alone.
const SINGLE: [(&str, Faults); 6] = [
    ("a version that fails", Faults { failures: 1, resumes: 1, ..NONE }),
    ("a message twice", Faults { doubles: 1, ..NONE }),
    ("a connection that breaks", Faults { breaks: 1, ..NONE }),
    ("an agent that dies", Faults { agent_crashes: 1, ..NONE }),
    ("a coordinator that dies", Faults { coordinator_crashes: 1, ..NONE }),
    ("a timer that comes early", Faults { hurries: 1, breaks: 1, ..NONE }),
];

/// The rules of failure under all faults at once.
fn mixed() -> [(&'static str, Rules); 3] {
    let pause = Faults { resumes: 1, ..EACH_ONCE };
    let two = Faults { failures: 2, ..EACH_ONCE };
    [
        ("all faults, pause", rules(FailureAction::Pause, pause)),
        ("all faults, rollback", rules(FailureAction::Rollback, EACH_ONCE)),
        (
            "all faults, continue, two at once",
            Rules { parallelism: 2, max_failure_permille: 340, ..rules(FailureAction::Continue, two) },
        ),
    ]
}

/// Follows every run to its end.
fn exhaust(name: &str, rules: Rules) {
    let checker = check(name, rules, NO_LIMIT);
    assert!(checker.is_done() && checker.discovery(COMPLETES).is_some(), "every run was followed to its end");
}

#[test]
fn without_faults_and_with_a_version_that_fails_every_run_is_followed_to_its_end() {
    exhaust("no fault", rules(FailureAction::Pause, NONE));
    exhaust("no fault, two at once", Rules { parallelism: 2, ..rules(FailureAction::Pause, NONE) });
    for action in [FailureAction::Pause, FailureAction::Rollback] {
        exhaust(SINGLE[0].0, rules(action, SINGLE[0].1));
    }
}

#[test]
fn no_fault_and_no_mixture_of_faults_breaks_a_rule_within_the_bounds_of_a_day() {
    for (name, faults) in SINGLE {
        check(name, rules(FailureAction::Pause, faults), BY_DAY);
    }
    for (name, rules) in mixed() {
        check(name, rules, BY_DAY);
    }
}

#[test]
#[ignore = "minutes: `scripts/test --full` runs it"]
fn one_fault_of_any_kind_at_any_moment_breaks_no_rule_however_long_the_run_is() {
    for (name, faults) in SINGLE {
        exhaust(name, rules(FailureAction::Pause, faults));
    }
    for (name, rules) in mixed() {
        check(name, rules, LONG);
    }
}

#[test]
fn an_order_that_comes_late_from_an_earlier_connection_is_stopped_by_the_fence() {
    let faults = Faults { breaks: 2, coordinator_crashes: 1, ..NONE };
    let rules = Rules { late: true, ..rules(FailureAction::Pause, faults) };
    let checker = rules.checker().threads(2).target_state_count(BY_DAY).spawn_bfs().join();
    checker.assert_no_discovery(STALE);
}

#[test]
fn each_rule_that_is_broken_on_purpose_is_found() {
    let pause = |faults| rules(FailureAction::Pause, faults);
    finds(AWAY, Mistake::SilenceIsAnEnd, pause(Faults { breaks: 1, ..NONE }));
    let two = Faults { failures: 2, coordinator_crashes: 1, ..NONE };
    let within = Rules { max_failure_permille: 340, ..rules(FailureAction::Continue, two) };
    finds(BUDGET, Mistake::BudgetForgotten, within);
    let resumed = Faults { failures: 1, coordinator_crashes: 1, resumes: 1, ..NONE };
    finds(BARRED, Mistake::QuarantineForgotten, pause(resumed));
    finds(JOURNAL, Mistake::JournalLost, pause(Faults { agent_crashes: 1, ..NONE }));
    let late = Rules { late: true, ..pause(Faults { breaks: 1, agent_crashes: 1, coordinator_crashes: 1, ..NONE }) };
    finds(STALE, Mistake::NoFence, late);
    finds(WAY_BACK, Mistake::AnyWayBack, rules(FailureAction::Rollback, Faults { failures: 1, ..NONE }));
    finds(END, Mistake::NeverWoken, Rules { delay: Duration::from_secs(30), ..pause(NONE) });
}
