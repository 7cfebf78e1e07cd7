//! Builds and pushes of a real engine: the requests, and what its messages mean.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Empty;
use nightshift_core::image::{DEFAULT_REGISTRY, Digest, ImageRef};
use nightshift_core::recreate::ApiVersion;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::build::{self, Step};
use super::docker_raw::{Call, RawClient, encoded, image_part};
use super::docker_stream::{ContextBody, Message, ReadFailure};
use super::lines::{Lines, plain};
use super::{BuildContext, BuildFailure, BuildOptions, Error, OnLine, RegistryAuth, Result, deadline, pull};

/// Where a build's request goes: its name in errors and on the page of all calls.
const BUILD: &str = "POST /build";
/// The same of a push.
const PUSH: &str = "POST /images/{name}/push";
/// The period over which the kernel counts processor time, in microseconds: its own default.
const CPU_PERIOD_MICROS: u64 = 100_000;
/// The name under which an engine looks for a login at Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// See [`super::Engine::build`].
pub(super) async fn build(
    raw: &RawClient,
    version: ApiVersion,
    context: BuildContext,
    options: &BuildOptions,
    lines: &mut OnLine<'_>,
) -> Result<String> {
    options.check()?;
    let failure = ReadFailure::default();
    let body = ContextBody::new(context, failure.clone());
    let mut lines = Lines::new(lines);
    let outcome = timeout(options.deadline, built(raw, version, body, options, &mut lines)).await;
    lines.finish();
    let outcome = outcome.unwrap_or(Err(Error::Timeout { call: BUILD, after: options.deadline }));
    // Whatever the engine says to a context that broke off: this is why.
    match (outcome, failure.take()) {
        (Err(_), Some(message)) => {
            Err(Error::Build { name: options.name.clone(), failure: BuildFailure::Context, message })
        }
        (outcome, _) => outcome,
    }
}

async fn built(
    raw: &RawClient,
    version: ApiVersion,
    body: ContextBody,
    options: &BuildOptions,
    lines: &mut Lines<'_>,
) -> Result<String> {
    let request = Request::post(format!("/v{version}{}", build_target(options)))
        .header(header::HOST, "engine")
        .header(header::CONTENT_TYPE, "application/x-tar")
        .header("X-Registry-Config", secret(&registry_config(&options.registries)))
        .body(body)
        .map_err(|error| Error::Malformed { call: BUILD, reason: error.to_string() })?;
    let mut messages = match raw.messages(BUILD, request).await {
        Ok(messages) => messages,
        Err(error) => return Err(refused(options, error, lines)),
    };
    let (mut step, mut id) = (Step::Before, None);
    while let Some(message) = messages.next().await? {
        if let Some((exit_code, text)) = message.failure() {
            return Err(failed(options, step, exit_code, text, lines));
        }
        if let Some(announced) = message.stream.as_deref().and_then(Step::announced) {
            step = announced;
        }
        tell(&message, lines);
        id = message.aux.as_ref().and_then(|aux| aux.get("ID")).and_then(Value::as_str).map(str::to_owned).or(id);
    }
    if let Some(id) = id {
        return Ok(id);
    }
    let target = format!("/images/{}/json", image_part(&options.name)?);
    let image = raw.json(Some(version), Call::get("GET /images/{name}/json", target)).await?;
    let id = image.get("Id").and_then(Value::as_str).map(str::to_owned);
    id.ok_or_else(|| Error::Malformed { call: BUILD, reason: "no image's id".to_owned() })
}

fn build_target(options: &BuildOptions) -> String {
    let json = |map: &BTreeMap<String, String>| encoded(&json!(map).to_string());
    // An earlier build is no proof of a new one: what it fetched and made may be old.
    let mut target = String::from("/build?version=1&pull=1&nocache=1&rm=1&forcerm=1");
    let mut add = |key: &str, value: &str| target.push_str(&format!("&{key}={value}"));
    add("t", &encoded(&options.name));
    add("dockerfile", &encoded(&options.dockerfile));
    add("buildargs", &json(&options.args));
    add("labels", &json(&options.labels));
    if let Some(stage) = &options.target {
        add("target", &encoded(stage));
    }
    if let Some(bytes) = options.memory_bytes {
        add("memory", &bytes.to_string());
        add("memswap", &bytes.to_string());
    }
    if let Some(milli) = options.cpus_milli {
        add("cpuperiod", &CPU_PERIOD_MICROS.to_string());
        add("cpuquota", &(u64::from(milli) * CPU_PERIOD_MICROS / 1_000).to_string());
    }
    target
}

/// Passes on what is worth a line: output, and of a base image's layers each change but not each kilobyte.
fn tell(message: &Message, lines: &mut Lines<'_>) {
    if let Some(output) = &message.stream {
        lines.push(output);
    }
    if let Some(status) = message.status.as_deref().filter(|_| message.progress.is_none()) {
        match &message.id {
            Some(id) => lines.whole(&format!("{id}: {status}")),
            None => lines.whole(status),
        }
    }
}

