//! Settings that make a node part of a cluster: what they come to, and what is refused, in the words of Kafka's operators.

use seedlog::config::{ClusterConfig, Loaded, Sources, load};

const VOTERS: &str = "controller.quorum.voters=1@a:9093,2@b:9094,3@[::1]:9095\n";
const LISTENERS: &str = "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n";

fn sources(file: &str) -> Sources {
    Sources {
        file: Some(("server.properties".into(), file.to_owned())),
        hostname: "here".to_owned(),
        ..Sources::default()
    }
}

fn loaded(file: &str) -> Loaded {
    load(&sources(file)).unwrap_or_else(|errors| panic!("{file:?} was refused:\n{errors}"))
}

fn cluster(file: &str) -> ClusterConfig {
    loaded(file).node.cluster
}

fn said(file: &str) -> Vec<String> {
    let errors = load(&sources(file)).expect_err(file).0;
    errors.iter().map(ToString::to_string).collect()
}

fn warnings(file: &str) -> Vec<String> {
    loaded(file).warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_node_without_voters_is_a_cluster_of_its_own() {
    let config = cluster("");
    assert!(config.is_broker && config.is_controller);
    assert!(config.voters.is_empty() && config.peer_listener.is_none());
    assert!(cluster(LISTENERS).peer_listener.is_none(), "nobody would come");
    assert_eq!((config.election_timeout_ms, config.heartbeat_interval_ms), (1_000, 500));
    assert_eq!((config.session_timeout_ms, config.replica_lag_ms_max), (9_000, 30_000));
    assert_eq!(config.rebalance_interval_ms, Some(300_000));
    assert_eq!(cluster("auto.leader.rebalance.enable=false").rebalance_interval_ms, None);
    let node = loaded("").node;
    assert_eq!((node.replication_factor_default, node.insync_replicas_min), (None, None));
}

#[test]
fn a_node_of_a_cluster_has_a_listener_for_the_others() {
    let node =
        loaded(&format!("{VOTERS}{LISTENERS}default.replication.factor=3\nmin.insync.replicas=2")).node;
    assert_eq!((node.replication_factor_default, node.insync_replicas_min), (Some(3), Some(2)));
    assert!(node.memory.peers_bytes > 0);
    let [client] = node.listeners.as_slice() else { panic!("{:?}", node.listeners) };
    assert_eq!(client.bind.port, 9092);
    let peers = node.cluster.peer_listener.expect("it listens");
    assert_eq!((peers.bind.name.as_str(), peers.bind.port), ("CONTROLLER", 9093));
    let voters: Vec<_> = node.cluster.voters.into_iter().collect();
    let voter = |id, host: &str, port| (id, (host.to_owned(), port));
    assert_eq!(voters, [voter(1, "a", 9093), voter(2, "b", 9094), voter(3, "::1", 9095)]);

    let named = "listeners=PLAINTEXT://127.0.0.1:1,NODES://:2\ncontroller.listener.names=nodes\n\
                 advertised.listeners=PLAINTEXT://c:1,NODES://d:3\n\
                 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,NODES:PLAINTEXT\n";
    let peers = cluster(&format!("{VOTERS}{named}")).peer_listener.expect("it listens");
    assert_eq!((peers.bind.name.as_str(), peers.bind.host.as_deref()), ("NODES", None));
    assert_eq!((peers.advertised_host.as_str(), peers.advertised_port), ("d", 3));
}

#[test]
fn roles_decide_who_votes_and_who_serves() {
    let broker = cluster(&format!("{VOTERS}{LISTENERS}process.roles=broker\nnode.id=7"));
    assert!(broker.is_broker && !broker.is_controller && broker.peer_listener.is_some());
    let controller =
        loaded(&format!("{VOTERS}listeners=CONTROLLER://127.0.0.1:9093\nprocess.roles=controller")).node;
    assert!(controller.listeners.is_empty() && !controller.cluster.is_broker);
}

#[test]
fn what_cannot_work_is_refused() {
    let both = format!("{VOTERS}{LISTENERS}");
    for (file, expected) in [
        (format!("{both}node.id=4"), "the node id 4 must be among the voters, which are 1, 2, 3"),
        (format!("{both}process.roles=broker"), "the node id 1 must not be among the voters"),
        (VOTERS.to_owned(), "add a listener such as CONTROLLER://127.0.0.1:9093 to `listeners`"),
        (format!("{both}process.roles=controller"), "a node that is no broker serves no clients"),
        ("process.roles=controller".to_owned(), "a node with one role needs others for the other"),
        ("controller.quorum.voters=a:9093".to_owned(), "in `a:9093` there is no `@`"),
        ("controller.quorum.voters=x@a:9093".to_owned(), "the id is not a number"),
        ("controller.quorum.voters=-1@a:9093".to_owned(), "the id is negative"),
        ("controller.quorum.voters=1@a".to_owned(), "the address is not host:port"),
        ("controller.quorum.voters=1@:9093".to_owned(), "there is no host"),
        ("controller.quorum.voters=1@a:0".to_owned(), "the port is 0"),
        ("controller.quorum.voters=1@a:1,1@b:1".to_owned(), "the id is another voter's as well"),
        ("controller.quorum.voters=1@a:1,2@a:1".to_owned(), "the address is another voter's as well"),
        (
            format!("{both}controller.quorum.bootstrap.servers=a:1,b:1"),
            "by controller.quorum.voters; list them",
        ),
        (format!("{both}inter.broker.listener.name=CONTROLLER"), "CONTROLLER is for controllers"),
        (format!("{both}inter.broker.listener.name=INSIDE"), "INSIDE is not in `listeners`"),
        (
            format!("{both}inter.broker.listener.name=PLAINTEXT\nsecurity.inter.broker.protocol=PLAINTEXT"),
            "not both",
        ),
        (format!("{both}advertised.listeners=PLAINTEXT://a:1,CONTROLLER://:9093"), "nodes cannot connect"),
        (
            format!("{both}broker.heartbeat.interval.ms=5000"),
            "may be at most 4500 with broker.session.timeout.ms",
        ),
        (format!("{both}min.insync.replicas=3\ndefault.replication.factor=2"), "may be at most 2, because"),
        ("default.replication.factor=3".to_owned(), "this node is a cluster of its own"),
        (format!("{both}replica.lag.time.max.ms=1"), "a whole number from 100"),
    ] {
        let said = said(&file);
        assert!(said.len() == 1 && said[0].contains(expected), "{file}: {said:?}");
    }
}

#[test]
fn what_is_of_no_use_is_said() {
    let even = "controller.quorum.voters=1@a:9093,2@b:9093\n";
    assert!(warnings(&format!("{even}{LISTENERS}"))[0].contains("2 voters bear the loss of 0"));
    let named = warnings(&format!("{VOTERS}{LISTENERS}inter.broker.listener.name=PLAINTEXT"));
    assert!(
        named.len() == 1 && named[0].contains("nodes talk to each other on the listener of"),
        "{named:?}"
    );
    assert!(warnings(&format!("{VOTERS}{LISTENERS}")).is_empty());
}
