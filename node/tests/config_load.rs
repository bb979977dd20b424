//! Loading: precedence, origins, unknown keys, rules between settings, and Kafka's own kind of file. What is refused
//! for safety is in `config_refused.rs`.

use seedlog::config::registry::{self, Status};
use seedlog::config::{
    ConfigError, DirectIo, Flush, Listener, Loaded, NodeConfig, Origin, Sources, TimestampType, Warning,
    load, variable_of,
};
use std::collections::BTreeSet;

/// A configuration for Kafka 4's KRaft quick start: the keys that its sample sets, in our own words.
const KAFKA_SAMPLE: &str = r"
# One process that is broker and controller.
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\
    SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
#log.flush.interval.messages=10000
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

fn sources(file: &str, environment: &[(&str, &str)], overrides: &[&str]) -> Sources {
    let variable = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Sources {
        file: Some(("server.properties".into(), file.to_owned())),
        environment: environment.iter().map(variable).collect(),
        overrides: overrides.iter().map(|text| (*text).to_owned()).collect(),
        hostname: "here".to_owned(),
    }
}

fn loaded(file: &str) -> Loaded {
    load(&sources(file, &[], &[])).unwrap_or_else(|errors| panic!("{file:?} was refused:\n{errors}"))
}

fn node(file: &str) -> NodeConfig {
    loaded(file).node
}

fn errors(sources: &Sources) -> Vec<ConfigError> {
    load(sources).expect_err("there is something wrong").0
}

fn error(file: &str) -> String {
    let all = errors(&sources(file, &[], &[]));
    assert_eq!(all.len(), 1, "{file:?} gave {all:?}");
    all[0].to_string()
}

#[test]
fn the_table_has_each_key_once_in_order_with_a_good_default() {
    let mut seen = BTreeSet::new();
    for entry in registry::entries() {
        assert!(seen.insert(entry.key), "{} is there twice", entry.key);
        assert!(entry.doc.ends_with('.') && !entry.since.is_empty(), "{}", entry.key);
        if let Some(default) = entry.default.filter(|default| !default.is_empty()) {
            let checked = entry.kind.check(default);
            checked.unwrap_or_else(|allowed| panic!("{}={default}: {allowed}", entry.key));
        }
    }
    for status in [Status::Used, Status::Accepted] {
        let of_status = registry::entries().filter(|entry| entry.status == status);
        assert!(of_status.map(|entry| entry.key).is_sorted());
    }
    assert!(seen.len() > 350);
}

#[test]
fn no_two_keys_share_a_variable() {
    let variables: BTreeSet<_> = registry::entries().map(|entry| variable_of(entry.key)).collect();
    assert_eq!(variables.len(), registry::entries().count());
}

#[test]
fn every_used_default_starts_when_it_is_written_out() {
    let lines = registry::entries().filter(|entry| entry.status == Status::Used && entry.key != "log.dir");
    let file: String =
        lines.filter_map(|entry| Some(format!("{}={}\n", entry.key, entry.default?))).collect();
    let spelled = loaded(&file);
    assert_eq!(spelled.node, load(&Sources::default()).expect("the defaults start").node);
    assert_eq!(spelled.warnings, []);
}

#[test]
fn kafkas_own_defaults_are_accepted_when_they_are_written_out() {
    let accepted = registry::entries().filter(|entry| entry.status == Status::Accepted);
    let file: String =
        accepted.filter_map(|entry| Some(format!("{}={}\n", entry.key, entry.default?))).collect();
    let config = loaded(&file);
    assert_eq!(config.warnings.len(), file.lines().count());
    assert!(config.warnings.iter().all(|warning| matches!(warning, Warning::Unused { .. })));
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let config = load(&Sources::default()).expect("the defaults start");
    assert_eq!(config.warnings, []);
    let node = config.node;
    assert_eq!((node.node_id, node.cluster_id, node.rack), (1, None, None));
    let [Listener { bind, advertised_host, advertised_port }] = node.listeners.as_slice() else {
        panic!("{:?}", node.listeners)
    };
    assert_eq!((bind.name.as_str(), bind.host.as_deref(), bind.port), ("PLAINTEXT", Some("127.0.0.1"), 9092));
    assert_eq!((advertised_host.as_str(), *advertised_port), ("127.0.0.1", 9092));
    assert_eq!(node.admin_listener, Some(([127, 0, 0, 1], 9644).into()));
    assert_eq!(node.log_dir.to_str(), Some("seedlog-data"));
    assert_eq!((node.flush, node.direct_io), (Flush::Always, DirectIo::Auto));
    assert_eq!(node.timestamp_type, TimestampType::CreateTime);
    assert_eq!((node.message_bytes_max, node.request_bytes_max), (1_048_588, 104_857_600));
    assert_eq!(node.connection_idle_ms_max, Some(600_000));
    assert!(node.auto_create_topics);
    let memory = node.memory;
    assert_eq!((memory.total_bytes, memory.tail_cache_bytes), (512 << 20, 128 << 20));
    assert_eq!(memory.cold_cache_bytes, 32 << 20);
    let caches = memory.tail_cache_bytes + memory.cold_cache_bytes;
    let parts = caches + memory.requests_bytes + memory.replies_bytes + memory.core_bytes;
    assert_eq!(memory.peers_bytes, 0);
    assert_eq!(parts, memory.total_bytes);
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let file = "node.id=2\nnum.partitions=2\nbroker.rack=file\n";
    let env = [
        ("SEEDLOG_NODE_ID", "3"),
        ("SEEDLOG_NUM_PARTITIONS", "3"),
        ("SEEDLOG_LOG", "debug"),
        ("PATH", "/bin"),
    ];
    let config = load(&sources(file, &env, &["node.id=4"])).expect("it starts");
    assert_eq!((config.node.node_id, config.node.partitions_default), (4, 3));
    assert_eq!(config.node.rack.as_deref(), Some("file"));
    assert_eq!(config.settings.origin("node.id"), Origin::Override);
    let variable = Origin::Environment("SEEDLOG_NUM_PARTITIONS".to_owned());
    assert_eq!(config.settings.origin("num.partitions"), variable);
    assert_eq!(config.warnings, []);
    let shown = config.show();
    for line in [
        "broker.rack=file  # server.properties:3",
        "node.id=4  # --override",
        "num.partitions=3  # environment SEEDLOG_NUM_PARTITIONS",
        "message.max.bytes=1048588  # default",
        "memory.tail.cache.bytes=134217728  # default, from memory.budget.bytes",
        "log.dirs=seedlog-data  # default, from log.dir",
        "# cluster.id is not set",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains("num.io.threads"));
    let keys = shown.lines().map(|line| line.trim_start_matches("# ").split(['=', ' ']).next());
    assert!(keys.is_sorted());
}

