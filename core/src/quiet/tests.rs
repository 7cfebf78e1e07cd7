//! Tables of windows, clock changes, freezes, cutoffs and checks, all with expectations worked out by hand.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::*;

const MONCTON: &str = "America/Moncton";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect(text)
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

fn allow(rule: &str, start: &str, duration: &str) -> AllowWindow {
    let duration = crate::duration::parse(duration).expect(duration);
    AllowWindow::new(rule.parse().expect(rule), start.parse().expect(start), duration).expect(rule)
}

fn freeze(name: &str, from: &str, to: &str) -> Freeze {
    Freeze::new(name, from.parse().expect(from), to.parse().expect(to)).expect(name)
}

fn quiet(zone: &str, allow: &[AllowWindow], freeze: &[Freeze]) -> QuietHours {
    QuietHours::new(zone.parse().expect(zone), Cutoff::Auto, allow.to_vec(), freeze.to_vec())
        .expect("valid quiet hours")
}

fn texts(windows: &[Window]) -> Vec<String> {
    let text = |instant: DateTime<Utc>| instant.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    windows.iter().map(|window| format!("{} {}", text(window.starts), text(window.ends))).collect()
}

/// Windows from an instant on, as `starts ends` in UTC.
#[track_caller]
fn check_windows(quiet: &QuietHours, from: &str, expect: &[&str]) {
    assert_ne!(expect.len(), 0, "nothing is checked");
    assert_eq!(texts(&quiet.windows(at(from), expect.len())), expect);
    for line in expect {
        let (starts, ends) = line.split_once(' ').expect("two instants");
        let (starts, ends) = (at(starts), at(ends));
        let second = chrono::TimeDelta::seconds(1);
        let open = WindowState::Open { since: starts, until: ends };
        assert_eq!(quiet.at(starts), open, "{line}: its first instant");
        assert_eq!(quiet.at(ends - second), open, "{line}: its last second");
        let before = quiet.at(starts - second);
        let opens = matches!(&before, WindowState::Closed { opens: Some(opens), .. } if *opens == starts);
        assert!(opens, "{line}: the second before it is {before:?}");
        let after = quiet.at(ends);
        let closed = matches!(&after, WindowState::Closed { opens, .. } if opens.is_none_or(|opens| opens > ends));
        assert!(closed, "{line}: its end is {after:?}");
    }
}

#[test]
fn an_ordinary_window_opens_each_chosen_night_and_runs_over_midnight() {
    let quiet = quiet(MONCTON, &[allow("mon-thu", "22:00", "6h")], &[]);
    // 2026-11-23 is a monday; AST is UTC-4.
    check_windows(
        &quiet,
        "2026-11-23T12:00:00Z",
        &[
            "2026-11-24T02:00:00Z 2026-11-24T08:00:00Z",
            "2026-11-25T02:00:00Z 2026-11-25T08:00:00Z",
            "2026-11-26T02:00:00Z 2026-11-26T08:00:00Z",
            "2026-11-27T02:00:00Z 2026-11-27T08:00:00Z",
            "2026-12-01T02:00:00Z 2026-12-01T08:00:00Z",
        ],
    );
}

