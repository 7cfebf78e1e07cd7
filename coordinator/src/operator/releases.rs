//! Releases: what is known of digests, and quarantine.

use nightshift_core::control;
use nightshift_core::ids::AppName;
use nightshift_core::image::Digest;
use nightshift_proto::pb;
use tonic::{Request, Response, Status};

use crate::operator::{Answer, Operator, needed_reason, parse, refusal, view};

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
