//! `[health]` of an app file: how a new instance is judged.

use super::Table;
use super::app::only_true;
use crate::spec::HealthCheck;

/// Longest path of a request: the longest that common servers take in a request line is about this.
const PATH_LIMIT_BYTES: usize = 2_048;

pub(super) fn health(table: &mut Table<'_>) -> HealthCheck {
    let docker = only_true(table, "docker").map(|()| HealthCheck::Docker);
    let http = table.text_or_table("http", http_from_text, http_from_table);
    let tcp = table.integer_or_table("tcp", 1..=u16::MAX, port).map(|port| HealthCheck::Tcp { port });
    let exec = exec(table);
    table.not_yet("grpc", "gRPC health checks; `tcp` or `exec` can be used instead");
    if !table.has("grpc") {
        table.exactly_one(&["docker", "http", "tcp", "exec"]);
    }
    docker.or(http).or(tcp).or(exec).unwrap_or_default()
}

fn port(table: &mut Table<'_>) -> Option<u16> {
    table.require("port");
    table.integer("port", 1..=u16::MAX)
}

fn http_from_table(table: &mut Table<'_>) -> Option<HealthCheck> {
    let port = port(table);
    let path: Option<String> = table.optional("path");
    let path = match path {
        Some(path) => table.check("path", checked_path(&path))?,
        None => "/".to_owned(),
    };
    Some(HealthCheck::Http { port: port?, path })
}

fn http_from_text(text: &str) -> Result<HealthCheck, String> {
    let wrong = || {
        format!("`{text}` is no port and path, allowed is `:8080/healthz` or `{{ port = 8080, path = \"/healthz\" }}`")
    };
    let rest = text.strip_prefix(':').ok_or_else(wrong)?;
    let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|&port| digits && port > 0).ok_or_else(wrong)?;
    let path = if path.is_empty() { "/".to_owned() } else { checked_path(path)? };
    Ok(HealthCheck::Http { port, path })
}

fn checked_path(path: &str) -> Result<String, String> {
    let good =
        path.starts_with('/') && path.len() <= PATH_LIMIT_BYTES && path.bytes().all(|byte| byte.is_ascii_graphic());
    if good && !path.contains('#') {
        return Ok(path.to_owned());
    }
    let shown: String = path.chars().take(60).collect();
    Err(format!(
        "`{shown}` is no path, allowed are up to {PATH_LIMIT_BYTES} ASCII characters without space and `#`, first a `/`"
    ))
}

fn exec(table: &mut Table<'_>) -> Option<HealthCheck> {
    let command: Vec<String> = table.list("exec")?;
    if command.first().is_none_or(String::is_empty) {
        let message = "`health.exec` has no program, allowed is a program and its arguments";
        table.problem("exec", message, Some("for example `exec = [\"pg_isready\", \"-q\"]`"));
    }
    Some(HealthCheck::Exec { command })
}
