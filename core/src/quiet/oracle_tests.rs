//! The implementation against an oracle that is slow and obvious: it walks over every minute, asks the zone only for the
//! local time of an instant (never the other way round), counts weekdays on the calendar, and shares no code with what it
//! judges. Random cases in chosen zones, and every zone of the world that ever does something unusual.

use std::collections::BTreeSet;
use std::sync::Mutex;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;

use super::*;

/// Zones with rules that go wrong elsewhere: gaps and folds at midnight or before it, of half an hour, of two or three
/// hours, without any, of 45 minutes off, and zones that changed their mind.
const ZONES: [&str; 18] = [
    "America/Moncton",
    "America/St_Johns",
    "America/Havana",
    "America/Asuncion",
    "America/Nuuk",
    "America/Caracas",
    "Atlantic/Azores",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Apia",
];

/// The oracle knows what happens in this many days before and after an instant. It must see the start of every window that
/// reaches into the middle, and of those that touch it.
const AROUND_DAYS: i64 = 8;

/// A rule in the oracle's own words.
#[derive(Debug, Clone)]
enum OracleRule {
    Days(Vec<u32>),
    Nth { nth: usize, weekday: u32, offset: i64 },
    Day { day: u32, offset: i64 },
    LastDay { offset: i64 },
}

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[derive(Debug, Clone)]
struct OracleWindow {
    rule: OracleRule,
    minute: u32,
    length_minutes: i64,
}

impl OracleRule {
    fn text(&self) -> String {
        let sign = |offset: &i64| if *offset < 0 { format!("- {}d", -offset) } else { format!("+ {offset}d") };
        match self {
            Self::Days(days) => days.iter().map(|&day| NAMES[day as usize]).collect::<Vec<_>>().join(","),
            Self::Nth { nth, weekday, offset } => {
                let nth = ["1st", "2nd", "3rd", "4th", "5th", "last"][*nth];
                format!("{nth} {} {}", NAMES[*weekday as usize], sign(offset))
            }
            Self::Day { day, offset } => format!("day {day} {}", sign(offset)),
            Self::LastDay { offset } => format!("last day {}", sign(offset)),
        }
    }

    /// All dates of the rule in a month, by counting through it.
    fn dates(&self, year: i32, month: u32) -> Vec<NaiveDate> {
        let days: Vec<NaiveDate> = (1..=31).filter_map(|day| NaiveDate::from_ymd_opt(year, month, day)).collect();
        let weekday = |date: &NaiveDate| date.weekday().num_days_from_monday();
        let (base, offset) = match self {
            Self::Days(chosen) => (days.into_iter().filter(|date| chosen.contains(&weekday(date))).collect(), 0),
            Self::Nth { nth, weekday: wanted, offset } => {
                let same: Vec<NaiveDate> = days.into_iter().filter(|date| weekday(date) == *wanted).collect();
                let one = if *nth == 5 { same.last() } else { same.get(*nth) };
                (one.copied().into_iter().collect::<Vec<_>>(), *offset)
            }
            Self::Day { day, offset } => (days.into_iter().filter(|date| date.day() == *day).collect(), *offset),
            Self::LastDay { offset } => (days.last().copied().into_iter().collect(), *offset),
        };
        base.into_iter().map(|date| date + TimeDelta::days(offset)).collect()
    }
}

/// The minutes around an instant with their local times.
struct Oracle {
    minutes: Vec<(DateTime<Utc>, NaiveDateTime)>,
}

impl Oracle {
    fn around(zone: &str, now: DateTime<Utc>) -> Self {
        let zone: Tz = zone.parse().expect("a zone");
        Self::over(zone, now - TimeDelta::days(AROUND_DAYS), AROUND_DAYS * 2)
    }

    fn over(zone: Tz, first: DateTime<Utc>, days: i64) -> Self {
        let instant = |minute: i64| first + TimeDelta::minutes(minute);
        let offset = |minute: i64| zone.offset_from_utc_datetime(&instant(minute).naive_utc()).fix();
        // Asking the zone is what takes the time. No clock changes and changes back within a quarter of an hour.
        let quarters = (0..days * 1440).step_by(15).map(|start| (start, offset(start)));
        let minutes = quarters.flat_map(|(start, before)| {
            let is_calm = offset(start + 14) == before;
            (start..start + 15).map(move |minute| {
                let offset = if is_calm { before } else { offset(minute) };
                (instant(minute), instant(minute).naive_utc() + offset)
            })
        });
        Self { minutes: minutes.collect() }
    }

