//! A week under a shifted clock, on real engines and a real registry: every night the coordinator tells CI to build again. Some
//! nights are good; in one a test fails, in one the image shows only at run time what is wrong with it, in one the registry is
//! down, in one the coordinator is killed. Each step stands in `nightshift events`.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveTime, TimeDelta, Utc};
use serde_json::json;

use crate::support::ci::{Job, said};
use crate::support::clock::Clock;
use crate::support::fleet::{Fleet, GOOD, ROLLOUT, SOON};
use crate::support::listener::Listener;
use crate::support::{Image, Role, Surroundings, eventually};

/// CI builds from a few kilobytes; the rest is room for a busy machine.
const BUILD: Duration = Duration::from_secs(120);
/// The rebuild is due at 02:00, must have brought something by 03:00, and may be installed from 04:00 to 06:00.
const DUE_HOUR: u32 = 2;

/// The week.
struct Week<'a> {
    fleet: &'a Fleet,
    job: Job<'a>,
    ci: Listener,
    clock: Clock,
    /// The first midnight.
    first: DateTime<Utc>,
    nights: usize,
    /// The last event that was looked at.
    after: u64,
}

impl Week<'_> {
    fn at(&self, hour: u32, minute: u32) -> DateTime<Utc> {
        let day = self.first + Days::new(self.nights as u64 - 1);
        day + TimeDelta::hours(hour.into()) + TimeDelta::minutes(minute.into())
    }

    /// The rebuild of the next night is due, and CI is told.
    fn night(&mut self) {
        self.nights += 1;
        self.clock.set(self.at(DUE_HOUR, 0));
        self.ci.is_asked(self.nights);
    }

    /// The window of this night opens.
    fn window(&mut self) {
        self.clock.set(self.at(4, 0));
    }

    fn apply(&self) {
        let (app, image) = (self.fleet.app(), self.fleet.registry().repository("web"));
        let file = format!(
            "name = \"{app}\"\nimage = \"{image}:stable\"\n[freshness]\nmax_age = \"14d\"\n\
             [quiet_hours]\ntimezone = \"UTC\"\n[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"04:00\"\nduration = \"2h\"\n\
             [rebuild]\nschedule = \"0 {DUE_HOUR} * * *\"\ntimezone = \"UTC\"\ndeadline = \"1h\"\n[rebuild.trigger]\n\
             url = \"http://{}/build/{{app}}\"\nbody = '{{\"image\": \"{{image}}\"}}'\nheaders = {{ Content-Type = \"application/json\" }}\n\
             [update]\nmonitor = \"1s\"\ncanary_monitor = \"1s\"\nhealthy_deadline = \"30s\"\nsupersede = \"if_paused\"\n",
            self.ci.address
        );
        let path = self.fleet.surroundings.directory.path().join("app.toml");
        std::fs::write(&path, file).expect("the directory can be written");
        let applied = self.fleet.cli.run(&["apply", path.to_str().expect("text")]);
        assert_eq!(applied.code, 0, "{applied:?}");
    }

    /// Waits until these kinds of events have come, in this order, since the last ones that were waited for.
    fn tells(&mut self, kinds: &[&str], deadline: Duration) {
        let (cli, app, after) = (&self.fleet.cli, self.fleet.app(), self.after);
        self.after = eventually(&format!("events tell {kinds:?}"), deadline, || {
            let events = cli.json(&["events", "--app", &app, "--limit", "0", "--after", &after.to_string()]);
            let mut wanted = kinds.iter().peekable();
            let mut last = after;
            for event in events.as_array().into_iter().flatten() {
                if wanted.peek().is_some_and(|kind| event["kind"] == **kind) {
                    wanted.next();
                    last = event["sequence"].as_u64().expect("a number");
                }
            }
            let lines =
                events.as_array().into_iter().flatten().map(|event| format!("{} {}", event["kind"], event["message"]));
            if wanted.peek().is_none() { Ok(last) } else { Err(lines.collect::<Vec<_>>().join("\n")) }
        });
    }

    /// What the log says of the week, in the words that people read.
    fn log(&self) -> String {
        self.fleet.cli.run(&["events", "--limit", "0", "--app", &self.fleet.app()]).out
    }

    fn alarms(&self) -> Vec<String> {
        let status = self.fleet.cli.json(&["status"]);
        let all = status["alarms"].as_array().expect("a list").iter();
        all.map(|alarm| alarm.as_str().unwrap_or_default().to_owned())
            .filter(|alarm| alarm.contains(&self.fleet.app()))
            .collect()
    }

    /// CI builds, tests and pushes; the digest is rolled out when the window opens.
    fn good_night(&mut self, page: &str) -> Image {
        self.job.commit(page);
        self.night();
        let image = self.job.release();
        self.tells(&["rebuild_started", "rebuild_triggered", "test_reported", "rebuild_ended"], BUILD);
        self.window();
        self.tells(&["release_known_good"], ROLLOUT);
        self.fleet.rollout_is(&["completed"], ROLLOUT);
        self.fleet.runs(&image);
        image
    }

    /// CI runs, and fails; the deadline goes by, and nobody touches anything in the window.
    fn bad_night(&mut self, words: &str) {
        let before = self.fleet.ids();
        let releases = self.job.releases();
        self.night();
        let failed = self.job.script(&["release"], &[]);
        assert_ne!(failed.status.code(), Some(0), "{}", said(&failed));
        assert!(said(&failed).contains(words), "{}", said(&failed));
        self.tells(&["rebuild_started", "rebuild_triggered"], SOON);
        self.clock.set(self.at(DUE_HOUR + 1, 0));
        self.tells(&["rebuild_ended", "alarm_raised"], SOON);
        assert!(
            self.alarms().iter().any(|alarm| alarm.contains("brought no new tested digest")),
            "{:?}",
            self.alarms()
        );
        self.window();
        assert_eq!(self.job.releases(), releases, "nothing new is known");
        assert_eq!(self.fleet.ids(), before, "nothing was touched");
    }

    /// The image passes its tests, and is ill where it runs: it is taken back and barred, and everything else stays.
    fn ill_night(&mut self) {
        self.job.commit_with("welcome, but ill", &["false"]);
        self.night();
        let ill = self.job.release();
        self.tells(&["rebuild_started", "rebuild_ended", "alarm_cleared"], BUILD);
        let before = self.fleet.ids();
        self.window();
        self.tells(&["release_quarantined"], ROLLOUT);
        self.fleet.rollout_is(&["paused"], ROLLOUT);
        assert_eq!(self.fleet.ids(), before, "the old containers are back");
        assert!(!self.job.known(&ill.digest)["quarantine"].is_null());
    }

    /// The coordinator was killed before the rebuild is due, and is back half an hour later. It is still the same night.
    fn late_night(&mut self, page: &str) -> (Image, Role) {
        self.job.commit(page);
        self.fleet.dev.crash();
        self.nights += 1;
        self.clock.set(self.at(DUE_HOUR, 30));
        let dev = self.fleet.up_again();
        self.ci.is_asked(self.nights);
        let image = self.job.release();
        self.tells(&["rebuild_started", "rebuild_ended", "alarm_cleared"], BUILD);
        self.window();
        self.tells(&["release_known_good"], ROLLOUT);
        self.fleet.rollout_is(&["completed"], ROLLOUT);
        self.fleet.runs(&image);
        (image, dev)
    }

    /// Nothing has changed: the image is the same, its tests are new, and nobody is disturbed.
    fn same_night(&mut self, image: &Image) {
        let before = self.fleet.ids();
        self.night();
        assert_eq!(self.job.release().digest, image.digest, "every layer is the same");
        self.tells(&["rebuild_started", "test_reported", "rebuild_ended"], BUILD);
        self.window();
        self.fleet.shown();
        assert_eq!(self.fleet.ids(), before);
    }
}

