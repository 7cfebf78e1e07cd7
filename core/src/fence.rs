//! What makes an order stale: a smaller epoch, or a smaller generation of its rollout, than was seen before, never acts. Nor does
//! the same order once more: the coordinator gives a step that it tries again a larger generation.
//!
//! An agent keeps its [`Fence`] on disk and raises it before it does anything about an order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, Generation, RolloutId, StepIndex};
use crate::mutation::{Rule, broken};
use crate::step::{StepKey, StepOrder};

/// Most rollouts whose generation is remembered: their ids sort by birth, the oldest leave first.
const ROLLOUT_LIMIT: usize = 1_000;

/// Most steps of one rollout and generation that are remembered: more than a node has containers.
const STEP_LIMIT: usize = 10_000;

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
    /// It comes once more, after its end was told and forgotten.
    #[error("the same order was here before")]
    Again,
}

/// The largest epoch and generations seen.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    epoch: Epoch,
    generations: BTreeMap<RolloutId, Generation>,
    /// The steps that were ordered under these generations.
    #[serde(default)]
    steps: BTreeMap<RolloutId, BTreeSet<StepIndex>>,
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
    /// A larger epoch, or a larger generation of its rollout, was seen before, or the very order.
    pub fn check(&self, epoch: Epoch, key: Option<&StepKey>) -> Result<(), Stale> {
        if epoch < self.epoch && !broken(Rule::Epoch) {
            return Err(Stale::Epoch { found: epoch, seen: self.epoch });
        }
        let Some(key) = key else { return Ok(()) };
        match self.generations.get(&key.rollout) {
            Some(&seen) if key.generation < seen && !broken(Rule::Generation) => {
                Err(Stale::Generation { found: key.generation, seen })
            }
            Some(&seen) if key.generation == seen && self.has_seen(key) => Err(Stale::Again),
            Some(_) | None => Ok(()),
        }
    }

    fn has_seen(&self, key: &StepKey) -> bool {
        self.steps.get(&key.rollout).is_some_and(|steps| steps.contains(&key.step))
    }

    /// Takes over what is larger, and which step it is about.
    pub fn raise(&mut self, order: &StepOrder) {
        let key = &order.key;
        self.epoch = self.epoch.max(order.epoch);
        let known = self.generations.get(&key.rollout).copied();
        if known.is_some_and(|known| key.generation < known) {
            return;
        }
        if known != Some(key.generation) {
            self.generations.insert(key.rollout.clone(), key.generation);
            self.steps.remove(&key.rollout);
            while self.generations.len() > ROLLOUT_LIMIT {
                let oldest = self.generations.pop_first();
                oldest.and_then(|(rollout, _)| self.steps.remove(&rollout));
            }
        }
        let steps = self.steps.entry(key.rollout.clone()).or_default();
        steps.insert(key.step);
        while steps.len() > STEP_LIMIT {
            steps.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::order as any_order;

    fn order(rollout: &str, step: u32, generation: u64, epoch: u64) -> StepOrder {
        let key = StepKey {
            rollout: rollout.parse().expect("well formed"),
            step: StepIndex(step),
            generation: Generation(generation),
        };
        StepOrder { key, epoch: Epoch(epoch), ..any_order() }
    }

    fn verdict(fence: &Fence, order: &StepOrder) -> Result<(), Stale> {
        fence.check(order.epoch, Some(&order.key))
    }

    #[test]
    fn a_smaller_epoch_or_generation_is_stale_and_of_a_step_so_is_the_same() {
        let mut fence = Fence::default();
        let first = order("r1", 0, 2, 5);
        assert_eq!(verdict(&fence, &first), Ok(()));
        fence.raise(&first);
        assert_eq!(verdict(&fence, &first), Err(Stale::Again));
        for (other, expect) in [
            (order("r1", 1, 2, 5), Ok(())),
            (order("r1", 0, 3, 5), Ok(())),
            (order("r2", 0, 1, 6), Ok(())),
            (order("r1", 1, 1, 5), Err(Stale::Generation { found: Generation(1), seen: Generation(2) })),
            (order("r2", 0, 1, 4), Err(Stale::Epoch { found: Epoch(4), seen: Epoch(5) })),
        ] {
            assert_eq!(verdict(&fence, &other), expect, "{:?}", other.key);
        }
        // Tried again, and then late once more.
        fence.raise(&order("r1", 0, 3, 5));
        assert_eq!(verdict(&fence, &order("r1", 0, 3, 5)), Err(Stale::Again));
        assert_eq!(verdict(&fence, &order("r1", 1, 3, 5)), Ok(()));
    }

    #[test]
    fn what_an_older_record_says_bars_nothing_of_today() {
        let mut fence = Fence::default();
        fence.raise(&order("r1", 0, 3, 5));
        fence.raise(&order("r1", 1, 2, 4));
        assert_eq!(verdict(&fence, &order("r1", 1, 3, 5)), Ok(()));
    }

    #[test]
    fn it_is_kept_as_it_is_and_one_from_before_is_read() {
        let mut fence = Fence::default();
        fence.raise(&order("r1", 0, 3, 5));
        let text = serde_json::to_string(&fence).expect("it can be written");
        assert_eq!(serde_json::from_str::<Fence>(&text).expect("it can be read"), fence);
        let before: Fence = serde_json::from_str(r#"{"epoch":5,"generations":{"r1":3}}"#).expect("it can be read");
        assert_eq!(verdict(&before, &order("r1", 0, 3, 5)), Ok(()), "it knew no steps");
    }

    #[test]
    fn of_too_many_rollouts_the_oldest_leave_with_their_steps() {
        let mut fence = Fence::default();
        for number in 0..=ROLLOUT_LIMIT {
            fence.raise(&order(&format!("r{number:05}"), 0, 1, 1));
        }
        assert_eq!((fence.generations.len(), fence.steps.len()), (ROLLOUT_LIMIT, ROLLOUT_LIMIT));
        assert_eq!(verdict(&fence, &order("r00000", 0, 1, 1)), Ok(()));
        assert_eq!(verdict(&fence, &order("r00001", 0, 1, 1)), Err(Stale::Again));
    }
}
