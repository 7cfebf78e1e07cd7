//! What people do to a fleet while everything happens: start, stop, override, at random and at the worst moment.

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_core::catalog::Availability;
use nightshift_core::control::{Request, StartOptions};
use nightshift_core::event::Actor;
use nightshift_core::rollout::{Command, Overrides, Rollout};
use nightshift_core::step::Purpose;
use tokio::time::sleep;

use super::director::Director;
use super::scenario;
use super::witness::{in_force, worst_case};

/// A window whose end is further away than this is not waited for.
const SOON: TimeDelta = TimeDelta::hours(8);
/// How long before the end of a window a person lays hands on a rollout.
const BEFORE: TimeDelta = TimeDelta::minutes(3);

impl Director<'_> {
    pub(super) async fn operate(&self) {
        let position = self.app();
        let app = self.world.plan.apps[position].spec.name.clone();
        let reason = "because".to_owned();
        let digest = Some(self.chance.pick(&self.digests[position]));
        let digest = digest.filter(|_| self.chance.permille(500));
        let by = Actor("ann".to_owned());
        let Some(handle) = self.world.host.handle() else { return };
        let request = match self.chance.below(20) {
            0..=2 => {
                let some = |share| self.chance.permille(share);
                let overrides = Overrides { now: some(300), freeze: some(300), quarantine: some(200) };
                let options = StartOptions { digest, overrides, reason };
                let start = move |id| Request::Start { app, options, id };
                drop(handle.start(self.world.plan.apps[position].spec.name.clone(), start, by).await);
                return;
            }
            3..=4 => {
                let start = move |id| Request::Rollback { app, digest, reason, id };
                drop(handle.start(self.world.plan.apps[position].spec.name.clone(), start, by).await);
                return;
            }
            5..=13 => {
                use Command::{Abort, Pause, Promote, Resume, Retry};
                let command =
                    self.chance.pick(&[Abort, Pause, Promote, Promote, Resume, Resume, Resume, Retry, Retry, Retry]);
                Request::Change { rollout: app.to_string(), command, reason }
            }
            14..=15 => {
                let digest = self.chance.pick(&self.digests[position]);
                Request::Quarantine { app, digest, quarantined: self.chance.permille(400), reason }
            }
            16 => Request::Enable { app, enabled: self.chance.permille(800), reason },
            _ => {
                use Availability::{Active, Drain, Pause};
                let availability = self.chance.pick(&[Active, Active, Pause, Drain]);
                self.world.notes.reached(format!("node set to {availability:?}"));
                Request::SetAvailability { node: self.node().name.clone(), availability, reason }
            }
        };
        // Refused where it does not fit: that is what is tried.
        drop(handle.request(request, by).await);
    }

    /// A file with other rules, and often other quiet hours, comes into force.
    pub(super) async fn reload(&self) {
        let app = &self.world.plan.apps[self.app()];
        let spec = scenario::respec(&self.chance, app, &self.world.notes);
        if self.world.ask(Request::Apply(vec![spec]), "ann").await.is_ok() {
            self.world.notes.reached("configuration reloaded");
        }
    }

    /// A node leaves the fleet, and comes back as a new one as soon as its agent has connected. One that works on a step is left
    /// where it is: who removes it has accepted that nobody knows what it does.
    pub(super) async fn remove_node(&self) {
        let node = self.node();
        let name = node.name.clone();
        let busy = self.world.view(move |view| {
            let rollouts = view.control.rollouts();
            rollouts.iter().any(|rollout| rollout.in_flight().any(|step| step.node == name))
        });
        let idle = node.steps().is_some_and(|steps| steps.iter().all(|step| step.phase.is_end()));
        if idle && busy.await == Some(false) {
            let request = Request::RemoveNode { node: node.name.clone(), reason: "sold".to_owned() };
            drop(self.world.ask(request, "ann").await);
        }
    }

    /// A person lets a rollout go on at the last moment at which a step may start, or just after it.
    pub(super) async fn resume_at_the_end(&mut self) {
        let position = self.app();
        let Some(last) = self.last_start(position).await else {
            // Something that waits is needed for it; next time there may be.
            return self.push().await;
        };
        let rollout = self.world.plan.apps[position].spec.name.to_string();
        let change = |command| {
            let (rollout, reason) = (rollout.clone(), "at the last moment".to_owned());
            self.world.ask(Request::Change { rollout, command, reason }, "ann")
        };
        if change(Command::Pause).await.is_err() {
            return;
        }
        let clock = &self.world.clock;
        clock.step((last - clock.now() - BEFORE).max(TimeDelta::zero()));
        let moment = last + TimeDelta::milliseconds(self.chance.pick(&[0, 1, 900]));
        sleep((moment - clock.now()).to_std().unwrap_or_default()).await;
        if change(Command::Resume).await.is_ok() {
            self.world.notes.reached("resumed at the end of a window");
        }
    }

    /// When the next step of an app's open rollout may start at the latest, if that is soon.
    async fn last_start(&self, position: usize) -> Option<DateTime<Utc>> {
        let app = &self.world.plan.apps[position];
        let (name, nights, nodes) = (app.spec.name.clone(), app.nights.clone(), self.world.plan.nodes.clone());
        let looked = self.world.view(move |view| {
            let bound = |open: &&Rollout| open.purpose == Purpose::Update && !open.is_retreat() && !open.overrides.now;
            let open = view.control.open_rollout(&name).filter(bound)?;
            let hours = in_force(&nights, &view.control.catalog().app(&name)?.spec)?;
            let next = open.current_steps().find(|step| step.is_pending())?;
            let (_, labels) = nodes.iter().find(|(node, _)| *node == next.node)?;
            let needed = hours.needed(worst_case(&open.spec, !open.steps.iter().any(|step| step.canary)));
            let last = hours.closes(view.now, labels, open.overrides.freeze)? - needed;
            (last > view.now && last - view.now < SOON).then_some(last)
        });
        looked.await.flatten()
    }
}
