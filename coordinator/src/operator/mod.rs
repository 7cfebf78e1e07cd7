//! The operators' service: every call is authorised, translated, put to the driver, and answered from its view.
//!
//! Nothing is judged here. A refusal travels as a status with the metadata that the command line turns into an exit code.

mod adopt;
mod apps;
mod events;
mod freshness;
mod nodes;
mod quiet;
mod rebuilds;
pub(crate) mod refusal;
mod releases;
mod reports;
mod rollouts;
mod status;
mod tokens;
mod view;

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use nightshift_core::event::Actor;
use nightshift_proto::pb;
use nightshift_proto::pb::operator_service_server::OperatorService;
use tonic::{Request, Response, Status};

use crate::driver::{Clock, Handle};
use crate::metrics;
use crate::registry::ImageSource;
use crate::store::Store;
use crate::triggers::Secrets;
use crate::trust::{Permission, Principal, Trust};
pub(crate) use reports::{Kept, Reported};
pub(crate) use view::instances_current;

/// Longest reason that a person can give, in bytes: it stands in the audit log for ever.
const REASON_LIMIT_BYTES: usize = 1000;

type Answer<T> = Result<Response<T>, Status>;
type Flow<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The operators' service.
#[derive(Clone)]
pub struct Operator {
    driver: Handle,
    trust: Arc<Trust>,
    store: Arc<dyn Store>,
    images: Arc<dyn ImageSource>,
    clock: Clock,
    secrets: Secrets,
}

impl Operator {
    /// A service that puts everything to the driver.
    #[must_use]
    pub fn new(
        driver: Handle,
        trust: Arc<Trust>,
        store: Arc<dyn Store>,
        images: Arc<dyn ImageSource>,
        clock: Clock,
    ) -> Self {
        Self { driver, trust, store, images, clock, secrets: Secrets::default() }
    }

    /// The same, which knows where secrets of triggers may be sent.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// What is known, as numbers. Who may see it has been looked at by the one who asks.
    ///
    /// # Errors
    /// The coordinator is ending.
    pub(crate) async fn metrics(&self) -> Result<String, Status> {
        Ok(self.driver.ask(metrics::render).await?)
    }

    /// Who calls, if the caller may do this.
    async fn allow<T>(&self, request: Request<T>, permission: Permission) -> Result<(Principal, T), Status> {
        let principal = self.trust.principal(request.metadata(), (self.clock)()).await?;
        principal.check(&permission)?;
        Ok((principal, request.into_inner()))
    }

    async fn may_view<T>(&self, request: Request<T>) -> Result<T, Status> {
        Ok(self.allow(request, Permission::View).await?.1)
    }

    async fn may_operate<T>(&self, request: Request<T>) -> Result<(Actor, T), Status> {
        let (principal, asked) = self.allow(request, Permission::Operate).await?;
        Ok((actor(&principal), asked))
    }

    async fn may_administer<T>(&self, request: Request<T>) -> Result<(Actor, T), Status> {
        let (principal, asked) = self.allow(request, Permission::Administer).await?;
        Ok((actor(&principal), asked))
    }
}

/// How the audit log names a caller.
fn actor(principal: &Principal) -> Actor {
    Actor(principal.name.clone())
}

/// A name or digest of a request, or a refusal that says what is wrong with it.
fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Status> {
    text.parse().map_err(|error: T::Err| refusal::usage(error.to_string()))
}

/// A reason within its limit.
fn reason(text: String) -> Result<String, Status> {
    if text.len() > REASON_LIMIT_BYTES {
        return Err(refusal::usage(format!("the reason is longer than {REASON_LIMIT_BYTES} bytes")));
    }
    Ok(text)
}

/// The same where there must be one.
fn needed_reason(text: String) -> Result<String, Status> {
    if text.trim().is_empty() {
        return Err(refusal::usage("a reason is needed: it stands in the audit log"));
    }
    reason(text)
}

#[tonic::async_trait]
impl OperatorService for Operator {
    async fn apply(&self, request: Request<pb::ApplyRequest>) -> Answer<pb::ApplyResponse> {
        self.apply_files(request).await
    }

    async fn list_apps(&self, request: Request<pb::ListAppsRequest>) -> Answer<pb::ListAppsResponse> {
        self.all_apps(request).await
    }

    async fn get_app(&self, request: Request<pb::GetAppRequest>) -> Answer<pb::App> {
        self.one_app(request).await
    }