#[test]
fn a_start_in_a_gap_moves_forward_by_the_gap_and_a_fold_takes_the_first() {
    for (zone, start, from, expect) in [
        // Moncton, 2026-03-08: 02:00 AST becomes 03:00 ADT at 06:00Z. 02:30 becomes 03:30 ADT.
        (MONCTON, "02:30", "2026-03-08T05:00:00Z", "2026-03-08T06:30:00Z 2026-03-08T08:30:00Z"),
        (MONCTON, "02:00", "2026-03-08T05:00:00Z", "2026-03-08T06:00:00Z 2026-03-08T08:00:00Z"),
        (MONCTON, "01:59:59", "2026-03-08T05:00:00Z", "2026-03-08T05:59:59Z 2026-03-08T07:59:59Z"),
        (MONCTON, "03:00", "2026-03-08T05:00:00Z", "2026-03-08T06:00:00Z 2026-03-08T08:00:00Z"),
        // Moncton, 2026-11-01: 02:00 ADT becomes 01:00 AST at 05:00Z. 01:30 is 04:30Z, not 05:30Z.
        (MONCTON, "01:30", "2026-11-01T03:59:00Z", "2026-11-01T04:30:00Z 2026-11-01T06:30:00Z"),
        (MONCTON, "00:59:59", "2026-11-01T03:59:00Z", "2026-11-01T03:59:59Z 2026-11-01T05:59:59Z"),
        (MONCTON, "02:00", "2026-11-01T03:59:00Z", "2026-11-01T06:00:00Z 2026-11-01T08:00:00Z"),
        // Lord Howe, 2026-10-04: 02:00 (+10:30) becomes 02:30 (+11) at 15:30Z. 2026-04-05: 02:00 (+11) becomes 01:30 at 15:00Z.
        ("Australia/Lord_Howe", "02:10", "2026-10-03T15:00:00Z", "2026-10-03T15:40:00Z 2026-10-03T17:40:00Z"),
        ("Australia/Lord_Howe", "01:45", "2026-04-04T14:00:00Z", "2026-04-04T14:45:00Z 2026-04-04T16:45:00Z"),
        // Cairo, 2026-04-24: 00:00 (+2) becomes 01:00 (+3) at 22:00Z of the day before.
        ("Africa/Cairo", "00:00", "2026-04-23T12:00:00Z", "2026-04-23T22:00:00Z 2026-04-24T00:00:00Z"),
        ("Africa/Cairo", "00:15", "2026-04-23T12:00:00Z", "2026-04-23T22:15:00Z 2026-04-24T00:15:00Z"),
        // Pyongyang, 2018-05-04: 23:30 (+8:30) becomes 24:00 (+9) at 15:00Z. 23:45 becomes 00:15 and still belongs to the 4th.
        ("Asia/Pyongyang", "23:45", "2018-05-04T12:00:00Z", "2018-05-04T15:15:00Z 2018-05-04T17:15:00Z"),
        ("UTC", "00:00", "2026-02-28T12:00:00Z", "2026-03-01T00:00:00Z 2026-03-01T02:00:00Z"),
    ] {
        check_windows(&quiet(zone, &[allow("daily", start, "2h")], &[]), from, &[expect]);
    }
}

#[test]
fn a_start_that_a_gap_moves_past_midnight_stays_in_order_with_those_of_the_next_date() {
    let entries = [allow("fri", "23:45", "1h"), allow("sat", "00:05", "1h")];
    let pyongyang = quiet("Asia/Pyongyang", &entries, &[]);
    check_windows(&pyongyang, "2018-05-04T12:00:00Z", &["2018-05-04T15:05:00Z 2018-05-04T16:15:00Z"]);
}

#[test]
fn a_window_over_a_clock_change_lasts_its_duration() {
    let quiet = quiet(MONCTON, &[allow("sat", "22:00", "6h")], &[]);
    check_windows(&quiet, "2026-03-07T12:00:00Z", &["2026-03-08T02:00:00Z 2026-03-08T08:00:00Z"]);
    check_windows(&quiet, "2026-10-31T12:00:00Z", &["2026-11-01T01:00:00Z 2026-11-01T07:00:00Z"]);
}

