//! What the agent has to say: step reports, kept until they are acknowledged, and what became of images.
//!
//! The worker puts in at any time, connected or not; the session takes out. Reports about steps carry growing numbers and
//! are sent again, in order, after each reconnect until the coordinator acknowledges them. Progress of an image is worth
//! little and is thinned out; its end is sent again until a heartbeat that followed it was answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nightshift_core::ids::{AppName, JobId};
use nightshift_core::image::Digest;
use nightshift_core::instance::{ImageReport, ImageState};
use nightshift_core::job::JobReport;
use nightshift_core::step::StepReport;
use nightshift_proto::pb;
use pb::agent_message::Body;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Shortest time between two progress reports of one image: smooth enough for a bar on a screen.
const PROGRESS_PAUSE: Duration = Duration::from_millis(500);
/// Most reports that wait for an acknowledgement. A step has 13 phases and nothing new starts without a coordinator, so
/// a node never comes near; beyond it, reports that a later one of the same step has overtaken are dropped.
const REPORT_LIMIT: usize = 1024;
/// Most images that are remembered: those in work are a handful, ended ones leave at the next heartbeat.
const IMAGE_LIMIT: usize = 256;

/// Most ended jobs that wait: a node does one at a time, and nothing is ordered without a coordinator.
const JOB_LIMIT: usize = 100;

/// The reports that wait. Shared by worker and session.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last number that was given out.
    sequence: u64,
    reports: VecDeque<(u64, StepReport)>,
    /// The last number that was sent on the present connection.
    sent: u64,
    images: BTreeMap<(AppName, Digest), Image>,
    /// Ended jobs, and whether they were told on the present connection.
    jobs: BTreeMap<JobId, (JobReport, bool)>,
}

#[derive(Debug)]
struct Image {
    state: ImageState,
    sending: Sending,
    last_sent: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Not yet sent on this connection.
    Due,
    /// Sent.
    Sent,
    /// Sent before the heartbeat that is under way.
    BeforeHeartbeat,
}

/// What the session does next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Send(Box<Body>),
    /// Look again then.
    At(Instant),
    Nothing,
}

impl Outbox {
    /// Takes a report about a step. It will arrive, unless this process ends first: then the journal tells it again.
    pub fn step(&self, report: StepReport) {
        let mut state = self.lock();
        state.sequence += 1;
        let sequence = state.sequence;
        if state.reports.len() >= REPORT_LIMIT {
            state.drop_overtaken(&report);
        }
        state.reports.push_back((sequence, report));
        drop(state);
        self.changed.notify_one();
    }

    /// Takes what is new about an image; it replaces what was known of it.
    pub fn image(&self, report: ImageReport) {
        let mut state = self.lock();
        let key = (report.app, report.digest);
        let last_sent = state.images.get(&key).and_then(|image| image.last_sent);
        if state.images.len() >= IMAGE_LIMIT && !state.images.contains_key(&key) {
            state.images.pop_first();
        }
        state.images.insert(key, Image { state: report.state, sending: Sending::Due, last_sent });
        drop(state);
        self.changed.notify_one();
    }

    /// Takes the report of a job. It is told on each connection until it is forgotten.
    pub fn job(&self, report: JobReport) {
        let mut state = self.lock();
        if state.jobs.len() >= JOB_LIMIT && !state.jobs.contains_key(&report.job) {
            state.jobs.pop_first();
        }
        state.jobs.insert(report.job.clone(), (report, false));
        drop(state);
        self.changed.notify_one();
    }