    async fn app_history(&self, request: Request<pb::GetAppRequest>) -> Answer<pb::AppHistoryResponse> {
        self.history(request).await
    }

    async fn set_app_enabled(&self, request: Request<pb::SetAppEnabledRequest>) -> Answer<pb::App> {
        self.enable(request).await
    }

    async fn remove_app(&self, request: Request<pb::RemoveAppRequest>) -> Answer<pb::RemoveAppResponse> {
        self.forget_app(request).await
    }

    async fn list_releases(&self, request: Request<pb::ListReleasesRequest>) -> Answer<pb::ListReleasesResponse> {
        self.releases(request).await
    }

    async fn report_test(&self, request: Request<pb::ReportTestRequest>) -> Answer<pb::Release> {
        self.report(request).await
    }

    async fn set_quarantine(&self, request: Request<pb::SetQuarantineRequest>) -> Answer<pb::Release> {
        self.quarantine(request).await
    }

    async fn list_job_logs(&self, request: Request<pb::ListJobLogsRequest>) -> Answer<pb::ListJobLogsResponse> {
        self.job_logs(request).await
    }

    async fn rebuild_app(&self, request: Request<pb::RebuildAppRequest>) -> Answer<pb::Rebuild> {
        self.rebuild(request).await
    }

    async fn get_rebuild(&self, request: Request<pb::GetRebuildRequest>) -> Answer<pb::Rebuild> {
        self.one_rebuild(request).await
    }

    async fn plan_rollout(&self, request: Request<pb::StartRolloutRequest>) -> Answer<pb::RolloutPlan> {
        self.plan(request).await
    }

    async fn start_rollout(&self, request: Request<pb::StartRolloutRequest>) -> Answer<pb::Rollout> {
        self.start(request).await
    }

    async fn rollback(&self, request: Request<pb::RollbackRequest>) -> Answer<pb::Rollout> {
        self.go_back(request).await
    }

    async fn list_rollouts(&self, request: Request<pb::ListRolloutsRequest>) -> Answer<pb::ListRolloutsResponse> {
        self.all_rollouts(request).await
    }

    async fn get_rollout(&self, request: Request<pb::GetRolloutRequest>) -> Answer<pb::Rollout> {
        self.one_rollout(request).await
    }

    async fn change_rollout(&self, request: Request<pb::ChangeRolloutRequest>) -> Answer<pb::Rollout> {
        self.change(request).await
    }

    type WatchRolloutStream = Flow<pb::Rollout>;

    async fn watch_rollout(&self, request: Request<pb::GetRolloutRequest>) -> Answer<Self::WatchRolloutStream> {
        self.follow_rollout(request).await
    }

    async fn quiet_windows(&self, request: Request<pb::QuietRequest>) -> Answer<pb::QuietResponse> {
        self.windows(request).await
    }

    async fn list_nodes(&self, request: Request<pb::ListNodesRequest>) -> Answer<pb::ListNodesResponse> {
        self.all_nodes(request).await
    }

    async fn set_availability(&self, request: Request<pb::SetAvailabilityRequest>) -> Answer<pb::Node> {
        self.availability(request).await
    }

    async fn remove_node(&self, request: Request<pb::RemoveNodeRequest>) -> Answer<pb::RemoveNodeResponse> {
        self.forget_node(request).await
    }

    async fn create_token(&self, request: Request<pb::CreateTokenRequest>) -> Answer<pb::CreateTokenResponse> {
        self.new_token(request).await
    }

    async fn list_tokens(&self, request: Request<pb::ListTokensRequest>) -> Answer<pb::ListTokensResponse> {
        self.all_tokens(request).await
    }

    async fn revoke_token(&self, request: Request<pb::RevokeTokenRequest>) -> Answer<pb::RevokeTokenResponse> {
        self.bar_token(request).await
    }

    async fn adopt(&self, request: Request<pb::AdoptRequest>) -> Answer<pb::AdoptResponse> {
        self.propose(request).await
    }

    async fn get_status(&self, request: Request<pb::GetStatusRequest>) -> Answer<pb::Status> {
        self.status(request).await
    }

    type ListEventsStream = Flow<pb::Event>;

    async fn list_events(&self, request: Request<pb::ListEventsRequest>) -> Answer<Self::ListEventsStream> {
        self.events(request).await
    }
}
