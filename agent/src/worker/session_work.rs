//! Joins worker, jobs and session: orders come in through [`Work`], reports go out into the [`Outbox`].

use std::sync::Arc;

use async_trait::async_trait;
use nightshift_core::ids::JobId;
use nightshift_core::instance::{Findings, Prepull, Survey};
use nightshift_core::job::JobOrder;
use nightshift_core::step::{StepKey, StepOrder, StepReport};
use tokio::sync::mpsc;

use super::{WorkerHandle, WorkerReport};
use crate::inventory;
use crate::jobs::JobsHandle;
use crate::session::{Outbox, Work};

/// Everybody who works for a session.
#[derive(Debug)]
pub struct Hands {
    /// For instances.
    pub worker: WorkerHandle,
    /// For everything else.
    pub jobs: JobsHandle,
}

#[async_trait]
impl Work for Hands {
    async fn steps(&self) -> Vec<StepReport> {
        self.worker.steps()
    }

    async fn order(&self, order: StepOrder) {
        // Whatever comes of it, a refusal too, is in the reports.
        self.worker.submit(order).await;
    }

    async fn prepull(&self, prepull: Prepull) {
        self.worker.prepull(prepull);
    }

    async fn survey(&self, survey: Survey) -> Result<Findings, String> {
        inventory::survey(self.worker.shared.engine.clone(), survey).await.map_err(|error| error.to_string())
    }

    async fn forget(&self, steps: Vec<StepKey>) {
        self.worker.forget(steps).await;
    }

    async fn jobs(&self) -> Vec<JobId> {
        self.jobs.held()
    }

    async fn job(&self, order: JobOrder) {
        self.jobs.submit(order).await;
    }

    async fn forget_jobs(&self, jobs: Vec<JobId>) {
        self.jobs.forget(&jobs).await;
    }
}

/// Passes a worker's reports to the outbox until the worker is gone.
pub async fn deliver(mut reports: mpsc::Receiver<WorkerReport>, outbox: Arc<Outbox>) {
    while let Some(report) = reports.recv().await {
        match report {
            WorkerReport::Step(report) => outbox.step(report),
            WorkerReport::Image(report) => outbox.image(report),
        }
    }
}