#[test]
fn a_window_on_a_date_that_does_not_exist_does_not_happen() {
    // Apia went from 2011-12-29 (-10) straight to 2011-12-31 (+14), at 10:00Z on the 30th.
    check_windows(
        &quiet("Pacific/Apia", &[allow("daily", "10:00", "1h")], &[]),
        "2011-12-29T00:00:00Z",
        &["2011-12-29T20:00:00Z 2011-12-29T21:00:00Z", "2011-12-30T20:00:00Z 2011-12-30T21:00:00Z"],
    );
    // 2011-12-30 was the friday that was skipped.
    check_windows(
        &quiet("Pacific/Apia", &[allow("fri", "00:00", "1h")], &[]),
        "2011-12-29T00:00:00Z",
        &["2012-01-05T10:00:00Z 2012-01-05T11:00:00Z"],
    );
    // A freeze of that day alone freezes nothing.
    let frozen = freeze("skipped", "2011-12-30", "2011-12-30");
    check_windows(
        &quiet("Pacific/Apia", &[allow("sat", "00:00", "2h")], &[frozen]),
        "2011-12-30T00:00:00Z",
        &["2011-12-30T10:00:00Z 2011-12-30T12:00:00Z"],
    );
    let frozen = freeze("before", "2011-12-29", "2011-12-29");
    check_windows(
        &quiet("Pacific/Apia", &[allow("daily", "22:00", "3h")], &[frozen]),
        "2011-12-30T09:00:00Z",
        &["2011-12-30T10:00:00Z 2011-12-30T11:00:00Z"],
    );
}

#[test]
fn a_freeze_ends_with_the_last_instant_of_its_day_also_where_the_day_comes_twice() {
    // St John's, 2010-11-07: 00:01 (-2:30) becomes 23:01 (-3:30) of the day before at 02:31Z. The 6th ends at 03:30Z.
    let frozen = freeze("storm", "2010-11-06", "2010-11-06");
    let quiet = quiet("America/St_Johns", &[allow("daily", "22:00", "4h")], &[frozen]);
    check_windows(&quiet, "2010-11-06T12:00:00Z", &["2010-11-07T03:30:00Z 2010-11-07T04:30:00Z"]);
}

#[test]
fn a_window_has_its_own_zone_where_it_names_one_and_holds_for_the_nodes_that_it_names() {
    let tokyo = allow("daily", "22:00", "1h").in_zone(Some("Asia/Tokyo".parse().expect("a zone")));
    let east = allow("daily", "22:00", "1h").for_nodes("zone=east".parse().expect("well formed"));
    let whole = quiet(MONCTON, &[tokyo, east], &[]);
    let (first, second) = ("2026-11-24T13:00:00Z 2026-11-24T14:00:00Z", "2026-11-25T02:00:00Z 2026-11-25T03:00:00Z");
    check_windows(&whole, "2026-11-24T12:00:00Z", &[first, second]);
    let labels = |zone: &str| [("zone".to_owned(), zone.to_owned())].into();
    check_windows(&whole.for_node(&labels("east")), "2026-11-24T12:00:00Z", &[first, second]);
    check_windows(
        &whole.for_node(&labels("west")),
        "2026-11-24T12:00:00Z",
        &[first, "2026-11-25T13:00:00Z 2026-11-25T14:00:00Z"],
    );
    let texts: Vec<String> = whole.allow().iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["daily 22:00 for 1h in Asia/Tokyo", "daily 22:00 for 1h on nodes zone=east"]);
}

#[test]
fn the_explanation_says_what_holds_for_each_kind_of_node() {
    let on = |nodes: &str, start, length| allow("daily", start, length).for_nodes(nodes.parse().expect("well formed"));
    let quiet = quiet(MONCTON, &[on("zone=east", "22:00", "6h"), on("zone=west", "23:30", "1h")], &[]);
    let text = quiet.explain(at("2026-11-25T02:30:00Z")).to_string();
    let expect = [
        "at 2026-11-24 22:30 America/Moncton (2026-11-25 02:30:00 UTC)",
        "allow: daily 22:00 for 6h on nodes zone=east: open from 2026-11-24 22:00 America/Moncton until 2026-11-25 04:00 America/Moncton",
        "nodes zone=east: open, closes at 2026-11-25 04:00 America/Moncton",
        "nodes zone=west: closed, opens at 2026-11-24 23:30 America/Moncton",
        "other nodes: closed: no entry names them, nothing starts automatically",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expect);
}

