//! Real clones of real repositories, and servers that do what they should not.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::super::tests::{bytes, entries, limits};
use super::*;
use crate::limits::Refusal;

/// More than any clone here takes, on a busy machine, too.
const LONG: Duration = Duration::from_secs(60);

/// A repository beside nothing else, and a directory for clones of it.
struct Place {
    root: TempDir,
    limits: BuildLimits,
}

impl Place {
    /// With one commit of these files on the branch `main`.
    async fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let prefix = format!("file://{}/", root.path().display());
        let place = Self { limits: limits(&[], &[&prefix, "http://127.0.0.1:1/"]), root };
        fs::create_dir(place.path("web")).unwrap();
        fs::create_dir(place.path("job")).unwrap();
        place.git(&["init", "-q", "-b", "main"]).await;
        for (path, content) in files {
            let file = place.path("web").join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        place.commit().await;
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    async fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.path("web")).env("HOME", self.root.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        command.args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]).args(arguments);
        let output = command.stdin(Stdio::null()).output().await.expect("git is there: scripts/test installs it");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn commit(&self) {
        self.git(&["add", "-A"]).await;
        self.git(&["commit", "-q", "--allow-empty", "-m", "a change"]).await;
    }

    fn url(&self, name: &str) -> String {
        format!("file://{}/{name}", self.root.path().display())
    }

    async fn clone(&self, directory: &str) -> (Result<Checkout, GitError>, String) {
        self.clone_of(&self.url("web"), "main", directory, LONG).await
    }

    async fn clone_of(
        &self,
        url: &str,
        branch: &str,
        directory: &str,
        timeout: Duration,
    ) -> (Result<Checkout, GitError>, String) {
        let git = self.limits.judge_git(url, branch).unwrap();
        let work = tempfile::tempdir_in(self.path("job")).unwrap().keep();
        let options = CloneOptions { git: &git, directory, dockerfile: "Dockerfile", work: &work, timeout };
        let mut log = String::new();
        let cloned = clone(&self.limits, options, &mut log).await;
        (cloned, log)
    }

    /// The error in words, with this place called `ROOT`.
    async fn fails(&self, url: &str, branch: &str, directory: &str) -> String {
        let (cloned, _) = self.clone_of(url, branch, directory, LONG).await;
        cloned.expect_err(directory).to_string().replace(self.root.path().to_str().unwrap(), "ROOT")
    }
}

/// A server that answers every connection in this way, once it has been asked something; tells how many asked.
async fn server(answer: &'static str) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4_096]).await;
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    });
    (address, serving)
}

#[tokio::test]
async fn the_last_commit_of_a_branch_is_a_context_without_its_history() {
    let place =
        Place::new(&[("Dockerfile", "FROM a"), ("app/Dockerfile", "FROM b"), ("app/x", "1"), ("secret", "old")]).await;
    fs::remove_file(place.path("web/secret")).unwrap();
    place.commit().await;
    place.git(&["checkout", "-q", "-b", "release/1.2"]).await;
    fs::write(place.path("web/Dockerfile"), "FROM c").unwrap();
    place.commit().await;
    let heads = [place.git(&["rev-parse", "main"]).await, place.git(&["rev-parse", "release/1.2"]).await];

    let (cloned, log) = place.clone("").await;
    let cloned = cloned.unwrap_or_else(|error| panic!("{error}: {log}"));
    assert_eq!(cloned.commit, heads[0]);
    let sent = |found: &[(&str, &str)]| -> Vec<(String, String)> {
        found.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect()
    };
    let all = [("Dockerfile", "FROM a"), ("app", "dir"), ("app/Dockerfile", "FROM b"), ("app/x", "1")];
    assert_eq!(entries(&bytes(cloned.context).await.unwrap()), sent(&all));
    assert!(log.contains("Cloning into"), "{log}");

    let (cloned, _) = place.clone("app").await;
    let part = entries(&bytes(cloned.unwrap().context).await.unwrap());
    assert_eq!(part, sent(&[("Dockerfile", "FROM b"), ("x", "1")]));

    let (cloned, _) = place.clone_of(&place.url("web"), "release/1.2", "", LONG).await;
    let cloned = cloned.unwrap();
    assert_eq!(cloned.commit, heads[1]);
    assert_eq!(entries(&bytes(cloned.context).await.unwrap())[0].1, "FROM c");
}

