//! What looking at the followed tags came to since this coordinator started.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::image::ImageRef;

/// What the last look at an image in its registry came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Why it failed, if it did.
    pub failure: Option<LookupFailure>,
    /// Failed looks since this coordinator started.
    pub failures: u64,
}

/// Why a tag cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupFailure {
    /// What happened last.
    pub error: String,
    /// Since when every look has failed.
    pub since: DateTime<Utc>,
    /// When it is tried again.
    pub retry_at: DateTime<Utc>,
}

/// The last look at each followed image.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookups(BTreeMap<ImageRef, Lookup>);

impl Lookups {
    pub(super) fn get(&self, image: &ImageRef) -> Option<&Lookup> {
        self.0.get(image)
    }

    pub(super) fn ended(&mut self, image: ImageRef, failed: Option<(String, DateTime<Utc>)>, now: DateTime<Utc>) {
        let lookup = self.0.entry(image).or_default();
        let Some((error, retry_at)) = failed else {
            lookup.failure = None;
            return;
        };
        lookup.failures = lookup.failures.saturating_add(1);
        let since = lookup.failure.as_ref().map_or(now, |failure| failure.since);
        lookup.failure = Some(LookupFailure { error, since, retry_at });
    }

    pub(super) fn retain(&mut self, followed: &BTreeSet<ImageRef>) {
        self.0.retain(|image, _| followed.contains(image));
    }
}
