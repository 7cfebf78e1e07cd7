//! What an agent looks for: the apps of a Watch and their selectors.

use nightshift_core::instance::WatchedApp;
use nightshift_core::spec::InstanceSelector;

use super::field::{Error, Within as _, bounded, list, parsed, required, text};
use crate::pb;

/// Longest key or value of a label, in bytes: far above what engines show well.
const LABEL_LIMIT_BYTES: usize = 1024;
/// Most apps in one Watch: an operator with more has several fleets.
const APP_LIMIT: usize = 4096;

impl From<&InstanceSelector> for pb::InstanceSelector {
    fn from(selector: &InstanceSelector) -> Self {
        use pb::instance_selector::{By, Image, Label};
        let by = match selector {
            InstanceSelector::Label { key, value } => By::Label(Label { key: key.clone(), value: value.clone() }),
            InstanceSelector::Name(pattern) => By::Name(pattern.clone().into()),
            InstanceSelector::Image => By::Image(Image {}),
        };
        Self { by: Some(by) }
    }
}

impl TryFrom<pb::InstanceSelector> for InstanceSelector {
    type Error = Error;
    fn try_from(selector: pb::InstanceSelector) -> Result<Self, Error> {
        use pb::instance_selector::By;
        match required("by", selector.by)? {
            By::Label(label) => Ok(Self::Label {
                key: text("label.key", label.key, LABEL_LIMIT_BYTES)?,
                value: bounded("label.value", label.value, LABEL_LIMIT_BYTES)?,
            }),
            By::Name(pattern) => Ok(Self::Name(parsed("name", &pattern)?)),
            By::Image(_) => Ok(Self::Image),
        }
    }
}

impl From<&WatchedApp> for pb::watch::App {
    fn from(app: &WatchedApp) -> Self {
        Self {
            name: app.name.as_str().to_owned(),
            repository: app.repository.to_string(),
            instances: Some((&app.instances).into()),
        }
    }
}

impl TryFrom<pb::watch::App> for WatchedApp {
    type Error = Error;
    fn try_from(app: pb::watch::App) -> Result<Self, Error> {
        Ok(Self {
            name: parsed("name", &app.name)?,
            repository: parsed("repository", &app.repository)?,
            instances: required("instances", app.instances)?.try_into().within("instances")?,
        })
    }
}

impl pb::Watch {
    /// A Watch for these apps.
    #[must_use]
    pub fn of(apps: &[WatchedApp], revision: u64) -> Self {
        Self { apps: apps.iter().map(Into::into).collect(), revision }
    }

    /// The apps to look for.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn into_apps(self) -> Result<Vec<WatchedApp>, Error> {
        let apps = list("apps", self.apps, APP_LIMIT)?;
        apps.into_iter().map(WatchedApp::try_from).collect::<Result<_, _>>().within("apps")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> WatchedApp {
        WatchedApp {
            name: "web".parse().expect("a name"),
            repository: "127.0.0.1:5000/web".parse().expect("a repository"),
            instances: InstanceSelector::Label { key: "nightshift.app".into(), value: "web".into() },
        }
    }

    #[test]
    fn a_watch_survives_the_wire() {
        let pattern = InstanceSelector::Name("web-*".parse().expect("a pattern"));
        let apps = [
            app(),
            WatchedApp { instances: pattern, ..app() },
            WatchedApp { instances: InstanceSelector::Image, ..app() },
        ];
        assert_eq!(pb::Watch::of(&apps, 3).into_apps(), Ok(apps.to_vec()));
    }

    #[test]
    fn an_app_without_a_field_is_refused_by_the_fields_name() {
        use pb::instance_selector::{By, Label};
        type Breaks = fn(&mut pb::watch::App);
        let cases: [(&str, Breaks); 6] = [
            ("apps.name", |app| app.name.clear()),
            ("apps.repository", |app| app.repository.clear()),
            ("apps.instances", |app| app.instances = None),
            ("apps.instances.by", |app| app.instances = Some(pb::InstanceSelector { by: None })),
            ("apps.instances.label.key", |app| {
                app.instances = Some(pb::InstanceSelector { by: Some(By::Label(Label::default())) });
            }),
            ("apps.instances.name", |app| {
                app.instances = Some(pb::InstanceSelector { by: Some(By::Name(String::new())) });
            }),
        ];
        for (field, breaks) in cases {
            let mut wire = pb::Watch::of(&[app()], 1);
            breaks(&mut wire.apps[0]);
            assert_eq!(wire.into_apps(), Err(Error::missing(field)));
        }
    }

    #[test]
    fn a_malformed_repository_or_pattern_is_refused() {
        use pb::instance_selector::By;
        let mut wire = pb::Watch::of(&[app()], 1);
        wire.apps[0].repository = "a b".into();
        let error = wire.into_apps().expect_err("a space").to_string();
        assert!(error.starts_with("field `apps.repository` is malformed"), "{error}");
        let error = InstanceSelector::try_from(pb::InstanceSelector { by: Some(By::Name("*".into())) });
        let error = error.expect_err("everything").to_string();
        assert!(error.starts_with("field `name` is malformed"), "{error}");
    }

    #[test]
    fn more_apps_than_a_fleet_has_are_refused() {
        let wire = pb::Watch { apps: vec![pb::watch::App::default(); APP_LIMIT + 1], revision: 1 };
        let refused = Error::TooLong { field: "apps".into(), found: APP_LIMIT + 1, limit: APP_LIMIT };
        assert_eq!(wire.into_apps(), Err(refused));
    }
}
