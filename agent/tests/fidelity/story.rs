//! What happens to one container: made by hand, replaced twice, replaced by a bad image and taken back.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use nightshift_agent::engine::Engine;
use nightshift_core::ids::ContainerId;
use nightshift_core::spec::HealthCheck;
use nightshift_core::step::{StepOrder, StepPhase, StepReport};
use serde_json::Value;

use crate::compare::{self, Against};
use crate::kinds::{KINDS, Kind, State};
use crate::node::{self, Node};
use crate::stage::{Stage, Version};

/// Containers in work at the same time on one engine. More only wait for the two cores that a small machine has.
const AT_ONCE: usize = 6;
/// Until when a bad image must have shown itself: its probe fails at once.
const BAD_DEADLINE: Duration = Duration::from_secs(2);
/// Until when a good one must be up; a busy machine needs seconds for a start.
const GOOD_DEADLINE: Duration = Duration::from_secs(60);

/// The problems of all kinds of the stage's group.
pub(crate) async fn every_kind(stage: &Stage) -> Vec<String> {
    let kinds = KINDS.iter().filter(|kind| kind.group == stage.group && chosen(kind));
    let all = futures::stream::iter(kinds).map(|kind| async move {
        let problems = one_kind(stage, kind).await;
        stage.remove_kind(kind).await;
        problems.into_iter().map(|problem| format!("{}: {problem}", kind.name)).collect::<Vec<_>>()
    });
    all.buffer_unordered(AT_ONCE).concat().await
}

/// For whoever looks at a few kinds only: `NIGHTSHIFT_TEST_KINDS="ports bind"`.
fn chosen(kind: &Kind) -> bool {
    std::env::var("NIGHTSHIFT_TEST_KINDS").map_or(true, |kinds| kinds.split(' ').any(|name| name == kind.name))
}

#[expect(clippy::print_stderr, reason = "what an engine cannot do must be said")]
async fn one_kind(stage: &Stage, kind: &Kind) -> Vec<String> {
    let made = by_hand(stage, kind).await;
    match (made, kind.may_lack) {
        (Ok([second, third]), _) => replaced(stage, kind, &second, &third).await,
        (Err(words), Some(reason)) => {
            eprintln!("NOT ON THIS ENGINE: {} ({reason}): {words}", kind.name);
            vec![]
        }
        (Err(words), None) => vec![format!("cannot be made by hand: {words}")],
    }
}

/// What the command line makes of the second and the third version; it is gone again.
async fn by_hand(stage: &Stage, kind: &Kind) -> Result<[Value; 2], String> {
    let mut made = Vec::new();
    for (version, starts) in [(Version::Second, false), (Version::Third, kind.state == State::Running)] {
        let id = stage.make(kind, version).await?;
        if starts {
            stage.begin(kind, &id).await?;
        }
        made.push(stage.inspect(&id).await);
        stage.engine.discard(&id).await.map_err(|error| error.to_string())?;
    }
    Ok(made.try_into().expect("two of them"))
}

async fn replaced(stage: &Stage, kind: &Kind, second: &Value, third: &Value) -> Vec<String> {
    let first = match stage.make(kind, Version::First).await {
        Ok(id) => id,
        Err(words) => return vec![format!("cannot be made by hand: {words}")],
    };
    if let Err(words) = stage.begin(kind, &first).await {
        return vec![format!("cannot be started by hand: {words}")];
    }
    let before = stage.inspect(&first).await;
    let mut node = Node::new(stage.engine.clone() as Arc<dyn Engine>).await;
    let mut step = Step { stage, kind, node: &mut node, index: 0 };
    if kind.state == State::Paused {
        let end = step.carry_out(&first, Version::Second).await;
        let mut problems = expect_phase(&end, StepPhase::Untouched);
        problems.extend(compare::with_before(&stage.inspect(&first).await, &before));
        return problems;
    }
    let mut problems = Vec::new();
    let mut at = (first, before);
    for (version, by_hand, against) in
        [(Version::Second, second, Against::Created), (Version::Third, third, against(kind))]
    {
        let end = step.carry_out(&at.0, version).await;
        problems.extend(expect_phase(&end, StepPhase::Committed));
        let (StepPhase::Committed, Some(id)) = (end.phase, end.new_container_id) else { return problems };
        let after = stage.inspect(&id).await;
        let found = compare::with_by_hand(&after, by_hand, &at.1, against);
        problems.extend(found.into_iter().map(|problem| format!("{version:?}: {problem}")));
        problems.extend(alone(stage, kind, &id).await);
        at = (id, after);
    }
    if kind.state == State::Running {
        problems.extend(taken_back(&mut step, &at.0).await);
    }
    node.worker.shutdown().await;
    problems
}

/// A container that does not run is not started, so a created one by hand is what it compares with.
fn against(kind: &Kind) -> Against {
    if kind.state == State::Running { Against::Started } else { Against::Created }
}

async fn taken_back(step: &mut Step<'_>, id: &ContainerId) -> Vec<String> {
    let stage = step.stage;
    let before = stage.inspect(id).await;
    let end = step.carry_out(id, Version::Bad).await;
    let mut problems = expect_phase(&end, StepPhase::RolledBack);
    match stage.engine.inspect(&id.0).await {
        Ok(after) => problems.extend(compare::with_before(&after, &before)),
        Err(error) => problems.push(format!("taken back: {error}")),
    }
    problems.extend(alone(stage, step.kind, id).await);
    problems.into_iter().map(|problem| format!("taken back: {problem}")).collect()
}

/// Nothing else has the container's name, nor a temporary one made of it.
async fn alone(stage: &Stage, kind: &Kind, id: &ContainerId) -> Vec<String> {
    let left = stage.all_of(kind).await.into_iter().filter(|(_, found)| found != id);
    left.map(|(name, _)| format!("`{name}` is left")).collect()
}

fn expect_phase(end: &StepReport, phase: StepPhase) -> Vec<String> {
    if end.phase == phase {
        vec![]
    } else {
        vec![format!("ended {:?} and not {phase:?}: {:?}", end.phase, end.failure)]
    }
}

struct Step<'a> {
    stage: &'a Stage,
    kind: &'a Kind,
    node: &'a mut Node,
    index: u32,
}

impl Step<'_> {
    async fn carry_out(&mut self, id: &ContainerId, version: Version) -> StepReport {
        let image = self.stage.image(self.kind.family, version);
        let order = StepOrder {
            // The image says itself whether it is good; no command of the container can hide it.
            health: HealthCheck::Exec {
                command: ["/bin/sh", "-c", "read -r word rest </www/index.html; [ \"$word\" != bad ]"]
                    .map(str::to_owned)
                    .to_vec(),
            },
            app: self.stage.name(self.kind).parse().expect("well formed"),
            healthy_deadline: if version == Version::Bad { BAD_DEADLINE } else { GOOD_DEADLINE },
            monitor: Duration::ZERO,
            // All versions stay: other kinds use them at this time.
            keep_images: 100,
            ..node::order(self.index, &self.stage.name(self.kind), id, image)
        };
        self.index += 1;
        self.node.carry_out(&order).await
    }
}
