//! Watches every request of a step, and disturbs it in the way that was asked for.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nightshift_core::replace::Record;
use nightshift_core::step::StepPhase;
use tokio::sync::Notify;

use crate::cell::{Boundary, Crash};
use crate::proxy::{Before, Judge, Request};

/// A request, and how far the journal was when it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) request: Request,
    pub(crate) phase: Option<StepPhase>,
}

/// What disturbs a step.
#[derive(Debug, Clone)]
pub(crate) enum Disturbance {
    Nothing,
    /// Somebody dies at a boundary.
    Death(Boundary, Crash),
    /// Calls fail.
    Failing(Rule),
    /// A person does something, once, before this request is passed on.
    Person(Moment),
}

/// Which calls fail, and how.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// As `docs/engine-calls.md` names it.
    pub(crate) call: &'static str,
    /// Also when it is only tried out, as with a socket proxy that forbids the call.
    pub(crate) trials_too: bool,
    /// Not on the container with this id.
    pub(crate) spares: Option<String>,
    /// So many are let through before.
    pub(crate) after: usize,
    /// So many fail.
    pub(crate) times: usize,
    pub(crate) how: Before,
}

/// When a person does something.
#[derive(Debug, Clone)]
pub(crate) enum Moment {
    /// Before the first of these calls on what exists.
    Call(&'static str),
    /// At the first look after the journal came to this phase.
    Phase(StepPhase),
}

/// The judge of one cell's proxy.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The agent's data directory.
    data: PathBuf,
    disturbance: Disturbance,
    seen: Mutex<Vec<Seen>>,
    hit: Mutex<Option<String>>,
    reached: Notify,
    released: Notify,
}

/// How far the step of a journal is; none where there is no step.
pub(crate) fn phase_in(data: &Path) -> Option<StepPhase> {
    let mut files = std::fs::read_dir(data.join("steps")).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let file = files.find(|path| path.extension().is_some_and(|extension| extension == "json"))?;
    let record: Record = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    Some(record.phase)
}

/// The boundaries of a step, each with the call there, from what was seen of an undisturbed one.
pub(crate) fn boundaries(seen: &[Seen]) -> Vec<(Boundary, String)> {
    let mut found: Vec<(Boundary, String)> = Vec::new();
    let (mut changes, mut last) = (0, None);
    for Seen { request, phase } in seen {
        if request.is_change() {
            found.push((Boundary::Change(changes), request.call.clone()));
            changes += 1;
            last = *phase;
        } else if is_look(request) && *phase != last {
            found.extend(phase.map(|phase| (Boundary::Phase(phase), request.call.clone())));
            last = *phase;
        }
    }
    found
}

fn is_look(request: &Request) -> bool {
    request.call == "GET /containers/{id}/json"
}

impl Watch {
    pub(crate) fn new(data: &Path, disturbance: Disturbance) -> Self {
        Self {
            data: data.to_owned(),
            disturbance,
            seen: Mutex::default(),
            hit: Mutex::default(),
            reached: Notify::new(),
            released: Notify::new(),
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// Whether the engine of this step was killed.
    pub(crate) fn kills_engine(&self) -> bool {
        matches!(&self.disturbance, Disturbance::Death(_, crash) if crash.kills_engine())
    }

    /// The call at the boundary, once it was reached.
    pub(crate) fn hit(&self) -> Option<String> {
        lock(&self.hit).clone()
    }

    /// Waits until a request is held at the boundary.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Breaks the connection of the request that is held.
    pub(crate) fn release(&self) {
        self.released.notify_one();
    }

    async fn hold(&self) {
        self.reached.notify_one();
        self.released.notified().await;
    }

    /// Takes down a request, and says what becomes of it.
    fn take(&self, request: &Request) -> Verdict {
        let phase = phase_in(&self.data);
        let mut seen = lock(&self.seen);
        let earlier = seen.clone();
        seen.push(Seen { request: request.clone(), phase });
        let mut hit = lock(&self.hit);
        let (is_there, verdict) = match &self.disturbance {
            Disturbance::Nothing => return Verdict::Answer(Before::Pass),
            Disturbance::Failing(rule) => {
                let same = |request: &Request| {
                    request.call == rule.call
                        && (rule.trials_too || !request.is_trial())
                        && rule.spares.as_ref().is_none_or(|id| !request.path.contains(id))
                };
                let before = earlier.iter().filter(|earlier| same(&earlier.request)).count();
                let strikes = same(request) && before >= rule.after && before - rule.after < rule.times;
                if strikes {
                    *hit = Some(request.call.clone());
                }
                return Verdict::Answer(if strikes { rule.how.clone() } else { Before::Pass });
            }
            Disturbance::Death(boundary, crash) => {
                let changes = earlier.iter().filter(|earlier| earlier.request.is_change()).count();
                let is_there = match boundary {
                    Boundary::Change(number) => request.is_change() && changes == *number,
                    Boundary::Phase(wanted) => is_look(request) && phase == Some(*wanted),
                };
                let after = if crash.is_after() { Verdict::Answer(Before::PassAndAsk) } else { Verdict::HoldAndCut };
                (is_there, after)
            }
            Disturbance::Person(Moment::Call(call)) => {
                (request.call == *call && !request.is_trial(), Verdict::HoldAndPass)
            }
            Disturbance::Person(Moment::Phase(wanted)) => {
                (is_look(request) && phase == Some(*wanted), Verdict::HoldAndPass)
            }
        };
        if !is_there || hit.is_some() {
            return Verdict::Answer(Before::Pass);
        }
        *hit = Some(request.call.clone());
        verdict
    }
}

enum Verdict {
    Answer(Before),
    HoldAndCut,
    HoldAndPass,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Judge for Watch {
    async fn before(&self, request: &Request) -> Before {
        match self.take(request) {
            Verdict::Answer(before) => before,
            Verdict::HoldAndCut => {
                self.hold().await;
                Before::Cut
            }
            Verdict::HoldAndPass => {
                self.hold().await;
                Before::Pass
            }
        }
    }

    async fn after(&self, _request: &Request) {
        if let Disturbance::Death(_, crash) = &self.disturbance
            && (crash.kills_agent() || crash.kills_engine())
        {
            self.hold().await;
        }
    }
}

/// Longest time from the start of an agent to its boundary, and from a crash to the end of its step: two waits for health,
/// and an engine that starts on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
