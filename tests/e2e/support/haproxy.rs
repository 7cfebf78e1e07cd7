//! HAProxy as `examples/haproxy` sets it up: its very files, with the addresses of three engines filled in.
//!
//! HAProxy runs in the network of the tests and reaches each node's ports in the network of that node's engine; nothing is
//! set up for it, and nothing is left.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::fleet::CONTAINER;
use super::{Surroundings, eventually, repository_file};

/// HAProxy and the receiver answer within this time after their start.
const READY: Duration = Duration::from_secs(30);
/// The ports in the example.
const PORTS: [&str; 2] = ["8001", "8002"];

/// HAProxy and the receiver of hooks. Both end with this value.
pub(crate) struct Haproxy {
    /// Where HAProxy takes requests.
    pub(crate) address: String,
    app: String,
    socket: PathBuf,
    receiver: String,
    running: Vec<Child>,
}

/// Replaces a part of an example that must be there.
fn fill(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the example has `{from}`: {text}");
    text.replace(from, to)
}

fn example(name: &str) -> String {
    fs::read_to_string(repository_file("examples/haproxy").join(name)).expect("the example is there")
}

/// Free a moment ago.
fn free_address() -> String {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    port.expect("there are free ports").to_string()
}

/// A process that ends with its owner, and says what it has to say in a file.
fn start(home: &Path, name: &str, command: &mut Command) -> Child {
    let log = fs::File::create(home.join(format!("{name}.log"))).expect("the directory can be written");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("{name} can be started: {error}"))
}

impl Haproxy {
    /// Starts both, for nodes whose containers publish these two ports.
    pub(crate) fn start(surroundings: &Surroundings, ports: [&str; 2]) -> Self {
        let home = surroundings.directory.path();
        let (address, receiver, socket) = (free_address(), free_address(), home.join("admin.sock"));
        let config = home.join("haproxy.cfg");
        fs::write(&config, configuration(surroundings, &address, &socket, ports)).expect("a directory");
        let haproxy = start(home, "haproxy", Command::new("/usr/sbin/haproxy").arg("-db").arg("-f").arg(&config));
        let hook = start(home, "receiver", &mut receiver_command(home, &receiver, &socket));
        let (app, running) = (surroundings.app(), vec![haproxy, hook]);
        let haproxy = Self { address, app, socket, receiver, running };
        eventually("the receiver takes requests", READY, || {
            std::net::TcpStream::connect(&haproxy.receiver).map(drop).map_err(|error| error.to_string())
        });
        haproxy
    }

    /// Waits until so many servers take requests.
    pub(crate) fn serves(&self, count: usize) {
        eventually(&format!("HAProxy has {count} servers"), READY, || {
            let servers = self.servers();
            let up = servers.iter().filter(|server| server.status == "UP").count();
            if up == count { Ok(()) } else { Err(format!("{servers:?}")) }
        });
    }

    /// What HAProxy says of its servers.
    pub(crate) fn servers(&self) -> Vec<Server> {
        let Ok(text) = self.ask("show stat") else { return Vec::new() };
        let rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let of_ours = rows.filter(|row| row.len() > 17 && row[0] == self.app && row[1] != "BACKEND");
        of_ours
            .map(|row| Server {
                name: row[1].to_owned(),
                status: row[17].to_owned(),
                requests: row[7].parse().expect("a number"),
            })
            .collect()
    }

    fn ask(&self, command: &str) -> std::io::Result<String> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::os::unix::net::UnixStream::connect(&self.socket)?;
        writeln!(stream, "{command}")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The app file of the example, watched shortly and installed at all times.
    pub(crate) fn app_file(&self, surroundings: &Surroundings) -> PathBuf {
        let image = format!("{}:stable", surroundings.registry.repository("web"));
        let mut text = example("web.toml");
        for (from, to) in [
            ("name  = \"web\"", format!("name  = \"{}\"", self.app)),
            ("registry.example/shop/web:stable", image),
            ("\"01:00\"", "\"00:00\"".to_owned()),
            ("\"4h\"", "\"24h\"".to_owned()),
            ("monitor          = \"30s\"", "monitor = \"1s\"".to_owned()),
            ("canary_monitor   = \"2m\"", "canary_monitor = \"1s\"".to_owned()),
            ("http://lb.example:8405/", format!("http://{}/", self.receiver)),
        ] {
            text = fill(&text, from, &to);
        }
        let path = surroundings.directory.path().join("app.toml");
        fs::write(&path, text).expect("the directory can be written");
        path
    }
}

fn configuration(surroundings: &Surroundings, address: &str, socket: &Path, ports: [&str; 2]) -> String {
    let mut text = example("haproxy.cfg");
    // Whoever looks into another network must be root, and there is no log daemon.
    for line in ["log /dev/log local0", "chroot /var/lib/haproxy", "user haproxy", "group haproxy", "log global"] {
        text = fill(&text, &format!("\t{line}\n"), "");
    }
    text = fill(&text, "/run/haproxy/admin.sock", &socket.display().to_string());
    text = fill(&text, "bind :8080", &format!("bind {address}"));
    text = fill(&text, "backend web\n", &format!("backend {}\n", surroundings.app()));
    for (number, engine) in (1..).zip(&surroundings.engines) {
        for (from, to) in PORTS.into_iter().zip(ports) {
            let server = format!("\tserver n{number}-{from} 192.0.2.1{number}:{from}\n");
            let place = format!("{}:{to} namespace {}", engine.gateway(CONTAINER), engine.network());
            text = fill(&text, &server, &format!("\tserver n{number}-{to} {place}\n"));
        }
    }
    text
}

/// What the unit of the example runs, with the same arguments.
fn receiver_command(home: &Path, receiver: &str, socket: &Path) -> Command {
    let unit = example("nightshift-haproxy.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let port = receiver.rsplit(':').next().expect("a port");
    let line = fill(line, ":8405", &format!(":{port}"));
    let line = fill(&line, "192.0.2.0/24", "127.0.0.0/8");
    let hook = repository_file("examples/haproxy/nightshift-haproxy-hook");
    let line = fill(&line, "/usr/local/sbin/nightshift-haproxy-hook", &hook.display().to_string());
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    // Its log names our directory, so that nobody is left when the test is killed.
    command.arg("-lf").arg(home.join("socat.log")).args(words);
    command.env("HAPROXY_SOCKET", socket).env("HOOK_LOCK", home.join("lock")).env("HOOK_GONE_SECONDS", "120");
    command
}

/// A server of HAProxy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// `NODE-PORT`.
    pub(crate) name: String,
    /// `UP`, `DOWN`, `DRAIN`, `MAINT`.
    pub(crate) status: String,
    /// How many requests were given to it.
    pub(crate) requests: u64,
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        for child in &mut self.running {
            // Ended already is as good.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