#[tokio::test]
async fn a_directory_of_a_repository_stays_inside_of_it() {
    let place = Place::new(&[("Dockerfile", ""), ("app/Dockerfile", "FROM b")]).await;
    symlink("app", place.path("web/here")).unwrap();
    symlink("/etc", place.path("web/etc")).unwrap();
    symlink("../..", place.path("web/up")).unwrap();
    symlink(".git", place.path("web/history")).unwrap();
    place.commit().await;
    let (cloned, _) = place.clone("here").await;
    assert_eq!(entries(&bytes(cloned.unwrap().context).await.unwrap()).len(), 1, "a link inside leads there");
    for (directory, expect) in [
        ("etc", "`etc` of the repository is a link that leads out of it"),
        ("up", "`up` of the repository is a link that leads out of it"),
        ("history", "`history` of the repository is a link that leads out of it"),
        (".git", "`.git` of the repository is a link that leads out of it"),
        ("gone", "cannot open the context `gone`: No such file or directory (os error 2)"),
        ("../web", "`../web` cannot be used as `directory`, allowed is a path inside the context without `.` and `..`"),
        ("/etc", "`/etc` cannot be used as `directory`, allowed is a path inside the context without `.` and `..`"),
        ("-x", "`-x` cannot be used as `directory`, allowed is a path inside the context without `.` and `..`"),
    ] {
        assert_eq!(place.fails(&place.url("web"), "main", directory).await, expect);
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_cannot_be_reached() {
    let mut place = Place::new(&[("Dockerfile", "")]).await;
    let answers = [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "the repository or its branch is not there: ",
        ),
        (
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "the server does not let this node",
        ),
        ("HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "the server does not let this node"),
        ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "the server cannot be reached: "),
    ];
    for (answer, expect) in answers {
        let (address, serving) = server(answer).await;
        place.limits.git.push(address.parse().unwrap());
        let error = place.fails(&format!("{address}web"), "main", "").await;
        assert!(error.starts_with(expect), "{answer}: {error}");
        serving.abort();
    }
    for (url, branch, expect) in [
        (
            place.url("web"),
            "gone",
            "the repository or its branch is not there: Remote branch gone not found in upstream origin",
        ),
        (
            place.url("gone"),
            "main",
            "the repository or its branch is not there: '/ROOT/gone' does not appear to be a git repository",
        ),
    ] {
        let error = place.fails(&url, branch, "").await;
        assert_eq!(error.replace("'ROOT", "'/ROOT"), expect);
    }
    let error = place.fails("http://127.0.0.1:1/web", "main", "").await;
    assert!(error.starts_with("the server cannot be reached: "), "{error}");
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let mut place = Place::new(&[("Dockerfile", "")]).await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let moved = format!(
        "HTTP/1.1 301 Moved\r\nLocation: http://{}/web/info/refs?service=git-upload-pack\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        other.local_addr().unwrap()
    );
    let (address, _serving) = server(moved.leak()).await;
    place.limits.git.push(address.parse().unwrap());
    let url = format!("{address}web");
    let error = tokio::select! {
        error = place.fails(&url, "main", "") => error,
        _ = other.accept() => panic!("it went to another server"),
    };
    assert!(error.starts_with("the repository has another address: "), "{error}");
}

#[tokio::test]
async fn nothing_of_a_repository_is_run_and_nothing_else_is_fetched() {
    let place = Place::new(&[("Dockerfile", "")]).await;
    let ran = place.path("ran");
    let hooks = place.path("template/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in ["post-checkout", "reference-transaction"] {
        fs::write(hooks.join(hook), format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
        fs::set_permissions(hooks.join(hook), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(place.path("web/.gitmodules"), format!("[submodule \"x\"]\n\tpath = x\n\turl = {}\n", place.url("web")))
        .unwrap();
    fs::write(place.path("web/.gitattributes"), "* filter=x\n").unwrap();
    place.git(&["add", "-A"]).await;
    let head = place.git(&["rev-parse", "HEAD"]).await;
    place.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},x")]).await;
    place.git(&["commit", "-q", "-m", "a submodule"]).await;
    // What the user who runs the agent has told git for himself.
    fs::write(
        place.path(".gitconfig"),
        format!(
            "[init]\n\ttemplateDir = {0}\n[core]\n\thooksPath = {0}/hooks\n[submodule]\n\trecurse = true\n",
            place.path("template").display()
        ),
    )
    .unwrap();
    let mut told = Place { limits: place.limits.clone(), root: place.root };
    for git_config in [None, Some(told.path(".gitconfig"))] {
        told.limits.git_config = git_config;
        let (cloned, log) = told.clone("").await;
        let cloned = cloned.unwrap_or_else(|error| panic!("{error}: {log}"));
        let sent: Vec<String> =
            entries(&bytes(cloned.context).await.unwrap()).into_iter().map(|(path, _)| path).collect();
        assert_eq!(sent, [".gitattributes", ".gitmodules", "Dockerfile", "x"]);
    }
    assert!(!ran.exists(), "a hook was run");
}

#[tokio::test]
async fn git_gets_its_own_environment_and_the_configuration_that_was_named() {
    let mut place = Place::new(&[("Dockerfile", "")]).await;
    let bin = place.path("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(
        bin.join("git"),
        "#!/bin/sh\n/usr/bin/env | /usr/bin/sort\necho \"$@\"\n/bin/cat \"$HOME/.gitconfig\"\nexit 1\n",
    )
    .unwrap();
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    let config = place.path("a \"b\\c");
    fs::write(&config, "").unwrap();
    place.limits.git_config = Some(config.clone());
    let work = place.path("job");
    let git = place.limits.judge_git(&place.url("web"), "main").unwrap();
    let options = CloneOptions { git: &git, directory: "", dockerfile: "Dockerfile", work: &work, timeout: LONG };
    let environment = |name: &str| match name {
        "PATH" => Some(bin.clone().into_os_string()),
        "https_proxy" => Some("http://proxy.example".into()),
        "SSL_CERT_FILE" => Some("/etc/own.pem".into()),
        _ => None,
    };
    let mut log = String::new();
    clone_in(&place.limits, options, &mut log, environment).await.expect_err("it is no git");
    let log = log.replace(place.root.path().to_str().unwrap(), "ROOT");
    // What the shell itself adds.
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| !["PWD=", "SHLVL=", "_=", "OLDPWD="].iter().any(|own| line.starts_with(own)))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));

    // The real one reads it, too.
    fs::write(&config, format!("[url \"{}\"]\n\tinsteadOf = {}\n", place.url("web"), place.url("nick"))).unwrap();
    let (cloned, log) = place.clone_of(&place.url("nick"), "main", "", LONG).await;
    cloned.unwrap_or_else(|error| panic!("{error}: {log}"));
    place.limits.git_config = Some(place.path("gone"));
    let error = place.fails(&place.url("web"), "main", "").await;
    assert_eq!(error, "cannot use `ROOT/gone`: No such file or directory (os error 2)");
}