#[test]
fn a_week_of_nights_keeps_the_fleet_fresh_and_says_what_went_wrong() {
    let Some(surroundings) = Surroundings::with_own_registry("week", None) else { return };
    let first = (Utc::now() + Days::new(1)).date_naive().and_time(NaiveTime::MIN).and_utc();
    let evening = first - TimeDelta::minutes(30);
    let Some(clock) = Clock::in_directory(surroundings.directory.path(), evening) else { return };
    let old = (Utc::now() - Days::new(30)).to_rfc3339();
    let options = [&GOOD[..], &["--created", &old]].concat();
    let fleet = Fleet::start_from(surroundings, &options, &json!({}), &[]);
    let mut week =
        Week { job: Job::new(&fleet), ci: Listener::start(), clock, first, nights: 0, after: 0, fleet: &fleet };
    week.apply();
    week.tells(&["app_applied", "alarm_raised"], SOON);
    assert!(week.alarms().iter().any(|alarm| alarm.contains("run an image older than 14d")), "{:?}", week.alarms());

    // Monday: a good night ends the alarm.
    week.good_night("welcome, Monday");
    week.tells(&["alarm_cleared"], SOON);
    assert_eq!(week.alarms(), Vec::<String>::new());
    // Tuesday: a test fails. Nothing is pushed.
    week.job.commit("under construction");
    let tagged = week.job.tagged();
    week.bad_night("a test failed: nothing is pushed");
    assert_eq!(week.job.tagged(), tagged, "the tag is as it was");
    // Wednesday: the image shows only at run time what is wrong with it.
    week.ill_night();
    // Thursday: the registry is down.
    week.job.commit("welcome, Thursday");
    fleet.registry().stop();
    week.bad_night("connection refused");
    fleet.registry().start();
    // Friday: the coordinator is late.
    let (friday, again) = week.late_night("welcome, Friday");
    // Saturday: the image is the same.
    week.same_night(&friday);
    // Sunday: one more good night.
    week.good_night("welcome, Sunday");
    assert_eq!(week.alarms(), Vec::<String>::new());

    let log = week.log();
    for (words, count) in [
        ("begins, due", 7),
        ("has passed its tests", 5),
        ("ended: overdue", 2),
        (" alarm_raised: alarm: rebuild", 2),
        ("no longer an alarm: rebuild", 2),
        ("run an image older than 14d", 2),
        ("web:stable cannot be looked at", 2),
        ("is quarantined", 1),
        ("rollout is paused", 1),
        ("rollout is completed", 3),
    ] {
        assert_eq!(log.matches(words).count(), count, "`{words}` in\n{log}");
    }
    assert!(week.clock.now() > first + Days::new(6));
    drop(again);
}
