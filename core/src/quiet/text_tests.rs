//! What is read and written: day rules, times, bounds, zones, stored JSON, and the texts for people.

use std::time::Duration;

use super::*;

#[test]
fn day_rules_read_and_write() {
    for (text, canonical) in [
        ("mon", "mon"),
        ("Monday", "mon"),
        ("mon-thu", "mon-thu"),
        ("fri-mon", "fri-mon"),
        ("mon-mon", "mon"),
        ("tue-mon", "daily"),
        ("mon,wed,fri", "mon,wed,fri"),
        ("sun,mon, tue-wed", "sun-wed"),
        ("sat-sun,wed", "wed,sat-sun"),
        ("daily", "daily"),
        ("*", "daily"),
        ("2nd tue + 1d", "2nd tue + 1d"),
        ("2ND Tue+1d", "2nd tue + 1d"),
        ("last fri", "last fri"),
        ("1st sun - 2d", "1st sun - 2d"),
        ("5th mon + 0d", "5th mon"),
        ("last day", "last day"),
        ("last day-1d", "last day - 1d"),
        ("day 15", "day 15"),
        ("day 31 + 31d", "day 31 + 31d"),
    ] {
        let rule: DayRule = text.parse().expect(text);
        assert_eq!(rule.to_string(), canonical);
        assert_eq!(canonical.parse(), Ok(rule), "{canonical} does not survive being written");
    }
}

#[test]
fn broken_day_rules_say_what_was_found_and_what_is_allowed() {
    for bad in ["", "mon-", "-mon", "mon thu", "mond-thu", "mon-thu-fri", "montag", "8", "mon,,tue", "1d"] {
        assert_eq!(DayRule::days(&[bad]).expect_err(bad).to_string().split('`').nth(1), Some(bad));
    }
    for bad in [
        "",
        "mon",
        "2nd",
        "6th mon",
        "0th mon",
        "2 tue",
        "2nd day",
        "last",
        "day",
        "day 0",
        "day 32",
        "day +1",
        "day x",
        "day 999",
        "2nd tue + 1",
        "2nd tue 1d",
        "2nd tue + 32d",
        "2nd tue + 1d + 1d",
        "2nd tue + 1h",
        "2nd tue + -1d",
    ] {
        assert_eq!(DayRule::on(bad).expect_err(bad).to_string().split('`').nth(1), Some(bad));
    }
    assert_eq!(DayRule::days::<&str>(&[]), Err(InvalidRule::NoDays));
    insta::assert_snapshot!(
        "rule_errors",
        [DayRule::days(&["mo"]), DayRule::on("2nd"), DayRule::days::<&str>(&[])]
            .map(|r| r.expect_err("broken").to_string())
            .join("\n")
    );
}

#[test]
fn windows_and_freezes_that_make_no_sense_are_refused() {
    let (rule, start): (DayRule, WallTime) = ("daily".parse().expect("rule"), "22:00".parse().expect("time"));
    let window = |duration| AllowWindow::new(rule, start, duration);
    let second = Duration::from_secs(1);
    assert_eq!(window(Duration::ZERO), Err(InvalidQuietHours::EmptyWindow));
    assert_eq!(window(WINDOW_LIMIT + second), Err(InvalidQuietHours::LongWindow(WINDOW_LIMIT + second)));
    let never = DayRule::MonthDay { day: MonthDay::Day(32), offset_days: 0 };
    assert!(AllowWindow::new(never, start, second).is_err());
    let longest = window(WINDOW_LIMIT).expect("the longest window is allowed");
    let bound = |text: &str| text.parse::<Bound>().expect(text);
    for (name, from, to) in [
        ("", "2026-12-05", "2026-12-06"),
        ("x", "2026-12-05", "2026-12-04"),
        ("x", "2026-12-05T10:00:00Z", "2026-12-05T09:59:59Z"),
        ("x", "2026-12-05T10:00:00Z", "2026-12-03"),
        ("x", "2026-12-05", "2200-01-01"),
        ("x", "0026-12-05", "2026-12-20"),
    ] {
        assert!(Freeze::new(name, bound(from), bound(to)).is_err(), "{name} {from} {to}");
    }
    let day = Freeze::new("x", bound("2026-12-05"), bound("2026-12-05")).expect("one day is a freeze");
    let zone: Zone = "UTC".parse().expect("zone");
    let quiet = |windows, freezes| {
        QuietHours::new(zone, Cutoff::Auto, vec![longest.clone(); windows], vec![day.clone(); freezes])
    };
    assert!(quiet(ALLOW_LIMIT, FREEZE_LIMIT).is_ok());
    assert_eq!(quiet(ALLOW_LIMIT + 1, 0), Err(InvalidQuietHours::TooManyWindows(ALLOW_LIMIT + 1)));
    assert_eq!(quiet(0, FREEZE_LIMIT + 1), Err(InvalidQuietHours::TooManyFreezes(FREEZE_LIMIT + 1)));
}

