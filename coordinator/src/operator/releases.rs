//! Releases: what is known of digests, and quarantine.

use nightshift_core::control;
use nightshift_core::ids::AppName;
use nightshift_core::image::Digest;
use nightshift_proto::convert::from_timestamp;
use nightshift_proto::pb;
use tonic::{Request, Response, Status};

use crate::operator::{Answer, Operator, needed_reason, parse, refusal, view};
use crate::store::{JOB_LOGS_KEPT, KeptLog};

impl Operator {
    pub(super) async fn releases(&self, request: Request<pb::ListReleasesRequest>) -> Answer<pb::ListReleasesResponse> {
        let asked = self.may_view(request).await?;
        let name: AppName = parse(&asked.app)?;
        let known = name.clone();
        let releases = self.driver.ask(move |view| {
            let app = view.control.catalog().app(&known)?;
            Some(app.releases.iter().rev().map(|release| view::release(app, release, view)).collect())
        });
        let releases = releases.await?.ok_or_else(|| refusal::not_found("app", name.as_str(), "app list"))?;
        Ok(Response::new(pb::ListReleasesResponse { releases }))
    }

    pub(super) async fn quarantine(&self, request: Request<pb::SetQuarantineRequest>) -> Answer<pb::Release> {
        let (by, asked) = self.may_operate(request).await?;
        let (app, digest): (AppName, Digest) = (parse(&asked.app)?, parse(&asked.digest)?);
        let request = control::Request::Quarantine {
            app: app.clone(),
            digest: digest.clone(),
            quarantined: asked.quarantined,
            reason: needed_reason(asked.reason)?,
        };
        self.driver.request(request, by).await?;
        self.release(app, digest).await
    }

    pub(super) async fn job_logs(&self, request: Request<pb::ListJobLogsRequest>) -> Answer<pb::ListJobLogsResponse> {
        let asked = self.may_view(request).await?;
        let app: AppName = parse(&asked.app)?;
        let digest = Some(asked.digest).filter(|digest| !digest.is_empty());
        let digest: Option<Digest> = digest.as_deref().map(parse).transpose()?;
        let name = app.clone();
        let known = self.driver.ask(move |view| view.control.catalog().app(&name).is_some()).await?;
        if !known {
            return Err(refusal::not_found("app", app.as_str(), "app list"));
        }
        let limit = if asked.limit == 0 { JOB_LOGS_KEPT } else { asked.limit.min(JOB_LOGS_KEPT) };
        let logs = self.store.job_logs(app.as_str(), digest.as_ref().map(Digest::as_str), limit).await;
        let logs = logs.map_err(view::store_failed)?.into_iter().map(job_log).collect();
        Ok(Response::new(pb::ListJobLogsResponse { logs }))
    }

    pub(super) async fn release(&self, app: AppName, digest: Digest) -> Result<Response<pb::Release>, Status> {
        let name = digest.to_string();
        let list = format!("release list {app}");
        let release = self.driver.ask(move |view| {
            let app = view.control.catalog().app(&app)?;
            app.release(&digest).map(|release| view::release(app, release, view))
        });
        release.await?.map(Response::new).ok_or_else(|| refusal::not_found("release", &name, &list))
    }
}

fn job_log(log: KeptLog) -> pb::JobLog {
    pb::JobLog {
        job: log.job,
        kind: log.kind,
        node: log.node,
        digest: log.digest.unwrap_or_default(),
        result: log.result,
        reason: log.reason.unwrap_or_default(),
        at: Some(from_timestamp(log.at)),
        text: log.text,
        cut: log.cut,
    }
}
