//! Which coordinator to talk to, and as whom: flags, then environment, then a context file.
//!
//! A context file holds all three answers: `server`, `token`, and `ca` (a path) or `ca_pem` (the certificate itself).
//! `nightshift dev` writes one with [`write()`].

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use nightshift_core::config;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::note;

/// Largest file that is read, in bytes: what the reader of configuration takes; a CA file is smaller than any.
const FILE_LIMIT_BYTES: u64 = config::FILE_LIMIT_BYTES as u64;

const HOW_TO_CONNECT: &str = "start `nightshift dev` and run the export line it prints, or give `--context FILE`, or `--server`, `--token` and `--ca`";

/// Where the coordinator is and how to prove who asks.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Address of the coordinator: `https://HOST:PORT`
    #[arg(long, global = true, value_name = "URL", env = "NIGHTSHIFT_SERVER", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    server: Option<String>,
    /// API token; better in the environment or a context file, where no process list shows it
    #[arg(long, global = true, value_name = "TOKEN", env = "NIGHTSHIFT_TOKEN", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    token: Option<String>,
    /// File with the certificate of the coordinator's CA, in PEM
    #[arg(long, global = true, value_name = "FILE", env = "NIGHTSHIFT_CA", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    ca: Option<PathBuf>,
    /// Context file with `server`, `token` and `ca`; single flags and variables win over it
    #[arg(long, global = true, value_name = "FILE", env = "NIGHTSHIFT_CONTEXT", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    context: Option<PathBuf>,
}

/// Everything that is needed to connect.
pub(crate) struct Target {
    /// `https://HOST:PORT`.
    pub(crate) server: String,
    /// The API token. No `Debug` here: it must not reach a message.
    pub(crate) token: String,
    /// The CA's certificate in PEM.
    pub(crate) ca_pem: String,
}

/// A context file as written.
#[derive(Default, Serialize)]
struct ContextFile {
    server: Option<String>,
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_pem: Option<String>,
}

impl Connection {
    /// The coordinator that flags, environment and context file name together.
    ///
    /// # Errors
    /// Something is missing, or a file cannot be used.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let path = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let complete = given(&self.server).is_some() && given(&self.token).is_some() && path(&self.ca).is_some();
        let file = match path(&self.context) {
            // A variable that is left over from another day must not stop one who has said everything.
            Some(file) if !complete => read(&file)?,
            Some(_) | None => ContextFile::default(),
        };
        let missing = |what: &str| Failure::usage(format!("no {what} is given")).hint(HOW_TO_CONNECT);
        let server = given(&self.server).or(file.server).ok_or_else(|| missing("coordinator"))?;
        let token = given(&self.token).or(file.token).ok_or_else(|| missing("token"))?;
        let ca_pem = match (path(&self.ca), file.ca_pem, file.ca) {
            (Some(ca), ..) | (None, None, Some(ca)) => read_limited("CA file", &ca)?,
            (None, Some(pem), _) => pem,
            (None, None, None) => return Err(missing("certificate of the coordinator's CA")),
        };
        Ok(Target { server: checked_server(&server)?, token, ca_pem })
    }
}

fn checked_server(text: &str) -> Result<String, Failure> {
    let server = text.trim().trim_end_matches('/');
    let good = server.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', ' ', '@']));
    if good {
        return Ok(server.to_owned());
    }
    Err(Failure::usage(format!("`{server}` is no address of a coordinator"))
        .hint("allowed is `https://HOST:PORT`; there is no connection without TLS"))
}

fn read(file: &Path) -> Result<ContextFile, Failure> {
    let text = read_limited("context file", file)?;
    let decoded = config::read(&file.display().to_string(), &text, |table| {
        Some(ContextFile {
            server: table.optional("server"),
            token: table.optional("token"),
            ca: table.optional("ca"),
            ca_pem: table.optional("ca_pem"),
        })
    });
    let mut context = decoded.map_err(|problems| {
        // Without the lines of the file: one of them holds the token.
        note(&problems.to_string());
        Failure::usage(format!("context file `{}` cannot be used", file.display()))
    })?;
    // A relative path is meant from where the file lies, not from where the command runs.
    context.ca = context.ca.map(|ca| file.parent().unwrap_or(Path::new(".")).join(ca));
    Ok(context)
}

/// Reads a small text file.
///
/// # Errors
/// It cannot be read, is too large, or is no text: a usage failure that names it. `what` says what it should have been.
pub(crate) fn read_limited(what: &str, file: &Path) -> Result<String, Failure> {
    let wrong = |why: String| Failure::usage(format!("{what} `{}` cannot be read: {why}", file.display()));
    let mut text = String::new();
    let opened = fs::File::open(file).map_err(|error| wrong(error.to_string()))?;
    opened.take(FILE_LIMIT_BYTES + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > FILE_LIMIT_BYTES {
        return Err(wrong(format!("it is larger than {FILE_LIMIT_BYTES} bytes")));
    }
    Ok(text)
}

/// The token of a context file, if it is there and can be read.
pub(crate) fn token_in(file: &Path) -> Option<String> {
    if !file.exists() {
        return None;
    }
    read(file).ok()?.token
}

/// Writes a context file that only its owner can read, in one piece: a reader sees the old one or the new one.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn write(file: &Path, target: &Target) -> std::io::Result<()> {
    let context = ContextFile {
        server: Some(target.server.clone()),
        token: Some(target.token.clone()),
        ca: None,
        ca_pem: Some(target.ca_pem.clone()),
    };
    let text = toml::to_string(&context).map_err(std::io::Error::other)?;
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    // One that was left behind may have wider permissions, which opening would keep.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&unfinished, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn connection(context: PathBuf) -> Connection {
        Connection { server: None, token: None, ca: None, context: Some(context) }
    }

    #[test]
    fn a_written_context_is_private_and_reads_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("context.toml");
        for round in ["first", "second"] {
            let target =
                Target { server: "https://127.0.0.1:1".into(), token: round.into(), ca_pem: "pem\nlines\n".into() };
            write(&file, &target).expect("written");
            assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
            let back = connection(file.clone()).target().expect("complete");
            assert_eq!((back.server, back.token, back.ca_pem), (target.server, target.token, target.ca_pem));
        }
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1, "nothing is left behind");
    }

    #[test]
    fn flags_win_over_the_context_file_and_a_relative_ca_lies_beside_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("context.toml");
        fs::write(directory.path().join("ca.pem"), "beside").expect("written");
        fs::write(&file, "server = 'https://a:1/'\ntoken = 'from file'\nca = 'ca.pem'\n").expect("written");
        let mut connection = connection(file);
        connection.token = Some("from flag".into());
        connection.server = Some(String::new());
        let target = connection.target().expect("complete");
        assert_eq!((&*target.server, &*target.token, &*target.ca_pem), ("https://a:1", "from flag", "beside"));
    }

    #[test]
    fn an_address_without_tls_is_refused() {
        for bad in ["http://a:1", "a:1", "https://", "https://a:1/path", "https://user@a:1", "https://a b"] {
            let failure = checked_server(bad).expect_err(bad);
            assert_eq!(failure.exit(), crate::failure::Exit::Usage, "{bad}");
        }
    }
}
