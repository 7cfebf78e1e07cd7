//! Test reports, however they come: by gRPC from the command line, by HTTPS from `curl`. One way in for both, so that both
//! are judged the same.

use std::net::SocketAddr;
use std::time::Duration;

use nightshift_core::control;
use nightshift_core::event::Actor;
use nightshift_core::ids::AppName;
use nightshift_core::image::{Digest, ImageRef, Repository};
use nightshift_core::release::{DEFAULT_SUITE, Description, GateDenial, TestReport, TestResult};
use nightshift_core::spec::TestKind;
use nightshift_proto::pb;
use tonic::{Request, Status};

use crate::operator::{Answer, Operator, actor, parse, refusal};
use crate::trust::{ConnectInfo, Permission, Principal};

/// Longest name of a test suite, and longest link, in bytes.
const SUITE_LIMIT_BYTES: usize = 100;
const URL_LIMIT_BYTES: usize = 2000;
/// What a link may begin with: people click on it.
const URL_SCHEMES: [&str; 2] = ["https://", "http://"];
/// CI waits for its answer: a registry that does not answer in this time is not waited for.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(5);

/// A test report as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Reported {
    /// The app.
    pub(crate) app: AppName,
    /// What was tested.
    pub(crate) digest: Digest,
    /// Which tests these were; empty: [`DEFAULT_SUITE`].
    pub(crate) suite: String,
    /// How they ended.
    pub(crate) result: TestResult,
    /// Link to the run; empty: none.
    pub(crate) url: String,
}

/// A report that is kept, and what the gate says of its digest now.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The report: the first one, when the same came again.
    pub(crate) report: TestReport,
    /// Why the digest may not be a target yet.
    pub(crate) denial: Option<GateDenial>,
}

impl Operator {
    pub(super) async fn report(&self, request: Request<pb::ReportTestRequest>) -> Answer<pb::Release> {
        let app: AppName = parse(&request.get_ref().app)?;
        let from = request.extensions().get::<ConnectInfo>().map(|info| info.remote_addr);
        let (principal, asked) = self.allow(request, Permission::Report(app.clone())).await?;
        let digest: Digest = parse(&asked.digest)?;
        let result = if asked.passed { TestResult::Passed } else { TestResult::Failed };
        let reported =
            Reported { app: app.clone(), digest: digest.clone(), suite: asked.suite, result, url: asked.url };
        self.take_report(&principal, from, reported).await?;
        self.release(app, digest).await
    }

    /// Takes a report from a caller who may report for this app.
    ///
    /// # Errors
    /// The app is not known, a field is beyond its limits, or the suite has failed before and now says otherwise.
    pub(crate) async fn take_report(
        &self,
        principal: &Principal,
        from: Option<SocketAddr>,
        reported: Reported,
    ) -> Result<Kept, Status> {
        check_words(&reported)?;
        let Reported { app, digest, suite, result, url } = reported;
        let suite = if suite.is_empty() { DEFAULT_SUITE.to_owned() } else { suite };
        let known = app.clone();
        let known = self.driver.ask(move |view| {
            let app = view.control.catalog().app(&known)?;
            Some((app.spec.image.repository.clone(), app.followed()))
        });
        let known = known.await?.ok_or_else(|| refusal::not_found("app", app.as_str(), "app list"))?;
        let about = self.look_at(&app, known, &digest).await;
        let request = control::Request::Report {
            app: app.clone(),
            digest: digest.clone(),
            suite: suite.clone(),
            result,
            url: Some(url).filter(|url| !url.is_empty()),
            from: from.map(|from| from.ip().to_canonical()),
            about,
        };
        let facts = self.driver.request(request, actor(principal)).await?;
        let from = from.map(tracing::field::display);
        let news = !facts.is_empty();
        tracing::info!(%app, %digest, suite, ?result, by = %principal.name, from, news, "test reported");
        self.kept(app, digest, suite).await
    }