    /// The index of the minute in which a wall time comes, or comes late because clocks jump over it.
    fn starts(&self, wall: NaiveDateTime) -> Option<usize> {
        // No zone is more than a day from UTC; a date's minutes are all within two of its start.
        let guess = (wall.date().and_time(NaiveTime::MIN).and_utc() - self.minutes[0].0).num_minutes();
        let near = |days: i64| usize::try_from(guess + days * 1440).unwrap_or(0).min(self.minutes.len());
        let first = near(-1);
        let minutes = &self.minutes[first..near(2)];
        if !minutes.iter().any(|(_, local)| local.date() == wall.date()) {
            return None;
        }
        if let Some(exact) = minutes.iter().position(|&(_, local)| local == wall) {
            return Some(first + exact);
        }
        let jump = minutes.windows(2).position(|pair| pair[0].1 < wall && wall < pair[1].1)?;
        // As if the clock had not jumped: so many minutes after the last one before.
        let late = (wall - minutes[jump].1).num_minutes();
        Some(first + jump + usize::try_from(late).expect("later"))
    }

    /// Minute by minute: is it open?
    fn open(&self, windows: &[OracleWindow], freezes: &[(NaiveDate, NaiveDate)]) -> Vec<bool> {
        let mut open = vec![false; self.minutes.len()];
        let (first, last) = (self.minutes[0].1.date(), self.minutes[self.minutes.len() - 1].1.date());
        // Whole months around, offsets included.
        let month = |date: NaiveDate| date.year() * 12 + date.month0().cast_signed();
        let months = month(first) - 3..=month(last) + 3;
        let months: Vec<(i32, u32)> =
            months.map(|month| (month.div_euclid(12), month.rem_euclid(12).cast_unsigned() + 1)).collect();
        for window in windows {
            let dates = months.iter().flat_map(|&(year, month)| window.rule.dates(year, month));
            for date in dates.filter(|date| (first..=last).contains(date)) {
                let wall = date.and_hms_opt(window.minute / 60, window.minute % 60, 0).expect("a time of day");
                if let Some(start) = self.starts(wall) {
                    let length = usize::try_from(window.length_minutes).expect("positive");
                    open.iter_mut().skip(start).take(length).for_each(|minute| *minute = true);
                }
            }
        }
        for (from, to) in freezes {
            // From the first minute of its days to the last one, also where a clock that goes back brings a date twice.
            let frozen = |(_, local): &(_, NaiveDateTime)| (*from..=*to).contains(&local.date());
            let first = self.minutes.iter().position(frozen);
            let last = self.minutes.iter().rposition(frozen);
            if let (Some(first), Some(last)) = (first, last) {
                open[first..=last].fill(false);
            }
        }
        open
    }
}

fn quiet_hours(zone: &str, windows: &[OracleWindow], freezes: &[(NaiveDate, NaiveDate)]) -> QuietHours {
    let allow = windows.iter().map(|window| {
        let rule = window.rule.text();
        let start = format!("{:02}:{:02}", window.minute / 60, window.minute % 60);
        let duration = Duration::from_secs(window.length_minutes.cast_unsigned() * 60);
        AllowWindow::new(rule.parse().expect(&rule), start.parse().expect(&start), duration).expect(&rule)
    });
    let freezes =
        freezes.iter().map(|&(from, to)| Freeze::new("freeze", Bound::Day(from), Bound::Day(to)).expect("in order"));
    QuietHours::new(zone.parse().expect(zone), Cutoff::Auto, allow.collect(), freezes.collect()).expect("valid")
}

fn rules() -> impl Strategy<Value = OracleRule> {
    prop_oneof![
        3 => proptest::sample::subsequence((0..7).collect::<Vec<u32>>(), 1..=7).prop_map(OracleRule::Days),
        1 => (0..6_usize, 0..7_u32, -9..=9_i64)
            .prop_map(|(nth, weekday, offset)| OracleRule::Nth { nth, weekday, offset }),
        1 => (1..=31_u32, -9..=9_i64).prop_map(|(day, offset)| OracleRule::Day { day, offset }),
        1 => (-9..=9_i64).prop_map(|offset| OracleRule::LastDay { offset }),
    ]
}

fn oracle_windows() -> impl Strategy<Value = OracleWindow> {
    // Half of the starts around midnight and 02:00, where the clocks change; steps of 15 minutes make windows touch.
    let minute =
        prop_oneof![(0..1440_u32), (0..16_u32).prop_map(|quarter| quarter * 15), (92..96_u32).prop_map(|q| q * 15)];
    let length = prop_oneof![1..90_i64, (1..32_i64).prop_map(|quarter| quarter * 15), 1440..4320_i64];
    (rules(), minute, length).prop_map(|(rule, minute, length_minutes)| OracleWindow { rule, minute, length_minutes })
}