/// The engine said in the middle that it failed.
fn failed(options: &BuildOptions, step: Step, code: Option<i64>, text: &str, lines: &mut Lines<'_>) -> Error {
    lines.whole(text);
    let message = plain(text);
    match build::sorted(step, code, text) {
        Some(failure) => Error::Build { name: options.name.clone(), failure, message },
        None => Error::Refused { call: BUILD, status: 200, message },
    }
}

/// The engine did not even begin.
fn refused(options: &BuildOptions, error: Error, lines: &mut Lines<'_>) -> Error {
    let (Error::Refused { message, .. } | Error::NotFound { message } | Error::Conflict { message }) = &error else {
        return error;
    };
    lines.whole(message);
    match build::sorted(Step::Before, None, message) {
        Some(failure) => Error::Build { name: options.name.clone(), failure, message: plain(message) },
        None => error,
    }
}

/// See [`super::Engine::push`].
pub(super) async fn push(
    raw: &RawClient,
    version: ApiVersion,
    (repository, tag): (&str, &str),
    auth: Option<&RegistryAuth>,
    limit: Duration,
) -> Result<Digest> {
    let reference = pushed_name(repository, tag)?;
    let part = image_part(&reference.repository.familiar())?;
    // Without this header the engine refuses; without a login it is an empty object.
    let auth = auth.map_or_else(|| json!({}), login);
    let request = Request::post(format!("/v{version}/images/{part}/push?tag={}", encoded(tag)))
        .header(header::HOST, "engine")
        .header("X-Registry-Auth", secret(&auth))
        .body(Empty::<Bytes>::new())
        .map_err(|error| Error::Malformed { call: PUSH, reason: error.to_string() })?;
    let whole = timeout(limit, pushed(raw, &reference, request));
    whole.await.unwrap_or(Err(Error::Timeout { call: PUSH, after: limit }))
}

/// The one name that is pushed: without a tag the engine would push all of them.
pub(super) fn pushed_name(repository: &str, tag: &str) -> Result<ImageRef> {
    let name = format!("{repository}:{tag}");
    let parsed = name.parse::<ImageRef>().ok().filter(|parsed| parsed.tag == tag);
    let found = || name.chars().take(300).collect();
    parsed.ok_or_else(|| Error::InvalidArgument { expected: "repository and tag to push", found: found() })
}

async fn pushed(raw: &RawClient, reference: &ImageRef, request: Request<Empty<Bytes>>) -> Result<Digest> {
    let after = deadline::PUSH_SILENCE;
    let silent = |_| Error::Timeout { call: PUSH, after };
    let messages = timeout(after, raw.messages(PUSH, request)).await.map_err(silent)?;
    let mut messages = messages.map_err(|error| push_refused(reference, error))?;
    let mut digest = None;
    while let Some(message) = timeout(after, messages.next()).await.map_err(silent)?? {
        if let Some((_, text)) = message.failure() {
            return Err(push_failed(reference, None, text));
        }
        let of_our_tag = |aux: &&Value| aux.get("Tag").and_then(Value::as_str) == Some(&reference.tag);
        let told = message.aux.as_ref().filter(of_our_tag).and_then(|aux| aux.get("Digest")).and_then(Value::as_str);
        digest = told.map(str::to_owned).or(digest);
    }
    let malformed = |reason: String| Error::Malformed { call: PUSH, reason };
    let digest = digest.ok_or_else(|| malformed("no digest at the end".to_owned()))?;
    digest.parse().map_err(|_| malformed(format!("`{}` is no digest", digest.chars().take(100).collect::<String>())))
}

fn push_refused(reference: &ImageRef, error: Error) -> Error {
    match &error {
        Error::NotFound { message } => push_failed(reference, Some(404), message),
        Error::Refused { status, message, .. } => push_failed(reference, Some(*status), message),
        Error::Conflict { .. }
        | Error::Unreachable { .. }
        | Error::Timeout { .. }
        | Error::Malformed { .. }
        | Error::Pull { .. }
        | Error::Push { .. }
        | Error::Build { .. }
        | Error::InvalidUrl { .. }
        | Error::InvalidArgument { .. }
        | Error::Unsupported { .. } => error,
    }
}

fn push_failed(reference: &ImageRef, status: Option<u16>, text: &str) -> Error {
    let message = plain(text);
    // The engine's own store, not the registry: in Engine 20.10 `tag does not exist: NAME` and `An image does not exist
    // locally with the tag: NAME`, in Podman a 404.
    let not_here =
        ["tag does not exist", "An image does not exist locally"].iter().any(|words| text.starts_with(words));
    if not_here || status == Some(404) {
        return Error::NotFound { message };
    }
    Error::Push { reference: reference.familiar(), failure: pull::classify(status, text), message }
}

