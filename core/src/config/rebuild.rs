//! `[rebuild]` of an app file: when, by when, and who builds: a node, or a CI system by a request. A preset is written out into that
//! request here, so that nobody else knows of presets.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::quiet::KnownZone;
use super::{Table, builder};
use crate::rebuild::schedule::{CronFields, Schedule};
use crate::rebuild::template::{InvalidTemplate, SecretName, Template, percent};
use crate::rebuild::trigger::{HttpTrigger, Method, origin_of};
use crate::rebuild::{DEFAULT_DEADLINE, RebuildBy, RebuildSpec};

/// Shortest deadline: no build and no test ends sooner.
const DEADLINE_MIN: Duration = Duration::from_secs(60);
/// Longest: then the next night begins.
const DEADLINE_LIMIT: Duration = Duration::from_secs(86_400);
/// Most headers of a request, and the longest text of one in bytes.
const HEADER_LIMIT: usize = 50;
const HEADER_LIMIT_BYTES: usize = 2_048;
/// Longest branch, repository and workflow, in bytes: the limits of the systems that are meant.
const WORD_LIMIT_BYTES: usize = 250;
/// Headers that the client itself writes.
const OWN_HEADERS: [&str; 6] = ["connection", "content-length", "host", "te", "transfer-encoding", "upgrade"];
/// What the name of a header says of its value: it is nothing for an app file.
const CREDENTIALS: [&str; 7] = ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey"];

pub(super) fn rebuild(table: &mut Table<'_>) -> Option<RebuildSpec> {
    let cron: Option<CronFields> = table.optional("schedule");
    let timezone = table.optional("timezone").map(|KnownZone(zone)| zone);
    if table.has("schedule") {
        table.require("timezone");
    } else if table.has("timezone") {
        table.problem("timezone", "`rebuild.timezone` has no meaning without `schedule`", None);
    }
    let deadline = table.duration("deadline", DEADLINE_MIN..=DEADLINE_LIMIT).unwrap_or(DEFAULT_DEADLINE);
    let trigger = table.table("trigger", trigger).flatten().map(RebuildBy::Http);
    let builder = table.table("builder", builder::builder).flatten().map(RebuildBy::Node);
    table.exactly_one(&["trigger", "builder"]);
    let schedule = cron.zip(timezone).map(|(cron, timezone)| Schedule { cron, timezone });
    Some(RebuildSpec { schedule, deadline, by: trigger.or(builder)? })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Preset {
    Travis,
    Github,
    Gitlab,
}

const PRESETS: [(&str, Preset); 3] =
    [("travis", Preset::Travis), ("github", Preset::Github), ("gitlab", Preset::Gitlab)];
const METHODS: [(&str, Method); 3] = [("POST", Method::Post), ("PUT", Method::Put), ("GET", Method::Get)];
/// What belongs to a preset, and what to a request that is written out.
const OF_PRESET: [&str; 5] = ["repository", "branch", "workflow", "server", "secret"];
const OF_REQUEST: [&str; 3] = ["method", "headers", "body"];

fn trigger(table: &mut Table<'_>) -> Option<HttpTrigger> {
    let preset = table.one_of("preset", &PRESETS);
    let request = request(table);
    let words = Words::of(table);
    table.exactly_one(&["preset", "url"]);
    let (foreign, with) = if table.has("preset") { (&OF_REQUEST[..], "preset") } else { (&OF_PRESET[..], "url") };
    for key in foreign.iter().filter(|key| table.has(key)) {
        let message = format!("`{}` has no meaning with `{with}`", table.full(key));
        table.problem(key, &message, None);
    }
    if table.has("preset") { words.written_out(table, preset?) } else { request }
}

/// A request as the file writes it out.
fn request(table: &mut Table<'_>) -> Option<HttpTrigger> {
    let method = table.one_of("method", &METHODS).unwrap_or(Method::Post);
    let url = table.optional("url").map(|UrlTemplate(url)| url);
    let typed: BTreeMap<String, HeaderTemplate> = table.texts("headers");
    let body: Option<Template> = table.optional("body");
    if body.is_some() && method == Method::Get {
        table.problem("body", "`rebuild.trigger.body` has no meaning with the method GET", None);
    }
    let headers = headers(table, typed);
    Some(HttpTrigger { method, url: url?, headers, body })
}

fn headers(table: &Table<'_>, typed: BTreeMap<String, HeaderTemplate>) -> BTreeMap<String, Template> {
    let full = table.full("headers");
    if typed.len() > HEADER_LIMIT {
        let message = format!("`{full}` has {} entries, allowed are up to {HEADER_LIMIT}", typed.len());
        table.problem("headers", &message, None);
    }
    let mut headers = BTreeMap::new();
    for (name, HeaderTemplate(value)) in typed {
        let lower = name.to_ascii_lowercase();
        let shown: String = name.chars().take(60).collect();
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if lower.is_empty() || !lower.bytes().all(token) || OWN_HEADERS.contains(&lower.as_str()) {
            let message = format!("`{full}`: `{shown}` is no header that can be set");
            table.problem("headers", &message, None);
        }
        if CREDENTIALS.iter().any(|word| lower.contains(word)) && value.secrets().is_empty() {
            let message =
                format!("`{full}`: `{shown}` holds a credential, and everybody who may see the app would see it");
            table.problem(
                "headers",
                &message,
                Some("write `{secret:NAME}`, and `[[secret]]` in the coordinator's file"),
            );
        }
        if headers.insert(lower, value).is_some() {
            table.problem("headers", &format!("`{full}` names `{shown}` twice, allowed is once"), None);
        }
    }
    headers
}

/// What a preset asks for.
struct Words {
    repository: Option<Word>,
    branch: Option<Word>,
    workflow: Option<Word>,
    server: Option<Server>,
    secret: Option<SecretName>,
}

impl Words {
    fn of(table: &mut Table<'_>) -> Self {
        Self {
            repository: table.optional("repository"),
            branch: table.optional("branch"),
            workflow: table.optional("workflow"),
            server: table.optional("server"),
            secret: table.optional("secret"),
        }
    }

    fn written_out(self, table: &Table<'_>, preset: Preset) -> Option<HttpTrigger> {
        for key in ["repository", "branch", "secret"] {
            table.require(key);
        }
        if preset == Preset::Github {
            table.require("workflow");
        } else if table.has("workflow") {
            table.problem(
                "workflow",
                "`rebuild.trigger.workflow` has a meaning with `preset = \"github\"` alone",
                None,
            );
        }
        let (Word(repository), Word(branch), secret) = (self.repository?, self.branch?, self.secret?);
        if !repository.contains('/') {
            let message = "`rebuild.trigger.repository`: allowed is `owner/name`, as the system shows it";
            table.problem("repository", message, None);
        }
        let server = |usual: &str| self.server.map_or_else(|| usual.to_owned(), |Server(server)| server);
        let json = ("content-type", "application/json".to_owned());
        let (url, headers, body) = match preset {
            Preset::Travis => (
                format!("{}/repo/{}/requests", server("https://api.travis-ci.com"), percent(&repository)),
                vec![
                    json,
                    ("accept", "application/json".to_owned()),
                    ("travis-api-version", "3".to_owned()),
                    ("authorization", format!("token {{secret:{secret}}}")),
                ],
                format!("{{\"request\": {{\"branch\": \"{branch}\", \"message\": \"Nightshift rebuilds {{app}}\"}}}}"),
            ),
            Preset::Github => {
                let Word(workflow) = self.workflow?;
                let (server, workflow) = (server("https://api.github.com"), percent(&workflow));
                (
                    format!("{server}/repos/{repository}/actions/workflows/{workflow}/dispatches"),
                    vec![
                        json,
                        ("accept", "application/vnd.github+json".to_owned()),
                        ("x-github-api-version", "2022-11-28".to_owned()),
                        ("authorization", format!("Bearer {{secret:{secret}}}")),
                    ],
                    format!("{{\"ref\": \"{branch}\"}}"),
                )
            }
            Preset::Gitlab => (
                format!("{}/api/v4/projects/{}/trigger/pipeline", server("https://gitlab.com"), percent(&repository)),
                vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
                format!("token={{secret:{secret}}}&ref={}", percent(&branch)),
            ),
        };
        let template = |text: String| text.parse().expect("checked words in a fixed form");
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), template(value))).collect();
        Some(HttpTrigger { method: Method::Post, url: template(url), headers, body: Some(template(body)) })
    }
}

