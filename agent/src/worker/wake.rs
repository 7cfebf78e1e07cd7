//! Wakes a step when the engine says that something happened to one of its two containers, and notices that the engine
//! went away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use nightshift_core::replace::{LABEL_ROLLOUT, LABEL_STEP};
use nightshift_core::step::StepOrder;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::{Engine, EngineEvent, EventKind};

/// Pause before the events are asked for again: the engine is away, and the step's own looks have their back-off.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits for events until it is dropped.
#[derive(Debug)]
pub(super) struct Wake {
    notify: Arc<Notify>,
    broke_off: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
}

impl Wake {
    /// Listens for the containers of an order.
    pub(super) fn new(engine: Arc<dyn Engine>, order: &StepOrder) -> Self {
        let (notify, broke_off) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn(listen(engine, order.clone(), notify.clone(), broke_off.clone()));
        Self { notify, broke_off, _task: AbortOnDropHandle::new(task) }
    }

    /// Whether the events broke off since this was last asked. The looks need not have noticed: where a service manager
    /// holds the engine's socket, a look waits there until the next engine answers it.
    pub(super) fn broke_off(&self) -> bool {
        self.broke_off.swap(false, Ordering::AcqRel)
    }

    /// Waits for an event, for a time at most. At the shutdown its task is dropped while it waits: to return then would
    /// make the step look again and again, as long as engine and journal answer at once.
    pub(super) async fn wait(&self, time: Duration) {
        tokio::select! {
            biased;
            () = self.notify.notified() => {}
            () = sleep(time) => {}
        }
    }
}

async fn listen(engine: Arc<dyn Engine>, order: StepOrder, notify: Arc<Notify>, broke_off: Arc<AtomicBool>) {
    loop {
        if let Ok(mut events) = engine.events(None).await {
            // What happened before the stream began is seen by a look.
            notify.notify_one();
            while let Some(Ok(event)) = events.next().await {
                if concerns(&order, &event) {
                    notify.notify_one();
                }
            }
            broke_off.store(true, Ordering::Release);
            notify.notify_one();
        }
        sleep(AGAIN).await;
    }
}

fn concerns(order: &StepOrder, event: &EngineEvent) -> bool {
    let label = |key: &str| event.labels.get(key).map(String::as_str);
    let of_step = event.id == order.container_id
        || (label(LABEL_ROLLOUT) == Some(order.key.rollout.as_str())
            && label(LABEL_STEP) == Some(order.key.step.to_string().as_str()));
    // The worker's own changes come back as events, too; it looks after each of them anyway.
    let tells = match event.kind {
        EventKind::Die { .. }
        | EventKind::Start
        | EventKind::Destroy
        | EventKind::HealthStatus(_)
        | EventKind::Pause
        | EventKind::Unpause
        | EventKind::OutOfMemory => true,
        EventKind::Create | EventKind::Stop | EventKind::Kill | EventKind::Rename { .. } | EventKind::Update => false,
    };
    of_step && tells
}
