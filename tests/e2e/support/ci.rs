//! A repository and its CI: `examples/ci` with a real `docker` and a real `curl`.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::fleet::Fleet;
use super::{Image, clock, repository_file, source};

/// A repository with a Dockerfile, and what its CI knows.
pub(crate) struct Job<'a> {
    fleet: &'a Fleet,
    directory: tempfile::TempDir,
    pub(crate) token: String,
}

impl<'a> Job<'a> {
    /// A repository whose CI has a token for the fleet's app.
    pub(crate) fn new(fleet: &'a Fleet) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        source::with_busybox(directory.path());
        let app = fleet.app();
        let made = fleet.cli.run(&["token", "create", "ci", "--name", "pipeline", "--app", &app]);
        assert_eq!(made.code, 0, "{made:?}");
        Self { fleet, directory, token: made.out.trim().to_owned() }
    }

    /// Changes the source: what the web server answers.
    pub(crate) fn commit(&self, page: &str) {
        self.commit_with(page, &["wget", "-q", "-O", "/dev/null", "http://127.0.0.1/"]);
    }

    /// The same with another health check: an applet of busybox.
    pub(crate) fn commit_with(&self, page: &str, health: &[&str]) {
        source::write(self.directory.path(), page, health, "");
    }

    /// What `dev` wrote for people and CI.
    pub(crate) fn context(&self) -> PathBuf {
        self.fleet.surroundings.directory.path().join("data")
    }

    /// The coordinator's address.
    pub(crate) fn server(&self) -> String {
        let text = std::fs::read_to_string(self.context().join("context.toml")).expect("written by `dev`");
        let line = text.lines().find_map(|line| line.strip_prefix("server = ")).expect("a server");
        line.trim().trim_matches('"').to_owned()
    }

    /// A program as CI has it, in the repository.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path());
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command.env("NIGHTSHIFT_SERVER", self.server()).env("NIGHTSHIFT_TOKEN", &self.token);
        command.env("NIGHTSHIFT_CA", self.context().join("ca.pem"));
        command.envs(clock::environment(self.fleet.surroundings.directory.path()));
        command
    }

    /// Runs the script as the files of the hosted CIs do.
    pub(crate) fn script(&self, arguments: &[&str], more: &[(&str, &str)]) -> Output {
        let mut command = self.command("sh");
        command.arg(repository_file("examples/ci/nightshift-ci.sh")).args(arguments);
        command.env("DOCKER_HOST", self.fleet.surroundings.engines[0].url());
        command.env("APP", self.fleet.app()).env("IMAGE", self.fleet.registry().repository("web"));
        command.env("TEST", "docker run --rm \"$CANDIDATE\" /bin/busybox grep -q welcome /www/index.html");
        command.env("BUILD_URL", "https://ci.example/runs/7").envs(more.iter().copied());
        let ran = command.output().expect("a shell");
        let all = format!("{}{}", said(&ran), String::from_utf8_lossy(&ran.stdout));
        let token = more.iter().find(|(name, _)| *name == "NIGHTSHIFT_TOKEN").map_or(&*self.token, |(_, token)| token);
        assert!(!all.contains(token), "the token is in no log: {all}");
        ran
    }

    /// Builds, tests, pushes and reports; all must work.
    pub(crate) fn release(&self) -> Image {
        let ran = self.script(&["release"], &[]);
        assert_eq!(ran.status.code(), Some(0), "{}", said(&ran));
        let digest = String::from_utf8(ran.stdout).expect("text").trim().to_owned();
        Image { repository: self.fleet.registry().repository("web"), digest }
    }

    /// What is known of the newest digest, or of this one.
    pub(crate) fn known(&self, digest: &str) -> Value {
        self.fleet.cli.json(&["release", "show", &self.fleet.app(), digest])
    }

    /// What the tag points to, as the registry itself says.
    pub(crate) fn tagged(&self) -> String {
        let (address, repository) = (self.fleet.registry().address(), self.fleet.registry().repository("web"));
        let path = repository.split_once('/').expect("it has a path").1;
        let mut curl = self.command("curl");
        curl.args(["-fsSI", "-H", "Accept: application/vnd.docker.distribution.manifest.v2+json"]);
        let head =
            curl.arg(format!("http://{address}/v2/{path}/manifests/stable")).output().expect("curl is installed");
        let head = String::from_utf8(head.stdout).expect("text").to_lowercase();
        let line = head.lines().find_map(|line| line.strip_prefix("docker-content-digest: "));
        line.unwrap_or_else(|| panic!("the registry says a digest: {head}")).trim().to_owned()
    }

    /// How many digests are known.
    pub(crate) fn releases(&self) -> usize {
        self.fleet.cli.json(&["release", "list", &self.fleet.app()]).as_array().expect("a list").len()
    }
}

/// What it wrote to standard error.
pub(crate) fn said(ran: &Output) -> String {
    String::from_utf8_lossy(&ran.stderr).into_owned()
}
