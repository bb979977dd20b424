//! Listeners: whether their ports are free, and whether what is advertised can be reached by its name.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use super::Check;
use crate::config::{Listener, NodeConfig};

pub(super) fn check(node: &NodeConfig) -> Vec<Check> {
    let mut checks = Vec::new();
    for listener in node.listeners.iter().chain(&node.cluster.peer_listener) {
        let host = listener.bind.host.as_deref();
        let name =
            format!("{} on {}:{}", listener.bind.name, host.unwrap_or("every interface"), listener.bind.port);
        checks.push(port(&name, &bind_addresses(host, listener.bind.port)));
        checks.push(advertised(listener));
    }
    if let Some(address) = node.admin_listener {
        checks.push(port(&format!("the admin port on {address}"), &Ok(vec![address])));
    }
    checks
}

fn bind_addresses(host: Option<&str>, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    match host {
        None => Ok(vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))]),
        Some(host) => (host, port).to_socket_addrs().map(Iterator::collect),
    }
}

/// Binds for a moment: nobody is answered.
fn port(name: &str, addresses: &std::io::Result<Vec<SocketAddr>>) -> Check {
    let addresses = match addresses {
        Ok(addresses) if !addresses.is_empty() => addresses,
        Ok(_) => return Check::fail("port", format!("{name}: the host has no address"), RESOLVE),
        Err(error) => return Check::fail("port", format!("{name}: {error}"), RESOLVE),
    };
    match TcpListener::bind(addresses.as_slice()) {
        Ok(_) => Check::ok("port", format!("{name} is free")),
        Err(error) => {
            const ADVICE: &[(ErrorKind, &str)] = &[
                (
                    ErrorKind::AddrInUse,
                    "stop what listens there (`ss -ltnp` names it), or choose another port",
                ),
                (
                    ErrorKind::AddrNotAvailable,
                    "name an address of this machine in listeners; `ip address` has them",
                ),
                (
                    ErrorKind::PermissionDenied,
                    "choose a port from 1024 on, or give the node CAP_NET_BIND_SERVICE",
                ),
            ];
            let known = ADVICE.iter().find(|(kind, _)| *kind == error.kind());
            let then = known.map_or("choose another address or port in listeners", |(_, then)| then);
            Check::fail("port", format!("{name}: {error}"), then)
        }
    }
}

const RESOLVE: &str = "correct the host in the node's settings, or add it to the name service or /etc/hosts";

fn advertised(listener: &Listener) -> Check {
    let (name, host) = (&listener.bind.name, listener.advertised_host.as_str());
    // The port may be chosen at the start only.
    let found = match (host, listener.advertised_port).to_socket_addrs() {
        Ok(found) => found.map(|address| address.ip()).collect::<Vec<IpAddr>>(),
        Err(error) => {
            return Check::fail("advertised", format!("{name}: {host} cannot be resolved: {error}"), RESOLVE);
        }
    };
    let Some(first) = found.first() else {
        return Check::fail("advertised", format!("{name}: {host} has no address"), RESOLVE);
    };
    let is_local_bind = listener.bind.host.as_deref().is_some_and(|host| {
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    let what = format!("{name}: {host} is {}", shown.join(", "));
    if first.is_unspecified() {
        let then = "name a host in advertised.listeners that clients can reach: 0.0.0.0 is none";
        Check::fail("advertised", what, then)
    } else if found.iter().all(IpAddr::is_loopback) && !is_local_bind {
        let then = "clients on other machines are sent to themselves: set advertised.listeners to a name that they know";
        Check::warn("advertised", what, then)
    } else {
        Check::ok("advertised", what)
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::config::Endpoint;

    fn listener(bind: Option<&str>, advertised: &str) -> Listener {
        let bind = Endpoint { name: "PLAINTEXT".to_owned(), host: bind.map(str::to_owned), port: 0 };
        Listener { bind, advertised_host: advertised.to_owned(), advertised_port: 9092 }
    }

    #[test]
    fn a_port_that_is_taken_fails_and_a_free_one_does_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let check = port("x", &Ok(vec![address]));
        assert_eq!(check.state, State::Fail);
        assert!(check.then.is_some_and(|then| then.contains("ss -ltnp")));
        drop(taken);
        assert_eq!(port("x", &bind_addresses(Some("127.0.0.1"), 0)).state, State::Ok);
    }

    #[test]
    fn what_is_advertised_must_lead_somewhere() {
        let state = |bind, host| advertised(&listener(bind, host)).state;
        assert_eq!(state(Some("127.0.0.1"), "127.0.0.1"), State::Ok);
        assert_eq!(state(None, "127.0.0.1"), State::Warn);
        assert_eq!(state(None, "192.0.2.1"), State::Ok);
        assert_eq!(state(None, "0.0.0.0"), State::Fail);
        // DNS has no labels of 64 characters, so that no name server is asked.
        assert_eq!(state(None, &format!("{}.invalid", "x".repeat(64))), State::Fail);
    }
}
