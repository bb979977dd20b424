//! The settings that name addresses: `listeners`, `advertised.listeners`, the protocol map and `admin.listener`.

use super::cluster::{controller_listeners, is_alone};
use super::error::{ConfigError, Warning};
use super::registry::split_list;
use super::settings::Settings;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `NAME://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, in capitals.
    pub name: String,
    /// A name or address, an IPv6 one without its brackets; `None` for every interface.
    pub host: Option<String>,
    /// The port; 0 for any free one.
    pub port: u16,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where to bind.
    pub bind: Endpoint,
    /// The host that those are told who connect.
    pub advertised_host: String,
    /// The port that they are told; 0 stands for the port that was bound.
    pub advertised_port: u16,
}

/// Reads a list of endpoints, or says what is allowed.
pub(super) fn parse_endpoints(value: &str) -> Result<Vec<Endpoint>, String> {
    let items = split_list(value);
    if items.is_empty() {
        return Err("at least one NAME://host:port, such as PLAINTEXT://127.0.0.1:9092".to_owned());
    }
    items.into_iter().map(parse_endpoint).collect()
}

pub(super) fn parse_endpoint(item: &str) -> Result<Endpoint, String> {
    let wrong = |what: &str| format!("NAME://host:port in each item, and in `{item}` {what}");
    let (name, address) = item.split_once("://").ok_or_else(|| wrong("there is no `://`"))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(wrong("the name is not made of letters, digits, `-`, `_` and `.`"));
    }
    let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong("there is no port"))?;
    let port = port.parse().map_err(|_| wrong("the port is not a number from 0 to 65535"))?;
    let host = if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        inner.parse::<Ipv6Addr>().map_err(|_| wrong("the brackets hold no IPv6 address"))?;
        inner
    } else if host.contains(':') {
        return Err(wrong("an IPv6 address needs brackets around it"));
    } else if host.bytes().all(plain) {
        host
    } else {
        return Err(wrong("the host is neither a name nor an address"));
    };
    let host = Some(host.to_owned()).filter(|host| !host.is_empty());
    Ok(Endpoint { name: name.to_ascii_uppercase(), host, port })
}

/// Reads `NAME:PROTOCOL` pairs, or says what is allowed.
pub(super) fn parse_protocol_map(value: &str) -> Result<BTreeMap<String, String>, String> {
    const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
    let mut map = BTreeMap::new();
    for item in split_list(value) {
        let pair =
            item.split_once(':').map(|(name, protocol)| (name.trim(), protocol.trim().to_ascii_uppercase()));
        match pair {
            Some((name, protocol)) if !name.is_empty() && PROTOCOLS.contains(&protocol.as_str()) => {
                if map.insert(name.to_ascii_uppercase(), protocol).is_some() {
                    return Err(format!("a list that names each listener once, and {name} is there twice"));
                }
            }
            Some(_) | None => {
                return Err(format!(
                    "NAME:PROTOCOL in each item with one of {}, not `{item}`",
                    PROTOCOLS.join(", ")
                ));
            }
        }
    }
    Ok(map)
}

/// Reads `off` or a loopback address, or says what is allowed.
pub(super) fn parse_admin_listener(value: &str) -> Result<Option<SocketAddr>, String> {
    if value == "off" {
        return Ok(None);
    }
    let local = value.strip_prefix("localhost:").map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST));
    match local.as_deref().unwrap_or(value).parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
        Ok(_) => Err(
            "an address on loopback such as 127.0.0.1:9644, because the admin port asks for no password; \
                      reach it from elsewhere through a tunnel"
                .to_owned(),
        ),
        Err(_) => Err("`off`, or a loopback address with its port such as 127.0.0.1:9644".to_owned()),
    }
}

/// `address:count` for some addresses, as a client that comes over IPv4 to an IPv6 socket is counted: under its IPv4 address.
pub(super) fn parse_overrides(value: &str) -> Result<BTreeMap<IpAddr, u32>, String> {
    let parse = |item: &str| {
        let (address, count) = item.rsplit_once(':')?;
        let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address = address.parse::<IpAddr>().ok()?.to_canonical();
        Some((address, count.parse::<i32>().ok().and_then(|count| u32::try_from(count).ok())?))
    };
    let mut overrides = BTreeMap::new();
    for item in split_list(value) {
        let (address, count) =
            parse(item).ok_or_else(|| "address:count, such as 10.0.0.7:5000 or [fd00::7]:10".to_owned())?;
        if overrides.insert(address, count).is_some() {
            return Err(format!("each address once; {address} is there twice"));
        }
    }
    Ok(overrides)
}