    /// The reports of ended jobs that wait to be forgotten.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobReport> {
        self.lock().jobs.values().map(|(report, _)| report.clone()).collect()
    }

    /// The reports of these jobs are stored over there.
    pub fn forget_jobs(&self, jobs: &[JobId]) {
        self.lock().jobs.retain(|job, _| !jobs.contains(job));
    }

    /// A new connection: what is not acknowledged is due again.
    pub(super) fn rewind(&self) {
        let mut state = self.lock();
        state.sent = 0;
        for (_, told) in state.jobs.values_mut() {
            *told = false;
        }
        for image in state.images.values_mut() {
            image.sending = Sending::Due;
            image.last_sent = None;
        }
    }

    /// The next thing to say at `now`. It counts as sent.
    pub(super) fn next(&self, now: Instant) -> Next {
        let mut state = self.lock();
        let sent = state.sent;
        if let Some((sequence, report)) = state.reports.iter().find(|(sequence, _)| *sequence > sent) {
            let (sequence, step) = (*sequence, Some(report.into()));
            state.sent = sequence;
            return Next::Send(Box::new(Body::Report(pb::Report { sequence, step })));
        }
        if let Some((report, told)) = state.jobs.values_mut().find(|(_, told)| !*told) {
            *told = true;
            return Next::Send(Box::new(Body::Job((&*report).into())));
        }
        state.next_image(now)
    }

    /// Every report up to this number is stored over there.
    pub(super) fn acknowledge(&self, sequence: u64) {
        self.lock().reports.retain(|(number, _)| *number > sequence);
    }

    /// A heartbeat goes out: what was sent before it has arrived when it is answered.
    pub(super) fn heartbeat_sent(&self) {
        for image in self.lock().images.values_mut() {
            if image.sending == Sending::Sent {
                image.sending = Sending::BeforeHeartbeat;
            }
        }
    }

    /// The heartbeat was answered.
    pub(super) fn heartbeat_answered(&self) {
        let arrived = |image: &Image| image.sending == Sending::BeforeHeartbeat && image.state.is_end();
        self.lock().images.retain(|_, image| !arrived(image));
    }

    /// Waits until something was put in. One waiter at a time; nothing is missed between two waits.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete at each point where it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_image(&mut self, now: Instant) -> Next {
        let mut wake: Option<Instant> = None;
        for ((app, digest), image) in &mut self.images {
            if image.sending != Sending::Due {
                continue;
            }
            let due = image.last_sent.map_or(now, |last| last + PROGRESS_PAUSE);
            if due > now && !image.state.is_end() {
                wake = Some(wake.map_or(due, |wake| wake.min(due)));
                continue;
            }
            image.sending = Sending::Sent;
            image.last_sent = Some(now);
            let report = ImageReport { app: app.clone(), digest: digest.clone(), state: image.state.clone() };
            return Next::Send(Box::new(Body::Image((&report).into())));
        }
        wake.map_or(Next::Nothing, Next::At)
    }

    /// Makes room: drops the oldest report that another one of the same step, or the one that comes, has overtaken.
    fn drop_overtaken(&mut self, coming: &StepReport) {
        let keys: Vec<_> = self.reports.iter().map(|(_, report)| &report.key).chain([&coming.key]).collect();
        let overtaken = (0..self.reports.len()).find(|at| keys[at + 1..].contains(&keys[*at]));
        self.reports.remove(overtaken.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightshift_core::ids::{Generation, StepIndex};
    use nightshift_core::instance::PullProgress;
    use nightshift_core::step::{StepKey, StepPhase};

    fn report(step: u32, phase: StepPhase) -> StepReport {
        let key = StepKey { rollout: "r1".parse().unwrap(), step: StepIndex(step), generation: Generation(1) };
        StepReport { key, phase, old_container_id: None, new_container_id: None, downtime_ms: None, failure: None }
    }

    fn image(bytes_done: u64) -> ImageReport {
        let progress = PullProgress { bytes_done, ..PullProgress::default() };
        ended(ImageState::Pulling(progress))
    }

    fn ended(state: ImageState) -> ImageReport {
        let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        ImageReport { app: "web".parse().unwrap(), digest, state }
    }

    /// Everything that is due now, steps by number, images as they are.
    fn due(outbox: &Outbox, now: Instant) -> (Vec<u64>, Vec<ImageState>) {
        let (mut numbers, mut images) = (Vec::new(), Vec::new());
        while let Next::Send(body) = outbox.next(now) {
            match *body {
                Body::Report(report) => numbers.push(report.sequence),
                Body::Image(report) => images.push(ImageReport::try_from(report).unwrap().state),
                Body::Hello(_)
                | Body::Inventory(_)
                | Body::Heartbeat(_)
                | Body::Goodbye(_)
                | Body::Surveyed(_)
                | Body::Job(_) => unreachable!(),
            }
        }
        (numbers, images)
    }

    #[test]
    fn reports_are_sent_again_in_order_until_they_are_acknowledged() {
        let (outbox, now) = (Outbox::default(), Instant::now());
        for phase in [StepPhase::Assigned, StepPhase::Preflight, StepPhase::Pulled] {
            outbox.step(report(0, phase));
        }
        assert_eq!(due(&outbox, now).0, [1, 2, 3]);
        assert_eq!(due(&outbox, now).0, Vec::<u64>::new());
        outbox.acknowledge(2);
        outbox.step(report(0, StepPhase::Created));
        assert_eq!(due(&outbox, now).0, [4]);
        outbox.rewind();
        assert_eq!(due(&outbox, now).0, [3, 4]);
        outbox.acknowledge(4);
        outbox.rewind();
        assert_eq!(due(&outbox, now).0, Vec::<u64>::new());
    }

    #[test]
    fn progress_is_thinned_out_and_the_end_is_not() {
        let (outbox, start) = (Outbox::default(), Instant::now());
        outbox.image(image(1));
        assert_eq!(due(&outbox, start).1, [image(1).state]);
        outbox.image(image(2));
        outbox.image(image(3));
        assert_eq!(outbox.next(start), Next::At(start + PROGRESS_PAUSE));
        assert_eq!(due(&outbox, start + PROGRESS_PAUSE).1, [image(3).state]);
        outbox.image(ended(ImageState::Present));
        assert_eq!(due(&outbox, start + PROGRESS_PAUSE).1, [ImageState::Present]);
        assert_eq!(outbox.next(start + PROGRESS_PAUSE), Next::Nothing);
    }

    #[test]
    fn an_images_end_is_sent_again_until_a_later_heartbeat_is_answered() {
        let (outbox, now) = (Outbox::default(), Instant::now());
        let failed = || ImageState::Failed("no space".into());
        outbox.image(ended(failed()));
        outbox.heartbeat_sent();
        assert_eq!(due(&outbox, now).1, [failed()]);
        // This answer is to a heartbeat from before.
        outbox.heartbeat_answered();
        outbox.rewind();
        assert_eq!(due(&outbox, now).1, [failed()]);
        outbox.heartbeat_sent();
        outbox.heartbeat_answered();
        outbox.rewind();
        assert_eq!(due(&outbox, now).1, []);
    }

    #[test]
    fn a_jobs_report_is_told_on_each_connection_until_it_is_forgotten() {
        use nightshift_core::job::{JobLog, JobOutcome};
        let (outbox, now) = (Outbox::default(), Instant::now());
        let told = || match outbox.next(now) {
            Next::Send(body) => {
                let Body::Job(report) = *body else { panic!("{body:?}") };
                Some(report.job)
            }
            Next::At(_) | Next::Nothing => None,
        };
        let ids = ["j1", "j2"].map(|id| id.parse::<JobId>().unwrap());
        for job in ids.clone() {
            outbox.job(JobReport { job, outcome: JobOutcome::Passed, log: JobLog::default() });
        }
        assert_eq!([told(), told(), told()], [Some("j1".to_owned()), Some("j2".to_owned()), None]);
        outbox.rewind();
        outbox.forget_jobs(&ids[..1]);
        assert_eq!([told(), told()], [Some("j2".to_owned()), None]);
        outbox.forget_jobs(&ids);
        outbox.rewind();
        assert_eq!(told(), None);
    }

    #[test]
    fn a_full_outbox_keeps_the_latest_of_every_step() {
        let (outbox, now) = (Outbox::default(), Instant::now());
        outbox.step(report(7, StepPhase::Committed));
        for _ in 0..REPORT_LIMIT + 10 {
            outbox.step(report(8, StepPhase::Healthy));
        }
        let (numbers, _) = due(&outbox, now);
        assert_eq!(numbers.len(), REPORT_LIMIT);
        assert_eq!((numbers[0], numbers[1]), (1, 13));
    }
}
