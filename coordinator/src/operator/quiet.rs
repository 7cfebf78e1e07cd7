//! Quiet hours of an app: the next windows, why they are as they are, and the year ahead.

use nightshift_core::ids::AppName;
use nightshift_core::labels::Selector;
use nightshift_core::quiet::{QuietHours, Window, WindowState};
use nightshift_proto::convert;
use nightshift_proto::pb;
use tonic::{Request, Response};

use crate::operator::{Answer, Operator, parse, refusal};

/// Windows listed when nobody says how many, and at most.
const LIST_DEFAULT: usize = 5;
const LIST_LIMIT: usize = 1000;
const SECONDS_IN_AN_HOUR: f64 = 3600.0;

impl Operator {
    pub(super) async fn windows(&self, request: Request<pb::QuietRequest>) -> Answer<pb::QuietResponse> {
        let asked = self.may_view(request).await?;
        let name: AppName = parse(&asked.app)?;
        let at = convert::optional_timestamp("at", asked.at).map_err(|error| refusal::usage(error.to_string()))?;
        let at = at.unwrap_or_else(|| (self.clock)());
        let limit = if asked.limit == 0 { LIST_DEFAULT } else { (asked.limit as usize).min(LIST_LIMIT) };
        let known = name.clone();
        let spec = self.driver.ask(move |view| view.control.catalog().app(&known).map(|app| app.spec.clone())).await?;
        let spec = spec.ok_or_else(|| refusal::not_found("app", name.as_str(), "app list"))?;
        let Some(quiet) = &spec.quiet_hours else {
            let explanation = vec![format!("app `{name}` has no quiet hours: nothing is installed automatically")];
            return Ok(Response::new(pb::QuietResponse { explanation, ..pb::QuietResponse::default() }));
        };
        Ok(Response::new(describe(quiet, at, limit, spec.worst_case(true))))
    }
}

fn describe(
    quiet: &QuietHours,
    at: chrono::DateTime<chrono::Utc>,
    limit: usize,
    worst_case: std::time::Duration,
) -> pb::QuietResponse {
    let check = quiet.check(at, worst_case);
    let zone = quiet.timezone();
    let window = |(nodes, window): (Selector, Window)| pb::quiet_response::Window {
        starts: Some(convert::from_timestamp(window.starts)),
        ends: Some(convert::from_timestamp(window.ends)),
        local: format!("{} to {}", zone.local(window.starts), zone.local(window.ends)),
        nodes: nodes.to_string(),
    };
    pb::QuietResponse {
        windows: quiet.windows_of_groups(at, limit).into_iter().map(window).collect(),
        open: matches!(quiet.at(at), WindowState::Open { .. }),
        explanation: quiet.explain(at).to_string().lines().map(ToOwned::to_owned).collect(),
        timezone: zone.name().to_owned(),
        warnings: check.warnings.iter().map(ToString::to_string).collect(),
        clock_changes: check.clock_changes(),
        windows_in_a_year: u32::try_from(check.windows).unwrap_or(u32::MAX),
        hours_in_a_year: check.open.as_secs_f64() / SECONDS_IN_AN_HOUR,
        longest_gap: check.longest_gap.map(|gap| convert::from_duration(gap.length())),
    }
}