#[test]
fn a_wrong_value_that_is_replaced_does_no_harm() {
    let file = "node.id=x\nssl.client.auth=required";
    let config = load(&sources(file, &[], &["node.id=5", "ssl.client.auth=none"]));
    assert_eq!(config.expect("it starts").node.node_id, 5);
}

#[test]
fn a_key_that_is_set_twice_warns_and_the_later_wins() {
    let config = loaded("node.id=2\n\nnode.id=3\n");
    assert_eq!(config.node.node_id, 3);
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert_eq!(warning.to_string(), "node.id: set twice; server.properties:3 wins over server.properties:1");
}

#[test]
fn unknown_keys_are_errors_with_a_suggestion() {
    for (wrong, right) in [
        ("num.partition", "num.partitions"),
        ("nod.eid", "node.id"),
        ("log.dris", "log.dirs"),
        ("retention.ms", "log.retention.ms"),
        ("segment.bytes", "log.segment.bytes"),
        ("max.message.bytes", "message.max.bytes"),
        ("Min.Insync.Replicas", "min.insync.replicas"),
        ("auto_create_topics_enable", "auto.create.topics.enable"),
        ("ssl.client.auht", "ssl.client.auth"),
    ] {
        let said = error(&format!("{wrong}=1"));
        let end = format!("there is no such setting; did you mean {right}?");
        assert_eq!(said, format!("{wrong} (server.properties:1): {end}"));
    }
    assert!(error("utterly.different=1").ends_with("for the settings that exist"));
    assert!(error(&format!("{}=1", "x".repeat(100_000))).contains("there is no such setting"));
    assert!(error("zookeeper.connect=localhost:2181").contains("was removed with Kafka 4.0; delete it"));
}

#[test]
fn unknown_variables_are_errors_with_a_suggestion() {
    for (wrong, right) in [("SEEDLOG_NODEID", "SEEDLOG_NODE_ID"), ("SEEDLOG_node_id", "SEEDLOG_NODE_ID")] {
        let said = errors(&sources("", &[(wrong, "1")], &[]));
        let end = format!("there is no such setting; did you mean {right}?");
        assert_eq!(said[0].to_string(), format!("{wrong} (environment {wrong}): {end}"));
    }
    assert_eq!(errors(&sources("", &[("SEEDLOG_", "1"), ("SEEDLOG_WHATEVER_ELSE", "1")], &[])).len(), 2);
}

#[test]
fn overrides_must_be_pairs() {
    for text in ["node.id", "=3", ""] {
        let said = errors(&sources("", &[], &[text]));
        assert!(said[0].to_string().contains("must be KEY=VALUE"), "{said:?}");
    }
}

#[test]
fn wrong_values_name_key_value_origin_and_range() {
    for (line, rest) in [
        ("node.id=-1", "a whole number from 0 to 2147483647"),
        ("node.id=99999999999999999999", "a whole number from 0 to 2147483647"),
        ("num.partitions=6 # six", "a whole number from 1 to 100000 (a comment needs a line of its own)"),
        ("log.segment.bytes=100", "a whole number from 1048576 to 2147483647"),
        ("auto.create.topics.enable=yes", "one of: true, false"),
        ("flush=sometimes", "one of: always, interval"),
        ("log.message.timestamp.type=createtime", "one of: CreateTime, LogAppendTime"),
        ("cluster.id=a b", "an id of 22 characters as Kafka's `kafka-storage random-uuid` prints it"),
        ("num.io.threads=many", "a whole number from -2147483648 to 2147483647"),
    ] {
        let (key, value) = line.split_once('=').expect("a pair");
        assert_eq!(error(line), format!("{key}={value} (server.properties:1): the value must be {rest}"));
    }
    let said = errors(&sources("node.id=x\nflush=y\nbogus=z\n", &[], &[]));
    assert_eq!(said.len(), 3, "all that is wrong is said at once: {said:?}");
}

