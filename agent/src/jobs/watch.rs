//! How a job's container ends, from the engine's own events: only they tell its own end from one that somebody caused.

use std::time::Duration;

use futures::StreamExt as _;
use nightshift_core::ids::ContainerId;
use tokio::time::timeout;

use crate::engine::{Engine, EventKind, EventStream, Result};

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Its main process ended by itself.
    Exited(i64),
    /// It was ended, or nobody knows: that says nothing about the image.
    Disturbed(String),
}

/// The events of one container.
pub(super) struct Watch {
    events: EventStream,
    container: ContainerId,
    killed: bool,
    out_of_memory: bool,
    end: Option<End>,
}

impl Watch {
    /// Begins to watch a container that was not started yet.
    pub(super) async fn new(engine: &dyn Engine, container: &ContainerId) -> Result<Self> {
        let events = engine.events(None).await?;
        Ok(Self { events, container: container.clone(), killed: false, out_of_memory: false, end: None })
    }

    /// Whether it was short of memory so far.
    pub(super) const fn out_of_memory(&self) -> bool {
        self.out_of_memory
    }

    /// Waits for the container's end. May be dropped while it waits, and asked again.
    pub(super) async fn end(&mut self) -> End {
        loop {
            if let Some(end) = &self.end {
                return end.clone();
            }
            self.end = match self.events.next().await {
                // With the engine its containers may have ended, by a signal that looks like an end of their own.
                None | Some(Err(_)) => Some(End::Disturbed("the engine went away in the middle of it".to_owned())),
                Some(Ok(event)) if event.id == self.container => self.happened(&event.kind),
                Some(Ok(_)) => None,
            };
        }
    }

    /// The same for a moment only: an end that has happened already is told within it.
    pub(super) async fn end_within(&mut self, time: Duration) -> Option<End> {
        timeout(time, self.end()).await.ok()
    }

    fn happened(&mut self, kind: &EventKind) -> Option<End> {
        match kind {
            EventKind::Kill => {
                self.killed = true;
                None
            }
            EventKind::OutOfMemory => {
                self.out_of_memory = true;
                None
            }
            EventKind::Die { .. } if self.killed => Some(End::Disturbed("somebody ended its container".to_owned())),
            EventKind::Die { exit_code } => Some(End::Exited(*exit_code)),
            EventKind::Destroy => Some(End::Disturbed("somebody removed its container".to_owned())),
            EventKind::Pause => Some(End::Disturbed("somebody paused its container".to_owned())),
            EventKind::Create
            | EventKind::Start
            | EventKind::Stop
            | EventKind::Rename { .. }
            | EventKind::HealthStatus(_)
            | EventKind::Update
            | EventKind::Unpause => None,
        }
    }
}