#[test]
fn the_check_judges_each_kind_of_node_by_its_own_windows() {
    let on = |nodes: &str, duration| allow("daily", "22:00", duration).for_nodes(nodes.parse().expect("well formed"));
    let quiet = quiet(MONCTON, &[on("zone=east", "6h"), on("zone=west", "5m")], &[]);
    let check = quiet.check(at("2026-11-24T12:00:00Z"), minutes(7));
    let warnings: Vec<String> = check.warnings.iter().map(ToString::to_string).collect();
    let expect = [
        "nodes zone=west: no window is long enough: a start needs 7m, the longest window lasts 5m",
        "every entry names its nodes: on those that none of them names, nothing starts automatically",
    ];
    assert_eq!(warnings, expect);
}

#[test]
fn month_rules_know_month_ends_and_offsets_cross_them() {
    for (rule, from, expect) in [
        ("2nd tue + 1d", "2026-11-01T00:00:00Z", ["2026-11-11", "2026-12-09"]),
        ("last day", "2028-02-01T00:00:00Z", ["2028-02-29", "2028-03-31"]),
        ("last day - 1d", "2026-02-01T00:00:00Z", ["2026-02-27", "2026-03-30"]),
        ("last day + 1d", "2026-02-02T00:00:00Z", ["2026-03-01", "2026-04-01"]),
        ("day 31", "2026-04-01T00:00:00Z", ["2026-05-31", "2026-07-31"]),
        ("day 1 - 1d", "2026-02-01T00:00:00Z", ["2026-02-28", "2026-03-31"]),
        ("5th mon", "2026-04-01T00:00:00Z", ["2026-06-29", "2026-08-31"]),
        ("last mon", "2026-04-01T00:00:00Z", ["2026-04-27", "2026-05-25"]),
        ("last mon", "2026-11-01T00:00:00Z", ["2026-11-30", "2026-12-28"]),
        ("1st sun - 2d", "2026-10-31T00:00:00Z", ["2026-12-04", "2027-01-01"]),
        ("1st sun - 2d", "2026-10-01T00:00:00Z", ["2026-10-02", "2026-10-30"]),
        ("last fri + 3d", "2026-10-30T00:00:00Z", ["2026-11-02", "2026-11-30"]),
    ] {
        let expect = expect.map(|date| format!("{date}T10:00:00Z {date}T11:00:00Z"));
        check_windows(&quiet("UTC", &[allow(rule, "10:00", "1h")], &[]), from, &expect.each_ref().map(String::as_str));
    }
}

#[test]
fn overlapping_and_touching_windows_are_one() {
    for (entries, expect) in [
        (
            vec![allow("wed", "01:00", "2h"), allow("wed", "02:00", "3h")],
            vec!["2026-11-25T01:00:00Z 2026-11-25T05:00:00Z"],
        ),
        (
            vec![allow("wed", "03:00", "2h"), allow("wed", "01:00", "2h")],
            vec!["2026-11-25T01:00:00Z 2026-11-25T05:00:00Z"],
        ),
        (
            vec![allow("wed", "01:00", "6h"), allow("wed", "02:00", "1h")],
            vec!["2026-11-25T01:00:00Z 2026-11-25T07:00:00Z"],
        ),
        (
            vec![allow("wed", "01:00", "2h"), allow("wed", "03:00:01", "2h")],
            vec!["2026-11-25T01:00:00Z 2026-11-25T03:00:00Z", "2026-11-25T03:00:01Z 2026-11-25T05:00:01Z"],
        ),
        (vec![allow("last tue", "00:00", "7d")], vec!["2026-11-24T00:00:00Z 2026-12-01T00:00:00Z"]),
        (vec![allow("tue-fri", "00:00", "1d")], vec!["2026-11-24T00:00:00Z 2026-11-28T00:00:00Z"]),
    ] {
        check_windows(&quiet("UTC", &entries, &[]), "2026-11-24T00:00:00Z", &expect);
    }
}

