//! Whether an app's instances can have `order = "start-first"`: for a moment two of each run.

use crate::instance::Surveyed;
use crate::rollout::{Rejection, RejectionKind};
use crate::spec::{AppSpec, UpdateOrder};

/// Containers that a refusal names at most; the others have the same trouble.
const NAMED_LIMIT: usize = 5;

/// Why a spec is refused with what the nodes answered; `None`: nothing stands against it. A node that did not answer is no
/// reason: its step will look again before anything is touched.
#[must_use]
pub fn start_first_refusal(spec: &AppSpec, surveyed: &[Surveyed]) -> Option<Rejection> {
    match spec.update.order {
        UpdateOrder::StopFirst => return None,
        UpdateOrder::StartFirst => {}
    }
    let answered = surveyed.iter().filter_map(|answer| Some((&answer.node, answer.found.as_ref().ok()?)));
    let instances = answered.flat_map(|(node, instances)| instances.iter().map(move |instance| (node, instance)));
    let mut reasons: Vec<String> = instances
        .filter(|(_, instance)| !instance.start_first_obstacles.is_empty())
        .map(|(node, instance)| {
            format!("`{}` on {node}: {}", instance.container, instance.start_first_obstacles.join(", "))
        })
        .collect();
    if reasons.is_empty() {
        return None;
    }
    let more = reasons.len().saturating_sub(NAMED_LIMIT);
    reasons.truncate(NAMED_LIMIT);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    let reason = format!(
        "app `{}` cannot have `order = \"start-first\"`, for old and new container would run at the same time: {}",
        spec.name,
        reasons.join("; ")
    );
    let hint =
        "set `order = \"stop-first\"`, or give these containers random host ports (`-p 80`) and no fixed address";
    Some(Rejection::new(RejectionKind::Rule, reason).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::InstanceView;
    use crate::testing::{instance, web};

    fn answer(node: &str, obstacles: &[&str]) -> Surveyed {
        let start_first_obstacles = obstacles.iter().map(|&text| text.to_owned()).collect();
        let found = Ok(vec![InstanceView { start_first_obstacles, ..instance("web", 1) }]);
        Surveyed { node: node.parse().expect("well formed"), found }
    }

    #[test]
    fn start_first_is_refused_where_only_one_can_run_and_says_which() {
        let mut spec = web();
        let port = answer("n2", &["it publishes 80/tcp on host port 8080"]);
        assert_eq!(start_first_refusal(&spec, std::slice::from_ref(&port)), None, "stop-first does not mind");
        spec.update.order = UpdateOrder::StartFirst;
        let silent = Surveyed { node: "n3".parse().expect("well formed"), found: Err("no answer".into()) };
        assert_eq!(start_first_refusal(&spec, &[answer("n1", &[]), silent.clone()]), None);
        let refused = start_first_refusal(&spec, &[answer("n1", &[]), port, silent]).expect("refused");
        assert_eq!(refused.kind, RejectionKind::Rule);
        assert_eq!(
            refused.message,
            "app `web` cannot have `order = \"start-first\"`, for old and new container would run at the same time: \
             `web` on n2: it publishes 80/tcp on host port 8080"
        );
        let many: Vec<Surveyed> = (0..7).map(|n| answer(&format!("n{n}"), &["it has a port"])).collect();
        assert!(start_first_refusal(&spec, &many).expect("refused").message.ends_with("; and 2 more"));
    }
}
