//! What of the instances a person must act on.

use super::bench::*;
use crate::container::{Health, RunState};

#[test]
fn an_instance_that_does_not_serve_is_an_alarm_unless_a_step_works_on_it() {
    let cases = [
        (RunState::Running, Health::Healthy, None),
        (RunState::Running, Health::Starting, None),
        (RunState::Running, Health::Unhealthy, Some("web on n2 is unhealthy")),
        (RunState::Exited, Health::None, Some("web on n2 is stopped")),
        (RunState::Created, Health::None, Some("web on n2 is not running: it was created, but never started")),
        (RunState::Paused, Health::None, Some("web on n2 is paused")),
    ];
    for (state, health, expected) in cases {
        let mut bench = Bench::new(&["n1", "n2"]);
        bench.inventory("n2", vec![InstanceView { state, health, ..instance("web", 1) }]);
        let alarms = bench.control.instance_alarms(&bench.fleet);
        assert_eq!(alarms, expected.into_iter().collect::<Vec<_>>(), "{state:?}");
    }
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.inventory("n1", vec![InstanceView { state: RunState::Exited, ..instance("web", 1) }]);
    assert_eq!(bench.ordered(), ["n1"]);
    assert!(bench.control.instance_alarms(&bench.fleet).is_empty(), "its step has stopped it");
}
