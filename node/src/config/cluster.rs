//! The settings that make a node part of a cluster: roles, voters, the listener for the other nodes, timings.
//!
//! A node without `controller.quorum.voters` is a cluster of its own. With them, every node, whatever its roles, listens for
//! the others on the listener that `controller.listener.names` names, and finds them by that list. Rules and words follow
//! Kafka's where Kafka has them.

use super::error::{ConfigError, Warning};
use super::listeners::{Endpoint, Listener, parse_endpoint};
use super::node::{conflict, number, word};
use super::registry::split_list;
use super::settings::Settings;
use std::collections::BTreeMap;

/// What a node is to its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// `process.roles` has `broker`: it holds partitions and serves clients.
    pub is_broker: bool,
    /// `process.roles` has `controller`: it is one of the voters.
    pub is_controller: bool,
    /// `controller.quorum.voters`: where each listens for other nodes. Empty: the node is a cluster of its own.
    pub voters: BTreeMap<i32, (String, u16)>,
    /// Where the other nodes connect; `None` for a node that is a cluster of its own.
    pub peer_listener: Option<Listener>,
    /// `controller.quorum.auto.join.enable`
    pub admits_voters: bool,
    /// `controller.quorum.election.timeout.ms`
    pub election_timeout_ms: u64,
    /// `broker.heartbeat.interval.ms`
    pub heartbeat_interval_ms: u64,
    /// `broker.session.timeout.ms`
    pub session_timeout_ms: u64,
    /// `replica.lag.time.max.ms`
    pub replica_lag_ms_max: u64,
    /// `leader.imbalance.check.interval.seconds` in ms; `None` when `auto.leader.rebalance.enable` is false.
    pub rebalance_interval_ms: Option<u64>,
    /// What no setting names; `None` is the core's own.
    pub internals: Option<Internals>,
}

/// Waits and limits between nodes that no setting names. A simulation makes them small, so that it meets all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Internals {
    /// Silence after which a broker is fenced whose connection was lost.
    pub lost_broker_ms: u64,
    /// How long an answer of a peer is waited for before the question is repeated.
    pub resend_ms: u64,
    /// How long a request waits for the controller.
    pub forward_ms: u64,
    /// How long a stopping broker tries to hand over what it leads.
    pub shutdown_ms: u64,
    /// Bytes of record batches that may be on their way to one peer.
    pub peer_window_bytes: u64,
    /// Entries of the metadata log that are kept for peers that lag.
    pub metadata_entries_max: usize,
}

const VOTERS: &str = "controller.quorum.voters";
const CONTROLLER_LISTENERS: &str = "controller.listener.names";
/// A heartbeat may be late, or lost, without the broker being taken for dead.
const HEARTBEATS_PER_SESSION_MIN: u64 = 2;

/// Reads a list of voters, or says what is allowed.
pub(super) fn parse_voters(value: &str) -> Result<BTreeMap<i32, (String, u16)>, String> {
    let mut voters = BTreeMap::new();
    for item in split_list(value) {
        let wrong = |what: &str| format!("id@host:port in each item, and in `{item}` {what}");
        let (id, address) = item.split_once('@').ok_or_else(|| wrong("there is no `@`"))?;
        let id: i32 = id.parse().map_err(|_| wrong("the id is not a number"))?;
        if id < 0 {
            return Err(wrong("the id is negative"));
        }
        let Endpoint { host, port, .. } = parse_endpoint(&format!("VOTER://{address}"))
            .map_err(|_| wrong("the address is not host:port"))?;
        let host = host.ok_or_else(|| wrong("there is no host"))?;
        if port == 0 {
            return Err(wrong("the port is 0, where nobody can connect"));
        }
        if voters.values().any(|(other, of_other)| *other == host && *of_other == port) {
            return Err(wrong("the address is another voter's as well"));
        }
        if voters.insert(id, (host, port)).is_some() {
            return Err(wrong("the id is another voter's as well"));
        }
    }
    Ok(voters)
}

/// The names of the listeners for controllers, in capitals.
pub(super) fn controller_listeners(settings: &Settings) -> Vec<String> {
    let names = settings.text(CONTROLLER_LISTENERS).map(split_list).unwrap_or_default();
    names.into_iter().map(str::to_ascii_uppercase).collect()
}

/// The node is a cluster of its own.
pub(super) fn is_alone(settings: &Settings) -> bool {
    settings.text(VOTERS).is_none()
}

