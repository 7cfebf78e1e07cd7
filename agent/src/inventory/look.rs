//! One look at the engine: every container, those that belong to an app in detail.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use nightshift_core::adoption::visible_labels;
use nightshift_core::container::ContainerView;
use nightshift_core::image::{Digest, Repository, repository_of};
use nightshift_core::instance::{FoundContainer, InstanceView, WatchedApp};
use nightshift_core::job::owner;
use nightshift_core::labels::Labels;
use nightshift_core::precedence::goes_after;
use nightshift_core::recreate::{self, ApiVersion, Product, start_first_obstacles};
use nightshift_core::replace::is_in_replacement;
use nightshift_core::spec::InstanceSelector;
use serde_json::Value;

use crate::engine::{ContainerSummary, Engine, Error, Result};

/// Looks, and remembers images between looks that follow each other closely.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) engine: Arc<dyn Engine>,
    api_version: ApiVersion,
    product: Product,
    images: BTreeMap<String, Option<Arc<Value>>>,
}

impl Look {
    pub(super) const fn new(engine: Arc<dyn Engine>, api_version: ApiVersion, product: Product) -> Self {
        Self { engine, api_version, product, images: BTreeMap::new() }
    }

    /// Forgets images: an image never changes, but the names under which an engine knows it do.
    pub(super) fn forget(&mut self) {
        self.images.clear();
    }

    /// Every instance of these apps, by app and name.
    pub(super) async fn at(&mut self, apps: &[WatchedApp]) -> Result<Vec<InstanceView>> {
        let mut instances = Vec::new();
        let containers = self.listed().await?;
        for summary in &containers {
            if apps.iter().any(|app| may_match(app, summary)) {
                self.add(apps, summary, &containers, &mut instances).await?;
            }
        }
        instances.sort_by(|a, b| (&a.app, &a.container).cmp(&(&b.app, &b.container)));
        Ok(instances)
    }

