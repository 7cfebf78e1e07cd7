//! `examples/ci` at work: the script with a real `docker`, a real registry and a real `curl`, and the line of `docs/http.md`.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::fleet::{Fleet, Hours, ROLLOUT};
use crate::support::{Image, repository_file};

/// A repository with a Dockerfile, and what its CI knows.
struct Job<'a> {
    fleet: &'a Fleet,
    directory: tempfile::TempDir,
    token: String,
}

impl<'a> Job<'a> {
    fn new(fleet: &'a Fleet) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|it| it.exists());
        std::fs::copy(busybox.expect("scripts/test installs it"), directory.path().join("busybox")).expect("copied");
        let app = fleet.app();
        let made = fleet.cli.run(&["token", "create", "ci", "--name", "pipeline", "--app", &app]);
        assert_eq!(made.code, 0, "{made:?}");
        Self { fleet, directory, token: made.out.trim().to_owned() }
    }

    /// Changes the source: what the web server answers.
    fn commit(&self, page: &str) {
        let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY index.html /www/index.html\nVOLUME /data\n\
                          STOPSIGNAL KILL\nCMD [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]\n\
                          HEALTHCHECK --interval=1s --retries=2 CMD [\"/bin/busybox\", \"wget\", \"-q\", \"-O\", \"/dev/null\", \"http://127.0.0.1/\"]\n";
        std::fs::write(self.directory.path().join("Dockerfile"), dockerfile).expect("written");
        std::fs::write(self.directory.path().join("index.html"), page).expect("written");
    }

    fn context(&self) -> PathBuf {
        self.fleet.surroundings.directory.path().join("data")
    }

    fn server(&self) -> String {
        let text = std::fs::read_to_string(self.context().join("context.toml")).expect("written by `dev`");
        let line = text.lines().find_map(|line| line.strip_prefix("server = ")).expect("a server");
        line.trim().trim_matches('"').to_owned()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path());
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command.env("NIGHTSHIFT_SERVER", self.server()).env("NIGHTSHIFT_TOKEN", &self.token);
        command.env("NIGHTSHIFT_CA", self.context().join("ca.pem"));
        command
    }

    /// Runs the script as the files of the hosted CIs do.
    fn script(&self, arguments: &[&str], more: &[(&str, &str)]) -> Output {
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
    fn release(&self) -> Image {
        let ran = self.script(&["release"], &[]);
        assert_eq!(ran.status.code(), Some(0), "{}", said(&ran));
        let digest = String::from_utf8(ran.stdout).expect("text").trim().to_owned();
        Image { repository: self.fleet.registry().repository("web"), digest }
    }

    /// What is known of the newest digest, or of this one.
    fn known(&self, digest: &str) -> Value {
        self.fleet.cli.json(&["release", "show", &self.fleet.app(), digest])
    }

    /// What the tag points to, as the registry itself says.
    fn tagged(&self) -> String {
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

    fn releases(&self) -> usize {
        self.fleet.cli.json(&["release", "list", &self.fleet.app()]).as_array().expect("a list").len()
    }
}

fn said(ran: &Output) -> String {
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

#[test]
fn what_ci_has_tested_is_pushed_reported_and_rolled_out_and_what_failed_is_not() {
    let Some(fleet) = Fleet::start("ci") else { return };
    let job = Job::new(&fleet);
    fleet.apply(Hours::Always);
    job.commit("welcome");
    let good = job.release();
    let known = job.known(&good.digest);
    let report = &known["reports"][0];
    assert_eq!(report["by"], "pipeline", "{known:#}");
    assert_eq!((&report["suite"], &report["url"]), (&"ci".into(), &"https://ci.example/runs/7".into()), "{known:#}");
    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&good);

    let before = job.releases();
    job.commit("under construction");
    let failed = job.script(&["release"], &[]);
    assert_eq!((failed.status.code(), failed.stdout.len()), (Some(1), 0), "{}", said(&failed));
    assert!(said(&failed).contains("a test failed: nothing is pushed"), "{}", said(&failed));
    assert_eq!(job.tagged(), good.digest, "the tag is as it was");
    assert_eq!(job.releases(), before);

    // The same source again, as in a night without news: nothing changes, and the job is green.
    job.commit("welcome");
    assert_eq!(job.release().digest, good.digest, "every layer is the same");
    assert_eq!(job.known(&good.digest)["reports"].as_array().expect("a list").len(), 1, "one report, however often");
    fleet.runs(&good);
}

#[test]
fn a_later_suite_bars_a_digest_and_a_report_that_is_not_taken_fails_the_job() {
    let Some(fleet) = Fleet::start("ci-suites") else { return };
    let job = Job::new(&fleet);
    fleet.apply(Hours::Never);
    let pushed = fleet.push("v2", &crate::support::fleet::GOOD);
    let with_suite = |result, token: &str| {
        job.script(&["report", &pushed.digest, result], &[("SUITE", "browser"), ("NIGHTSHIFT_TOKEN", token)])
    };
    let refused = with_suite("passed", "0123456789abcdef.wrong");
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("the token is not accepted"), "the log says why: {}", said(&refused));
    let barred = with_suite("failed", &job.token);
    assert_eq!(barred.status.code(), Some(0), "it was taken: {}", said(&barred));
    let known = job.known(&pushed.digest);
    assert_eq!((&known["eligible"], &known["reports"][0]["suite"]), (&false.into(), &"browser".into()), "{known:#}");
    let lifted = with_suite("passed", &job.token);
    assert_eq!(lifted.status.code(), Some(1), "{}", said(&lifted));
    assert!(said(&lifted).contains("immutable"), "{}", said(&lifted));

    // The line of the documentation, as it stands there.
    let page = std::fs::read_to_string(repository_file("docs/http.md")).expect("the page is there");
    let line = page.split("```\n").find(|block| block.starts_with("curl ")).expect("a line");
    let line = line.replace("https://control.example:7443", "\"$NIGHTSHIFT_SERVER\"").replace("apps/web", "apps/$APP");
    let line = line.replace("ca.pem", "\"$NIGHTSHIFT_CA\"").replace("sha256:…", &pushed.digest);
    let ran = job.command("sh").args(["-euc", &line]).env("APP", fleet.app()).output().expect("a shell");
    assert_eq!(ran.status.code(), Some(0), "{line}: {}", said(&ran));
    let answer: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!((&answer["by"], &answer["result"]), (&"pipeline".into(), &"passed".into()), "{answer:#}");
    assert_eq!(job.known(&pushed.digest)["reports"].as_array().expect("a list").len(), 2);

    // The command line says the same with the same token; the token can do nothing else.
    let cli = |arguments: &[&str]| {
        let ran = job.command(env!("CARGO_BIN_EXE_nightshift")).args(arguments).output().expect("the program");
        (ran.status.code(), said(&ran))
    };
    let app = fleet.app();
    let report = ["release", "report", &app, "--digest", &pushed.digest, "--suite", "cli", "--result"];
    assert_eq!(cli(&[&report[..], &["passed", "--url", "https://ci.example/runs/8"]].concat()).0, Some(0));
    let (code, words) = cli(&[&report[..], &["passed", "--url", "ftp://ci.example"]].concat());
    assert!(code == Some(2) && words.contains("https://"), "{code:?} {words}");
    assert_eq!(job.known(&pushed.digest)["reports"].as_array().expect("a list").len(), 3);
    let (code, words) = cli(&["release", "quarantine", &app, &pushed.digest, "--reason", "x"]);
    assert!(code == Some(1) && words.contains("may not"), "{code:?} {words}");
}
