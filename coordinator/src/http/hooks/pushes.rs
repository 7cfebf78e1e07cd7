//! What registries say of pushes, each in its own words: the repositories in which something was pushed.
//!
//! These bodies are written by others and grow: fields that nobody here needs are passed over. What tells of no push, a pull
//! or a ping, is good and means nothing.

use std::collections::BTreeSet;

use http::StatusCode;
use nightshift_core::config::RegistryHost;
use nightshift_core::image::{DEFAULT_REGISTRY, Repository, repository_of};
use serde::Deserialize;

use super::super::body;
use super::super::problem::Problem;
use crate::config::Sender;

/// Most repositories in one notification: a push is of one, and an envelope of a registry holds few.
const REPOSITORY_LIMIT: usize = 100;

/// The repositories of a notification. `event` is what GitHub says beside the body.
///
/// # Errors
/// The body is none of this sender's, or names what is no repository.
pub(super) fn read(sender: &Sender, event: &str, content: &[u8]) -> Result<BTreeSet<Repository>, Problem> {
    let pushed: BTreeSet<Repository> = match sender {
        Sender::Distribution { registry } => distribution(registry, &body::parse(content)?)?,
        Sender::DockerHub => [docker_hub(&body::parse(content)?)?].into(),
        Sender::Github { registry } => github(registry, event, content)?.into_iter().collect(),
        Sender::Harbor { registry } => harbor(registry, &body::parse(content)?)?.into_iter().collect(),
        Sender::Ecr { registry } => ecr(registry, &body::parse(content)?)?.into_iter().collect(),
        Sender::Generic => [generic(&body::parse(content)?)?].into(),
    };
    if pushed.len() > REPOSITORY_LIMIT {
        let message = format!("the notification names more than {REPOSITORY_LIMIT} repositories");
        return Err(Problem::new(StatusCode::BAD_REQUEST, message));
    }
    Ok(pushed)
}

/// An envelope of the Distribution registry (`docker-registry`, `registry:2`).
#[derive(Deserialize)]
struct Envelope {
    events: Vec<DistributionEvent>,
}

#[derive(Deserialize)]
struct DistributionEvent {
    action: String,
    #[serde(default)]
    target: Target,
}

#[derive(Deserialize, Default)]
struct Target {
    #[serde(default)]
    repository: String,
    /// Only a manifest that is pushed by its tag has one; layers and manifests by digest move no tag.
    #[serde(default)]
    tag: String,
}

fn distribution(registry: &RegistryHost, envelope: &Envelope) -> Result<BTreeSet<Repository>, Problem> {
    let pushes = envelope.events.iter().filter(|event| event.action == "push" && !event.target.tag.is_empty());
    pushes.map(|event| within(registry.as_str(), &event.target.repository)).collect()
}

/// Docker Hub. Its `callback_url` is never called: it could be any address.
#[derive(Deserialize)]
struct DockerHub {
    repository: HubRepository,
}

#[derive(Deserialize)]
struct HubRepository {
    repo_name: String,
}

fn docker_hub(said: &DockerHub) -> Result<Repository, Problem> {
    within(DEFAULT_REGISTRY, &said.repository.repo_name)
}

/// GitHub: the events `package` and `registry_package` say the same under two names.
#[derive(Deserialize)]
struct Github {
    #[serde(alias = "registry_package")]
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    namespace: String,
    package_type: String,
}

fn github(registry: &RegistryHost, event: &str, content: &[u8]) -> Result<Option<Repository>, Problem> {
    if !matches!(event, "package" | "registry_package") {
        return Ok(None);
    }
    let Github { package } = body::parse(content)?;
    if !["container", "docker"].iter().any(|kind| package.package_type.eq_ignore_ascii_case(kind)) {
        return Ok(None);
    }
    // Owners have capitals, repositories have none.
    let path = format!("{}/{}", package.namespace, package.name).to_lowercase();
    within(registry.as_str(), &path).map(Some)
}

/// Harbor, in its own format or as CloudEvents.
#[derive(Deserialize)]
struct Harbor {
    #[serde(rename = "type")]
    kind: String,
    #[serde(alias = "data", default)]
    event_data: Option<HarborData>,
}

#[derive(Deserialize)]
struct HarborData {
    #[serde(default)]
    repository: Option<HarborRepository>,
}

#[derive(Deserialize)]
struct HarborRepository {
    repo_full_name: String,
}

