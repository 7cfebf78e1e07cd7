//! What makes an order stale: a smaller epoch, or a smaller generation of its rollout, than was seen before, never acts.
//!
//! An agent keeps its [`Fence`] on disk and raises it before it begins a step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, Generation, RolloutId};
use crate::mutation::{Rule, broken};
use crate::step::{StepKey, StepOrder};

/// Most rollouts whose generation is remembered: their ids sort by birth, the oldest leave first.
const ROLLOUT_LIMIT: usize = 1_000;

/// Why an order is too old to act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// Its coordinator was replaced.
    #[error("its epoch {found} is older than {seen}, which was seen here: another coordinator has taken over")]
    Epoch {
        /// The order's.
        found: Epoch,
        /// The largest seen.
        seen: Epoch,
    },
    /// Its rollout has changed direction since.
    #[error("its generation {found} is older than {seen}, which was seen here: the rollout has changed direction")]
    Generation {
        /// The order's.
        found: Generation,
        /// The largest seen of its rollout.
        seen: Generation,
    },
}

/// The largest epoch and generations seen.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    epoch: Epoch,
    generations: BTreeMap<RolloutId, Generation>,
}

impl Fence {
    /// The largest epoch seen.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether an order, or anything else of an epoch, is too old.
    ///
    /// # Errors
    /// A larger epoch, or a larger generation of its rollout, was seen before.
    pub fn check(&self, epoch: Epoch, key: Option<&StepKey>) -> Result<(), Stale> {
        if epoch < self.epoch && !broken(Rule::Epoch) {
            return Err(Stale::Epoch { found: epoch, seen: self.epoch });
        }
        let Some(key) = key else { return Ok(()) };
        match self.generations.get(&key.rollout) {
            Some(&seen) if key.generation < seen && !broken(Rule::Generation) => {
                Err(Stale::Generation { found: key.generation, seen })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes over what is larger, and says whether anything was.
    pub fn raise(&mut self, order: &StepOrder) -> bool {
        let epoch_grows = order.epoch > self.epoch;
        self.epoch = self.epoch.max(order.epoch);
        let known = self.generations.get(&order.key.rollout).copied();
        let generation_grows = known.is_none_or(|known| order.key.generation > known);
        if generation_grows {
            self.generations.insert(order.key.rollout.clone(), order.key.generation);
            while self.generations.len() > ROLLOUT_LIMIT {
                self.generations.pop_first();
            }
        }
        epoch_grows || generation_grows
    }
}
