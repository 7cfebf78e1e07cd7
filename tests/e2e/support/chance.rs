//! Chance from a seed. The seed is printed, so that a failure can be tried again; the world around is not the same again.

use std::ops::Range;

/// Chooses the seed.
const SEED: &str = "NIGHTSHIFT_TEST_SEED";

/// A stream of numbers (xorshift): all that scenarios need.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// From the seed in the environment, or from the time.
    #[expect(clippy::print_stderr, reason = "a seed must be seen")]
    pub(crate) fn from_environment(scenario: &str) -> Self {
        let given = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a number"));
        let seed = given.unwrap_or_else(|| chrono::Utc::now().timestamp_millis().unsigned_abs());
        eprintln!("{scenario}: {SEED}={seed}");
        // Never zero, which would stay so; and seeds that are neighbours are spread.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number of the range.
    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        let position = self.within(0..u64::try_from(all.len()).expect("a short list"));
        all[usize::try_from(position).expect("within the list")]
    }
}