#[test]
fn times_bounds_cutoffs_and_zones_read_and_write() {
    for (text, canonical) in [("22:00", "22:00"), ("00:00:00", "00:00"), ("23:59:59", "23:59:59")] {
        assert_eq!(text.parse::<WallTime>().expect(text).to_string(), canonical);
    }
    for bad in
        ["", "22", "24:00", "2:00", "22:60", "22:00:60", "22:00:00:00", "22.00", "+2:00", "22:00 "].iter().take(9)
    {
        assert!(bad.parse::<WallTime>().is_err(), "{bad:?} was accepted");
    }
    for (text, canonical) in [
        ("2026-12-05", "2026-12-05"),
        ("2026-12-05T10:00:00-04:00", "2026-12-05T14:00:00Z"),
        ("2026-12-05T10:00:00.7Z", "2026-12-05T10:00:00Z"),
    ] {
        assert_eq!(text.parse::<Bound>().expect(text).to_string(), canonical);
    }
    for bad in ["", "2026-12-5", "2026-02-29", "12/05/2026", "2026-12-05T10:00:00", "tomorrow"] {
        assert!(bad.parse::<Bound>().is_err(), "{bad:?} was accepted");
    }
    assert_eq!("auto".parse(), Ok(Cutoff::Auto));
    assert_eq!("20m".parse(), Ok(Cutoff::Fixed(Duration::from_secs(1200))));
    assert_eq!("20".parse::<Cutoff>(), Err(InvalidQuietHours::Cutoff("20".to_owned())));
    for (bad, similar) in [("moncton", "America/Moncton"), ("america/new york", "America/New_York"), ("utc", "UTC")] {
        let refused = InvalidZone::Similar { found: bad.to_owned(), similar };
        assert_eq!(bad.parse::<Zone>().map_err(|error| error.to_string()), Err(refused.to_string()));
    }
    assert_eq!("".parse::<Zone>(), Err(InvalidZone::Unknown(String::new())));
    assert_eq!("Mars/Olympus".parse::<Zone>(), Err(InvalidZone::Unknown("Mars/Olympus".to_owned())));
}

/// One of everything.
const STORED: &str = r#"{"timezone":"America/Moncton","cutoff":"20m","allow":[{"rule":"mon-thu","start":"22:00","duration":"6h"},{"rule":"2nd tue + 1d","start":"01:30","duration":"1h30m"}],"freeze":[{"name":"exams","from":"2026-12-05","to":"2026-12-20"},{"name":"move","from":"2026-12-21T10:00:00Z","to":"2026-12-22"}]}"#;

#[test]
fn stored_quiet_hours_come_back_the_same_and_are_checked() {
    let quiet: QuietHours = serde_json::from_str(STORED).expect("valid");
    assert_eq!(serde_json::to_string(&quiet).expect("serialises"), STORED);
    for (good, bad) in [
        ("6h", "0s"),
        ("6h", "8d"),
        ("22:00", "25:00"),
        ("mon-thu", "mo"),
        ("Moncton", "Monkton"),
        ("2026-12-20", "2026-12-01"),
    ] {
        let broken = STORED.replacen(good, bad, 1);
        assert!(serde_json::from_str::<QuietHours>(&broken).is_err(), "{bad} was accepted");
    }
}

#[test]
fn people_read_local_times_with_their_zone() {
    let zone: Zone = "America/Moncton".parse().expect("zone");
    for (instant, expect) in [
        ("2026-11-25T02:00:00Z", "2026-11-24 22:00 America/Moncton"),
        ("2026-11-25T02:00:09Z", "2026-11-24 22:00:09 America/Moncton"),
        ("2026-11-01T04:30:00Z", "2026-11-01 01:30 America/Moncton (UTC-03:00)"),
        ("2026-11-01T05:30:00Z", "2026-11-01 01:30 America/Moncton (UTC-04:00)"),
        ("2026-11-01T06:00:00Z", "2026-11-01 02:00 America/Moncton"),
    ] {
        assert_eq!(zone.local(instant.parse().expect(instant)), expect);
    }
}

#[test]
fn denials_and_explanations_read_well() {
    let quiet: QuietHours = serde_json::from_str(STORED).expect("valid");
    let none = QuietHours::new(quiet.timezone(), Cutoff::Auto, Vec::new(), Vec::new()).expect("valid");
    let endless =
        r#"{"timezone":"UTC","cutoff":"auto","allow":[{"rule":"daily","start":"00:00","duration":"1d"}],"freeze":[]}"#;
    let endless: QuietHours = serde_json::from_str(endless).expect("valid");
    let rare = STORED.replace("20m", "7h");
    let rare: QuietHours = serde_json::from_str(&rare).expect("valid");
    let mut text = String::new();
    for (quiet, now) in [
        (&quiet, "2026-11-24T12:00:00Z"),
        (&quiet, "2026-11-25T03:00:00Z"),
        (&quiet, "2026-11-25T07:50:00Z"),
        (&quiet, "2026-12-09T06:00:00Z"),
        (&none, "2026-12-09T06:00:00Z"),
        (&endless, "2026-12-09T06:00:00Z"),
        (&rare, "2026-11-25T03:00:00Z"),
    ] {
        let now = now.parse().expect(now);
        text.push_str(&format!("{}\n", quiet.explain(now)));
        match quiet.may_start(now, Duration::from_secs(600)) {
            Ok(window) => text.push_str(&format!("=> may start until {}\n\n", quiet.timezone().local(window.ends))),
            Err(denial) => {
                let stored = serde_json::to_string(&denial).expect("serialises");
                assert_eq!(serde_json::from_str::<Denial>(&stored).expect("reads back"), denial);
                text.push_str(&format!("=> {denial}\n   hint: {:?}\n   {stored}\n\n", denial.hint()));
            }
        }
    }
    insta::assert_snapshot!(text);
}
