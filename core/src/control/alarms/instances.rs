//! What of an app's instances a person must act on: those that do not serve, and those that two apps select.

use crate::catalog::App;
use crate::container::{Health, RunState};
use crate::control::Control;
use crate::fleet::Fleet;
use crate::ids::NodeName;
use crate::instance::InstanceView;
use crate::rollout::rival;

impl Control {
    /// One sentence for each instance that someone should look at. Those in work are their rollout's business.
    #[must_use]
    pub fn instance_alarms(&self, fleet: &Fleet) -> Vec<String> {
        let of_app = |app| self.alarms_of(app, fleet);
        self.catalog.apps().flat_map(of_app).collect()
    }

    fn alarms_of(&self, app: &App, fleet: &Fleet) -> Vec<String> {
        let name = &app.spec.name;
        let in_work = |node: &NodeName, instance: &InstanceView| {
            let mut steps = self.rollout_in_work(name).into_iter().flat_map(|rollout| rollout.in_flight());
            steps.any(|step| step.node == *node && step.container == instance.container)
        };
        let contested = fleet.located(name).filter_map(|(node, connected, instance)| {
            let labels = &self.catalog.node(node)?.labels;
            let other = rival(app, &self.catalog, labels, connected, &instance.container);
            let other = other.filter(|other| *name < **other)?;
            Some(format!("{} on {node} is selected by {name} and {other}: neither replaces it", instance.container))
        });
        let idle = fleet.instances(name).filter(|(node, instance)| !in_work(node, instance));
        let troubles = idle.filter_map(|(node, one)| Some(format!("{} on {node} is {}", one.container, trouble(one)?)));
        contested.chain(troubles).collect()
    }
}

/// Why an instance does not serve, if it should be looked at; one that is still starting is not in trouble yet.
const fn trouble(instance: &InstanceView) -> Option<&'static str> {
    match (instance.state, instance.health) {
        (RunState::Running, Health::Unhealthy) => Some("unhealthy"),
        (RunState::Running, Health::None | Health::Healthy | Health::Starting) | (RunState::Removing, _) => None,
        (RunState::Created, _) => Some("not running: it was created, but never started"),
        (RunState::Paused, _) => Some("paused"),
        (RunState::Restarting, _) => Some("restarting again and again"),
        (RunState::Exited, _) => Some("stopped"),
        (RunState::Dead, _) => Some("dead"),
    }
}
