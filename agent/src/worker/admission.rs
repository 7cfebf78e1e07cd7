//! Judges orders: what is known, stale, forbidden or too much is not begun.

use std::sync::Arc;

use nightshift_core::replace::Record;
use nightshift_core::step::{Failure, FailureKind, StepOrder, StepPhase, StepReport};
use tracing::{error, info};

use super::{Shared, run};

/// Takes an order or refuses it, and says how the step stands.
pub(super) async fn submit(shared: &Arc<Shared>, order: StepOrder) -> StepReport {
    let _one_at_a_time = shared.admission.lock().await;
    let key = order.key.clone();
    if let Some(known) = shared.journal.record(&key) {
        let report = known.report();
        shared.report_step(report.clone());
        return report;
    }
    // A stale order leaves no trace: nobody waits for an answer that a new coordinator would have to take back.
    if let Err(stale) = shared.journal.check_fence(order.epoch, Some(&key)) {
        info!(step = %key, reason = %stale, "stale order refused");
        return answer(shared, refused(order, stale.to_string()));
    }
    // From here on it is never taken again, however often and late it comes: the coordinator gives the step a new generation.
    if let Err(error) = shared.journal.raise_fence(&order).await {
        error!(step = %key, %error, "the journal cannot be written; no step is begun");
        return answer(shared, refused(order, error.to_string()));
    }
    if let Some(reason) = objection(shared, &order) {
        info!(step = %key, %reason, "order refused");
        let record = refused(order, reason);
        if !shared.journal.is_full()
            && let Err(error) = shared.journal.save(&record).await
        {
            error!(step = %key, %error, "the journal cannot be written");
        }
        return answer(shared, record);
    }
    let record = Record::new(order);
    if let Err(error) = shared.journal.save(&record).await {
        error!(step = %key, %error, "the journal cannot be written; no step is begun");
        return answer(shared, refused(record.order, error.to_string()));
    }
    info!(step = %key, container = %record.order.container, digest = %record.order.digest.short(), "step begun");
    *shared.lock_active() = Some(key);
    let report = answer(shared, record.clone());
    let worker = shared.clone();
    shared.spawn(async move { run::to_its_end(&worker, record).await });
    report
}

fn objection(shared: &Shared, order: &StepOrder) -> Option<String> {
    if let Err(refusal) = shared.limits.judge(&order.image.repository, &order.digest, &order.signatures) {
        return Some(refusal.to_string());
    }
    if let Some(active) = shared.lock_active().as_ref() {
        return Some(format!("this node works on step {active}, and never on two at once"));
    }
    if shared.journal.is_full() {
        return Some("the journal holds too many steps that the coordinator has not acknowledged".to_owned());
    }
    if shared.shutdown.is_cancelled() {
        return Some("the agent is about to end".to_owned());
    }
    None
}

fn refused(order: StepOrder, reason: String) -> Record {
    let mut record = Record::new(order);
    record.failure = Some(Failure { kind: FailureKind::NotAccepted, reason, log: String::new() });
    record.phase = StepPhase::Untouched;
    record
}

fn answer(shared: &Shared, record: Record) -> StepReport {
    let report = record.report();
    shared.report_step(report.clone());
    report
}
