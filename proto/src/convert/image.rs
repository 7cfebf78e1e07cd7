//! Images on their way to a node: the request to fetch one, and what became of it.

use nightshift_core::instance::{ImageReport, ImageState, Prepull, PullProgress};

use super::field::{Error, parsed, reason, required, text};
use super::signature;
use super::step::{REASON_LIMIT_BYTES, epoch};
use crate::pb;

impl From<PullProgress> for pb::PullProgress {
    fn from(progress: PullProgress) -> Self {
        let PullProgress { layers_done, layers_total, bytes_done, bytes_total } = progress;
        Self { layers_done, layers_total, bytes_done, bytes_total }
    }
}

impl From<pb::PullProgress> for PullProgress {
    fn from(progress: pb::PullProgress) -> Self {
        let pb::PullProgress { layers_done, layers_total, bytes_done, bytes_total } = progress;
        Self { layers_done, layers_total, bytes_done, bytes_total }
    }
}

impl From<&Prepull> for pb::Prepull {
    fn from(prepull: &Prepull) -> Self {
        Self {
            app: prepull.app.as_str().to_owned(),
            image: prepull.image.to_string(),
            digest: prepull.digest.as_str().to_owned(),
            epoch: prepull.epoch.0,
            signatures: signature::to_wire(&prepull.signatures),
        }
    }
}

impl TryFrom<pb::Prepull> for Prepull {
    type Error = Error;
    fn try_from(prepull: pb::Prepull) -> Result<Self, Error> {
        Ok(Self {
            app: parsed("app", &prepull.app)?,
            image: parsed("image", &prepull.image)?,
            digest: parsed("digest", &prepull.digest)?,
            epoch: epoch("epoch", prepull.epoch)?,
            signatures: signature::from_wire(prepull.signatures)?,
        })
    }
}

impl From<&ImageReport> for pb::ImageReport {
    fn from(report: &ImageReport) -> Self {
        use pb::image_report::{Present, State};
        let state = match &report.state {
            ImageState::Pulling(progress) => State::Progress((*progress).into()),
            ImageState::Present => State::Present(Present {}),
            ImageState::Failed(why) => State::Failure(reason(why, REASON_LIMIT_BYTES)),
        };
        Self { app: report.app.as_str().to_owned(), digest: report.digest.as_str().to_owned(), state: Some(state) }
    }
}

impl TryFrom<pb::ImageReport> for ImageReport {
    type Error = Error;
    fn try_from(report: pb::ImageReport) -> Result<Self, Error> {
        use pb::image_report::State;
        let state = match required("state", report.state)? {
            State::Progress(progress) => ImageState::Pulling(progress.into()),
            State::Present(_) => ImageState::Present,
            State::Failure(why) => ImageState::Failed(text("failure", why, REASON_LIMIT_BYTES)?),
        };
        Ok(Self { app: parsed("app", &report.app)?, digest: parsed("digest", &report.digest)?, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightshift_core::ids::Epoch;
    use nightshift_core::signature::Signature;

    fn prepull() -> Prepull {
        Prepull {
            app: "web".parse().expect("a name"),
            image: "r.example/web:stable".parse().expect("a reference"),
            digest: format!("sha256:{}", "0a".repeat(32)).parse().expect("a digest"),
            epoch: Epoch(1),
            signatures: vec![Signature { payload: "{}".into(), signature: "MEUCIQ==".into() }],
        }
    }

    fn report(state: ImageState) -> ImageReport {
        ImageReport { app: prepull().app, digest: prepull().digest, state }
    }

    #[test]
    fn requests_and_reports_survive_the_wire() {
        assert_eq!(Prepull::try_from(pb::Prepull::from(&prepull())), Ok(prepull()));
        let progress = PullProgress { layers_done: 1, layers_total: 3, bytes_done: 5, bytes_total: 8 };
        for state in [ImageState::Pulling(progress), ImageState::Present, ImageState::Failed("no space".into())] {
            assert_eq!(ImageReport::try_from(pb::ImageReport::from(&report(state.clone()))), Ok(report(state)));
        }
    }

    #[test]
    fn a_request_without_a_field_is_refused_by_the_fields_name() {
        type Breaks = fn(&mut pb::Prepull);
        let cases: [(&str, Breaks); 4] = [
            ("app", |prepull| prepull.app.clear()),
            ("image", |prepull| prepull.image.clear()),
            ("digest", |prepull| prepull.digest.clear()),
            ("epoch", |prepull| prepull.epoch = 0),
        ];
        for (field, breaks) in cases {
            let mut wire = pb::Prepull::from(&prepull());
            breaks(&mut wire);
            assert_eq!(Prepull::try_from(wire), Err(Error::missing(field)));
        }
    }

    #[test]
    fn a_report_without_a_field_is_refused_by_the_fields_name() {
        type Breaks = fn(&mut pb::ImageReport);
        let cases: [(&str, Breaks); 4] = [
            ("app", |report| report.app.clear()),
            ("digest", |report| report.digest.clear()),
            ("state", |report| report.state = None),
            ("failure", |report| report.state = Some(pb::image_report::State::Failure(String::new()))),
        ];
        for (field, breaks) in cases {
            let mut wire = pb::ImageReport::from(&report(ImageState::Present));
            breaks(&mut wire);
            assert_eq!(ImageReport::try_from(wire), Err(Error::missing(field)));
        }
    }

    #[test]
    fn a_failure_always_arrives_however_long_or_empty_its_reason() {
        for (reason, expect) in [
            ("x".repeat(REASON_LIMIT_BYTES + 9), "x".repeat(REASON_LIMIT_BYTES)),
            (String::new(), "no reason was given".into()),
        ] {
            let read = ImageReport::try_from(pb::ImageReport::from(&report(ImageState::Failed(reason))));
            assert_eq!(read, Ok(report(ImageState::Failed(expect))));
        }
    }
}
