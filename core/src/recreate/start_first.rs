//! What keeps two containers of the same configuration from running at the same time.

use serde_json::Value;

/// Why a container cannot run beside its successor for a moment; empty when it can. In words for people.
///
/// A named volume or a bind mount is no obstacle: two processes may well share it, and only the operator knows whether
/// these two can.
#[must_use]
pub fn start_first_obstacles(container: &Value) -> Vec<String> {
    let mut obstacles = fixed_ports(container);
    let mode = container.pointer("/HostConfig/NetworkMode").and_then(Value::as_str).unwrap_or_default();
    if mode == "host" {
        obstacles.push("it is in the host's network, where only one can listen on its ports".to_owned());
    } else if let Some(other) = mode.strip_prefix("container:") {
        let other = other.get(..12).unwrap_or(other);
        obstacles.push(format!("it is in the network of container `{other}`, where only one can listen on its ports"));
    }
    obstacles.extend(static_addresses(container));
    let mac = container.pointer("/Config/MacAddress").and_then(Value::as_str).unwrap_or_default();
    if !mac.is_empty() {
        obstacles.push(format!("it has the MAC address {mac}"));
    }
    obstacles
}

/// Host ports that only one can have. A range leaves the engine a choice, and a random port is another one each time.
fn fixed_ports(container: &Value) -> Vec<String> {
    let bindings = container.pointer("/HostConfig/PortBindings").and_then(Value::as_object);
    let mut found = Vec::new();
    for (port, hosts) in bindings.into_iter().flatten() {
        for host in hosts.as_array().into_iter().flatten() {
            let host_port = host.get("HostPort").and_then(Value::as_str).unwrap_or_default();
            if !matches!(host_port, "" | "0") && !host_port.contains('-') {
                found.push(format!("it publishes {port} on host port {host_port}"));
            }
        }
    }
    found
}

fn static_addresses(container: &Value) -> Vec<String> {
    let networks = container.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    let mut found = Vec::new();
    for (network, settings) in networks.into_iter().flatten() {
        for key in ["IPv4Address", "IPv6Address"] {
            let address = settings.pointer(&format!("/IPAMConfig/{key}")).and_then(Value::as_str).unwrap_or_default();
            if !address.is_empty() {
                found.push(format!("it has the static address {address} on network `{network}`"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_only_one_can_have_is_named() {
        let bind = |port: &str| json!({"HostConfig": {"NetworkMode": "n", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": port}]}}});
        let address = |config: Value| json!({"NetworkSettings": {"Networks": {"backend": {"IPAMConfig": config, "IPAddress": "10.0.0.2"}}}});
        for (container, expect) in [
            (json!({}), vec![]),
            (bind("8080"), vec!["it publishes 80/tcp on host port 8080"]),
            (bind(""), vec![]),
            (bind("0"), vec![]),
            (bind("8000-8010"), vec![]),
            (
                json!({"HostConfig": {"NetworkMode": "host"}}),
                vec!["it is in the host's network, where only one can listen on its ports"],
            ),
            (
                json!({"HostConfig": {"NetworkMode": "container:0123456789abcdef"}}),
                vec!["it is in the network of container `0123456789ab`, where only one can listen on its ports"],
            ),
            (address(json!(null)), vec![]),
            (
                address(json!({"IPv4Address": "10.0.0.7"})),
                vec!["it has the static address 10.0.0.7 on network `backend`"],
            ),
            (
                address(json!({"IPv6Address": "fd00::7"})),
                vec!["it has the static address fd00::7 on network `backend`"],
            ),
            (json!({"Config": {"MacAddress": "02:42:00:00:00:07"}}), vec!["it has the MAC address 02:42:00:00:00:07"]),
        ] {
            assert_eq!(start_first_obstacles(&container), expect, "{container}");
        }
    }
}