#[test]
fn a_file_for_kafka_starts_and_names_what_it_does_not_use() {
    let config = loaded(KAFKA_SAMPLE);
    let mut unused: Vec<&str> = Vec::new();
    let mut others = Vec::new();
    for warning in &config.warnings {
        if let Warning::Unused { key, .. } = warning {
            unused.push(key);
        } else {
            others.push(warning.to_string());
        }
    }
    let expected = [
        "controller.quorum.bootstrap.servers",
        "num.io.threads",
        "num.network.threads",
        "num.recovery.threads.per.data.dir",
        "share.coordinator.state.topic.min.isr",
        "share.coordinator.state.topic.replication.factor",
        "socket.receive.buffer.bytes",
        "socket.send.buffer.bytes",
        "transaction.state.log.min.isr",
        "transaction.state.log.replication.factor",
    ];
    assert_eq!(unused, expected);
    assert_eq!(
        others,
        [
            "listener PLAINTEXT (server.properties:6): other machines can connect, and this release asks for no \
             password and encrypts nothing",
            "listener CONTROLLER (server.properties:6): is for other nodes and is not opened, because \
             controller.quorum.voters names none",
        ]
    );
    let [listener] = config.node.listeners.as_slice() else { panic!("{:?}", config.node.listeners) };
    assert_eq!((listener.bind.host.as_deref(), listener.bind.port), (None, 9092));
    assert_eq!(listener.advertised_host, "localhost");
}

#[test]
fn listeners_are_resolved_with_what_clients_are_told() {
    let told = |file: &str| {
        let address = |l: Listener| format!("{}={}:{}", l.bind.name, l.advertised_host, l.advertised_port);
        node(file).listeners.into_iter().map(address).collect::<Vec<_>>().join(",")
    };
    assert_eq!(told("listeners=plaintext://[::1]:0"), "PLAINTEXT=::1:0");
    assert_eq!(told("listeners=PLAINTEXT://:9092"), "PLAINTEXT=here:9092");
    assert_eq!(told("listeners=PLAINTEXT://0.0.0.0:9092"), "PLAINTEXT=here:9092");
    let map = "listener.security.protocol.map=A:PLAINTEXT, B:plaintext\n";
    let two = format!("listeners=A://127.0.0.1:1,B://127.0.0.2:1\n{map}");
    assert_eq!(told(&two), "A=127.0.0.1:1,B=127.0.0.2:1");
    assert_eq!(told(&format!("{two}advertised.listeners=B://b:3,A://a:2")), "A=a:2,B=b:3");
    let controller = "listeners=PLAINTEXT://127.0.0.1:1,C://127.0.0.1:2\ncontroller.listener.names=c";
    assert_eq!(told(controller), "PLAINTEXT=127.0.0.1:1");
}

#[test]
fn older_names_count_where_the_newer_are_not_set() {
    let id = "4L6g3nShT-eMCtK--X86sw";
    assert_eq!(node(&format!("cluster.id={id}")).cluster_id.as_deref(), Some(id));
    assert_eq!(node("broker.id=7").node_id, 7);
    assert_eq!(node("process.roles = controller, broker").node_id, 1);
    assert_eq!(node("log.dir=/a").log_dir.to_str(), Some("/a"));
    let both = loaded("log.dir=/a\nlog.dirs=/b");
    assert_eq!(both.node.log_dir.to_str(), Some("/b"));
    assert!(matches!(both.warnings.as_slice(), [Warning::Ineffective { .. }]));
    let said = errors(&sources("log.dirs=/b", &[], &["log.dir=/a"]));
    assert!(said[0].to_string().contains("log.dirs (server.properties:1) wins over it"));
}

#[test]
fn files_that_are_no_configuration_are_refused_with_a_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("server.properties");
    let read = || Sources::of_process(Some(&path), &[]);
    assert!(read().expect_err("missing").to_string().contains("cannot be read"));
    std::fs::write(&path, b"a=1\nb=\xff\n").expect("written");
    assert!(read().expect_err("not text").to_string().contains("line 2 is not UTF-8"));
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).expect("written");
    assert!(read().expect_err("too large").to_string().contains("larger than 1048576 bytes"));
    std::fs::write(&path, "node.id=3").expect("written");
    let sources = Sources { environment: Vec::new(), ..read().expect("read") };
    assert_eq!(load(&sources).expect("it starts").node.node_id, 3);
    assert!(error("a=\\u12").contains("server.properties: line 1"));
}
