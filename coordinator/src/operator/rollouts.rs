//! Rollouts: plan, start, look, follow, change, go back.

use std::time::Duration;

use nightshift_core::control::{self, StartOptions};
use nightshift_core::ids::{AppName, RolloutId};
use nightshift_core::rollout::{Command, Overrides};
use nightshift_proto::convert::from_duration;
use nightshift_proto::pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::operator::{Answer, Flow, Operator, needed_reason, parse, reason, refusal, view};

/// Rollouts in a list when nobody says how many.
const LIST_DEFAULT: usize = 20;
/// Changes that a slow watcher may lag behind; each one is a whole picture, so older ones are of no use.
const FOLLOW_LIMIT: usize = 4;
/// A person cannot read faster, and a thousand watchers must not cost a core.
const FOLLOW_PACE: Duration = Duration::from_millis(100);

impl Operator {
    pub(super) async fn plan(&self, request: Request<pb::StartRolloutRequest>) -> Answer<pb::RolloutPlan> {
        let asked = self.may_view(request).await?;
        let (app, options) = start_options(asked)?;
        let plan = self.driver.ask(move |view| {
            let plan = view.control.plan(&app, &options, view.fleet, view.now)?;
            let known = view.control.catalog().app(&app);
            let waits = known.map(|known| view.control.app_waits(known, view.fleet, view.now)).unwrap_or_default();
            let worst_case = known.map(|known| known.spec.worst_case(true)).unwrap_or_default();
            let mut first = true;
            let steps = plan.candidates.iter().map(|one| {
                let canary = one.skipped.is_none() && std::mem::take(&mut first);
                view::planned_step(one, canary)
            });
            Ok(pb::RolloutPlan {
                app: app.to_string(),
                to: plan.to.to_string(),
                steps: steps.collect(),
                waiting_on: waits.iter().map(view::wait).collect(),
                worst_case: Some(from_duration(worst_case)),
            })
        });
        let plan: Result<_, nightshift_core::rollout::Rejection> = plan.await?;
        Ok(Response::new(plan.map_err(crate::driver::Refusal::Rejected)?))
    }

    pub(super) async fn start(&self, request: Request<pb::StartRolloutRequest>) -> Answer<pb::Rollout> {
        let (by, asked) = self.may_operate(request).await?;
        let (app, options) = start_options(asked)?;
        let of = app.clone();
        let id = self.driver.start(of, move |id| control::Request::Start { app, options, id }, by).await?;
        self.rollout(id.to_string()).await
    }

    pub(super) async fn go_back(&self, request: Request<pb::RollbackRequest>) -> Answer<pb::Rollout> {
        let (by, asked) = self.may_operate(request).await?;
        let app: AppName = parse(&asked.app)?;
        let digest = if asked.digest.is_empty() { None } else { Some(parse(&asked.digest)?) };
        let reason = reason(asked.reason)?;
        let of = app.clone();
        let id = self.driver.start(of, move |id| control::Request::Rollback { app, digest, reason, id }, by).await?;
        self.rollout(id.to_string()).await
    }

    pub(super) async fn all_rollouts(
        &self,
        request: Request<pb::ListRolloutsRequest>,
    ) -> Answer<pb::ListRolloutsResponse> {
        let asked = self.may_view(request).await?;
        let app: Option<AppName> = if asked.app.is_empty() { None } else { Some(parse(&asked.app)?) };
        let limit = if asked.limit == 0 { LIST_DEFAULT } else { asked.limit as usize };
        let rollouts = self.driver.ask(move |view| {
            let known = app.as_ref().is_none_or(|app| view.control.catalog().app(app).is_some());
            let fits = view.control.rollouts().into_iter().filter(|rollout| {
                app.as_ref().is_none_or(|app| rollout.app() == app) && !(asked.open_only && rollout.state.is_end())
            });
            let list: Vec<_> = fits.take(limit).map(|rollout| view::rollout(rollout, view)).collect();
            (known || !list.is_empty()).then_some(list)
        });
        let rollouts = rollouts.await?.ok_or_else(|| refusal::not_found("app", &asked.app, "app list"))?;
        Ok(Response::new(pb::ListRolloutsResponse { rollouts }))
    }