#[tokio::test]
async fn only_the_protocol_that_was_allowed_is_used() {
    let mut place = Place::new(&[("Dockerfile", "")]).await;
    // The agent's own file may name another address, but not another protocol than the one that was judged.
    let config = place.path("gitconfig");
    fs::write(&config, format!("[url \"{}\"]\n\tinsteadOf = http://127.0.0.1:1/\n", place.url(""))).unwrap();
    place.limits.git_config = Some(config);
    let error = place.fails("http://127.0.0.1:1/web", "main", "").await;
    assert_eq!(error, "git failed: transport 'file' not allowed");
}

#[tokio::test]
async fn a_node_without_git_says_so() {
    let place = Place::new(&[("Dockerfile", "")]).await;
    let work = place.path("job");
    let git = place.limits.judge_git(&place.url("web"), "main").unwrap();
    let options = CloneOptions { git: &git, directory: "", dockerfile: "Dockerfile", work: &work, timeout: LONG };
    let environment = |name: &str| (name == "PATH").then(|| work.clone().into_os_string());
    let error = clone_in(&place.limits, options, &mut String::new(), environment).await.expect_err("no git");
    assert_eq!(error.to_string(), "git is not installed on this node; hint: install it, or build from a directory");
    let gone = work.join("gone");
    let options = CloneOptions { work: &gone, ..options };
    let error = clone(&place.limits, options, &mut String::new()).await.expect_err("no work directory");
    assert!(matches!(error, GitError::File { .. }), "{error}");
}

