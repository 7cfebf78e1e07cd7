//! The loop of one step: look, decide, write down, act, look again.

use std::sync::Arc;
use std::time::Duration;

use nightshift_core::replace::{Action, Next, Record, next};
use nightshift_core::step::StepPhase;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::Shared;
use super::act::{self, Trouble};
use super::observe::observe;
use super::wake::Wake;

/// First pause when the engine is away; doubled each time up to [`AWAY_LIMIT`].
const AWAY_FIRST: Duration = Duration::from_millis(200);
/// Longest pause: an engine that comes back must not wait long for a step that keeps a service down.
const AWAY_LIMIT: Duration = Duration::from_secs(5);

/// Works on a step until it has ended. An engine that is away, or a full disk, makes it wait, not fail.
pub(super) async fn to_its_end(shared: &Arc<Shared>, record: Record) {
    let key = record.order.key.clone();
    let mut step = Step {
        shared,
        wake: Wake::new(shared.engine.clone(), &record.order),
        saved: record.clone(),
        record,
        mark: Instant::now(),
        away: AWAY_FIRST,
    };
    while !step.go_on().await {}
    let report = step.record.report();
    let reason = report.failure.as_ref().map(|failure| failure.reason.as_str()).unwrap_or_default();
    if report.phase == StepPhase::Broken {
        error!(step = %key, container = %step.record.order.container, reason, "the old container was not brought back");
    } else {
        info!(step = %key, phase = %report.phase, downtime_ms = report.downtime_ms, reason, "step ended");
    }
    let mut active = shared.lock_active();
    if active.as_ref() == Some(&key) {
        *active = None;
    }
}

struct Step<'a> {
    shared: &'a Arc<Shared>,
    wake: Wake,
    record: Record,
    /// What the journal holds.
    saved: Record,
    /// The moment up to which time was counted.
    mark: Instant,
    /// The next pause when the engine is away.
    away: Duration,
}

impl Step<'_> {
    /// One turn of the loop. Says whether the step has ended.
    async fn go_on(&mut self) -> bool {
        let seen = match observe(&*self.shared.engine, &self.record).await {
            Ok(seen) => seen,
            Err(error) => return self.not_seen(&error).await,
        };
        if self.wake.broke_off() {
            self.record.lost_sight();
        }
        let elapsed = self.elapsed();
        let Next { record, action } = next(&self.record, &seen, elapsed);
        self.record = record;
        if !self.write_down(action == Action::End).await {
            return false;
        }
        if let Action::Wait(time) = action {
            self.wake.wait(time).await;
        } else if action != Action::End {
            self.act(&action).await;
        }
        action == Action::End
    }

    async fn act(&mut self, action: &Action) {
        info!(step = %self.record.order.key, action = action.words(), "acting");
        match act::perform(self.shared, &mut self.record, action).await {
            Ok(()) => self.away = AWAY_FIRST,
            Err(Trouble::Engine(error)) if error.is_engine_away() || error.may_have_been_done() => {
                self.unanswered(action, &error).await;
            }
            Err(trouble) => self.refused(action, &trouble).await,
        }
    }

    /// The engine said no. That counts when a second look wants the same again: the thing may be so already.
    async fn refused(&mut self, action: &Action, trouble: &Trouble) {
        let seen = match observe(&*self.shared.engine, &self.record).await {
            Ok(seen) => seen,
            Err(error) => return self.wait_for_engine(&error).await,
        };
        if next(&self.record, &seen, Duration::ZERO).action == *action {
            warn!(step = %self.record.order.key, action = action.words(), error = %trouble, "refused");
            self.record.refused(action, &trouble.to_string(), trouble.is_transient());
        }
    }

    /// Nobody knows whether it was done. An engine that is away is waited for; but one that answers a look and has it still
    /// to do has swallowed the call, and that counts.
    async fn unanswered(&mut self, action: &Action, error: &crate::engine::Error) {
        let Ok(seen) = observe(&*self.shared.engine, &self.record).await else {
            return self.wait_for_engine(error).await;
        };
        if next(&self.record, &seen, Duration::ZERO).action == *action {
            warn!(step = %self.record.order.key, action = action.words(), %error, "not answered");
            self.record.unanswered(action, &error.to_string());
        }
    }

    /// The engine cannot be looked at. Says whether the step ends by that.
    async fn not_seen(&mut self, error: &crate::engine::Error) -> bool {
        if !error.is_engine_away() && self.record.not_seen(&error.to_string()) {
            return self.write_down(true).await;
        }
        self.wait_for_engine(error).await;
        false
    }

    async fn wait_for_engine(&mut self, error: &crate::engine::Error) {
        warn!(step = %self.record.order.key, %error, "the engine does not answer; trying again");
        sleep(self.away).await;
        self.away = (self.away * 2).min(AWAY_LIMIT);
        let away = self.elapsed();
        self.record.engine_was_away(away);
    }

    /// Writes the record and reports a new phase. Without the journal nothing may be done: says whether it was written.
    async fn write_down(&mut self, ends: bool) -> bool {
        if !ends && !self.record.differs_from(&self.saved) {
            return true;
        }
        if let Err(error) = self.shared.journal.save(&self.record).await {
            error!(step = %self.record.order.key, %error, "the journal cannot be written; the step waits");
            sleep(AWAY_LIMIT).await;
            return false;
        }
        if self.record.phase != self.saved.phase {
            self.shared.report_step(self.record.report());
        }
        self.saved = self.record.clone();
        true
    }

    fn elapsed(&mut self) -> Duration {
        let now = Instant::now();
        let elapsed = now - self.mark;
        self.mark = now;
        elapsed
    }
}
