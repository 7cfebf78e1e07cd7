//! Rollouts that a person asks for: forwards, and back.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::catalog::App;
use crate::control::automatic::planned;
use crate::control::{Control, StartOptions};
use crate::event::Event;
use crate::fleet::Fleet;
use crate::ids::{AppName, NodeName, RolloutId};
use crate::image::Digest;
use crate::quiet::Denial;
use crate::release::GateDenial;
use crate::rollout::{
    Candidate, Context, Overrides, PlannedStep, Rejection, RejectionKind, Rollout, RolloutState, Skip, WaitingOn,
    candidates, candidates_in_windows, running_digest,
};
use crate::step::Purpose;

/// A rollout as it would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The target.
    pub to: Digest,
    /// Every instance, in order, with the reason where it would be left out.
    pub candidates: Vec<Candidate>,
}

/// How a wish for a rollout is met.
enum Way<'a> {
    /// The open one is the one.
    Joined(&'a Rollout),
    /// By a new one, after these facts.
    Instead(Vec<Event>),
}

impl Control {
    /// What `rollout start` with these options would do, without doing it.
    ///
    /// # Errors
    /// It would be refused.
    pub fn plan(
        &self,
        app: &AppName,
        options: &StartOptions,
        fleet: &Fleet,
        now: DateTime<Utc>,
    ) -> Result<Plan, Rejection> {
        let known = self.must_know(app)?;
        let to = self.target(known, options, now)?;
        let backwards = options.digest.is_some();
        let planned = if options.overrides.now { candidates } else { candidates_in_windows };
        let candidates = planned(known, &self.catalog, fleet, &to, backwards);
        Ok(Plan { to, candidates })
    }

    /// The digest that a person's rollout goes to, if the gate allows it.
    fn target(&self, app: &App, options: &StartOptions, now: DateTime<Utc>) -> Result<Digest, Rejection> {
        let name = &app.spec.name;
        let Some(digest) = &options.digest else {
            if let Some(release) = app.target(now) {
                return Ok(release.digest.clone());
            }
            let newest = app.releases.last();
            let message = match newest.and_then(|release| Some((release, app.spec.gate.judge(release, now).err()?))) {
                Some((release, denial)) => {
                    format!("no release of `{name}` may be rolled out; {}: {denial}", release.digest.short())
                }
                None => format!("no release of `{name}` is known yet"),
            };
            let hint = format!("`nightshift release list {name}` shows what is known");
            return Err(Rejection::new(RejectionKind::Rule, message).hint(hint));
        };
        let Some(release) = app.release(digest) else {
            let hint =
                format!("`nightshift release list {name}` shows the known ones; CI makes one known by a test report");
            return Err(Rejection::new(
                RejectionKind::Rule,
                format!("{} of `{name}` is not known, so not tested", digest.short()),
            )
            .hint(hint));
        };
        let gate = &app.spec.gate;
        let verdict =
            if options.overrides.quarantine { gate.judge_tests(release, now) } else { gate.judge(release, now) };
        verdict.map(|()| digest.clone()).map_err(|denial| refuse(name, digest, &denial))
    }

    /// What brings about the rollout that a person wants. One that is on its way there already is taken instead of a new
    /// one, with what the person sets aside: who says `--now` means the rollout that waits for the night as well. One to
    /// another digest gives way if it has not begun, or stands still.
    pub(super) fn start(
        &self,
        app: &AppName,
        options: &StartOptions,
        id: &RolloutId,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Rejection> {
        let known = self.must_know(app)?;
        if !known.enabled {
            let message = format!("app `{app}` is disabled");
            return Err(
                Rejection::new(RejectionKind::Rule, message).hint(format!("`nightshift app enable {app}` first"))
            );
        }
        if options.overrides.any() && options.reason.trim().is_empty() {
            let message = "setting a rule aside needs a reason";
            return Err(Rejection::new(RejectionKind::Usage, message).hint("add `--reason TEXT`"));
        }
        let target = self.target(known, options, context.now)?;
        let mut events = match self.way(app, |open| open.purpose == Purpose::Update && open.to == target)? {
            Way::Joined(open) => return join(open, known, options, context),
            Way::Instead(gives_way) => gives_way,
        };
        let plan = self.plan(app, options, context.fleet, context.now)?;
        let steps = steps_of(app, &plan)?;
        must_ever_start(known, steps.iter().map(|step| &step.node), options, context)?;
        let reason = if options.reason.is_empty() { "asked for by a person" } else { &options.reason };
        events.push(planned(known, id, plan.to, steps, Purpose::Update, options.overrides, reason));
        Ok(events)
    }

    /// Whoever wants to remove an app must see that nothing works on it.
    pub(super) fn must_not_be_in_work(&self, app: &AppName) -> Result<(), Rejection> {
        self.rollout_in_work(app).map_or(Ok(()), |open| Err(in_the_way(open, false)))
    }

    /// What becomes of the app's rollout in work when a person wants one; `wanted` says whether it is just that.
    fn way(&self, app: &AppName, wanted: impl FnOnce(&Rollout) -> bool) -> Result<Way<'_>, Rejection> {
        let Some(open) = self.rollout_in_work(app) else { return Ok(Way::Instead(Vec::new())) };
        let advances = !open.state.is_end() && !open.is_retreat();
        let paused = open.state == RolloutState::Paused;
        let same = advances && wanted(open);
        if same && !paused {
            return Ok(Way::Joined(open));
        }
        let stands = open.in_flight().next().is_none() && (paused || !open.has_begun());
        if same || !advances || !stands || open.purpose == Purpose::Rollback {
            return Err(in_the_way(open, same));
        }
        let reason = "a person wants another one".to_owned();
        Ok(Way::Instead(vec![Event::RolloutMoved { rollout: open.id.clone(), to: RolloutState::Superseded, reason }]))
    }

