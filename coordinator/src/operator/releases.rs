//! Releases: what is known of digests, test reports, quarantine.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_core::control;
use nightshift_core::ids::AppName;
use nightshift_core::image::{Digest, ImageRef};
use nightshift_core::release::{DEFAULT_SUITE, TestResult};
use nightshift_proto::pb;
use tonic::{Request, Response, Status};

use crate::operator::{Answer, Operator, actor, needed_reason, parse, refusal, view};
use crate::trust::Permission;

/// Longest name of a test suite, and longest link, in bytes.
const SUITE_LIMIT_BYTES: usize = 100;
const URL_LIMIT_BYTES: usize = 2000;
/// CI waits for its answer: a registry that does not answer in this time is not waited for.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(5);

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

    pub(super) async fn report(&self, request: Request<pb::ReportTestRequest>) -> Answer<pb::Release> {
        let app: AppName = parse(&request.get_ref().app)?;
        let (principal, asked) = self.allow(request, Permission::Report(app.clone())).await?;
        let digest: Digest = parse(&asked.digest)?;
        let suite = if asked.suite.is_empty() { DEFAULT_SUITE.to_owned() } else { asked.suite };
        let printable = |text: &str| !text.chars().any(char::is_control);
        if suite.len() > SUITE_LIMIT_BYTES
            || asked.url.len() > URL_LIMIT_BYTES
            || !printable(&suite)
            || !printable(&asked.url)
        {
            return Err(refusal::usage(format!(
                "allowed are a suite of at most {SUITE_LIMIT_BYTES} bytes and a link of at most {URL_LIMIT_BYTES}, without control characters"
            )));
        }
        let known = app.clone();
        let image = self.driver.ask(move |view| view.control.catalog().app(&known).map(|app| app.spec.image.clone()));
        let image = image.await?.ok_or_else(|| refusal::not_found("app", app.as_str(), "app list"))?;
        let created = self.look_at(&app, &image, &digest).await;
        let request = control::Request::Report {
            app: app.clone(),
            digest: digest.clone(),
            suite,
            result: if asked.passed { TestResult::Passed } else { TestResult::Failed },
            url: Some(asked.url).filter(|url| !url.is_empty()),
            created,
        };
        self.driver.request(request, actor(&principal)).await?;
        self.release(app, digest).await
    }

    /// Looks at the registry as CI reports: what the tag points to now, and when the reported image was built. A registry
    /// that does not answer delays nothing; the watcher looks again.
    async fn look_at(&self, app: &AppName, image: &ImageRef, digest: &Digest) -> Option<DateTime<Utc>> {
        let look = async {
            if let Ok(tagged) = self.images.head(image).await {
                let created = self.images.created(&image.repository, &tagged).await.ok().flatten();
                let seen = control::Request::Seen { app: app.clone(), digest: tagged, created };
                drop(self.driver.request(seen, nightshift_core::event::Actor::nightshift()).await);
            }
            self.images.created(&image.repository, digest).await.ok().flatten()
        };
        tokio::time::timeout(REGISTRY_PATIENCE, look).await.ok().flatten()
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

    async fn release(&self, app: AppName, digest: Digest) -> Result<Response<pb::Release>, Status> {
        let name = digest.to_string();
        let list = format!("release list {app}");
        let release = self.driver.ask(move |view| {
            let app = view.control.catalog().app(&app)?;
            app.release(&digest).map(|release| view::release(app, release, view))
        });
        release.await?.map(Response::new).ok_or_else(|| refusal::not_found("release", &name, &list))
    }
}