/// A server that takes connections and says nothing; the connection of the first that asks.
async fn silent(place: &mut Place) -> (String, JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    place.limits.git.push(address.parse().unwrap());
    let accepted = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        connection.read_exact(&mut [0; 10]).await.unwrap();
        connection
    });
    (format!("{address}web"), accepted)
}

async fn closed(mut connection: TcpStream) {
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(10), connection.read_to_end(&mut rest)).await;
    // The kernel resets it if something was not read.
    let _ = ended.expect("a process of git lives on");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_waited_for_until_the_deadline_only() {
    let mut place = Place::new(&[("Dockerfile", "")]).await;
    let (url, accepted) = silent(&mut place).await;
    let (cloned, _) = place.clone_of(&url, "main", "", Duration::from_secs(1)).await;
    assert_eq!(cloned.expect_err("silence").to_string(), "git has not ended within 1s");
    // The connection is that of a child of git.
    closed(accepted.await.unwrap()).await;
}

#[tokio::test]
async fn nothing_lives_on_when_nobody_waits_any_more() {
    let mut place = Place::new(&[("Dockerfile", "")]).await;
    let (url, accepted) = silent(&mut place).await;
    let connection = tokio::select! {
        accepted = accepted => accepted.unwrap(),
        (cloned, log) = place.clone_of(&url, "main", "", LONG) => panic!("{cloned:?} {log}"),
    };
    closed(connection).await;
}

#[tokio::test]
async fn a_clone_that_is_too_large_is_an_error() {
    let mut place = Place::new(&[("Dockerfile", "")]).await;
    // It is small on its way.
    fs::write(place.path("web/large"), vec![0; 3 << 20]).unwrap();
    place.commit().await;
    place.limits.context_size = Memory(1 << 20);
    let error = place.fails(&place.url("web"), "main", "").await;
    assert_eq!(error, "the clone is larger than 2m, twice `limits.build.context_size` of the agent's configuration");
}

#[test]
fn a_repository_that_was_not_allowed_has_no_clone() {
    let limits = limits(&[], &["https://git.example/acme/"]);
    for url in ["https://git.example/other/web", "file:///etc", "--upload-pack=x"] {
        let refused = limits.judge_git(url, "main").expect_err(url);
        assert!(matches!(refused, Refusal::Git { .. } | Refusal::GitUrl { .. }), "{refused}");
    }
}

#[test]
fn git_s_words_are_sorted() {
    for (output, expect) in [
        (
            "Cloning into 'x'...\nERROR: Repository not found.\nfatal: Could not read from remote repository.\n\nPlease make sure\n",
            "not there: ERROR: Repository not found.",
        ),
        (
            "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.\n",
            "repository: git@h: Permission denied (publickey).;",
        ),
        (
            "ssh: connect to host h port 22: Connection refused\nfatal: Could not read from remote repository.\n",
            "reached: ssh: connect to host h port 22",
        ),
        (
            "fatal: unable to access 'https://h/': Could not resolve host: h\n",
            "reached: unable to access 'https://h/': Could not resolve host: h",
        ),
        (
            "fatal: could not read Username for 'https://h': terminal prompts disabled\n",
            "repository: could not read Username",
        ),
        (
            "fatal: unable to access 'https://h/': The requested URL returned error: 302\n",
            "another address: unable to access",
        ),
        ("", "git failed: exit status: 128"),
        ("warning: odd\nfatal: early EOF\nfatal: index-pack failed\n", "git failed: early EOF"),
    ] {
        let error = sorted(output, "exit status: 128").to_string();
        assert!(error.contains(expect), "{output}: {error}");
    }
}