    pub(super) async fn one_rollout(&self, request: Request<pb::GetRolloutRequest>) -> Answer<pb::Rollout> {
        let asked = self.may_view(request).await?;
        self.rollout(asked.rollout).await
    }

    async fn rollout(&self, word: String) -> Answer<pb::Rollout> {
        let found =
            self.driver.ask(move |view| view.control.find_rollout(&word).map(|rollout| view::rollout(rollout, view)));
        Ok(Response::new(found.await?.map_err(crate::driver::Refusal::Rejected)?))
    }

    pub(super) async fn change(&self, request: Request<pb::ChangeRolloutRequest>) -> Answer<pb::Rollout> {
        let (by, asked) = self.may_operate(request).await?;
        let command = match asked.change() {
            pb::RolloutChange::Pause => Command::Pause,
            pb::RolloutChange::Resume => Command::Resume,
            pb::RolloutChange::Abort => Command::Abort,
            pb::RolloutChange::Promote => Command::Promote,
            pb::RolloutChange::Retry => Command::Retry,
            pb::RolloutChange::Unspecified => return Err(refusal::usage("`change` is not set")),
        };
        let word = asked.rollout.clone();
        let found = self.driver.ask(move |view| view.control.find_rollout(&word).map(|rollout| rollout.id.clone()));
        let id: RolloutId = found.await?.map_err(crate::driver::Refusal::Rejected)?;
        let request = control::Request::Change { rollout: id.to_string(), command, reason: reason(asked.reason)? };
        self.driver.request(request, by).await?;
        self.rollout(id.to_string()).await
    }

    pub(super) async fn follow_rollout(&self, request: Request<pb::GetRolloutRequest>) -> Answer<Flow<pb::Rollout>> {
        let asked = self.may_view(request).await?;
        let first = self.rollout(asked.rollout).await?.into_inner();
        let (sender, receiver) = mpsc::channel(FOLLOW_LIMIT);
        tokio::spawn(self.clone().follow(first, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    /// Sends the rollout as it is, and again whenever it looks different, until it has ended or nobody listens.
    async fn follow(self, first: pb::Rollout, sender: mpsc::Sender<Result<pb::Rollout, Status>>) {
        let mut changes = self.driver.changes();
        let id = first.id.clone();
        let mut last = first.clone();
        if sender.send(Ok(first)).await.is_err() {
            return;
        }
        while !last.ended {
            // Waits are worded by the clock as well, so it looks again from time to time without a change.
            let changed = tokio::time::timeout(Duration::from_secs(1), changes.changed());
            tokio::select! {
                changed = changed => if matches!(changed, Ok(Err(_))) { return },
                () = sender.closed() => return,
            }
            tokio::time::sleep(FOLLOW_PACE).await;
            let next = match self.rollout(id.clone()).await {
                Ok(next) => next.into_inner(),
                Err(status) => {
                    drop(sender.send(Err(status)).await);
                    return;
                }
            };
            if next != last {
                last = next.clone();
                if sender.send(Ok(next)).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn start_options(asked: pb::StartRolloutRequest) -> Result<(AppName, StartOptions), Status> {
    let digest = if asked.digest.is_empty() { None } else { Some(parse(&asked.digest)?) };
    let overrides = Overrides { now: asked.now, freeze: asked.override_freeze, quarantine: asked.override_quarantine };
    let overridden = overrides != Overrides::default();
    if overrides.freeze && !overrides.now {
        return Err(refusal::usage(
            "`--override-freeze` is an addition to `--now`: outside a freeze the quiet hours still hold",
        ));
    }
    let reason = if overridden { needed_reason(asked.reason)? } else { reason(asked.reason)? };
    Ok((parse(&asked.app)?, StartOptions { digest, overrides, reason }))
}
