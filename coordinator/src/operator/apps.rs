//! Apps: bring specs into force, look at them, switch them off, forget them.

use std::time::Duration;

use nightshift_core::config::read_app;
use nightshift_core::control;
use nightshift_core::event::Event;
use nightshift_core::ids::AppName;
use nightshift_core::instance::WatchedApp;
use nightshift_core::rebuild::RebuildBy;
use nightshift_core::spec::{AppSpec, UpdateOrder, spec_differences};
use nightshift_proto::convert::from_timestamp;
use nightshift_proto::pb;
use tonic::{Request, Response, Status};

use crate::driver::Refusal;
use crate::operator::{Answer, Operator, needed_reason, parse, reason, refusal, view};
use crate::store::StreamId;

/// How long agents may take to say which containers an app would have. A person waits for it.
const SURVEY_DEADLINE: Duration = Duration::from_secs(5);
/// App files in one call at most.
const FILE_LIMIT: usize = 1000;

impl Operator {
    pub(super) async fn apply_files(&self, request: Request<pb::ApplyRequest>) -> Answer<pb::ApplyResponse> {
        let (by, asked) = self.may_operate(request).await?;
        let specs = read_all(asked.files)?;
        self.check_secrets(&specs)?;
        self.check_start_first(&specs).await?;
        let wanted = specs.clone();
        let changes = self.driver.ask(move |view| changes(&specs, view.control.catalog())).await?;
        if !asked.dry_run {
            self.driver.request(control::Request::Apply(wanted), by).await?;
        }
        Ok(Response::new(pb::ApplyResponse { changes }))
    }

    /// Whoever may apply an app file must not be able to have a token sent to a server of his own.
    fn check_secrets(&self, specs: &[AppSpec]) -> Result<(), Status> {
        for spec in specs {
            let Some(RebuildBy::Http(trigger)) = spec.rebuild.as_ref().map(|rebuild| &rebuild.by) else { continue };
            let origin = trigger.origin().map_err(|error| refusal::usage(error.to_string()))?;
            let refused = |error| refusal::usage(format!("app `{}`, `rebuild.trigger`: {error}", spec.name));
            self.secrets.check(trigger, &origin).map_err(refused)?;
        }
        Ok(())
    }

    /// Two containers of one configuration cannot have the same host port: whether that is so only the nodes know.
    async fn check_start_first(&self, specs: &[AppSpec]) -> Result<(), Status> {
        for spec in specs.iter().filter(|spec| spec.update.order == UpdateOrder::StartFirst) {
            let found = self.driver.survey(WatchedApp::of(spec), spec.nodes.clone(), SURVEY_DEADLINE).await?;
            if let Some(rejection) = control::start_first_refusal(spec, &found) {
                return Err(Refusal::from(rejection).into());
            }
        }
        Ok(())
    }

    pub(super) async fn all_apps(&self, request: Request<pb::ListAppsRequest>) -> Answer<pb::ListAppsResponse> {
        self.may_view(request).await?;
        let apps =
            |view: &crate::driver::View<'_>| view.control.catalog().apps().map(|app| view::app(app, view)).collect();
        Ok(Response::new(pb::ListAppsResponse { apps: self.driver.ask(apps).await? }))
    }

    pub(super) async fn one_app(&self, request: Request<pb::GetAppRequest>) -> Answer<pb::App> {
        let asked = self.may_view(request).await?;
        self.app(parse(&asked.app)?).await
    }

    async fn app(&self, name: AppName) -> Answer<pb::App> {
        let known = name.clone();
        let app =
            self.driver.ask(move |view| view.control.catalog().app(&known).map(|app| view::app(app, view))).await?;
        app.map(Response::new).ok_or_else(|| refusal::not_found("app", name.as_str(), "app list"))
    }

    pub(super) async fn history(&self, request: Request<pb::GetAppRequest>) -> Answer<pb::AppHistoryResponse> {
        let asked = self.may_view(request).await?;
        let name: AppName = parse(&asked.app)?;
        self.app(name.clone()).await?;
        let stored = self.store.load(&StreamId(format!("app/{name}"))).await.map_err(view::store_failed)?;
        let versions = stored.into_iter().filter_map(|stored| {
            let Ok(Event::AppApplied { version, differences, .. }) = serde_json::from_value(stored.body) else {
                return None;
            };
            let at = Some(from_timestamp(stored.at));
            Some(pb::app_history_response::Version { version: version.0, at, by: stored.by, differences })
        });
        Ok(Response::new(pb::AppHistoryResponse { versions: versions.collect() }))
    }

    pub(super) async fn enable(&self, request: Request<pb::SetAppEnabledRequest>) -> Answer<pb::App> {
        let (by, asked) = self.may_operate(request).await?;
        let app: AppName = parse(&asked.app)?;
        let reason = reason(asked.reason)?;
        let request = control::Request::Enable { app: app.clone(), enabled: asked.enabled, reason };
        self.driver.request(request, by).await?;
        self.app(app).await
    }

    pub(super) async fn forget_app(&self, request: Request<pb::RemoveAppRequest>) -> Answer<pb::RemoveAppResponse> {
        let (by, asked) = self.may_operate(request).await?;
        let (app, reason) = (parse(&asked.app)?, needed_reason(asked.reason)?);
        self.driver.request(control::Request::Remove { app, reason }, by).await?;
        Ok(Response::new(pb::RemoveAppResponse {}))
    }
}

/// Every file's spec, or everything that is wrong with all of them.
fn read_all(files: Vec<pb::AppFile>) -> Result<Vec<AppSpec>, Status> {
    if files.is_empty() || files.len() > FILE_LIMIT {
        return Err(refusal::usage(format!("allowed are 1 to {FILE_LIMIT} app files in one call")));
    }
    let mut specs: Vec<AppSpec> = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        match read_app(&file.name, &file.toml) {
            Ok(spec) if specs.iter().any(|other| other.name == spec.name) => {
                problems.push(format!("{}: another file describes app `{}`, too", file.name, spec.name));
            }
            Ok(spec) => specs.push(spec),
            Err(found) => problems.push(found.to_string()),
        }
    }
    if problems.is_empty() { Ok(specs) } else { Err(refusal::usage(problems.join("\n"))) }
}

fn changes(specs: &[AppSpec], catalog: &nightshift_core::catalog::Catalog) -> Vec<pb::apply_response::Change> {
    use pb::apply_response::change::Kind;
    let change = |spec: &AppSpec| {
        let known = catalog.app(&spec.name);
        let (kind, version, differences) = match known {
            None => (Kind::Created, 1, Vec::new()),
            Some(app) if app.spec == *spec => (Kind::Unchanged, app.version.0, Vec::new()),
            Some(app) => (Kind::Updated, app.version.next().0, spec_differences(&app.spec, spec)),
        };
        pb::apply_response::Change { app: spec.name.to_string(), kind: kind.into(), version, differences }
    };
    specs.iter().map(change).collect()
}
