//! Enumerates the cells and runs them, many at a time.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::FutureExt as _;
use futures::future::join_all;
use nightshift_core::spec::UpdateOrder;
use nightshift_core::step::{FailureKind, StepPhase, StepReport};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::boundary::{Disturbance, PATIENCE, boundaries};
use crate::cell::{Boundary, Cell, Crash, Version};
use crate::place::Place;
use crate::scene::Scene;

/// Runs one cell alone.
const CELL: &str = "NIGHTSHIFT_TEST_CELL";
/// Chooses the cells of a sample.
const SEED: &str = "NIGHTSHIFT_TEST_SEED";
/// Cells of one test at the same time: most of their time is waiting, and two cores start some containers a second.
const AT_ONCE: usize = 8;
/// Cells that are at their boundaries when an engine is killed: each has containers that must be started again.
const BATCH: usize = 8;
/// Batches of a sample in which engines die.
const SAMPLE_BATCHES: usize = 2;
/// Cells of a sample in which agents die.
const SAMPLE: usize = 24;
/// Changes that no step does without: fetching and holding, creating and connecting, starting and removing.
const LEAST_CHANGES: usize = 7;
/// Changes of a step that touches the old one.
const LEAST_CHANGES_OF_BOTH: usize = 10;

/// How many of the cells are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Sample,
    All,
}

/// Every cell of a step, from an undisturbed run of it.
async fn enumerate(place: &Place, order: UpdateOrder, version: Version, crashes: &[Crash]) -> Vec<Cell> {
    let scene = Scene::set_up(place, order, version, Disturbance::Nothing).await;
    let report = scene.agent().report().await;
    assert_eq!(outcome(&report), version.expected(order), "undisturbed: {report:?}");
    scene.check_end(&report).await;
    let seen = scene.watch().seen();
    scene.clean_up().await;
    let boundaries = boundaries(&seen);
    let changes = seen.iter().filter(|seen| seen.request.is_change()).count();
    let at_changes = boundaries.iter().filter(|(boundary, _)| matches!(boundary, Boundary::Change(_))).count();
    assert_eq!(at_changes, changes, "each change is a boundary: {boundaries:?}");
    let touches_old = order == UpdateOrder::StopFirst || matches!(version, Version::Good | Version::TurnsBad);
    let least = if touches_old { LEAST_CHANGES_OF_BOTH } else { LEAST_CHANGES };
    assert!(changes >= least, "{boundaries:?}");
    let mut cells = Vec::new();
    for &crash in crashes {
        for (boundary, call) in boundaries.iter().filter(|(boundary, _)| boundary.has(crash)) {
            let (boundary, call) = (boundary.clone(), call.clone());
            cells.push(Cell { order, version, crash, boundary, call });
        }
    }
    let after = crashes.iter().filter(|crash| crash.is_after()).count();
    let before = crashes.len() - after;
    assert_eq!(cells.len(), before * boundaries.len() + after * changes, "the cells cover all boundaries");
    cells
}

fn outcome(report: &StepReport) -> (StepPhase, Option<FailureKind>) {
    (report.phase, report.failure.as_ref().map(|failure| failure.kind))
}

/// The cell that is asked for, or none when all are.
fn asked_for() -> Option<Cell> {
    std::env::var(CELL).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{CELL}: {error}")))
}

/// Mixes cells, and leaves at most `most` of them, where there is a limit.
#[expect(clippy::print_stderr, reason = "the seed of a sample must be seen")]
fn mix(cells: &mut Vec<Cell>, most: Option<usize>) {
    let seed = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a number"));
    let seed: u64 =
        seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    cells.shuffle(&mut StdRng::seed_from_u64(seed));
    if let Some(most) = most {
        eprintln!("{most} of {} cells, chosen by {SEED}={seed}", cells.len());
        cells.truncate(most);
    }
}

