//! The coordinator's clock: virtual time, and the steps that it makes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// A clock. Clones are the same clock.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    origin: (Instant, DateTime<Utc>),
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that shows this now.
    pub(crate) fn new(time: DateTime<Utc>) -> Self {
        Self { origin: (Instant::now(), time), offset_ms: Arc::default() }
    }

    /// What it shows.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let (origin, time) = self.origin;
        let passed = TimeDelta::from_std(origin.elapsed()).unwrap_or_default();
        time + passed + TimeDelta::milliseconds(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Sets it forward or back.
    pub(crate) fn step(&self, by: TimeDelta) {
        self.offset_ms.fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }
}