#[test]
fn a_week_of_single_days_is_one_window_from_its_true_beginning() {
    // Each touches the next; the first of them is a fortnight back.
    let entries = [allow("1st mon", "00:00", "7d"), allow("2nd mon", "00:00", "7d"), allow("3rd mon", "00:00", "1d")];
    check_windows(&quiet("UTC", &entries, &[]), "2026-11-16T12:00:00Z", &["2026-11-02T00:00:00Z 2026-11-17T00:00:00Z"]);
}

#[test]
fn a_window_that_never_ends_is_followed_for_the_whole_search() {
    let now = at("2026-11-24T12:00:00Z");
    let quiet = quiet("UTC", &[allow("daily", "00:00", "24h")], &[]);
    let WindowState::Open { since, until } = quiet.at(now) else { panic!("closed") };
    let days = i64::try_from(SEARCH_DAYS).expect("few");
    assert!((now - since).num_days() >= 58 && (until - now).num_days() >= days, "{since} {until}");
    assert_eq!(quiet.explain(now).next_change, None);
    assert_eq!(quiet.windows(now, 5), [Window { starts: since, ends: until }]);
    // In a zone with clock changes, the day of 25 hours has one closed hour: windows are elapsed time.
    let moncton = super::tests::quiet(MONCTON, &[allow("daily", "00:00", "24h")], &[]);
    let closed = WindowState::Closed { opens: Some(at("2026-11-02T04:00:00Z")), because: Closed::OutsideWindow };
    assert_eq!(moncton.at(at("2026-11-02T03:00:00Z")), closed);
}

#[test]
fn freezes_clip_windows_on_both_sides() {
    let windows = [allow("daily", "22:00", "6h")];
    for (from, to, expect) in [
        // Whole days in Moncton: the window of the 4th is cut at midnight, that of the 6th begins after it.
        (
            "2026-12-05",
            "2026-12-06",
            vec!["2026-12-05T02:00:00Z 2026-12-05T04:00:00Z", "2026-12-07T04:00:00Z 2026-12-07T08:00:00Z"],
        ),
        (
            "2026-12-05T03:00:00Z",
            "2026-12-05T05:30:00Z",
            vec!["2026-12-05T02:00:00Z 2026-12-05T03:00:00Z", "2026-12-05T05:30:00Z 2026-12-05T08:00:00Z"],
        ),
        ("2026-12-05T02:00:00Z", "2026-12-05T08:00:00Z", vec!["2026-12-06T02:00:00Z 2026-12-06T08:00:00Z"]),
        (
            "2026-12-05T08:00:00Z",
            "2026-12-06T02:00:00Z",
            vec!["2026-12-05T02:00:00Z 2026-12-05T08:00:00Z", "2026-12-06T02:00:00Z 2026-12-06T08:00:00Z"],
        ),
        (
            "2026-12-05T03:00:00Z",
            "2026-12-05",
            vec!["2026-12-05T02:00:00Z 2026-12-05T03:00:00Z", "2026-12-06T04:00:00Z 2026-12-06T08:00:00Z"],
        ),
    ] {
        let quiet = quiet(MONCTON, &windows, &[freeze("exams", from, to)]);
        check_windows(&quiet, "2026-12-05T00:00:00Z", &expect);
    }
}

#[test]
fn a_whole_day_freeze_begins_with_the_first_instant_of_a_day_whose_midnight_is_skipped() {
    let quiet = quiet("Africa/Cairo", &[allow("thu", "20:00", "12h")], &[freeze("feast", "2026-04-24", "2026-04-24")]);
    check_windows(&quiet, "2026-04-23T12:00:00Z", &["2026-04-23T18:00:00Z 2026-04-23T22:00:00Z"]);
}

