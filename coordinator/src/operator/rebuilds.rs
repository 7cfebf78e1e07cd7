//! Rebuilds: have an app built again, and see what became of it.

use nightshift_core::catalog::App;
use nightshift_core::control;
use nightshift_core::event::Event;
use nightshift_core::ids::AppName;
use nightshift_core::job::{Job, JobSubject, Jobs};
use nightshift_core::rebuild::{EndedRebuild, OpenRebuild, RebuildNumber, RebuildOutcome, TriggerState};
use nightshift_proto::convert::from_timestamp;
use nightshift_proto::pb;
use tonic::{Request, Response, Status};

use crate::operator::{Answer, Operator, needed_reason, parse, refusal};

impl Operator {
    pub(super) async fn rebuild(&self, request: Request<pb::RebuildAppRequest>) -> Answer<pb::Rebuild> {
        let (by, asked) = self.may_operate(request).await?;
        let app: AppName = parse(&asked.app)?;
        let reason = needed_reason(asked.reason)?;
        let facts = self.driver.request(control::Request::Rebuild { app: app.clone(), reason }, by).await?;
        let number = facts.iter().find_map(|fact| {
            let Event::RebuildStarted { number, .. } = &fact.event else { return None };
            Some(*number)
        });
        let number = number.ok_or_else(|| Status::internal("a rebuild began without saying so"))?;
        self.rebuild_of(app, number).await
    }

    pub(super) async fn one_rebuild(&self, request: Request<pb::GetRebuildRequest>) -> Answer<pb::Rebuild> {
        let asked = self.may_view(request).await?;
        self.rebuild_of(parse(&asked.app)?, RebuildNumber(asked.number)).await
    }

    async fn rebuild_of(&self, app: AppName, number: RebuildNumber) -> Answer<pb::Rebuild> {
        let name = format!("{number} of {app}");
        let list = format!("app show {app}");
        let found = self.driver.ask(move |view| {
            let app = view.control.catalog().app(&app)?;
            let both = of(app, view.control.jobs()).into_iter().flat_map(|rebuilds| [rebuilds.open, rebuilds.last]);
            both.flatten().find(|rebuild| rebuild.number == number.0)
        });
        found.await?.map(Response::new).ok_or_else(|| refusal::not_found("rebuild", &name, &list))
    }
}

/// How an app is built again. Also without `[rebuild]` in its file, as long as something of it is remembered.
pub(super) fn of(app: &App, jobs: &Jobs) -> Option<pb::Rebuilds> {
    let rebuilds = &app.rebuilds;
    let spec = app.spec.rebuild.as_ref();
    if spec.is_none() && rebuilds.last.is_none() {
        return None;
    }
    let schedule = spec.and_then(|spec| spec.schedule.as_ref());
    Some(pb::Rebuilds {
        schedule: schedule.map(ToString::to_string).unwrap_or_default(),
        next_due: rebuilds.next_due.filter(|_| app.enabled).map(from_timestamp),
        open: rebuilds.open.as_ref().map(|one| open(app, one, jobs)),
        last: rebuilds.last.as_ref().map(|one| ended(&app.spec.name, one)),
    })
}

fn open(app: &App, one: &OpenRebuild, jobs: &Jobs) -> pb::Rebuild {
    let by_node = app.spec.rebuild.as_ref().is_some_and(|spec| spec.builder().is_some());
    let (state, message) = if by_node { on_node(app, one, jobs) } else { by_ci(one) };
    pb::Rebuild {
        app: app.spec.name.to_string(),
        number: one.number.0,
        state: state.to_owned(),
        message,
        started_at: Some(from_timestamp(one.started_at)),
        deadline_at: Some(from_timestamp(one.deadline_at)),
        ..pb::Rebuild::default()
    }
}

/// How far a CI system is.
fn by_ci(one: &OpenRebuild) -> (&'static str, String) {
    match (&one.trigger, &one.last_failure) {
        (TriggerState::Accepted(_), _) => ("triggered", "the CI system builds".to_owned()),
        (TriggerState::Due(at), Some(reason)) => {
            ("waiting", format!("not triggered yet, again at {}: {reason}", at.format("%F %T UTC")))
        }
        (TriggerState::Due(_), None) => ("waiting", "the CI system is being told".to_owned()),
    }
}

/// How far a node is.
fn on_node(app: &App, one: &OpenRebuild, jobs: &Jobs) -> (&'static str, String) {
    let of_this = |job: &&Job| matches!(job.subject, JobSubject::Build { rebuild, .. } if rebuild == one.number);
    let job = jobs.of_app(&app.spec.name).filter(of_this);
    match (&one.built, job, &one.last_failure) {
        (Some(digest), _, _) => ("built", format!("{} is built, tested and pushed", digest.short())),
        (None, Some(job), _) => ("building", format!("on {} since {}", job.node, job.ordered_at.format("%F %T UTC"))),
        (None, None, Some(reason)) => ("waiting", format!("not built yet, and tried again: {reason}")),
        (None, None, None) => ("waiting", "no node has begun to build".to_owned()),
    }
}

fn ended(app: &AppName, one: &EndedRebuild) -> pb::Rebuild {
    let digest = match &one.outcome {
        RebuildOutcome::Tested { digest } => digest.to_string(),
        RebuildOutcome::Overdue { .. }
        | RebuildOutcome::NotTriggered { .. }
        | RebuildOutcome::Failed { .. }
        | RebuildOutcome::GivenUp { .. } => String::new(),
    };
    pb::Rebuild {
        app: app.to_string(),
        number: one.number.0,
        state: one.outcome.as_str().to_owned(),
        message: one.outcome.reason(),
        ended: true,
        started_at: Some(from_timestamp(one.started_at)),
        ended_at: Some(from_timestamp(one.ended_at)),
        digest,
        ..pb::Rebuild::default()
    }
}
