//! Durations as people write them: `90s`, `5m`, `1h30m`, `7d`. A bare number has no unit and is refused.

use std::time::Duration;

/// Longest accepted duration: ten years. Anything above is a typing mistake, and sums of durations stay far from overflow.
pub const LIMIT: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no duration: allowed are numbers with a unit `ms s m h d w`, such as `90s` or `1h30m`, up to ten years"
)]
pub struct InvalidDuration(String);

fn unit(name: &str) -> Option<Duration> {
    match name {
        "ms" => Some(Duration::from_millis(1)),
        "s" => Some(Duration::from_secs(1)),
        "m" => Some(Duration::from_secs(60)),
        "h" => Some(Duration::from_secs(3_600)),
        "d" => Some(Duration::from_secs(86_400)),
        "w" => Some(Duration::from_secs(7 * 86_400)),
        _ => None,
    }
}

fn parse_or_none(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(letters);
        sum = sum.checked_add(unit(name)?.checked_mul(number.parse().ok()?)?)?;
        rest = tail;
    }
    (sum <= LIMIT).then_some(sum)
}

/// Reads a duration.
///
/// # Errors
/// The text has no unit, an unknown unit, or is longer than [`LIMIT`].
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    parse_or_none(text).ok_or_else(|| InvalidDuration(text.chars().take(60).collect()))
}

/// Writes a duration in the form that [`parse`] reads, exact to the millisecond.
#[must_use]
pub fn format(duration: Duration) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (name, millis) in units {
        let count = rest / millis;
        rest %= millis;
        if count > 0 {
            text.push_str(&format!("{count}{name}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// For `#[serde(with = "crate::duration::text")]`.
pub mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the duration as text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format(*duration))
    }

    /// Reads the duration from text.
    ///
    /// # Errors
    /// The text is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(&text).map_err(D::Error::custom)
    }
}

/// For `#[serde(with = "crate::duration::optional_text")]`.
pub mod optional_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the duration as text, or nothing.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&super::format(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the duration from text, if there is one.
    ///
    /// # Errors
    /// The text is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write() {
        for (text, millis, canonical) in [
            ("90s", 90_000, "1m30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("7d", 604_800_000, "7d"),
            ("2w", 1_209_600_000, "14d"),
            ("250ms", 250, "250ms"),
            ("0s", 0, "0s"),
            (" 5m ", 300_000, "5m"),
        ] {
            let duration = parse(text).expect(text);
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(format(duration), canonical);
            assert_eq!(parse(canonical), Ok(duration));
        }
        for bad in ["", " ", "5", "s", "5x", "-5s", "1.5h", "5 m", "99999999999999999999s", "4000d"] {
            assert!(parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
