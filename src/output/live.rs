//! A rollout on a terminal: bars for pulls, one line for each step that changes in place, and the reason for every wait.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lines::{ending, step_line, wait_line};
use super::printable;
use super::table::short_digest;
use crate::view::rollout::{Pull, Rollout, Step};

/// How often the signs of life turn.
const TICK: Duration = Duration::from_millis(120);

/// The picture, as far as it is drawn.
pub(crate) struct Live {
    all: MultiProgress,
    head: ProgressBar,
    pulls: BTreeMap<String, ProgressBar>,
    steps: BTreeMap<u32, ProgressBar>,
    foot: ProgressBar,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a fixed template").tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

impl Live {
    /// An empty picture on standard output.
    pub(crate) fn new() -> Self {
        Self::on(ProgressDrawTarget::stdout())
    }

    fn on(target: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let head = all.add(ProgressBar::no_length().with_style(style("{wide_msg}")));
        let foot = all.add(ProgressBar::no_length().with_style(style("{spinner} {wide_msg}")));
        foot.enable_steady_tick(TICK);
        Self { all, head, pulls: BTreeMap::new(), steps: BTreeMap::new(), foot }
    }

    /// Draws what is new.
    pub(crate) fn show(&mut self, rollout: &Rollout) {
        let to = short_digest(rollout.to.as_deref());
        self.head.set_message(format!("rollout {} of {} to {to}", rollout.id, rollout.app));
        for pull in &rollout.pulls {
            self.show_pull(pull);
        }
        for step in &rollout.steps {
            self.show_step(step);
        }
        self.foot.set_message(printable(&wait_line(rollout)));
        if rollout.outcome().is_some() {
            self.finish(&ending(rollout));
        }
    }

    /// Leaves the picture as it is and stops drawing.
    fn finish(&self, last: &str) {
        for bar in self.pulls.values().chain(self.steps.values()).chain([&self.head]) {
            bar.abandon();
        }
        self.foot.set_style(style("{wide_msg}"));
        self.foot.abandon_with_message(last.to_owned());
    }

    fn show_pull(&mut self, pull: &Pull) {
        let bar = self.pulls.entry(pull.node.clone()).or_insert_with(|| {
            let bar = ProgressBar::new(0).with_style(style("  pull  {prefix} {bar:24} {bytes}/{total_bytes} {msg}"));
            self.all.insert_before(&self.foot, bar.with_prefix(pull.node.clone()))
        });
        bar.set_length(pull.bytes_total);
        bar.set_position(pull.bytes_done);
        match (&pull.failure, pull.present) {
            (_, true) => {
                bar.set_style(style("  pull  {prefix} {msg}"));
                bar.abandon_with_message("image is there");
            }
            (Some(failure), false) => bar.set_message(printable(&format!("failed, will be tried again: {failure}"))),
            (None, false) => bar.set_message(format!("{} of {} layers", pull.layers_done, pull.layers_total)),
        }
    }

    fn show_step(&mut self, step: &Step) {
        let bar = self
            .steps
            .entry(step.index)
            .or_insert_with(|| self.all.insert_before(&self.foot, ProgressBar::no_length()));
        bar.set_style(style(if step.in_flight() { "{spinner} step  {wide_msg}" } else { "  step  {wide_msg}" }));
        bar.set_message(printable(&step_line(step)));
        if step.in_flight() {
            bar.enable_steady_tick(TICK);
        } else {
            bar.disable_steady_tick();
            bar.tick();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;
    use nightshift_proto::pb;

    use super::*;

    /// Keeps what was written since the picture was begun anew.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<Vec<String>>>);

    impl Screen {
        fn picture(&self) -> Vec<String> {
            let written = self.0.lock().expect("no panic");
            written.iter().map(|text| text.trim_end().to_owned()).filter(|text| !text.is_empty()).collect()
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            100
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().expect("no panic").push(text.to_owned());
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().expect("no panic").clear();
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn rollout(state: pb::RolloutState, step: pb::StepState, present: bool) -> Rollout {
        let progress = pb::PullProgress { layers_done: 1, layers_total: 3, bytes_done: 1024, bytes_total: 4096 };
        let pull = pb::rollout::Pull { node: "n1".into(), present, progress: Some(progress), failure: String::new() };
        let step = pb::rollout::Step {
            node: "n1".into(),
            container: "web-1".into(),
            state: step.into(),
            canary: true,
            ..pb::rollout::Step::default()
        };
        let window = pb::Wait { kind: "window".into(), message: "opens at 22:00".into(), until: None };
        Rollout::from(pb::Rollout {
            id: "r1".into(),
            app: "web".into(),
            state: state.into(),
            waiting_on: if state == pb::RolloutState::Waiting { vec![window] } else { Vec::new() },
            steps: vec![step],
            pulls: vec![pull],
            ..pb::Rollout::default()
        })
    }

    #[test]
    fn a_finished_rollout_leaves_its_last_picture() {
        let screen = Screen::default();
        let mut live = Live::on(ProgressDrawTarget::term_like(Box::new(screen.clone())));
        live.show(&rollout(pb::RolloutState::Waiting, pb::StepState::Pending, false));
        live.show(&rollout(pb::RolloutState::Canary, pb::StepState::Started, true));
        live.show(&rollout(pb::RolloutState::Completed, pb::StepState::Committed, true));
        let expect = [
            "rollout r1 of web to -",
            "  pull  n1 image is there",
            "  step  web-1 on n1: committed, canary",
            "completed: 1 of 1 steps committed, target -",
        ];
        assert_eq!(screen.picture(), expect);
    }
}