/// Builds it; what is wrong goes to `errors`. `peer_listeners` are those for controllers.
pub(super) fn build(
    settings: &Settings,
    peer_listeners: Vec<Listener>,
    errors: &mut Vec<ConfigError>,
) -> Result<ClusterConfig, ConfigError> {
    let roles = split_list(settings.text("process.roles").unwrap_or_default());
    let node_id: i32 = number(settings, "node.id")?;
    let seconds: u64 = number(settings, "leader.imbalance.check.interval.seconds")?;
    let truth = [("true", true), ("false", false)];
    let rebalances = word(settings, "auto.leader.rebalance.enable", &truth)?;
    let voters = settings.text(VOTERS).map(parse_voters).transpose();
    let config = ClusterConfig {
        is_broker: roles.contains(&"broker"),
        is_controller: roles.contains(&"controller"),
        // A list that cannot be read was refused by the table.
        voters: voters.unwrap_or_default().unwrap_or_default(),
        peer_listener: peer_listeners.into_iter().next().filter(|_| !is_alone(settings)),
        admits_voters: word(settings, "controller.quorum.auto.join.enable", &truth)?,
        election_timeout_ms: number(settings, "controller.quorum.election.timeout.ms")?,
        heartbeat_interval_ms: number(settings, "broker.heartbeat.interval.ms")?,
        session_timeout_ms: number(settings, "broker.session.timeout.ms")?,
        replica_lag_ms_max: number(settings, "replica.lag.time.max.ms")?,
        rebalance_interval_ms: rebalances.then_some(seconds * 1000),
        internals: None,
    };
    check_roles(settings, node_id, &config, errors);
    check_timings(settings, &config, errors);
    check_replicas(settings, errors);
    Ok(config)
}

fn check_roles(settings: &Settings, node_id: i32, config: &ClusterConfig, errors: &mut Vec<ConfigError>) {
    let is_voter = config.voters.contains_key(&node_id);
    let listed = || config.voters.keys().map(i32::to_string).collect::<Vec<_>>().join(", ");
    if config.voters.is_empty() {
        if !(config.is_broker && config.is_controller) {
            let rule = "a node with one role needs others for the other; list the controllers in \
                        controller.quorum.voters, or set process.roles=broker,controller";
            errors.push(conflict(settings, "process.roles", rule.to_owned()));
        }
        return;
    }
    if config.is_controller && !is_voter {
        let rule = format!(
            "process.roles has `controller`, so the node id {node_id} must be among the voters, which are {}",
            listed()
        );
        errors.push(conflict(settings, VOTERS, rule));
    } else if !config.is_controller && is_voter {
        let rule = format!(
            "process.roles has no `controller`, so the node id {node_id} must not be among the voters; add the role, or \
             take the node from the list"
        );
        errors.push(conflict(settings, VOTERS, rule));
    }
    if config.peer_listener.is_none() {
        let rule = format!(
            "every node of a cluster listens for the others there; add a listener such as CONTROLLER://127.0.0.1:9093 to \
             `listeners` and set {CONTROLLER_LISTENERS} to its name"
        );
        errors.push(conflict(settings, CONTROLLER_LISTENERS, rule));
    }
}

fn check_timings(settings: &Settings, config: &ClusterConfig, errors: &mut Vec<ConfigError>) {
    let most = config.session_timeout_ms / HEARTBEATS_PER_SESSION_MIN;
    if config.heartbeat_interval_ms > most {
        let rule = format!(
            "may be at most {most} with broker.session.timeout.ms={} ({}): a broker that misses one heartbeat is not dead",
            config.session_timeout_ms,
            settings.origin("broker.session.timeout.ms")
        );
        errors.push(conflict(settings, "broker.heartbeat.interval.ms", rule));
    }
}

fn check_replicas(settings: &Settings, errors: &mut Vec<ConfigError>) {
    const FACTOR: &str = "default.replication.factor";
    let value = |key| settings.text(key).and_then(|value| value.parse::<u16>().ok());
    let alone = is_alone(settings);
    if alone && value(FACTOR).is_some_and(|factor| factor > 1) {
        let rule = "this node is a cluster of its own, so no second copy would exist; list the nodes of a cluster in \
                    controller.quorum.voters, or set it to 1";
        return errors.push(conflict(settings, FACTOR, rule.to_owned()));
    }
    let factor = if alone { Some(1) } else { value(FACTOR) };
    if let (Some(factor), Some(least)) = (factor, value("min.insync.replicas"))
        && least > factor
    {
        let shown = settings.text(FACTOR).map_or_else(
            || "this node is a cluster of its own".to_owned(),
            |value| format!("{FACTOR}={value} ({})", settings.origin(FACTOR)),
        );
        let rule = format!(
            "may be at most {factor}, because {shown}: a topic with fewer replicas could never be written to"
        );
        errors.push(conflict(settings, "min.insync.replicas", rule));
    }
}

/// What is allowed and has no effect, or less than one may think.
pub(super) fn warnings(settings: &Settings, config: &ClusterConfig) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let inter_broker = settings.origin("inter.broker.listener.name");
    if inter_broker.is_explicit() && !config.voters.is_empty() {
        warnings.push(Warning::Ineffective {
            key: "inter.broker.listener.name".to_owned(),
            origin: inter_broker,
            because: format!("nodes talk to each other on the listener of {CONTROLLER_LISTENERS}"),
        });
    }
    if config.voters.len().is_multiple_of(2) && !config.voters.is_empty() {
        warnings.push(Warning::EvenVoters {
            voters: config.voters.len(),
            origin: settings.origin(VOTERS),
            losses: config.voters.len() / 2 - 1,
        });
    }
    warnings
}