/// Cells of one version in which the agent dies or a reply is lost.
pub(crate) async fn deaths_of_agents(order: UpdateOrder, version: Version, extent: Extent) {
    let asked_for = asked_for();
    if asked_for
        .as_ref()
        .is_some_and(|cell| (cell.order, cell.version) != (order, version) || cell.crash.kills_engine())
    {
        return;
    }
    let Some(places) = Place::shared().await else { return };
    let places: Arc<[Place]> = places.into();
    let cells = match asked_for {
        Some(cell) => vec![cell],
        None => {
            let mut cells = enumerate(&places[0], order, version, &Crash::OF_AGENT).await;
            if extent == Extent::Sample {
                mix(&mut cells, Some(SAMPLE));
            }
            cells
        }
    };
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let runs = cells.iter().enumerate().map(|(position, cell)| {
        let (places, permits, cell) = (places.clone(), permits.clone(), cell.clone());
        tokio::spawn(async move {
            let _permit = permits.acquire().await.expect("never closed");
            death_of_agent(&places[position % places.len()], &cell).await;
        })
    });
    let results: Vec<_> = join_all(runs.collect::<Vec<_>>()).await;
    let results = results.into_iter().map(|result| result.map_err(|error| words(error.into_panic())));
    conclude(cells.into_iter().zip(results).collect());
    for place in places.iter() {
        place.clean_up().await;
    }
}

async fn death_of_agent(place: &Place, cell: &Cell) {
    let death = Disturbance::Death(cell.boundary.clone(), cell.crash);
    let scene = Scene::set_up(place, cell.order, cell.version, death).await;
    let mut agent = scene.agent();
    if cell.crash.kills_agent() {
        until_boundary(&scene).await;
        agent.kill().await;
        scene.watch().release();
        scene.check_old_exists().await;
        agent = scene.agent();
    }
    let report = agent.report().await;
    check_boundary(&scene, cell);
    scene.check_end(&report).await;
    let given_up = (StepPhase::Untouched, Some(FailureKind::NotAccepted));
    let may_be_given_up = cell.crash.kills_agent() && outcome(&report) == given_up;
    assert!(may_be_given_up || outcome(&report) == cell.version.expected(cell.order), "{report:?}");
    scene.clean_up().await;
}

pub(crate) async fn until_boundary(scene: &Scene<'_>) {
    let reached = tokio::time::timeout(PATIENCE, scene.watch().reached()).await;
    assert!(reached.is_ok(), "the boundary was not reached; seen: {:?}", scene.watch().seen());
}

/// The boundary was met, and it was the one that the recording had there. A container that ends again and again may be met
/// between two runs, where it need not be stopped: then it is the next boundary.
fn check_boundary(scene: &Scene<'_>, cell: &Cell) {
    let hit = scene.watch().hit().expect("the boundary was reached");
    let may_differ = cell.call.is_empty() || cell.version == Version::EndsAtOnce;
    assert!(may_differ || cell.call == hit, "recorded was `{}`, met was `{hit}`", cell.call);
}

/// Cells of all versions in which an engine dies.
pub(crate) async fn deaths_of_engines(order: UpdateOrder, extent: Extent) {
    let asked_for = asked_for();
    let is_here = |cell: &Cell| cell.order == order && cell.crash.kills_engine() && extent == Extent::Sample;
    if asked_for.as_ref().is_some_and(|cell| !is_here(cell)) {
        return;
    }
    let Some(places) = Place::to_kill().await else { return };
    let cells = match asked_for {
        Some(cell) => vec![cell],
        None => {
            let lock = places[0].lock().await;
            let versions = Version::all_of(order).into_iter();
            let of_versions = versions.map(|version| enumerate(&places[0], order, version, &Crash::OF_ENGINE));
            let mut cells = join_all(of_versions).await.concat();
            drop(lock);
            // Mixed in any case: a batch has steps that are at different places.
            mix(&mut cells, (extent == Extent::Sample).then_some(BATCH * SAMPLE_BATCHES));
            cells
        }
    };
    let batches: Vec<&[Cell]> = cells.chunks(BATCH).collect();
    let next = AtomicUsize::new(0);
    let workers = places.iter().map(async |place| {
        let mut results = Vec::new();
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            let _lock = place.lock().await;
            results.extend(deaths_of_engine(place, batch).await);
        }
        results
    });
    let results = join_all(workers).await.concat();
    assert_eq!(results.len(), cells.len(), "every cell was run");
    conclude(results);
    for place in &places {
        let _lock = place.lock().await;
        place.clean_up().await;
    }
}

type CellResult = (Cell, Result<(), String>);

/// How far the crash of an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stage {
    Runs,
    Killed,
    RunsAgain,
}