fn harbor(registry: &RegistryHost, said: &Harbor) -> Result<Option<Repository>, Problem> {
    if !matches!(said.kind.as_str(), "PUSH_ARTIFACT" | "harbor.artifact.pushed") {
        return Ok(None);
    }
    let repository = said.event_data.as_ref().and_then(|data| data.repository.as_ref());
    let missing =
        || Problem::new(StatusCode::BAD_REQUEST, "a push of Harbor names its repository, and this one does not");
    within(registry.as_str(), &repository.ok_or_else(missing)?.repo_full_name).map(Some)
}

/// Amazon ECR: EventBridge's envelope around what happened to an image.
#[derive(Deserialize)]
struct Ecr {
    source: String,
    #[serde(default)]
    detail: EcrDetail,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct EcrDetail {
    action_type: String,
    result: String,
    repository_name: String,
}

fn ecr(registry: &RegistryHost, said: &Ecr) -> Result<Option<Repository>, Problem> {
    let Ecr { source, detail } = said;
    if source != "aws.ecr" || detail.action_type != "PUSH" || detail.result != "SUCCESS" {
        return Ok(None);
    }
    within(registry.as_str(), &detail.repository_name).map(Some)
}

/// Anything else: one reference, whatever tag or digest follows it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generic {
    image: String,
}

fn generic(said: &Generic) -> Result<Repository, Problem> {
    repository_of(&said.image).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
}

