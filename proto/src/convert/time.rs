//! Instants and durations.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::field::{Error, required};

/// An instant that must be there.
///
/// # Errors
/// The field is missing, or names no instant.
pub fn timestamp(field: &str, value: Option<prost_types::Timestamp>) -> Result<DateTime<Utc>, Error> {
    let value = required(field, value)?;
    u32::try_from(value.nanos)
        .ok()
        .and_then(|nanos| DateTime::from_timestamp(value.seconds, nanos))
        .ok_or_else(|| Error::malformed(field, "outside of what an instant can be"))
}

/// An instant that may be missing.
///
/// # Errors
/// The field names no instant.
pub fn optional_timestamp(field: &str, value: Option<prost_types::Timestamp>) -> Result<Option<DateTime<Utc>>, Error> {
    value.map(|value| timestamp(field, Some(value))).transpose()
}

/// An instant for the wire.
#[must_use]
pub fn from_timestamp(instant: DateTime<Utc>) -> prost_types::Timestamp {
    // A leap second shows as nanos beyond a billion; the wire has no such thing.
    let nanos = i32::try_from(instant.timestamp_subsec_nanos().min(999_999_999)).unwrap_or(0);
    prost_types::Timestamp { seconds: instant.timestamp(), nanos }
}

/// A duration that must be there, not negative, at most [`nightshift_core::duration::LIMIT`].
///
/// # Errors
/// The field is missing, negative or too long.
pub fn duration(field: &str, value: Option<prost_types::Duration>) -> Result<Duration, Error> {
    let value = required(field, value)?;
    let seconds = u64::try_from(value.seconds).ok();
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let parts = seconds.zip(nanos).ok_or_else(|| Error::malformed(field, "no duration of zero or more"))?;
    let duration = Duration::new(parts.0, parts.1);
    if duration > nightshift_core::duration::LIMIT {
        return Err(Error::malformed(field, "longer than ten years"));
    }
    Ok(duration)
}

/// A duration for the wire; what is beyond the limit is cut to it.
#[must_use]
pub fn from_duration(duration: Duration) -> prost_types::Duration {
    let duration = duration.min(nightshift_core::duration::LIMIT);
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_durations_survive_the_wire() {
        for text in ["2026-11-23T15:27:37.680000001Z", "1969-12-31T23:59:59.5Z"] {
            let instant: DateTime<Utc> = text.parse().expect(text);
            assert_eq!(timestamp("at", Some(from_timestamp(instant))), Ok(instant));
        }
        for nanos in [0, 1, 1_999_999_999, 86_400_000_000_000] {
            let exact = Duration::from_nanos(nanos);
            assert_eq!(duration("for", Some(from_duration(exact))), Ok(exact));
        }
    }

    #[test]
    fn what_is_no_time_is_refused_by_name() {
        assert_eq!(timestamp("at", None), Err(Error::missing("at")));
        assert_eq!(optional_timestamp("at", None), Ok(None));
        for (seconds, nanos) in [(i64::MAX, 0), (0, -1), (0, 2_000_000_000)] {
            let error = timestamp("at", Some(prost_types::Timestamp { seconds, nanos })).expect_err("no instant");
            assert!(error.to_string().starts_with("field `at` is malformed"), "{error}");
        }
        assert_eq!(duration("for", None), Err(Error::missing("for")));
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
            let error = duration("for", Some(prost_types::Duration { seconds, nanos })).expect_err("no duration");
            assert!(error.to_string().starts_with("field `for` is malformed"), "{error}");
        }
    }
}