#[test]
fn a_closed_state_says_why_and_when_it_opens() {
    let nights = [allow("mon-thu", "22:00", "6h")];
    let long = freeze("long", "2026-12-01", "2026-12-20");
    let short = freeze("short", "2026-12-05", "2026-12-06");
    let frozen = |name: &str, until: &str| Closed::Frozen { name: name.to_owned(), until: at(until) };
    let years = freeze("years", "2026-12-01", "2029-12-31");
    for (allow, freeze, now, opens, because) in [
        (&[][..], vec![], "2026-11-24T12:00:00Z", None, Closed::NoAllowWindow),
        (&[][..], vec![long.clone()], "2026-12-05T12:00:00Z", None, Closed::NoAllowWindow),
        (&nights, vec![], "2026-11-24T12:00:00Z", Some("2026-11-25T02:00:00Z"), Closed::OutsideWindow),
        (&nights, vec![], "2026-11-25T08:00:00Z", Some("2026-11-26T02:00:00Z"), Closed::OutsideWindow),
        // Frozen, whether or not a window is open as well; the freeze that ends last is named.
        (
            &nights,
            vec![short.clone(), long.clone()],
            "2026-12-05T12:00:00Z",
            Some("2026-12-22T02:00:00Z"),
            frozen("long", "2026-12-21T04:00:00Z"),
        ),
        (
            &nights,
            vec![short],
            "2026-12-05T12:00:00Z",
            Some("2026-12-08T02:00:00Z"),
            frozen("short", "2026-12-07T04:00:00Z"),
        ),
        // The search counts from the end of the freeze.
        (
            &nights,
            vec![years.clone()],
            "2026-12-05T12:00:00Z",
            Some("2030-01-01T04:00:00Z"),
            frozen("years", "2030-01-01T04:00:00Z"),
        ),
        (&nights, vec![years, long], "2026-11-27T09:00:00Z", Some("2026-12-01T02:00:00Z"), Closed::OutsideWindow),
    ] {
        let state = WindowState::Closed { opens: opens.map(at), because };
        assert_eq!(quiet(MONCTON, allow, &freeze).at(at(now)), state, "{now}");
    }
}

#[test]
fn a_start_must_end_inside_the_window_or_keep_the_cutoff() {
    let night = || vec![allow("mon-thu", "22:00", "6h")];
    let zone: Zone = MONCTON.parse().expect("a zone");
    let window = Window { starts: at("2026-11-24T02:00:00Z"), ends: at("2026-11-24T08:00:00Z") };
    let next = Some(at("2026-11-25T02:00:00Z"));
    let cutoff =
        |needed| Err(Denial::Cutoff { window_ends: window.ends, needed: minutes(needed), next_opens: next, zone });
    let outside = |opens| Err(Denial::Closed { because: Closed::OutsideWindow, opens, zone });
    let fixed = |count| Cutoff::Fixed(minutes(count));
    for (rule, now, worst_case, expect) in [
        (Cutoff::Auto, "2026-11-24T02:00:00Z", 20, Ok(window)),
        (Cutoff::Auto, "2026-11-24T07:40:00Z", 20, Ok(window)),
        (Cutoff::Auto, "2026-11-24T07:40:01Z", 20, cutoff(20)),
        (Cutoff::Auto, "2026-11-24T07:59:59Z", 20, cutoff(20)),
        (Cutoff::Auto, "2026-11-24T07:59:59Z", 0, Ok(window)),
        (Cutoff::Auto, "2026-11-24T02:00:00Z", 360, Ok(window)),
        (Cutoff::Auto, "2026-11-24T02:00:01Z", 360, cutoff(360)),
        (Cutoff::Auto, "2026-11-24T08:00:00Z", 20, outside(next)),
        (Cutoff::Auto, "2026-11-24T01:59:59Z", 20, outside(Some(window.starts))),
        (
            Cutoff::Auto,
            "2026-11-24T02:00:00Z",
            361,
            Err(Denial::NeverFits { needed: minutes(361), longest: minutes(360) }),
        ),
        (
            Cutoff::Auto,
            "2026-11-24T01:00:00Z",
            361,
            Err(Denial::NeverFits { needed: minutes(361), longest: minutes(360) }),
        ),
        (fixed(30), "2026-11-24T07:30:00Z", 600, Ok(window)),
        (fixed(30), "2026-11-24T07:30:01Z", 1, cutoff(30)),
        (fixed(0), "2026-11-24T07:59:59Z", 600, Ok(window)),
        (fixed(400), "2026-11-24T02:00:00Z", 1, Err(Denial::NeverFits { needed: minutes(400), longest: minutes(360) })),
    ] {
        let quiet = QuietHours::new(zone, rule, night(), Vec::new()).expect("valid");
        assert_eq!(quiet.may_start(at(now), minutes(worst_case)), expect, "{rule} {now} {worst_case}");
    }
}