/// Instants, half of them just around a clock change of the zone.
fn instants(zone: &'static str) -> impl Strategy<Value = DateTime<Utc>> {
    // Until 2011 some zones changed at 00:01 and went back over midnight: a date comes twice.
    let first = DateTime::from_timestamp(946_684_800, 0).expect("2000-01-01");
    let days = 30 * 365;
    let zone: Tz = zone.parse().expect("a zone");
    let offset = move |at: DateTime<Utc>| at.with_timezone(&zone).naive_local() - at.naive_utc();
    let changes: Vec<DateTime<Utc>> = (0..days)
        .map(|day| first + TimeDelta::days(day))
        .filter(|&at| offset(at) != offset(at + TimeDelta::days(1)))
        .collect();
    let anywhere = (0..days * 1440).prop_map(move |minute| first + TimeDelta::minutes(minute)).boxed();
    if changes.is_empty() {
        return anywhere;
    }
    let near = (proptest::sample::select(changes), -1440..2880_i64)
        .prop_map(|(change, minute)| change + TimeDelta::minutes(minute))
        .boxed();
    prop_oneof![1 => anywhere, 3 => near].boxed()
}

/// Zone, instant, windows, freezes as days from the instant's date and further days.
type Case = (&'static str, DateTime<Utc>, Vec<OracleWindow>, Vec<(i64, i64)>);

fn cases() -> impl Strategy<Value = Case> {
    proptest::sample::select(ZONES.to_vec()).prop_flat_map(|zone| {
        let freezes = prop::collection::vec((-4..4_i64, 0..3_i64), 0..3);
        (Just(zone), instants(zone), prop::collection::vec(oracle_windows(), 1..5), freezes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_agrees_with_a_walk_over_every_minute((zone, now, windows, freezes) in cases()) {
        let today = now.date_naive();
        let freezes: Vec<(NaiveDate, NaiveDate)> = freezes
            .iter()
            .map(|(from, days)| (today + TimeDelta::days(*from), today + TimeDelta::days(from + days)))
            .collect();
        let quiet = quiet_hours(zone, &windows, &freezes);
        let oracle = Oracle::around(zone, now);
        let open = oracle.open(&windows, &freezes);
        let instant = |index: usize| oracle.minutes[index].0;
        prop_assert_eq!(instant(0).second(), 0);
        // The oracle's edges do not see windows that began before; its middle does.
        let middle = open.len() / 2;
        let known = 4 * 1440;
        for step in (0..1440).step_by(97) {
            let index = middle + step;
            let run_ends = (index..open.len()).find(|&other| open[other] != open[index]);
            let run_starts = (known..index).rev().find(|&other| open[other] != open[index]).map(|other| other + 1);
            match quiet.at(instant(index)) {
                WindowState::Open { since, until } => {
                    prop_assert!(open[index], "open, but should be closed at {}", instant(index));
                    if let Some(ends) = run_ends {
                        prop_assert_eq!(until, instant(ends), "ends");
                    }
                    if let Some(starts) = run_starts {
                        prop_assert_eq!(since, instant(starts), "starts");
                    }
                }
                WindowState::Closed { opens, .. } => {
                    prop_assert!(!open[index], "closed, but should be open at {}", instant(index));
                    if let Some(ends) = run_ends {
                        prop_assert_eq!(opens, Some(instant(ends)), "opens");
                    }
                }
            }
        }
    }
}

/// A clock change: the last minute before it, and how far the clock jumps, in minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    before: DateTime<Utc>,
    jump: i64,
}

impl Change {
    /// Not an hour, or not between one and three in the morning on a sunday.
    fn is_unusual(self, zone: Tz) -> bool {
        let local = self.before.with_timezone(&zone).naive_local();
        self.jump.abs() != 60 || !(0..3).contains(&local.hour()) || local.weekday() != chrono::Weekday::Sun
    }
}

/// Two changes are further apart than this: even one that is taken back for Ramadan lasts for weeks.
const STEP_MINUTES: usize = 5 * 1440;

/// Every change of a zone's clock from 2000 to 2035, found by halving: the zone is asked for nothing but its offset.
fn changes(zone: Tz) -> Vec<Change> {
    let offset = |minute: i64| {
        let at = DateTime::from_timestamp(minute * 60, 0).expect("in range");
        i64::from(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc())
    };
    let step = i64::try_from(STEP_MINUTES).expect("small");
    let (first, last) = (946_684_800 / 60, 2_051_222_400 / 60);
    let mut found = Vec::new();
    for start in (first..last).step_by(STEP_MINUTES) {
        let (mut low, mut high) = (start, start + step);
        if offset(low) == offset(high) {
            continue;
        }
        while high - low > 1 {
            let middle = i64::midpoint(low, high);
            if offset(middle) == offset(low) { low = middle } else { high = middle }
        }
        let before = DateTime::from_timestamp(low * 60, 0).expect("in range");
        found.push(Change { before, jump: (offset(high) - offset(low)) / 60 });
    }
    found
}

/// Zones that do something unusual in those years, each with all its changes; of those that always agree, one.
fn unusual_zones() -> Vec<(Tz, Vec<Change>)> {
    let mut known = BTreeSet::new();
    let all = TZ_VARIANTS.iter().map(|zone| (*zone, changes(*zone)));
    let unusual = all.filter(|(zone, changes)| changes.iter().any(|change| change.is_unusual(*zone)));
    unusual.filter(|(_, changes)| known.insert(changes.clone())).collect()
}

/// Windows just where clocks change: before, at and after midnight, in the small hours, on the last day and over several days.
fn night_windows() -> Vec<OracleWindow> {
    let daily = || OracleRule::Days((0..7).collect());
    let window = |rule, minute, length_minutes| OracleWindow { rule, minute, length_minutes };
    vec![
        window(daily(), 1425, 30),
        window(daily(), 5, 10),
        window(daily(), 25, 20),
        window(daily(), 95, 31),
        window(daily(), 150, 45),
        window(daily(), 195, 15),
        window(OracleRule::LastDay { offset: 0 }, 1320, 300),
        window(OracleRule::Nth { nth: 5, weekday: 6, offset: -1 }, 1410, 1500),
        window(OracleRule::Nth { nth: 1, weekday: 1, offset: 1 }, 0, 90),
    ]
}

/// Compares every window within the middle of some days, minute by minute; how many there were.
fn compare_days(zone: Tz, first: DateTime<Utc>, days: i64) -> usize {
    let windows = night_windows();
    let oracle = Oracle::over(zone, first - TimeDelta::days(AROUND_DAYS), days + 2 * AROUND_DAYS);
    let open = oracle.open(&windows, &[]);
    let mut expect = Vec::new();
    for minute in 1..open.len() {
        let at = oracle.minutes[minute].0;
        match (open[minute - 1], open[minute]) {
            (false, true) => expect.push(Window { starts: at, ends: at }),
            (true, false) => {
                if let Some(window) = expect.last_mut() {
                    window.ends = at;
                }
            }
            (true, true) | (false, false) => {}
        }
    }
    let inside = |window: &Window| window.starts > first && window.ends < first + TimeDelta::days(days);
    expect.retain(inside);
    // Nine entries open at most nine times a day.
    let limit = usize::try_from(days * 9 + 9).expect("small");
    let mut found = quiet_hours(zone.name(), &windows, &[]).windows(first, limit);
    found.retain(inside);
    assert_eq!(found, expect, "{zone} from {first}");
    expect.len()
}

#[test]
fn in_every_zone_with_unusual_rules_each_kind_of_clock_change_agrees_with_a_walk_over_the_minutes() {
    let zones = unusual_zones();
    assert!(zones.len() > 40, "only {} zones are unusual", zones.len());
    let mut compared = 0;
    for (zone, changes) in zones {
        let mut kinds = BTreeSet::new();
        for change in changes {
            let local = change.before.with_timezone(&zone).naive_local();
            if kinds.insert((change.jump, local.time())) {
                compared += compare_days(zone, change.before - TimeDelta::days(2), 4);
            }
        }
    }
    assert!(compared > 2_000, "only {compared} windows were compared");
}

#[test]
#[ignore = "minutes: every minute of 35 years in every zone with unusual rules; `scripts/test --full` runs it"]
fn in_every_zone_with_unusual_rules_every_window_of_35_years_agrees_with_a_walk_over_the_minutes() {
    let years = |zone| (0..35).map(move |year| (zone, 946_684_800 + year * 365 * 86_400));
    let left: Mutex<Vec<(Tz, i64)>> =
        Mutex::new(unusual_zones().into_iter().flat_map(|(zone, _)| years(zone)).collect());
    let work = || {
        loop {
            // The lock is given back before the years are walked.
            let Some((zone, second)) = left.lock().expect("nobody panics with it").pop() else { return };
            compare_days(zone, DateTime::from_timestamp(second, 0).expect("in range"), 370);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}