    /// The newest report of a suite, with the gate's word.
    async fn kept(&self, app: AppName, digest: Digest, suite: String) -> Result<Kept, Status> {
        let name = digest.to_string();
        let list = format!("release list {app}");
        let kept = self.driver.ask(move |view| {
            let app = view.control.catalog().app(&app)?;
            let release = app.release(&digest)?;
            let of_suite = |report: &&TestReport| report.kind == TestKind::Ci && report.suite == suite;
            let report = release.reports.iter().rfind(of_suite)?.clone();
            Some(Kept { report, denial: app.spec.gate.judge(release, view.now).err() })
        });
        kept.await?.ok_or_else(|| refusal::not_found("release", &name, &list))
    }

    /// Looks at the registry as CI reports: what the tag points to now, and what the reported image says of itself. A registry
    /// that does not answer delays nothing; the watcher looks again.
    async fn look_at(
        &self,
        app: &AppName,
        (repository, followed): (Repository, Option<ImageRef>),
        digest: &Digest,
    ) -> Description {
        let look = async {
            if let Some(image) = followed
                && let Ok(tagged) = self.images.head(&image).await
            {
                let about = self.images.describe(&image.repository, &tagged).await.unwrap_or_default();
                let seen = control::Request::Seen { app: app.clone(), image, digest: tagged, about };
                drop(self.driver.request(seen, Actor::nightshift()).await);
            }
            self.images.describe(&repository, digest).await.unwrap_or_default()
        };
        tokio::time::timeout(REGISTRY_PATIENCE, look).await.unwrap_or_default()
    }
}

/// Whether suite and link may stand in the audit log for ever.
fn check_words(reported: &Reported) -> Result<(), Status> {
    let Reported { suite, url, .. } = reported;
    let printable = |text: &str| !text.chars().any(char::is_control);
    if suite.len() > SUITE_LIMIT_BYTES || !printable(suite) {
        let message = format!("a suite's name has at most {SUITE_LIMIT_BYTES} bytes without control characters");
        return Err(refusal::usage(message));
    }
    if url.len() > URL_LIMIT_BYTES || !printable(url) {
        let message = format!("a link has at most {URL_LIMIT_BYTES} bytes without control characters");
        return Err(refusal::usage(message));
    }
    let after_scheme = URL_SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme));
    let authority = after_scheme.and_then(|rest| rest.split(['/', '?', '#']).next());
    let good = authority.is_some_and(|authority| !authority.is_empty() && !authority.contains('@'));
    if url.is_empty() || good {
        Ok(())
    } else {
        // Not repeated: what is wrong with it may be the password in it.
        Err(refusal::usage("a link begins with `https://` or `http://` and a host, and has no credentials in it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(suite: &str, url: &str) -> Reported {
        let digest = format!("sha256:{}", "0".repeat(64)).parse().expect("well formed");
        let (app, result) = ("web".parse().expect("well formed"), TestResult::Passed);
        Reported { app, digest, suite: suite.to_owned(), result, url: url.to_owned() }
    }

    #[test]
    fn a_suite_and_a_link_that_can_stand_in_the_log_are_taken() {
        let (long_suite, long_url) = ("s".repeat(100), format!("https://{}", "h".repeat(1992)));
        for (suite, url) in [
            ("", ""),
            ("unit", "https://ci.example/jobs/7?a=b@c#l1"),
            ("Prüfung 2", "http://ci.example"),
            (&*long_suite, &*long_url),
        ] {
            assert!(check_words(&reported(suite, url)).is_ok(), "{suite} {url}");
        }
    }

    #[test]
    fn others_are_refused_without_repeating_a_password() {
        let (long_suite, long_url) = ("s".repeat(101), format!("https://{}", "h".repeat(1993)));
        for (suite, url) in [
            ("a\nb", ""),
            (&*long_suite, ""),
            ("", &*long_url),
            ("", "https://ci.example/\u{7}"),
            ("", "javascript:alert(1)"),
            ("", "ci.example/jobs/7"),
            ("", "https://"),
            ("", "https:///jobs"),
            ("", "https://robot:hunter2@ci.example/jobs/7"),
        ] {
            let refused = check_words(&reported(suite, url)).expect_err(url);
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
            assert!(!refused.message().contains("hunter2"), "{refused}");
        }
    }
}