#[test]
fn a_denial_wakes_at_the_next_window_that_is_long_enough() {
    let quiet = quiet("UTC", &[allow("tue", "10:00", "30m"), allow("fri", "10:00", "2h")], &[]);
    for (now, expect) in [
        ("2026-11-24T09:00:00Z", Some("2026-11-27T10:00:00Z")),
        ("2026-11-24T10:00:00Z", Some("2026-11-27T10:00:00Z")),
        ("2026-11-27T11:30:00Z", Some("2026-12-04T10:00:00Z")),
    ] {
        let denial = quiet.may_start(at(now), minutes(60)).expect_err(now);
        assert_eq!(denial.wake_at(), expect.map(at), "{now}");
        let woken = quiet.may_start(at(expect.expect("opens")), minutes(60));
        assert!(woken.is_ok(), "woken for nothing: {woken:?}");
    }
    // Touching windows are merged before the test: neither alone is long enough.
    let split = super::tests::quiet("UTC", &[allow("tue", "10:00", "30m"), allow("tue", "10:30", "30m")], &[]);
    assert!(split.may_start(at("2026-11-24T10:00:00Z"), minutes(60)).is_ok());
    // A freeze shortens what is left.
    let frozen = freeze("release day", "2026-11-24T10:45:00Z", "2026-11-24T11:00:00Z");
    let cut = super::tests::quiet("UTC", split.allow(), &[frozen]);
    let denial = cut.may_start(at("2026-11-24T10:00:00Z"), minutes(60)).expect_err("cut by a freeze");
    assert_eq!(denial.wake_at(), Some(at("2026-12-01T10:00:00Z")));
}

#[test]
fn a_check_counts_the_year_and_warns() {
    let from = at("2026-01-01T00:00:00Z");
    let quiet = QuietHours::new(
        MONCTON.parse().expect("a zone"),
        Cutoff::Fixed(minutes(10)),
        vec![allow("sun", "02:30", "90m"), allow("sun", "01:30", "5m"), allow("day 31", "12:00", "1h")],
        vec![freeze("summer", "2026-07-01", "2026-08-31"), freeze("last year", "2025-12-01", "2025-12-30")],
    );
    insta::assert_snapshot!(quiet.expect("valid").check(from, minutes(20)).to_string());
    for (allow, worst_case, expect) in [
        (vec![], 20, vec![Warning::NeverOpen]),
        (
            vec![allow("sun", "02:30", "10m")],
            20,
            vec![Warning::NeverFits { needed: minutes(20), longest: minutes(10) }],
        ),
        (vec![allow("sun", "02:30", "20m")], 20, vec![]),
    ] {
        assert_eq!(super::tests::quiet("UTC", &allow, &[]).check(from, minutes(worst_case)).warnings, expect);
    }
}

#[test]
fn a_check_clips_to_its_year() {
    let check = quiet("UTC", &[allow("daily", "00:00", "24h")], &[]).check(at("2026-01-01T12:00:00Z"), minutes(1));
    let year = Duration::from_secs(CHECK_DAYS * 86_400);
    assert_eq!((check.windows, check.open, check.longest_gap, check.warnings), (1, year, None, vec![]));
}
