//! What a check needs besides the engine: images that behave in a known way, names that nobody else uses, a network.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use nightshift_agent::engine::{Engine, EngineEvent, EventKind, EventStream, RegistryAuth};
use nightshift_core::container::ContainerView;
use nightshift_core::ids::ContainerId;
use nightshift_core::image::{Digest, ImageRef};
use serde_json::{Value, json};

/// How the containers of an image behave. All declare the volume `/data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Healthy soon after the start; logs `serving`; ends at once when asked.
    Web,
    /// Its health check fails.
    Sick,
    /// Without a health check; ends by itself with exit code 7, soon after the start.
    Short,
    /// Without a health check; ends by itself well, soon after the start.
    Passing,
    /// Without a health check; takes no notice of a stop signal.
    Stubborn,
    /// Its containers are asked to run a program that it does not have.
    NoProgram,
}

/// An image in the fixture's registry, different from every other one.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The name that its tag points to.
    pub(crate) name: ImageRef,
    /// Its content.
    pub(crate) digest: Digest,
}

impl Image {
    /// What is pulled.
    pub(crate) fn reference(&self) -> String {
        self.name.repository.at(&self.digest)
    }
}

/// The surroundings of a check.
#[async_trait]
pub(crate) trait Fixture: Sync {
    /// The engine to check.
    fn engine(&self) -> Arc<dyn Engine>;
    /// A name that is used in this check only.
    fn name(&self, base: &str) -> String;
    /// A host port that nobody uses.
    fn port(&self) -> u16;
    /// Makes an image and puts it into the registry; the engine does not have it yet.
    async fn push(&self, kind: Kind) -> Image;
    /// Puts an image into a registry that wants these credentials.
    async fn push_private(&self) -> (Image, RegistryAuth);
    /// What the registry itself says a tag points to; `None` when it has no such tag.
    async fn served(&self, name: &ImageRef) -> Option<Digest>;
    /// How many containers a `RUN` of a build is seen in. A simulated one has none that could stay behind.
    fn containers_of_a_run(&self) -> usize;
    /// Makes a network that only this check uses.
    async fn network(&self) -> String;
    /// Whether the engine has a volume of this name. A simulated one has none that could stay behind.
    async fn has_volume(&self, name: &str) -> bool;
}

/// Pushes and pulls an image.
pub(crate) async fn pulled(fixture: &dyn Fixture, kind: Kind) -> Image {
    let image = fixture.push(kind).await;
    fixture.engine().pull(&image.reference(), None, &mut |_| ()).await.expect("it was pushed");
    image
}

/// Makes a container of a new image.
pub(crate) async fn created(fixture: &dyn Fixture, kind: Kind, more: Value) -> (String, ContainerId) {
    let image = pulled(fixture, kind).await;
    created_from(fixture, &image, more).await
}

/// Makes a container of an image that the engine has.
pub(crate) async fn created_from(fixture: &dyn Fixture, image: &Image, more: Value) -> (String, ContainerId) {
    let name = fixture.name("c");
    let mut body = json!({"Image": image.reference(), "Labels": {"check": name}});
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    let id = fixture.engine().create(&name, &body).await.expect("a good configuration");
    (name, id)
}

/// The typed view of a container.
pub(crate) async fn view(fixture: &dyn Fixture, id: &ContainerId) -> ContainerView {
    let inspect = fixture.engine().inspect(&id.0).await.expect("it exists");
    ContainerView::from_inspect(&inspect).expect("a complete inspect")
}

/// A login at a registry. Written in base64, this password has letters in which the two alphabets differ.
pub(crate) fn login(server: &str, password: &str) -> RegistryAuth {
    RegistryAuth::Password { server: server.to_owned(), username: "ann".to_owned(), password: password.to_owned() }
}

/// The right password for [`login`].
pub(crate) const PASSWORD: &str = "p?>~?>~?>~w";

/// A grace period as callers hint it.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Reads events of one container until one fits, and returns the kinds of all, that one included.
pub(crate) async fn events_until(
    stream: &mut EventStream,
    id: &ContainerId,
    fits: impl Fn(&EventKind) -> bool,
) -> Vec<EngineEvent> {
    let mut seen = Vec::new();
    while let Some(event) = stream.next().await {
        let event = event.expect("the engine is up");
        if event.id != *id {
            continue;
        }
        let last = fits(&event.kind);
        seen.push(event);
        if last {
            return seen;
        }
    }
    panic!("the stream ended after {seen:?}");
}