    /// What brings about the rollout that goes back.
    pub(super) fn roll_back(
        &self,
        app: &AppName,
        digest: Option<Digest>,
        reason: &str,
        id: &RolloutId,
        fleet: &Fleet,
    ) -> Result<Vec<Event>, Rejection> {
        let known = self.must_know(app)?;
        let wanted = |open: &Rollout| {
            open.purpose == Purpose::Rollback && digest.as_ref().is_none_or(|digest| *digest == open.to)
        };
        let mut events = match self.way(app, wanted)? {
            Way::Joined(_) => return Ok(Vec::new()),
            Way::Instead(gives_way) => gives_way,
        };
        let to = match digest {
            Some(digest) => self.must_be_known_good(known, digest)?,
            None => {
                // Of a fleet that runs several digests the newest one is what is gone back from.
                let running =
                    fleet.instances(app).filter_map(|(node, instance)| match known.replaced(node, instance) {
                        Some(replaced) => Some(replaced.digest.clone()),
                        None => running_digest(known, instance),
                    });
                let newest = running.max_by_key(|digest| known.age_rank(digest));
                let before = known.known_good_before(newest.as_ref());
                let missing = || {
                    Rejection::new(RejectionKind::Rule, format!("app `{app}` has no other known-good release"))
                        .hint(format!("`nightshift release list {app}` shows what is known"))
                };
                before.ok_or_else(missing)?.digest.clone()
            }
        };
        let candidates = candidates(known, &self.catalog, fleet, &to, true);
        let plan = Plan { to: to.clone(), candidates };
        let steps = steps_of(app, &plan)?;
        let reason = if reason.is_empty() { "a person asked to go back" } else { reason };
        events.push(planned(known, id, to, steps, Purpose::Rollback, Overrides::default(), reason));
        Ok(events)
    }

    fn must_be_known_good(&self, app: &App, digest: Digest) -> Result<Digest, Rejection> {
        let release = app.release(&digest);
        let name = &app.spec.name;
        let refusal = match release {
            Some(release) if release.quarantine.is_some() => format!("{} of `{name}` is quarantined", digest.short()),
            Some(release) if release.known_good.is_some() => return Ok(digest),
            Some(_) | None => format!("{} of `{name}` was never known-good on this fleet", digest.short()),
        };
        Err(Rejection::new(RejectionKind::Rule, refusal)
            .hint(format!("`nightshift release list {name}` shows the known-good ones")))
    }
}

/// The open rollout is the one that is wanted: what a person sets aside now holds for it.
fn join(open: &Rollout, app: &App, options: &StartOptions, context: &Context<'_>) -> Result<Vec<Event>, Rejection> {
    let overrides = open.overrides.and(options.overrides);
    if overrides == open.overrides {
        return Ok(Vec::new());
    }
    let nodes = open.current_steps().filter(|step| step.is_pending()).map(|step| &step.node);
    must_ever_start(app, nodes, &StartOptions { overrides, ..options.clone() }, context)?;
    let reason = options.reason.clone();
    Ok(vec![Event::RolloutOverridden { rollout: open.id.clone(), overrides, reason }])
}