    /// Every container that is no part of a replacement, by name.
    pub(super) async fn at_everything(&mut self) -> Result<Vec<FoundContainer>> {
        let mut found = Vec::new();
        for summary in self.listed().await? {
            let Some((inspect, view)) = self.inspect(&summary).await? else { continue };
            let image = self.image(&view.image_id).await?;
            let check = inspect.pointer("/Config/Healthcheck/Test/0").and_then(Value::as_str);
            let known_as = image.as_deref().and_then(|image| image["RepoDigests"].as_array());
            found.push(FoundContainer {
                labels: visible_labels(&view.labels),
                has_health_check: check.is_some_and(|word| word != "NONE"),
                from_registry: known_as.is_some_and(|digests| !digests.is_empty()),
                refusal: self.refusal(&[], &inspect, image.as_deref(), &view),
                name: view.name,
                image: view.image,
            });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// All containers but those of jobs: what a job launched is no instance, whatever its image's labels say.
    async fn listed(&self) -> Result<Vec<ContainerSummary>> {
        let mut containers = self.engine.list().await?;
        containers.retain(|container| owner(&container.name, &container.labels).is_none());
        Ok(containers)
    }

    /// A container of the list in detail; none where it went away since the list was made, or is part of a replacement.
    async fn inspect(&self, summary: &ContainerSummary) -> Result<Option<(Value, ContainerView)>> {
        if is_in_replacement(&summary.name) {
            return Ok(None);
        }
        let inspect = match self.engine.inspect(&summary.id.0).await {
            Ok(inspect) => inspect,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let malformed = |error: nightshift_core::container::Malformed| Error::Malformed {
            call: "inspect",
            reason: format!("container `{}`: {error}", summary.name),
        };
        let view = ContainerView::from_inspect(&inspect).map_err(malformed)?;
        Ok((!is_in_replacement(&view.name)).then_some((inspect, view)))
    }

    async fn add(
        &mut self,
        apps: &[WatchedApp],
        summary: &ContainerSummary,
        all: &[ContainerSummary],
        instances: &mut Vec<InstanceView>,
    ) -> Result<()> {
        let Some((inspect, view)) = self.inspect(summary).await? else { return Ok(()) };
        let matching =
            |app: &&WatchedApp| app.instances.matches(&view.name, &view.labels, &view.image, &app.repository);
        let owners: Vec<&WatchedApp> = apps.iter().filter(matching).collect();
        if owners.is_empty() {
            return Ok(());
        }
        let image = self.image(&view.image_id).await?;
        let refusal = self.refusal(&owners, &inspect, image.as_deref(), &view);
        let obstacles = start_first_obstacles(&inspect);
        let others = all.iter().filter(|other| other.id != summary.id);
        let after: Vec<String> = others
            .filter(|other| goes_after(&view.labels, &other.name, &other.labels))
            .map(|other| other.name.clone())
            .collect();
        for app in owners {
            instances.push(InstanceView {
                app: app.name.clone(),
                container_id: view.id.clone(),
                container: view.name.clone(),
                image: view.image.clone(),
                image_id: view.image_id.clone(),
                digests: image.as_deref().map(|image| digests(image, &app.repository)).unwrap_or_default(),
                state: view.state,
                health: view.health,
                refusal: refusal.clone(),
                image_created: image.as_deref().and_then(created),
                after: after.clone(),
                start_first_obstacles: obstacles.clone(),
            });
        }
        Ok(())
    }

    /// Why the container could not be replaced, if so: the plan of its re-creation on its own image is refused.
    fn refusal(
        &self,
        owners: &[&WatchedApp],
        inspect: &Value,
        image: Option<&Value>,
        view: &ContainerView,
    ) -> Option<String> {
        if let [first, second, ..] = owners {
            return Some(format!("it is an instance of two apps, `{}` and `{}`", first.name, second.name));
        }
        if let Err(refusal) = self.product.check() {
            return Some(refusal.to_string());
        }
        let Some(image) = image else {
            return Some(format!("the engine no longer has its image `{}`", view.image_id));
        };
        let input = recreate::Input {
            container: inspect,
            old_image: image,
            new_image: image,
            image_name: &view.image,
            new_image_id: &view.image_id,
            api_version: self.api_version,
            product: self.product,
            temporary_name: &view.name,
            labels: &Labels::new(),
        };
        recreate::plan(&input).err().map(|refusal| refusal.to_string())
    }

    /// An image's inspect; `None` when the engine no longer has it.
    async fn image(&mut self, id: &str) -> Result<Option<Arc<Value>>> {
        if let Some(known) = self.images.get(id) {
            return Ok(known.clone());
        }
        let image = match self.engine.inspect_image(id).await {
            Ok(image) => Some(Arc::new(image)),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        self.images.insert(id.to_owned(), image.clone());
        Ok(image)
    }
}

/// Whether a container of the list can be an instance. Where its tag stands for another image by now, the list shows an
/// id in place of the name: only the inspect tells.
fn may_match(app: &WatchedApp, summary: &ContainerSummary) -> bool {
    let nameless = repository_of(&summary.image).is_err() || summary.image == summary.image_id;
    (app.instances == InstanceSelector::Image && nameless)
        || app.instances.matches(&summary.name, &summary.labels, &summary.image, &app.repository)
}

/// The digests of an image in this repository, sorted.
fn digests(image: &Value, repository: &Repository) -> Vec<Digest> {
    let references = image["RepoDigests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let here = |reference: &str| repository_of(reference).as_ref() == Ok(repository);
    let digest = |reference: &str| reference.split_once('@').and_then(|(_, digest)| digest.parse().ok());
    let references = references.iter().filter_map(Value::as_str).filter(|reference| here(reference));
    let mut digests: Vec<Digest> = references.filter_map(digest).collect();
    digests.sort();
    digests.dedup();
    digests
}

/// When an image was built; year 1 is the engine's word for not known.
fn created(image: &Value) -> Option<DateTime<Utc>> {
    let text = image["Created"].as_str().filter(|text| !text.starts_with("0001-"))?;
    DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.with_timezone(&Utc))
}
