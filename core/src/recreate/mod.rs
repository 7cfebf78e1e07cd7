//! Re-creation of a container from what the engine says about it: same configuration, new image.
//!
//! An engine keeps no record of what a person typed. It shows the sum: the person's options merged with the image's
//! defaults. [`plan`] takes the sum apart (container minus *old* image is what the user set) and gives the body that,
//! merged by the engine with the *new* image, makes the container that the same command would make today. So a changed
//! default of the image arrives, and a choice of the user stays.
//!
//! Everything works on the engine's raw JSON: a key that this program has never heard of is passed on, not dropped.
//! What cannot be kept exactly is a [`Refusal`], never an approximation. The rules come from watching an engine
//! (20.10, API 1.41), and `docs/fidelity.md` lists them option by option.
//!
//! The module decides only. Who creates, connects, stops, renames and starts, and in which order, is another's matter;
//! so are containers that depend on this one.

mod api_version;
mod command;
mod config;
mod endpoints;
mod env;
mod healthcheck;
mod host;
mod labels;
mod product;
mod raw;
mod refuse;
mod start_first;
#[cfg(test)]
mod tests;
mod volumes;

use serde_json::{Map, Value};

pub use api_version::{ApiVersion, InvalidApiVersion};
pub(crate) use host::repoint;
pub use labels::BOOKKEEPING_LABELS;
pub use product::Product;
pub use refuse::{Refusal, Subject};
pub use start_first::start_first_obstacles;

use crate::labels::Labels;
use raw::Inspect;

/// All that [`plan`] needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The engine's inspect of the container, raw.
    pub container: &'a Value,
    /// The engine's inspect of the image that the container was created from, raw.
    pub old_image: &'a Value,
    /// The engine's inspect of the image that it shall run next, raw.
    pub new_image: &'a Value,
    /// What `Config.Image` shall say: `repository:tag@sha256:…` keeps both the tag and the content.
    pub image_name: &'a str,
    /// The engine's id of the new image; must be the one in `new_image`.
    pub new_image_id: &'a str,
    /// Version of the engine's API in which the inspects were read and in which the plan will be carried out.
    pub api_version: ApiVersion,
    /// The engine that the inspects are of.
    pub product: Product,
    /// Name under which the new container lives until the old one has given up its own.
    pub temporary_name: &'a str,
    /// Labels to add: Nightshift's bookkeeping of this replacement. They replace those of an earlier one.
    pub labels: &'a Labels,
}

/// The calls that re-create the container.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Name for `POST /containers/create?name=…`.
    pub temporary_name: String,
    /// Body of that call, with `HostConfig` and, where one is needed, `NetworkingConfig`.
    pub create_body: Value,
    /// The further networks, to be connected after the creation and before the start, in this order.
    pub connects: Vec<NetworkConnect>,
    /// The container's own name, without the leading slash: the new one's in the end.
    pub final_name: String,
    /// The restart policy that the old container has, to be restored when it is taken back.
    pub restart_policy: Value,
    /// What the container was doing: the new one shall do the same.
    pub was: RunState,
}

/// One `POST /networks/{network}/connect`.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConnect {
    /// Name of the network.
    pub network: String,
    /// Body of the call. It names the new container by its temporary name.
    pub body: Value,
}

/// What a container was doing when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Created, never started.
    Created,
    /// Running, or between two starts of a restart loop: it is meant to run.
    Running,
    /// Frozen by `docker pause`.
    Paused,
    /// Ran once, and ended or was stopped.
    Exited,
}

/// Plans the re-creation of a container on a new image.
///
/// # Errors
/// The container has something that could not be kept exactly, or the inspects lack what is needed to know.
pub fn plan(input: &Input<'_>) -> Result<Plan, Refusal> {
    input.product.check()?;
    let container = Inspect { of: Subject::Container, value: input.container };
    let old_image = Inspect { of: Subject::OldImage, value: input.old_image };
    let new_image = Inspect { of: Subject::NewImage, value: input.new_image };
    refuse::check_images(container, old_image, new_image, input.new_image_id)?;
    refuse::check_container(container)?;
    let was = refuse::run_state(container)?;
    let final_name = container.text("Name")?.trim_start_matches('/').to_owned();

    let mut body = config::users_part(container, old_image, input)?;
    let mut host_config = host::users_part(container)?;
    volumes::hold(container, &mut host_config)?;
    let networks = endpoints::split(container, input.api_version, input.temporary_name)?;
    if input.api_version.has_mac_address_per_endpoint() {
        body.remove("MacAddress");
    }
    body.insert("HostConfig".to_owned(), Value::Object(host_config));
    if !networks.at_creation.is_empty() {
        let endpoints = Map::from_iter([("EndpointsConfig".to_owned(), Value::Object(networks.at_creation))]);
        body.insert("NetworkingConfig".to_owned(), Value::Object(endpoints));
    }
    Ok(Plan {
        temporary_name: input.temporary_name.to_owned(),
        create_body: Value::Object(body),
        connects: networks.connects,
        final_name,
        restart_policy: container.get("HostConfig.RestartPolicy")?.clone(),
        was,
    })
}
