//! Joins the worker and the session: orders come in through [`Work`], reports go out into the [`Outbox`].

use std::sync::Arc;

use async_trait::async_trait;
use nightshift_core::instance::{Findings, Prepull, Survey};
use nightshift_core::step::{StepKey, StepOrder, StepReport};
use tokio::sync::mpsc;

use super::{WorkerHandle, WorkerReport};
use crate::inventory;
use crate::session::{Outbox, Work};

#[async_trait]
impl Work for WorkerHandle {
    async fn steps(&self) -> Vec<StepReport> {
        Self::steps(self)
    }

    async fn order(&self, order: StepOrder) {
        // Whatever comes of it, a refusal too, is in the reports.
        self.submit(order).await;
    }

    async fn prepull(&self, prepull: Prepull) {
        Self::prepull(self, prepull);
    }

    async fn survey(&self, survey: Survey) -> Result<Findings, String> {
        inventory::survey(self.shared.engine.clone(), survey).await.map_err(|error| error.to_string())
    }

    async fn forget(&self, steps: Vec<StepKey>) {
        Self::forget(self, steps).await;
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