/// One crash of an engine, with all cells of a batch at their boundaries.
async fn deaths_of_engine(place: &Place, cells: &[Cell]) -> Vec<CellResult> {
    let (stage, stages) = watch::channel(Stage::Runs);
    // Nothing is sent: a step is complete when all cells have dropped their ends, those that failed too.
    let (ready, mut all_ready) = mpsc::channel::<()>(1);
    let (dead, mut all_dead) = mpsc::channel::<()>(1);
    let runs = cells.iter().map(|cell| {
        let part = Part { ready: ready.clone(), dead: dead.clone(), stages: stages.clone() };
        AssertUnwindSafe(death_of_engine(place, cell, part)).catch_unwind()
    });
    let runs = join_all(runs.collect::<Vec<_>>());
    drop((ready, dead));
    let conduct = async {
        all_ready.recv().await;
        place.kill().await;
        stage.send_replace(Stage::Killed);
        all_dead.recv().await;
        place.start().await;
        stage.send_replace(Stage::RunsAgain);
    };
    let (results, ()) = tokio::join!(runs, conduct);
    cells.iter().cloned().zip(results.into_iter().map(|result| result.map_err(words))).collect()
}

/// What a cell of a batch has of the others.
struct Part {
    ready: mpsc::Sender<()>,
    dead: mpsc::Sender<()>,
    stages: watch::Receiver<Stage>,
}

/// Whether the engine refused the old container's start again and again for a port that it forgot to give back when it was
/// killed: its next restart helps, nobody else can.
fn is_closed_by_the_engine(report: &StepReport) -> bool {
    let reason = report.failure.as_ref().map(|failure| failure.reason.as_str()).unwrap_or_default();
    let words = ["could not start the old container again (5 times)", "port is already allocated"];
    report.phase == StepPhase::Broken && words.iter().all(|words| reason.contains(words))
}

#[expect(clippy::print_stderr, reason = "what the engine does wrong must be seen")]
async fn death_of_engine(place: &Place, cell: &Cell, part: Part) {
    let Part { ready, dead, mut stages } = part;
    let death = Disturbance::Death(cell.boundary.clone(), cell.crash);
    let scene = Scene::set_up(place, cell.order, cell.version, death).await;
    let mut agent = Some(scene.agent());
    until_boundary(&scene).await;
    check_boundary(&scene, cell);
    scene.check_old_exists().await;
    drop(ready);
    stages.wait_for(|stage| *stage >= Stage::Killed).await.expect("the conductor goes on");
    if cell.crash.kills_agent()
        && let Some(agent) = agent.take()
    {
        agent.kill().await;
    }
    scene.watch().release();
    drop(dead);
    stages.wait_for(|stage| *stage >= Stage::RunsAgain).await.expect("the conductor goes on");
    let agent = match agent {
        Some(agent) => agent,
        None => {
            scene.check_old_exists().await;
            scene.agent()
        }
    };
    let report = agent.report().await;
    if is_closed_by_the_engine(&report) {
        eprintln!("{cell}: the engine believes that a port is taken which nobody has: {report:?}");
        return scene.clean_up().await;
    }
    scene.check_end(&report).await;
    let is_good = cell.version == Version::Good;
    let blames = report.failure.as_ref().is_some_and(|failure| failure.kind.blames_the_version());
    assert!(is_good || report.phase != StepPhase::Committed, "a bad image was committed: {report:?}");
    assert!(!is_good || !blames, "a good image is blamed for the crash of an engine: {report:?}");
    scene.clean_up().await;
}

pub(crate) fn words(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_else(|| "a panic".to_owned())
}

/// One line for each cell that failed, with the command that runs it alone.
#[expect(clippy::print_stderr, reason = "that is what a person looks for")]
fn conclude(results: Vec<CellResult>) {
    let all = results.len();
    let failed: Vec<&CellResult> = results.iter().filter(|(_, result)| result.is_err()).collect();
    for (cell, result) in &failed {
        let why = result.as_ref().err().map(String::as_str).unwrap_or_default();
        eprintln!("FAILED {cell} (`{}`): {CELL}={cell} scripts/test -E 'binary(disturbed)': {why}", cell.call);
    }
    assert!(failed.is_empty(), "{} of {all} cells failed", failed.len());
    eprintln!("{all} cells");
}
