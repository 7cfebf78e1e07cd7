//! What an agent takes from the world besides engine, storage and coordinator: the time, and chance.
//!
//! Simulations bring their own, so that the same seed is the same run.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

/// Time and chance.
#[derive(Clone)]
pub struct Surroundings {
    clock: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    chance: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

impl Default for Surroundings {
    fn default() -> Self {
        Self::new(Utc::now, rand::random)
    }
}

impl Surroundings {
    /// A clock, and a source of numbers from 0 up to 1.
    #[must_use]
    pub fn new(
        clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
        chance: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { clock: Arc::new(clock), chance: Arc::new(chance) }
    }

    /// What this node's clock shows.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// A number from 0 up to 1.
    #[must_use]
    pub fn chance(&self) -> f64 {
        (self.chance)()
    }
}