fn within(registry: &str, path: &str) -> Result<Repository, Problem> {
    format!("{registry}/{path}")
        .parse()
        .map_err(|error: nightshift_core::image::InvalidImage| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(host: &str) -> RegistryHost {
        host.parse().expect("a host")
    }

    fn found(sender: &Sender, event: &str, content: &str) -> Result<Vec<String>, u16> {
        let read = read(sender, event, content.as_bytes());
        read.map(|all| all.iter().map(ToString::to_string).collect()).map_err(|problem| problem.status.as_u16())
    }

    fn one(repository: &str) -> Result<Vec<String>, u16> {
        Ok(vec![repository.to_owned()])
    }

    #[test]
    fn distribution_tells_of_tags_that_were_pushed() {
        let sender = Sender::Distribution { registry: registry("registry.example:5000") };
        let event = |action: &str, target: &str| format!(r#"{{"id": "1", "action": "{action}", "target": {target}}}"#);
        let events = |list: &[String]| format!(r#"{{"events": [{}]}}"#, list.join(","));
        let tagged = r#"{"repository": "shop/web", "tag": "stable", "digest": "sha256:00"}"#;
        let layer = r#"{"mediaType": "application/octet-stream", "repository": "shop/db", "digest": "sha256:00"}"#;
        let all = events(&[event("push", layer), event("push", tagged), event("push", tagged), event("pull", tagged)]);
        assert_eq!(found(&sender, "", &all), one("registry.example:5000/shop/web"));
        assert_eq!(found(&sender, "", &events(&[event("pull", tagged), event("delete", "{}")])), Ok(vec![]));
        assert_eq!(found(&sender, "", &events(&[])), Ok(vec![]));
        for bad in [r#"{"repository": "Shop", "tag": "t"}"#, r#"{"repository": "../x", "tag": "t"}"#, r#"{"tag": "t"}"#]
        {
            assert_eq!(found(&sender, "", &events(&[event("push", bad)])), Err(400), "{bad}");
        }
        let many: Vec<_> =
            (0..101).map(|number| event("push", &format!(r#"{{"repository": "r{number}", "tag": "t"}}"#))).collect();
        assert_eq!(found(&sender, "", &events(&many)), Err(400));
        assert_eq!(found(&sender, "", &events(&many[1..])).map(|all| all.len()), Ok(100));
    }

    #[test]
    fn docker_hub_names_the_repository() {
        let body = r#"{"callback_url": "https://registry.hub.docker.com/u/acme/web/hook/1/", "push_data": {"tag": "latest",
                       "pushed_at": 1417566161, "pusher": "ann"}, "repository": {"repo_name": "acme/web", "status": "Active"}}"#;
        assert_eq!(found(&Sender::DockerHub, "", body), one("docker.io/acme/web"));
        assert_eq!(found(&Sender::DockerHub, "", r#"{"repository": {"repo_name": "a b"}}"#), Err(400));
    }

    #[test]
    fn github_names_owner_and_package_of_a_container() {
        let sender = Sender::Github { registry: registry("ghcr.io") };
        let body = |key: &str, kind: &str| {
            format!(
                r#"{{"action": "published", "{key}": {{"name": "shop/Web", "namespace": "Acme", "package_type": "{kind}",
                    "package_version": {{"package_url": "ghcr.io/acme/shop/web:v1"}}}}, "sender": {{}}}}"#
            )
        };
        for (event, key, kind) in
            [("package", "package", "container"), ("registry_package", "registry_package", "CONTAINER")]
        {
            assert_eq!(found(&sender, event, &body(key, kind)), one("ghcr.io/acme/shop/web"), "{event}");
        }
        assert_eq!(found(&sender, "package", &body("package", "npm")), Ok(vec![]));
        assert_eq!(found(&sender, "ping", r#"{"zen": "Keep it logically awesome.", "hook_id": 1}"#), Ok(vec![]));
        assert_eq!(found(&sender, "package", r#"{"action": "published"}"#), Err(400));
    }

    #[test]
    fn harbor_names_the_project_and_repository_in_both_its_formats() {
        let sender = Sender::Harbor { registry: registry("harbor.example") };
        let repository = r#"{"resources": [{"tag": "latest"}], "repository": {"name": "web", "namespace": "shop", "repo_full_name": "shop/web"}}"#;
        let own = |kind: &str| {
            format!(r#"{{"type": "{kind}", "occur_at": 1680501893, "operator": "admin", "event_data": {repository}}}"#)
        };
        assert_eq!(found(&sender, "", &own("PUSH_ARTIFACT")), one("harbor.example/shop/web"));
        assert_eq!(found(&sender, "", &own("PULL_ARTIFACT")), Ok(vec![]));
        let cloud =
            format!(r#"{{"specversion": "1.0", "id": "1", "type": "harbor.artifact.pushed", "data": {repository}}}"#);
        assert_eq!(found(&sender, "", &cloud), one("harbor.example/shop/web"));
        assert_eq!(found(&sender, "", r#"{"type": "PUSH_ARTIFACT"}"#), Err(400));
        assert_eq!(
            found(&sender, "", r#"{"type": "QUOTA_EXCEED", "event_data": {"custom_attributes": {}}}"#),
            Ok(vec![])
        );
    }

    #[test]
    fn ecr_tells_of_pushes_that_worked() {
        let host = "123456789012.dkr.ecr.us-west-2.amazonaws.com";
        let sender = Sender::Ecr { registry: registry(host) };
        let event = |source: &str, action: &str, result: &str, name: &str| {
            let detail = format!(r#"{{"action-type": "{action}", "result": "{result}", "repository-name": "{name}"}}"#);
            format!(
                r#"{{"version": "0", "source": "{source}", "detail-type": "ECR Image Action", "detail": {detail}}}"#
            )
        };
        let push = |name: &str| found(&sender, "", &event("aws.ecr", "PUSH", "SUCCESS", name));
        assert_eq!(push("shop/web"), one(&format!("{host}/shop/web")));
        assert_eq!((push(""), push("Shop")), (Err(400), Err(400)));
        for (source, action, result) in
            [("aws.ecr", "DELETE", "SUCCESS"), ("aws.ecr", "PUSH", "FAILURE"), ("aws.s3", "PUSH", "SUCCESS")]
        {
            assert_eq!(found(&sender, "", &event(source, action, result, "shop/web")), Ok(vec![]), "{source} {action}");
        }
        assert_eq!(found(&sender, "", r#"{"detail": {}}"#), Err(400));
    }

    #[test]
    fn anything_else_names_a_reference() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (image, expect) in [
            ("registry.example/web:stable", one("registry.example/web")),
            (&*format!("registry.example/web@{digest}"), one("registry.example/web")),
            ("nginx", one("docker.io/library/nginx")),
            (&*digest, Err(400)),
            ("", Err(400)),
            ("https://registry.example/web", Err(400)),
        ] {
            assert_eq!(found(&Sender::Generic, "", &format!(r#"{{"image": "{image}"}}"#)), expect, "{image}");
        }
        assert_eq!(found(&Sender::Generic, "", r#"{"image": "web", "digest": "x"}"#), Err(400), "nothing is ignored");
        for bad in ["", "null", "[]", "{", "image=web"] {
            assert_eq!(found(&Sender::Generic, "", bad), Err(400), "{bad}");
        }
    }
}