/// A login in the engine's words.
fn login(auth: &RegistryAuth) -> Value {
    match auth {
        RegistryAuth::Password { server, username, password } => {
            json!({"username": username, "password": password, "serveraddress": server})
        }
        RegistryAuth::IdentityToken { server, token } => json!({"identitytoken": token, "serveraddress": server}),
    }
}

/// All logins, by the names under which the engine looks for them.
fn registry_config(registries: &BTreeMap<String, RegistryAuth>) -> Value {
    let key = |host: &str| if host == DEFAULT_REGISTRY { DOCKER_HUB_KEY.to_owned() } else { host.to_owned() };
    Value::Object(registries.iter().map(|(host, auth)| (key(host), login(auth))).collect::<Map<_, _>>())
}

/// A header that no log shows, in the alphabet that the engine reads.
fn secret(value: &Value) -> HeaderValue {
    let text = URL_SAFE.encode(value.to_string());
    let mut header = HeaderValue::from_str(&text).expect("base64 is made of legal characters");
    header.set_sensitive(true);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PullFailure;

    #[test]
    fn a_build_asks_for_everything_anew() {
        let mut options = BuildOptions::new("127.0.0.1:5000/web:v1", Duration::from_secs(1));
        let plain = "/build?version=1&pull=1&nocache=1&rm=1&forcerm=1&t=127.0.0.1%3A5000%2Fweb%3Av1\
                     &dockerfile=Dockerfile&buildargs=%7B%7D&labels=%7B%7D";
        assert_eq!(build_target(&options), plain);
        options.dockerfile = "a b/Dockerfile&x".to_owned();
        options.args.insert("K".to_owned(), "v&w".to_owned());
        options.target = Some("last".to_owned());
        (options.memory_bytes, options.cpus_milli) = (Some(1 << 30), Some(1_500));
        let target = build_target(&options);
        for part in [
            "&dockerfile=a%20b%2FDockerfile%26x&",
            "&buildargs=%7B%22K%22%3A%22v%26w%22%7D&",
            "&target=last&",
            "&memory=1073741824&memswap=1073741824&",
            "&cpuperiod=100000&cpuquota=150000",
        ] {
            assert!(target.contains(part), "{part} in {target}");
        }
    }

    #[test]
    fn logins_have_the_names_that_the_engine_looks_for() {
        let token = |server: &str| RegistryAuth::IdentityToken { server: server.into(), token: "t".into() };
        let registries = ["docker.io", "r.example:5000"].map(|host| (host.to_owned(), token(host)));
        let expect = json!({
            "https://index.docker.io/v1/": {"identitytoken": "t", "serveraddress": "docker.io"},
            "r.example:5000": {"identitytoken": "t", "serveraddress": "r.example:5000"},
        });
        assert_eq!(registry_config(&registries.into()), expect);
        let header = secret(&json!({"password": "p?>~?>~?>~w"}));
        assert!(header.is_sensitive());
        assert!(!header.as_bytes().contains(&b'/') && !header.as_bytes().contains(&b'+'), "the URL's alphabet");
    }

    #[test]
    fn exactly_one_tag_is_pushed() {
        assert_eq!(
            pushed_name("127.0.0.1:5000/web", "v1").map(|name| name.familiar()),
            Ok("127.0.0.1:5000/web:v1".into())
        );
        for (repository, tag) in [("web", ""), ("web:v1", "v2"), ("web", "v1/x"), ("Web", "v1"), ("web@sha256", "0")] {
            assert!(pushed_name(repository, tag).is_err(), "{repository} {tag}");
        }
    }

    #[test]
    fn a_failed_push_says_whether_registry_or_engine_lack_something() {
        let name = pushed_name("127.0.0.1:5000/web", "v1").expect("good");
        let push = |failure, message: &str| Error::Push {
            reference: "127.0.0.1:5000/web:v1".to_owned(),
            failure,
            message: message.to_owned(),
        };
        for text in ["tag does not exist: 127.0.0.1:5000/web:v1", "An image does not exist locally with the tag: x"] {
            assert_eq!(push_failed(&name, None, text), Error::NotFound { message: text.to_owned() });
        }
        for (text, failure) in [
            ("denied: requested access to the resource is denied", PullFailure::Denied),
            ("name unknown: The repository with name 'web' does not exist in the registry", PullFailure::NotFound),
            ("Get \"http://r/v2/\": dial tcp: connect: connection refused", PullFailure::Unreachable),
        ] {
            assert_eq!(push_failed(&name, None, text), push(failure, text));
        }
        let said = push(PullFailure::Denied, "denied").to_string();
        assert!(said.starts_with("cannot push `127.0.0.1:5000/web:v1`: denied; hint: "), "{said}");
    }
}