/// A rollout in work stands in the way of another one; `same` says that it would be just the same.
fn in_the_way(open: &Rollout, same: bool) -> Rejection {
    let (id, app) = (&open.id, open.app());
    let (message, hint) = if open.state.is_end() {
        let nodes: Vec<_> = open.in_flight().map(|step| step.node.to_string()).collect();
        let message = format!("rollout `{id}` of app `{app}` is {}, but its last step is still in work", open.state);
        (message, format!("wait for {0}, or `nightshift node remove {0}` if it never comes back", nodes.join(", ")))
    } else {
        let message = format!("app `{app}` has an open rollout, `{id}`, which is {}", open.state);
        let first = if same { "resume" } else { "show" };
        (message, format!("`nightshift rollout {first} {id}`, or `nightshift rollout abort {id}` first"))
    };
    Rejection::new(RejectionKind::Conflict, message).hint(hint)
}

fn steps_of(app: &AppName, plan: &Plan) -> Result<Vec<PlannedStep>, Rejection> {
    let steps: Vec<_> =
        plan.candidates.iter().filter(|one| one.skipped.is_none()).map(|one| one.step.clone()).collect();
    if steps.is_empty() { Err(nothing_to_do(app, plan)) } else { Ok(steps) }
}

fn refuse(app: &AppName, digest: &Digest, denial: &GateDenial) -> Rejection {
    let hint = match denial {
        GateDenial::Quarantined { .. } => {
            format!("`nightshift release clear {app} {digest} --reason …` if you know that it is good")
        }
        GateDenial::NotTested { .. } | GateDenial::TestsTooOld { .. } => {
            format!("CI reports with `nightshift release report {app} --digest {digest} --result passed`")
        }
        GateDenial::NotTagged => "push it under a tag that fits `tags`".to_owned(),
        GateDenial::NotSigned { .. } => "sign it with a key that the app's `gate.signature_keys` names: `cosign sign --key …`; `docs/signatures.md` has more".to_owned(),
        GateDenial::TestFailed { .. } => "build again: a new digest gets new tests".to_owned(),
        GateDenial::CoolingDown { .. } => "wait, or lower `gate.cooldown`".to_owned(),
    };
    Rejection::new(RejectionKind::Rule, format!("{} of `{app}` may not be rolled out: {denial}", digest.short()))
        .hint(hint)
}

fn nothing_to_do(app: &AppName, plan: &Plan) -> Rejection {
    let reasons: Vec<_> = plan
        .candidates
        .iter()
        .filter(|one| one.skipped != Some(Skip::AtTarget))
        .filter_map(|one| Some(format!("{} on {} {}", one.step.container, one.step.node, one.skipped.as_ref()?)))
        .collect();
    let message = if plan.candidates.is_empty() {
        format!("app `{app}` has no instance on a connected node")
    } else if reasons.is_empty() {
        format!("every instance of `{app}` runs {} already", plan.to.short())
    } else {
        format!("no instance of `{app}` can be moved to {}: {}", plan.to.short(), reasons.join("; "))
    };
    Rejection::new(RejectionKind::Conflict, message).hint(format!("`nightshift app show {app}` shows its instances"))
}

/// A rollout that could never start a step is refused at once, not left to wait for ever.
fn must_ever_start<'a>(
    app: &App,
    steps: impl Iterator<Item = &'a NodeName>,
    options: &StartOptions,
    context: &Context<'_>,
) -> Result<(), Rejection> {
    let overrides = options.overrides;
    let now_hint = "`--now --reason TEXT` starts it outside the quiet hours";
    let Some(quiet) = &app.spec.quiet_hours else {
        if overrides.now {
            return Ok(());
        }
        return Err(Rejection::new(RejectionKind::Rule, WaitingOn::NoQuietHours.to_string()).hint(now_hint));
    };
    let nodes = steps.filter_map(|node| context.catalog.node(node));
    let entries: BTreeSet<_> = nodes.map(|node| quiet.entries_for(&node.labels)).collect();
    let verdict = |entries| overrides.may_start(&quiet.only(entries), context.now, app.spec.worst_case(true));
    // It is enough that some node's window will let a step start.
    let mut verdicts = entries.into_iter().map(verdict);
    let hopeless = |verdict: &Result<_, Denial>| verdict.as_ref().is_err_and(|denial| denial.wake_at().is_none());
    let Some(first) = verdicts.next() else { return Ok(()) };
    let best = if hopeless(&first) { verdicts.find(|verdict| !hopeless(verdict)).unwrap_or(first) } else { first };
    match best {
        // Whoever says now does not mean after the freeze.
        Err(denial) if overrides.now => Err(Rejection::new(RejectionKind::Rule, denial.to_string())
            .hint("`--override-freeze` overrides the freeze, too")),
        Err(denial) if denial.wake_at().is_none() => {
            Err(Rejection::new(RejectionKind::Rule, denial.to_string()).hint(denial.hint().unwrap_or(now_hint)))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}
