//! What a session needs of the rest of the agent.

use std::fmt;

use async_trait::async_trait;
use nightshift_core::ids::JobId;
use nightshift_core::instance::{Findings, Prepull, Survey};
use nightshift_core::job::JobOrder;
use nightshift_core::labels::Labels;
use nightshift_core::step::{StepKey, StepOrder, StepReport};

/// Whoever carries out what the coordinator asks. Each call only takes note and returns at once; what comes of it goes
/// through the [`Outbox`](super::Outbox).
#[async_trait]
pub trait Work: Send + Sync + fmt::Debug {
    /// Every step in the journal, in flight or ended, that was not forgotten yet.
    async fn steps(&self) -> Vec<StepReport>;

    /// Takes an order. The time within which it must begin counts from this call.
    async fn order(&self, order: StepOrder);

    /// Fetches an image ahead of its window.
    async fn prepull(&self, prepull: Prepull);

    /// Looks once which containers an app would have here.
    ///
    /// # Errors
    /// The engine does not answer, in words for people.
    async fn survey(&self, survey: Survey) -> Result<Findings, String>;

    /// Every job in work, or ended and not forgotten yet.
    async fn jobs(&self) -> Vec<JobId>;

    /// Takes the order of a job.
    async fn job(&self, order: JobOrder);

    /// The reports of these jobs are stored over there.
    async fn forget_jobs(&self, jobs: Vec<JobId>);

    /// These ended steps are stored over there: the journal may drop them.
    async fn forget(&self, steps: Vec<StepKey>);
}

/// What a node says of itself at the beginning of each session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The engine's host name.
    pub engine_name: String,
    /// The engine's version.
    pub engine_version: String,
    /// The API version that is spoken.
    pub engine_api_version: String,
    /// The engine's operating system.
    pub os: String,
    /// The engine's processor architecture.
    pub architecture: String,
    /// The node's labels, from its configuration.
    pub labels: Labels,
}
