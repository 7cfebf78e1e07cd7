//! How old an app's images are, as the wire shows it to people.

use chrono::{DateTime, Utc};
use nightshift_core::catalog::App;
use nightshift_core::freshness::{Age, CountedFrom, Level};
use nightshift_proto::convert::from_timestamp;
use nightshift_proto::pb;

use crate::driver::View;

/// An app's freshness as a whole.
pub(super) fn freshness(app: &App, view: &View<'_>) -> pb::Freshness {
    let instances = view.fleet.instances(&app.spec.name);
    let ages: Vec<_> = instances.filter_map(|(node, instance)| app.age_of(node, instance, view.now)).collect();
    let limit = app.spec.freshness.as_ref();
    let is_stale = |age: &&Age| limit.is_some_and(|limit| limit.judge(age, view.now) == Level::Stale);
    let tested = app.age_of_last_tested(view.now);
    pb::Freshness {
        max_age: limit.and_then(|limit| limit.max_age.try_into().ok()),
        oldest: ages.iter().min().map(|oldest| age(app, oldest, view.now)),
        last_tested: tested.map(|tested| age(app, &tested, view.now)),
        stale: u32::try_from(ages.iter().filter(is_stale).count()).unwrap_or(u32::MAX),
    }
}

/// An age with what the app says of it.
pub(super) fn age(app: &App, age: &Age, now: DateTime<Utc>) -> pb::Age {
    let counted_from = match age.counted_from {
        CountedFrom::Built => pb::AgeOrigin::Built,
        CountedFrom::FirstSeen => pb::AgeOrigin::FirstSeen,
    };
    let state = app.spec.freshness.as_ref().map(|freshness| match freshness.judge(age, now) {
        Level::Fresh => pb::AgeState::Fresh,
        Level::Aging => pb::AgeState::Aging,
        Level::Stale => pb::AgeState::Stale,
    });
    pb::Age {
        since: Some(from_timestamp(age.since)),
        age: age.at(now).try_into().ok(),
        counted_from: counted_from.into(),
        state: state.unwrap_or_default().into(),
    }
}