/// The listeners, what is worth a warning about them, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// For clients.
    pub(super) clients: Vec<Listener>,
    /// For the nodes of the cluster.
    pub(super) peers: Vec<Listener>,
    pub(super) warnings: Vec<Warning>,
    pub(super) errors: Vec<ConfigError>,
}

/// Reads them.
pub(super) fn resolve(settings: &Settings, hostname: &str) -> Resolved {
    let mut work =
        Work { settings, listeners: Vec::new(), peers: Vec::new(), warnings: Vec::new(), errors: Vec::new() };
    let bound = work.endpoints("listeners");
    let advertised = work.endpoints("advertised.listeners");
    work.check_protocols(&bound);
    work.check_distinct(&bound);
    let controllers = controller_listeners(settings);
    let alone = is_alone(settings);
    for missing in controllers.iter().filter(|name| !bound.iter().any(|endpoint| endpoint.name == **name)) {
        work.conflict("controller.listener.names", format!("{missing} is not in `listeners`; add it there"));
    }
    if controllers.len() > 1 {
        let rule = "nodes talk to each other on one listener; name one";
        work.conflict("controller.listener.names", rule.to_owned());
    }
    work.check_inter_broker(&controllers, &bound);
    work.check_advertised(&advertised, &bound, &controllers);
    for endpoint in bound {
        if !controllers.contains(&endpoint.name) {
            work.add(endpoint, &advertised, hostname);
        } else if alone {
            let origin = settings.origin("listeners");
            work.warnings.push(Warning::ControllerListener { name: endpoint.name, origin });
        } else {
            work.add_for_peers(endpoint, &advertised, hostname);
        }
    }
    let is_broker = split_list(settings.text("process.roles").unwrap_or_default()).contains(&"broker");
    if !is_broker && !alone && !work.listeners.is_empty() && work.errors.is_empty() {
        work.conflict(
            "listeners",
            "a node that is no broker serves no clients; name the listener for controllers alone".to_owned(),
        );
    }
    if is_broker && work.listeners.is_empty() && work.errors.is_empty() {
        work.conflict(
            "listeners",
            "there is no listener for clients; add one such as PLAINTEXT://127.0.0.1:9092".to_owned(),
        );
    }
    let Work { listeners: clients, peers, warnings, errors, .. } = work;
    Resolved { clients, peers, warnings, errors }
}

struct Work<'a> {
    settings: &'a Settings,
    listeners: Vec<Listener>,
    peers: Vec<Listener>,
    warnings: Vec<Warning>,
    errors: Vec<ConfigError>,
}

