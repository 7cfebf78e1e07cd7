//! Surveys: what agents are asked once, and what they find.

use nightshift_core::instance::{Findings, FoundContainer, Survey, WatchedApp};
use nightshift_core::labels::Labels;

use super::field::{Error, Within as _, bounded, list, required, start_of, text};
use super::instance::{INSTANCE_LIMIT, REFERENCE_LIMIT_BYTES};
use super::step::{CONTAINER_LIMIT_BYTES, REASON_LIMIT_BYTES};
use crate::pb;

/// Most labels of one container that adoption reads, and longest key and value, in bytes: Compose writes a dozen, and a hook of
/// Watchtower's is a line.
const LABELS_LIMIT: usize = 64;
const LABEL_LIMIT_BYTES: usize = 4096;

impl pb::Survey {
    /// The question as it goes out.
    #[must_use]
    pub fn of(id: u64, survey: &Survey) -> Self {
        match survey {
            Survey::OfApp(app) => Self { id, app: Some(app.into()), everything: false },
            Survey::Everything => Self { id, app: None, everything: true },
        }
    }
}

impl TryFrom<pb::Survey> for Survey {
    type Error = Error;
    fn try_from(survey: pb::Survey) -> Result<Self, Error> {
        if survey.everything {
            return Ok(Self::Everything);
        }
        Ok(Self::OfApp(WatchedApp::try_from(required("app", survey.app)?).within("app")?))
    }
}

impl pb::Surveyed {
    /// An answer as it goes out.
    #[must_use]
    pub fn of(id: u64, found: &Result<Findings, String>) -> Self {
        match found {
            Ok(Findings::Instances(instances)) => {
                Self { id, found: Some(pb::Inventory::of(instances, 0)), containers: None }
            }
            Ok(Findings::Containers(containers)) => {
                let containers = containers.iter().take(INSTANCE_LIMIT).map(Into::into).collect();
                Self { id, found: None, containers: Some(pb::Containers { containers }) }
            }
            Err(error) => Self { id, found: Some(pb::Inventory::of_silence(error, 0)), containers: None },
        }
    }

    /// What was found, or why the engine did not answer.
    ///
    /// # Errors
    /// Something of it cannot be used.
    pub fn into_findings(self) -> Result<Result<Findings, String>, Error> {
        if let Some(containers) = self.containers {
            let containers = list("containers", containers.containers, INSTANCE_LIMIT)?;
            let found: Result<_, _> = containers.into_iter().map(FoundContainer::try_from).collect();
            return Ok(Ok(Findings::Containers(found.within("containers")?)));
        }
        Ok(required("found", self.found)?.into_instances()?.map(Findings::Instances))
    }
}

impl From<&FoundContainer> for pb::Container {
    fn from(container: &FoundContainer) -> Self {
        let fits = |(key, value): &(&String, &String)| key.len().max(value.len()) <= LABEL_LIMIT_BYTES;
        let labels = container.labels.iter().filter(fits).take(LABELS_LIMIT);
        Self {
            name: container.name.clone(),
            image: container.image.clone(),
            labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
            has_health_check: container.has_health_check,
            from_registry: container.from_registry,
            refusal: start_of(container.refusal.as_deref().unwrap_or_default(), REASON_LIMIT_BYTES),
        }
    }
}

impl TryFrom<pb::Container> for FoundContainer {
    type Error = Error;
    fn try_from(container: pb::Container) -> Result<Self, Error> {
        let labels = list("labels", container.labels.into_iter().collect(), LABELS_LIMIT)?;
        let label = |(key, value): (String, String)| {
            Ok((bounded("labels", key, LABEL_LIMIT_BYTES)?, bounded("labels", value, LABEL_LIMIT_BYTES)?))
        };
        let refusal = bounded("refusal", container.refusal, REASON_LIMIT_BYTES)?;
        Ok(Self {
            name: text("name", container.name, CONTAINER_LIMIT_BYTES)?,
            image: bounded("image", container.image, REFERENCE_LIMIT_BYTES)?,
            labels: labels.into_iter().map(label).collect::<Result<Labels, Error>>()?,
            has_health_check: container.has_health_check,
            from_registry: container.from_registry,
            refusal: (!refusal.is_empty()).then_some(refusal),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> FoundContainer {
        FoundContainer {
            name: "shop-web-1".into(),
            image: "r.example/web:stable".into(),
            labels: [("com.docker.compose.service".to_owned(), "web".to_owned())].into(),
            has_health_check: true,
            from_registry: true,
            refusal: Some("it was started with --rm".into()),
        }
    }

    #[test]
    fn questions_and_answers_survive_the_wire() {
        let app = WatchedApp {
            name: "web".parse().expect("a name"),
            repository: "r.example/web".parse().expect("a repository"),
            instances: nightshift_core::spec::InstanceSelector::Image,
        };
        for survey in [Survey::Everything, Survey::OfApp(app)] {
            let wire = pb::Survey::of(7, &survey);
            assert_eq!((wire.id, Survey::try_from(wire)), (7, Ok(survey)));
        }
        for found in [
            Ok(Findings::Containers(vec![container(), FoundContainer { refusal: None, ..container() }])),
            Ok(Findings::Containers(vec![])),
            Ok(Findings::Instances(vec![])),
            Err("no engine".to_owned()),
        ] {
            assert_eq!(pb::Surveyed::of(7, &found).into_findings(), Ok(found));
        }
    }

    #[test]
    fn what_asks_or_answers_nothing_or_too_much_is_refused() {
        assert_eq!(Survey::try_from(pb::Survey::default()), Err(Error::missing("app")));
        assert_eq!(pb::Surveyed::default().into_findings(), Err(Error::missing("found")));
        type Breaks = fn(&mut pb::Container);
        let cases: [(&str, Breaks); 3] = [
            ("containers.name", |container| container.name.clear()),
            ("containers.refusal", |container| container.refusal = "x".repeat(REASON_LIMIT_BYTES + 1)),
            ("containers.labels", |container| {
                container.labels = (0..=LABELS_LIMIT).map(|number| (number.to_string(), String::new())).collect();
            }),
        ];
        for (field, breaks) in cases {
            let mut wire = pb::Surveyed::of(1, &Ok(Findings::Containers(vec![container()])));
            breaks(&mut wire.containers.as_mut().expect("there").containers[0]);
            let error = wire.into_findings().expect_err(field).to_string();
            assert!(error.contains(&format!("`{field}`")), "{error}");
        }
    }
}
