//! Chance from a seed: the same seed gives the same numbers in every version of the program, so that a seed that once failed
//! can be replayed for ever. The generator is SplitMix64.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The step of the generator: the golden ratio, so that the states of one seed are spread evenly.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A source of numbers. Clones draw from the same source.
#[derive(Debug, Clone)]
pub(crate) struct Chance(Arc<AtomicU64>);

impl Chance {
    /// The source of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    /// A source of its own for one purpose: what is drawn elsewhere does not change it.
    pub(crate) fn fork(&self, purpose: &str) -> Self {
        let seed = self.0.load(Ordering::Relaxed);
        let mixed = purpose.bytes().fold(seed ^ STEP, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(STEP | 1));
        Self::new(mixed)
    }

    /// Any number.
    pub(crate) fn next(&self) -> u64 {
        let state = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, not including, the limit, which is not 0.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// An index of a list of this length.
    pub(crate) fn index(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("less than a length")
    }

    /// Whether something happens that does so many times in a thousand.
    pub(crate) fn permille(&self, share: u64) -> bool {
        self.below(1000) < share
    }

    /// One of a list that is not empty.
    pub(crate) fn pick<T: Clone>(&self, list: &[T]) -> T {
        list[self.index(list.len())].clone()
    }

    /// A number from 0 up to 1.
    pub(crate) fn unit(&self) -> f64 {
        // 53 bits fit a float exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }

    /// A time from one up to the other, in whole milliseconds.
    pub(crate) fn between(&self, from: Duration, to: Duration) -> Duration {
        let range = u64::try_from(to.saturating_sub(from).as_millis()).unwrap_or(u64::MAX - 1);
        from + Duration::from_millis(self.below(range + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_in_every_version() {
        let chance = Chance::new(0);
        // The first numbers of SplitMix64 with seed 0, as published.
        assert_eq!([chance.next(), chance.next()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn a_fork_is_its_own() {
        let (one, other) = (Chance::new(7), Chance::new(7));
        let fork = one.fork("network");
        assert_eq!(other.fork("network").next(), fork.next());
        assert_ne!(other.fork("disk").next(), other.fork("network").next());
        assert_eq!(one.next(), other.next());
    }
}
