//! Enumerations: the same words on both sides; the wire's zero means that none was said.

use nightshift_core::container::{Health, RunState};
use nightshift_core::spec::UpdateOrder;
use nightshift_core::step::{FailureKind, Purpose, StepPhase};

use super::field::Error;
use crate::pb;

/// A word that comes from the wire as a number.
pub(super) trait Word: Sized {
    fn from_wire(field: &str, number: i32) -> Result<Self, Error>;
}

macro_rules! words {
    ($domain:ident = $wire:ident { $($word:ident),+ }) => {
        impl From<$domain> for pb::$wire {
            fn from(word: $domain) -> Self {
                match word {
                    $($domain::$word => Self::$word,)+
                }
            }
        }

        impl Word for $domain {
            fn from_wire(field: &str, number: i32) -> Result<Self, Error> {
                match pb::$wire::try_from(number) {
                    Ok(pb::$wire::Unspecified) => Err(Error::missing(field)),
                    $(Ok(pb::$wire::$word) => Ok(Self::$word),)+
                    Err(_) => Err(Error::malformed(field, format_args!("`{number}` is no word that this version knows"))),
                }
            }
        }

        #[cfg(test)]
        impl EveryWord for $domain {
            const NAME: &str = stringify!($domain);
            fn survives() -> bool {
                [$($domain::$word),+].into_iter().all(|word| {
                    Self::from_wire("word", pb::$wire::from(word).into()) == Ok(word)
                })
            }
        }
    };
}

words!(
    StepPhase = StepPhase {
        Assigned,
        Preflight,
        Pulled,
        Created,
        OldStopped,
        Started,
        Healthy,
        Monitored,
        RollingBack,
        Untouched,
        Committed,
        RolledBack,
        Broken
    }
);
words!(FailureKind = FailureKind { Unhealthy, EngineRefused, Pull, Precondition, NotAccepted, Engine, Hook, Skipped });
words!(Purpose = Purpose { Update, Rollback });
words!(UpdateOrder = UpdateOrder { StopFirst, StartFirst });
words!(RunState = ContainerState { Created, Running, Paused, Restarting, Removing, Exited, Dead });
words!(Health = ContainerHealth { None, Starting, Healthy, Unhealthy });

#[cfg(test)]
trait EveryWord: Word {
    const NAME: &str;
    fn survives() -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: EveryWord + PartialEq + std::fmt::Debug>() {
        assert!(T::survives(), "a word of {} does not survive the wire", T::NAME);
        assert_eq!(T::from_wire("word", 0), Err(Error::missing("word")));
        let unknown = T::from_wire("word", 9999).expect_err("unknown").to_string();
        assert_eq!(unknown, "field `word` is malformed: `9999` is no word that this version knows");
    }

    #[test]
    fn every_word_survives_the_wire_and_others_are_refused() {
        check::<StepPhase>();
        check::<FailureKind>();
        check::<Purpose>();
        check::<UpdateOrder>();
        check::<RunState>();
        check::<Health>();
    }
}
