//! A connection to a port of a container of a real engine.
//!
//! It is made *inside the container's own network namespace*: a thread enters it, connects there and hands the connection
//! out. So the answer is the container's for certain, wherever the agent itself runs: an address alone may be out of
//! reach, or belong to another engine's container (bridges have the same addresses everywhere). Where that is not possible
//! (the agent is not root, or lives in a PID namespace of its own), the container's address is asked from here, and after
//! it the port that the engine has published.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use nightshift_core::ids::ContainerId;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tokio::time::timeout;

use super::Connection;

/// One attempt to connect. Locally it takes microseconds; a packet that is dropped must leave time for the next address.
const CONNECT: Duration = Duration::from_secs(1);

/// A connection to a port of a running container.
///
/// # Errors
/// Why there is none, in words for people.
pub(super) async fn reach(inspect: &Value, container: &ContainerId, port: u16) -> Result<Connection, String> {
    let addresses = own_addresses(inspect, port);
    if let Some(pid) = process_of(inspect, container) {
        let inside = addresses.clone();
        let entered = tokio::task::spawn_blocking(move || connect_inside(pid, port, &inside)).await;
        match entered {
            Ok(Ok(connection)) => return from_std(connection),
            Ok(Err(Inside::Refused(error))) => return Err(format!("port {port}: {error}")),
            Ok(Err(Inside::NoEntry)) | Err(_) => {}
        }
    }
    let mut why = format!("port {port}: the container has no address that can be reached from here");
    for address in addresses.into_iter().chain(published_addresses(inspect, port)) {
        match timeout(CONNECT, tokio::net::TcpStream::connect(address)).await {
            Ok(Ok(connection)) => return Ok(Box::new(connection)),
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address}: no answer within {} s", CONNECT.as_secs()),
        }
    }
    Err(why)
}

fn from_std(connection: TcpStream) -> Result<Connection, String> {
    let made = connection.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(connection));
    made.map(|connection| Box::new(connection) as Connection).map_err(|error| error.to_string())
}

/// Why there is no connection from inside.
enum Inside {
    /// The namespace cannot be entered: try from outside.
    NoEntry,
    /// The container itself does not answer.
    Refused(io::Error),
}

/// Connects in the network namespace of a process. Runs on a thread of its own, which ends with it: a thread that has
/// changed its namespace must never serve anything else.
fn connect_inside(pid: u32, port: u16, addresses: &[SocketAddr]) -> Result<TcpStream, Inside> {
    let candidates: Vec<SocketAddr> =
        [SocketAddr::from((Ipv4Addr::LOCALHOST, port))].into_iter().chain(addresses.iter().copied()).collect();
    let thread = std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
        let namespace = fs::File::open(format!("/proc/{pid}/ns/net")).map_err(|_| Inside::NoEntry)?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|_| Inside::NoEntry)?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in candidates {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(Inside::Refused(last))
    });
    thread.map_err(|_| Inside::NoEntry)?.join().unwrap_or(Err(Inside::NoEntry))
}

/// The process id of the container's main process, where this process sees it under the same number: its control group
/// names the container. Another PID namespace, another machine: `None`.
fn process_of(inspect: &Value, container: &ContainerId) -> Option<u32> {
    let pid = inspect.pointer("/State/Pid").and_then(Value::as_u64).filter(|pid| *pid > 0)?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    groups.contains(&container.0).then(|| u32::try_from(pid).ok()).flatten()
}

/// The container's own addresses on its networks; for one that shares the host's network, the host's loopback.
fn own_addresses(inspect: &Value, port: u16) -> Vec<SocketAddr> {
    if inspect.pointer("/HostConfig/NetworkMode").and_then(Value::as_str) == Some("host") {
        return vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    }
    let networks = inspect.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    let texts = networks.into_iter().flat_map(|networks| networks.values()).flat_map(|network| {
        ["IPAddress", "GlobalIPv6Address"].into_iter().filter_map(|key| network.get(key).and_then(Value::as_str))
    });
    texts.filter_map(|text| text.parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, port)).collect()
}

/// Where the engine has published the port on this host.
fn published_addresses(inspect: &Value, port: u16) -> Vec<SocketAddr> {
    let bindings = inspect.pointer("/NetworkSettings/Ports").and_then(|ports| ports.get(format!("{port}/tcp")));
    let bindings = bindings.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    bindings
        .iter()
        .filter_map(|binding| {
            let host_port = binding.get("HostPort")?.as_str()?.parse().ok()?;
            let ip: IpAddr = binding.get("HostIp").and_then(Value::as_str).unwrap_or_default().parse().ok()?;
            let ip = if ip.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip };
            Some(SocketAddr::new(ip, host_port))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_read_from_the_inspect() {
        let inspect = json!({
            "HostConfig": {"NetworkMode": "backend"},
            "NetworkSettings": {
                "Networks": {"backend": {"IPAddress": "172.18.0.2", "GlobalIPv6Address": ""},
                             "other": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}},
                "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"},
                                     {"HostIp": "10.0.0.1", "HostPort": "81"}], "81/tcp": null},
            },
        });
        let texts = |addresses: Vec<SocketAddr>| addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        assert_eq!(texts(own_addresses(&inspect, 80)), ["172.18.0.2:80", "[fd00::2]:80"]);
        assert_eq!(texts(published_addresses(&inspect, 80)), ["127.0.0.1:8080", "127.0.0.1:8080", "10.0.0.1:81"]);
        assert_eq!(texts(published_addresses(&inspect, 81)), [""; 0]);
        let host = json!({"HostConfig": {"NetworkMode": "host"}});
        assert_eq!(texts(own_addresses(&host, 80)), ["127.0.0.1:80"]);
    }

    #[test]
    fn a_process_that_is_not_the_containers_is_not_entered() {
        let me = json!({"State": {"Pid": std::process::id()}});
        assert_eq!(process_of(&me, &ContainerId("f".repeat(64))), None);
        assert_eq!(process_of(&json!({"State": {"Pid": 0}}), &ContainerId("f".repeat(64))), None);
    }
}