/// A branch, repository or workflow: what stands in a URL or in JSON as it is.
struct Word(String);

impl FromStr for Word {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-+@".contains(&byte);
        let part = |part: &str| !part.is_empty() && part != "." && part != "..";
        if text.len() <= WORD_LIMIT_BYTES && text.bytes().all(legal) && text.split('/').all(part) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("allowed are up to {WORD_LIMIT_BYTES} of `a-z A-Z 0-9 . _ / - + @`, no empty part"))
    }
}

/// Where a system's API is: `https://host` with a path if needed.
struct Server(String);

impl FromStr for Server {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || "allowed is `https://host/path` of the API, without credentials and query".to_owned();
        let good = origin_of(text).is_ok() && !text.contains(['?', '{', '}']);
        if good { Ok(Self(text.trim_end_matches('/').to_owned())) } else { Err(refused()) }
    }
}

/// The URL of a request.
struct UrlTemplate(Template);

impl FromStr for UrlTemplate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        origin_of(text).map_err(|error| error.to_string())?;
        text.parse().map(Self).map_err(|error: InvalidTemplate| error.to_string())
    }
}

/// The value of a header.
struct HeaderTemplate(Template);

impl FromStr for HeaderTemplate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if text.len() > HEADER_LIMIT_BYTES || !graphic {
            return Err(format!("allowed are up to {HEADER_LIMIT_BYTES} printable ASCII characters"));
        }
        text.parse().map(Self).map_err(|error: InvalidTemplate| error.to_string())
    }
}
