//! Pauses between attempts: they double, with chance, so that a fleet does not come back all at once.

use std::time::Duration;

use crate::surroundings::Surroundings;

/// Pauses from `first` up to `longest`.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    base: Duration,
    surroundings: Surroundings,
}

impl Backoff {
    /// Begins with `first`, by the chance of these surroundings.
    #[must_use]
    pub const fn new((first, longest): (Duration, Duration), surroundings: Surroundings) -> Self {
        Self { first, longest, base: first, surroundings }
    }

    /// The next pause: between half and the whole of a base that doubles each time.
    #[must_use]
    pub fn pause(&mut self) -> Duration {
        let base = self.base;
        self.base = (base * 2).min(self.longest);
        base.mul_f64(0.5 + self.surroundings.chance() / 2.0)
    }

    /// Begins anew, after a success.
    pub const fn reset(&mut self) {
        self.base = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new((Duration::from_millis(200), Duration::from_secs(15)), Surroundings::default());
        let mut check = |base_millis: u64| {
            let pause = backoff.pause();
            let base = Duration::from_millis(base_millis);
            assert!(base / 2 <= pause && pause <= base, "{pause:?} for {base:?}");
        };
        for base in [200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000] {
            check(base);
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(200));
    }
}