impl Work<'_> {
    fn conflict(&mut self, key: &str, rule: String) {
        let value = self.settings.text(key).unwrap_or_default().to_owned();
        let origin = self.settings.origin(key);
        self.errors.push(ConfigError::Conflict { key: key.to_owned(), value, origin, rule });
    }

    fn endpoints(&mut self, key: &str) -> Vec<Endpoint> {
        match self.settings.text(key).map(parse_endpoints) {
            Some(Ok(endpoints)) => endpoints,
            Some(Err(rule)) => {
                self.conflict(key, format!("the value must be {rule}"));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn check_protocols(&mut self, bound: &[Endpoint]) {
        const MAP: &str = "listener.security.protocol.map";
        let map =
            self.settings.text(MAP).and_then(|value| parse_protocol_map(value).ok()).unwrap_or_default();
        let guessed = !self.settings.origin(MAP).is_explicit();
        for Endpoint { name, .. } in bound {
            match map.get(name).map(String::as_str) {
                Some("PLAINTEXT") => {}
                // Kafka takes controllers' listeners for PLAINTEXT as long as nobody sets the map (KIP-631).
                None if guessed && self.is_controller(name) => {}
                Some(protocol) => {
                    let rule = format!(
                        "listener {name} asks for {protocol}, and this release has neither TLS nor SASL; use PLAINTEXT on \
                         a loopback address"
                    );
                    self.conflict("listeners", rule);
                }
                None => self.conflict(
                    "listeners",
                    format!("listener {name} has no protocol; add {name}:PLAINTEXT to {MAP}"),
                ),
            }
        }
    }

    fn is_controller(&self, name: &str) -> bool {
        controller_listeners(self.settings).iter().any(|controller| controller == name)
    }

    fn check_distinct(&mut self, bound: &[Endpoint]) {
        for (at, one) in bound.iter().enumerate() {
            for other in bound.iter().skip(at + 1) {
                let hosts_meet = one.host == other.host || is_wildcard(one) || is_wildcard(other);
                if one.name == other.name {
                    self.conflict(
                        "listeners",
                        format!("the name {} is there twice; give each listener its own", one.name),
                    );
                } else if one.port == other.port && one.port != 0 && hosts_meet {
                    let rule =
                        format!("{} and {} share port {}; give each its own", one.name, other.name, one.port);
                    self.conflict("listeners", rule);
                }
            }
        }
    }

    /// The name must be a client's listener, as in Kafka, though nothing depends on it.
    fn check_inter_broker(&mut self, controllers: &[String], bound: &[Endpoint]) {
        const KEY: &str = "inter.broker.listener.name";
        let Some(name) = self.settings.text(KEY).map(str::to_ascii_uppercase) else { return };
        if self.settings.origin("security.inter.broker.protocol").is_explicit() {
            self.conflict(KEY, "set it or security.inter.broker.protocol, not both".to_owned());
        } else if controllers.contains(&name) {
            self.conflict(
                KEY,
                format!("{name} is for controllers; name another listener, or remove the setting"),
            );
        } else if !bound.iter().any(|endpoint| endpoint.name == name) {
            self.conflict(KEY, format!("{name} is not in `listeners`; add it there"));
        }
    }

    fn check_advertised(&mut self, advertised: &[Endpoint], bound: &[Endpoint], controllers: &[String]) {
        const KEY: &str = "advertised.listeners";
        for (at, endpoint) in advertised.iter().enumerate() {
            let name = &endpoint.name;
            if !bound.iter().any(|listener| listener.name == *name) {
                self.conflict(KEY, format!("{name} is not in `listeners`; add it there or remove it here"));
            }
            if advertised.iter().take(at).any(|before| before.name == *name) {
                self.conflict(KEY, format!("{name} is there twice; keep one"));
            }
            if is_wildcard(endpoint) || endpoint.port == 0 {
                let who = if controllers.contains(name) { "nodes" } else { "clients" };
                self.conflict(
                    KEY,
                    format!("{who} cannot connect to {name}'s address; write a real host and port"),
                );
            }
        }
    }

    /// A listener for the other nodes. What they are told counts for those that are not among the voters.
    fn add_for_peers(&mut self, bind: Endpoint, advertised: &[Endpoint], hostname: &str) {
        if !is_loopback(&bind) {
            let origin = self.settings.origin("listeners");
            self.warnings.push(Warning::OpenListener { name: bind.name.clone(), origin });
        }
        let told = advertised.iter().find(|endpoint| endpoint.name == bind.name);
        let told = told.filter(|told| told.host.is_some());
        let host = told.unwrap_or(&bind).host.clone().filter(|_| told.is_some() || !is_wildcard(&bind));
        let port = told.map_or(bind.port, |told| told.port);
        let advertised_host = host.unwrap_or_else(|| hostname.to_owned());
        self.peers.push(Listener { bind, advertised_host, advertised_port: port });
    }

    fn add(&mut self, bind: Endpoint, advertised: &[Endpoint], hostname: &str) {
        let origin = self.settings.origin("listeners");
        if !is_loopback(&bind) {
            self.warnings.push(Warning::OpenListener { name: bind.name.clone(), origin: origin.clone() });
        }
        let told = advertised.iter().find(|endpoint| endpoint.name == bind.name);
        let (advertised_host, advertised_port) = match (told, &bind.host) {
            (Some(told), _) => (told.host.clone().unwrap_or_default(), told.port),
            (None, _) if !advertised.is_empty() => {
                let rule =
                    format!("listener {} is missing; clients must be told where to connect", bind.name);
                return self.conflict("advertised.listeners", rule);
            }
            (None, Some(host)) if !is_wildcard(&bind) => (host.clone(), bind.port),
            (None, Some(_) | None) => {
                let (name, host) = (bind.name.clone(), hostname.to_owned());
                self.warnings.push(Warning::AdvertisedHostname { name, origin, host: host.clone() });
                (host, bind.port)
            }
        };
        self.listeners.push(Listener { bind, advertised_host, advertised_port });
    }
}

fn is_wildcard(endpoint: &Endpoint) -> bool {
    match &endpoint.host {
        None => true,
        Some(host) => host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified()),
    }
}

fn is_loopback(endpoint: &Endpoint) -> bool {
    match &endpoint.host {
        None => false,
        Some(host) => {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}
