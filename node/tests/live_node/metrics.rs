//! What a node tells of itself in numbers, against what was really done to it.

use super::support::{Node, PATIENCE, Place, http, wait_for};
use seedlog::metrics::table::{ALL, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// A line: its name with the labels as they stand there.
type Lines = BTreeMap<String, f64>;

/// Reads the OpenMetrics text format, strictly.
fn parse(text: &str) -> Lines {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let body = &text[..text.len() - "# EOF\n".len()];
    let (mut lines, mut families) = (Lines::new(), BTreeSet::new());
    let mut family = ("", Kind::Gauge);
    let mut helped = "";
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty() && families.insert(name), "{line}");
            helped = name;
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, helped, "{line}");
            let definition = ALL.iter().find(|definition| definition.name == name);
            let definition = definition.unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(definition.kind.name(), kind, "{line}");
            family = (name, definition.kind);
        } else {
            let (shown, value) = line.rsplit_once(' ').unwrap();
            let name = shown.split('{').next().unwrap();
            let suffixes: &[&str] = match family.1 {
                Kind::Counter => &["_total"],
                Kind::Gauge => &[""],
                Kind::Histogram => &["_bucket", "_sum", "_count"],
                Kind::Info => &["_info"],
            };
            let suffix =
                name.strip_prefix(family.0).unwrap_or_else(|| panic!("{line} is not of {}", family.0));
            assert!(suffixes.contains(&suffix), "{line}");
            if let Some(labels) = shown.strip_prefix(&format!("{name}{{")) {
                let labels = labels.strip_suffix("\"}").unwrap().split("\",");
                for label in labels {
                    let (key, value) = label.split_once("=\"").unwrap();
                    let unescaped = value.replace("\\\\", "").replace("\\\"", "").replace("\\n", "");
                    assert!(!key.is_empty() && !unescaped.contains(['\\', '"']), "{line}");
                }
            }
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(lines.insert(shown.to_owned(), value), None, "{line} stands there twice");
        }
    }
    lines
}

fn scrape(node: &Node, query: &str) -> Lines {
    let admin = node.logged("admin port open")["address"].as_str().unwrap().to_owned();
    let (status, text) = http(&admin, &format!("/metrics{query}"));
    assert_eq!(status, 200, "{text}");
    parse(&text)
}

fn check(lines: &Lines, expected: &[(&str, f64)]) {
    for &(line, value) in expected {
        assert_eq!(lines.get(line), Some(&value), "{line} in {lines:#?}");
    }
}

/// After four records to two partitions of three, with another topic beside them.
const EXPECTED: &[(&str, f64)] = &[
    ("kafka_server_brokertopicmetrics_messagesin_total", 4.0),
    ("kafka_server_brokertopicmetrics_messagesin_total{topic=\"t\"}", 4.0),
    ("kafka_server_brokertopicmetrics_replicationbytesin_total", 0.0),
    ("kafka_server_brokertopicmetrics_bytesrejected_total", 0.0),
    ("kafka_server_brokertopicmetrics_totalproducerequests_total", 2.0),
    ("kafka_server_brokertopicmetrics_totalproducerequests_total{topic=\"t\"}", 2.0),
    ("kafka_server_brokertopicmetrics_failedproducerequests_total", 0.0),
    ("kafka_server_replicamanager_isrshrinks_total", 0.0),
    ("kafka_server_replicamanager_isrexpands_total", 0.0),
    ("kafka_server_replicamanager_partitioncount", 4.0),
    ("kafka_server_replicamanager_leadercount", 4.0),
    ("kafka_server_replicamanager_underreplicatedpartitions", 0.0),
    ("kafka_server_replicamanager_underminisrpartitioncount", 0.0),
    ("kafka_server_replicamanager_atminisrpartitioncount", 4.0),
    ("kafka_server_replicamanager_reassigningpartitions", 0.0),
    ("kafka_server_replicamanager_offlinereplicacount", 0.0),
    ("kafka_controller_kafkacontroller_activecontrollercount", 1.0),
    ("kafka_controller_kafkacontroller_offlinepartitionscount", 0.0),
    ("kafka_controller_kafkacontroller_preferredreplicaimbalancecount", 0.0),
    ("kafka_controller_kafkacontroller_globaltopiccount", 2.0),
    ("kafka_controller_kafkacontroller_globalpartitioncount", 4.0),
    ("kafka_controller_kafkacontroller_activebrokercount", 1.0),
    ("kafka_controller_kafkacontroller_fencedbrokercount", 0.0),
    ("kafka_brokers", 1.0),
    ("kafka_topic_partition_current_offset{topic=\"t\",partition=\"0\"}", 1.0),
    ("kafka_topic_partition_current_offset{topic=\"t\",partition=\"1\"}", 0.0),
    ("kafka_topic_partition_current_offset{topic=\"t\",partition=\"2\"}", 3.0),
    ("kafka_topic_partition_oldest_offset{topic=\"t\",partition=\"2\"}", 0.0),
    ("kafka_topic_partition_replicas{topic=\"t\",partition=\"2\"}", 1.0),
    ("kafka_topic_partition_in_sync_replica{topic=\"t\",partition=\"2\"}", 1.0),
    ("kafka_topic_partition_leader_is_preferred{topic=\"t\",partition=\"2\"}", 1.0),
    ("kafka_topic_partition_under_replicated_partition{topic=\"t\",partition=\"2\"}", 0.0),
    ("kafka_topic_partition_current_offset{topic=\"idle\",partition=\"0\"}", 0.0),
    ("seedlog_serving", 1.0),
    ("seedlog_quorum_voters", 1.0),
    ("seedlog_appends_held", 0.0),
    ("seedlog_disk_full", 0.0),
    ("seedlog_partitions_left_out", 0.0),
];

const GROUP: &str = "g \"1\"";

/// After a group was set to the second record of each partition that has one, and to the end of the empty one.
const EXPECTED_OF_GROUP: &[(&str, f64)] = &[
    (r#"kafka_consumergroup_members{consumergroup="g \"1\""}"#, 0.0),
    (r#"kafka_consumergroup_current_offset_sum{consumergroup="g \"1\"",topic="t"}"#, 2.0),
    (r#"kafka_consumergroup_lag_sum{consumergroup="g \"1\"",topic="t"}"#, 2.0),
    (r#"kafka_consumergroup_current_offset{consumergroup="g \"1\"",topic="t",partition="2"}"#, 1.0),
    (r#"kafka_consumergroup_lag{consumergroup="g \"1\"",topic="t",partition="0"}"#, 0.0),
    (r#"kafka_consumergroup_lag{consumergroup="g \"1\"",topic="t",partition="1"}"#, 0.0),
    (r#"kafka_consumergroup_lag{consumergroup="g \"1\"",topic="t",partition="2"}"#, 2.0),
    ("seedlog_consumergroups_left_out", 0.0),
];

#[test]
fn numbers_are_those_of_what_was_done() {
    let place = Place::new().with("admin.listener", "127.0.0.1:0").with("offsets.topic.num.partitions", "1");
    let mut node = place.start();
    node.ok(&["topic", "create", "--topic", "t", "--partitions", "3"]);
    node.ok(&["topic", "create", "--topic", "idle"]);
    let before = scrape(&node, "");
    check(
        &before,
        &[("kafka_topic_partitions{topic=\"t\"}", 3.0), ("kafka_topic_partitions{topic=\"idle\"}", 1.0)],
    );
    node.produce(&["--topic", "t", "--partition", "2"], b"a\nbb\nccc\n");
    node.produce(&["--topic", "t", "--partition", "0"], b"d\n");
    node.read("t", 4);
    let lines = scrape(&node, "?detail=partition");
    check(&lines, EXPECTED);
    let of = |name: &str| lines[name];
    // A batch has 61 bytes before its records, and a record seven around its value.
    let produced = of("kafka_server_brokertopicmetrics_bytesin_total{topic=\"t\"}");
    assert!((2.0 * 61.0 + 7.0 + 4.0 * 7.0..1000.0).contains(&produced), "{produced}");
    assert!(
        of("kafka_server_brokertopicmetrics_bytesout_total{topic=\"t\"}") >= produced,
        "all of it was read"
    );
    assert!(
        of("kafka_server_brokertopicmetrics_totalfetchrequests_total{topic=\"t\"}") >= 3.0,
        "each was read"
    );
    assert_eq!(of("kafka_network_requestmetrics_requests_total{request=\"Produce\"}"), 2.0);
    assert_eq!(
        of("kafka_network_requestmetrics_requests_total{request=\"Fetch\"}"),
        of("kafka_network_requestmetrics_requests_total{request=\"FetchConsumer\"}")
    );
    assert!(of("kafka_network_requestmetrics_totaltimems{request=\"Produce\",quantile=\"0.99\"}") > 0.0);
    assert_eq!(of("seedlog_quorum_leader"), of("kafka_topic_partition_leader{topic=\"t\",partition=\"2\"}"));
    assert_eq!(of("seedlog_quorum_committed_offset"), of("seedlog_quorum_log_end_offset"));
    assert!(of("seedlog_journal_entries_total") > before["seedlog_journal_entries_total"]);
    assert!(of("seedlog_journal_bytes") > 0.0);

    let cpu = of("process_cpu_seconds_total");
    assert!((0.0..PATIENCE.as_secs_f64()).contains(&cpu), "{cpu}");
    assert!(of("process_open_fds") > 3.0 && of("process_open_fds") < of("process_max_fds"));
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
        - of("process_start_time_seconds");
    // The kernel knows the second in which it began, not more.
    assert!((-1.5..PATIENCE.as_secs_f64()).contains(&age), "{age}");

    node.ok(&["group", "reset-offsets", "--group", GROUP, "--topic", "t", "--to-offset", "1", "--execute"]);
    let lines = scrape(&node, "?detail=partition");
    check(&lines, EXPECTED_OF_GROUP);
    assert!(!scrape(&node, "").keys().any(|line| line.contains("partition=")), "only when asked for");
    let shown: BTreeSet<&str> = lines.keys().map(|line| line.split('{').next().unwrap()).collect();
    let told: Vec<String> = ALL.iter().flat_map(|definition| definition.samples()).collect();
    let missing: Vec<&String> = told.iter().filter(|name| !shown.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "in the table, and not shown by a node: {missing:?}");

    node.ok(&["topic", "delete", "--topic", "idle"]);
    wait_for("deleted topic in the numbers", || {
        let lines = scrape(&node, "?detail=partition");
        // Three of the topic, and that of the groups.
        let is_gone = lines["kafka_server_replicamanager_partitioncount"] == 4.0;
        is_gone.then(|| assert!(!lines.keys().any(|line| line.contains("idle")), "{lines:#?}"))
    });
    node.is_sound();
    node.stop();
}

#[test]
fn lines_of_partitions_are_there_only_when_asked_for_and_many_are_no_trouble() {
    let place = Place::new().with("admin.listener", "127.0.0.1:0");
    let mut node = place.start();
    node.ok(&["topic", "create", "--topic", "wide", "--partitions", "1500"]);
    let lines = scrape(&node, "");
    check(
        &lines,
        &[
            ("kafka_server_replicamanager_partitioncount", 1500.0),
            ("kafka_controller_kafkacontroller_globaltopiccount", 1.0),
            ("kafka_topic_partitions{topic=\"wide\"}", 1500.0),
        ],
    );
    assert!(!lines.keys().any(|line| line.contains("partition=")), "only when asked for");
    let lines = scrape(&node, "?detail=partition");
    let count = lines.keys().filter(|line| line.starts_with("kafka_topic_partition_current_offset{")).count();
    assert_eq!(count, 1500);
    let admin = node.logged("admin port open")["address"].as_str().unwrap().to_owned();
    assert_eq!(http(&admin, "/metrics?detail=everything").0, 400);
    node.is_sound();
    node.stop();
}

#[test]
fn what_is_refused_is_counted_where_kafka_counts_it() {
    let place = Place::new().with("admin.listener", "127.0.0.1:0");
    let mut node = place.start();
    node.ok(&["topic", "create", "--topic", "small", "--config", "max.message.bytes=100"]);
    node.refuses(1, &["produce", "--topic", "small", "--value", &"v".repeat(200)]);
    let lines = scrape(&node, "");
    // 61 bytes before the record, and 10 or less around its value.
    let bytes = lines["kafka_server_brokertopicmetrics_bytesrejected_total"];
    assert!((261.0..=271.0).contains(&bytes), "{bytes}");
    check(
        &lines,
        &[
            ("kafka_server_brokertopicmetrics_totalproducerequests_total{topic=\"small\"}", 1.0),
            ("kafka_server_brokertopicmetrics_failedproducerequests_total{topic=\"small\"}", 0.0),
            ("kafka_server_brokertopicmetrics_messagesin_total{topic=\"small\"}", 0.0),
        ],
    );
    node.is_sound();
    node.stop();
}

fn free_ports() -> Vec<u16> {
    let bound: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    bound.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Places of a cluster of three.
pub(crate) fn three() -> Vec<Place> {
    let ports = free_ports();
    let voter = |(at, port): (usize, &u16)| format!("{}@127.0.0.1:{port}", at + 1);
    let voters: Vec<String> = ports.iter().enumerate().map(voter).collect();
    let place = |(at, port): (usize, &u16)| {
        Place::new()
            .with("admin.listener", "127.0.0.1:0")
            .with("node.id", &(at + 1).to_string())
            .with("process.roles", "broker,controller")
            .with("controller.listener.names", "CONTROLLER")
            .with("controller.quorum.voters", &voters.join(","))
            .with("listeners", &format!("PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{port}"))
    };
    ports.iter().enumerate().map(place).collect()
}

/// The sum of a line over those nodes that show it, and how many these are.
fn sum(lines: &[Lines], line: &str) -> (f64, usize) {
    let shown: Vec<f64> = lines.iter().filter_map(|lines| lines.get(line)).copied().collect();
    (shown.iter().sum(), shown.len())
}

#[test]
fn sums_over_nodes_are_right_while_one_is_away_and_after_it_is_back() {
    let places = three();
    let mut nodes: Vec<Node> = thread::scope(|scope| {
        let starting: Vec<_> =
            places.iter().map(|place| scope.spawn(|| place.start_with(1).may_complain())).collect();
        starting.into_iter().map(|starting| starting.join().unwrap()).collect()
    });
    nodes[0].ok(&["topic", "create", "--topic", "t", "--partitions", "6", "--replication-factor", "3"]);
    nodes[0].produce(&["--topic", "t"], b"a\nb\nc\nd\ne\n");
    let all = |nodes: &[Node]| -> Vec<Lines> {
        nodes.iter().map(|node| scrape(node, "?detail=partition")).collect()
    };
    let lines = wait_for("copies on all nodes", || {
        let lines = all(&nodes);
        let bytes = sum(&lines, "kafka_server_brokertopicmetrics_bytesin_total").0;
        (sum(&lines, "kafka_server_brokertopicmetrics_replicationbytesin_total").0 >= 2.0 * bytes)
            .then_some(lines)
    });
    for (line, expected) in [
        ("kafka_server_brokertopicmetrics_messagesin_total", (5.0, 3)),
        ("kafka_server_replicamanager_partitioncount", (18.0, 3)),
        ("kafka_server_replicamanager_leadercount", (6.0, 3)),
        ("kafka_server_replicamanager_underreplicatedpartitions", (0.0, 3)),
        ("kafka_controller_kafkacontroller_activecontrollercount", (1.0, 3)),
        ("kafka_controller_kafkacontroller_activebrokercount", (9.0, 3)),
        ("kafka_brokers", (3.0, 1)),
        ("kafka_topic_partitions{topic=\"t\"}", (6.0, 1)),
        ("seedlog_peers_connected", (6.0, 3)),
    ] {
        assert_eq!(sum(&lines, line), expected, "{line}");
    }
    for partition in 0..6 {
        let line = format!("kafka_topic_partition_in_sync_replica{{topic=\"t\",partition=\"{partition}\"}}");
        assert_eq!(sum(&lines, &line), (3.0, 1), "each partition is shown by its leader alone");
    }

    nodes[0].ok(&[
        "topic",
        "create",
        "--topic",
        "strict",
        "--replication-factor",
        "3",
        "--config",
        "min.insync.replicas=3",
    ]);
    nodes.pop().unwrap().kill();
    wait_for("all partitions under-replicated, in the numbers of who is left", || {
        let lines = all(&nodes);
        let away = sum(&lines, "kafka_server_replicamanager_underreplicatedpartitions") == (7.0, 2)
            && sum(&lines, "kafka_server_replicamanager_underminisrpartitioncount") == (1.0, 2)
            && sum(&lines, "kafka_server_replicamanager_leadercount") == (7.0, 2)
            && sum(&lines, "kafka_controller_kafkacontroller_fencedbrokercount") == (2.0, 2)
            && sum(&lines, "kafka_brokers") == (2.0, 1)
            && sum(&lines, "kafka_server_replicamanager_isrshrinks_total").0 > 0.0;
        away.then_some(())
    });
    nodes[0].refuses(1, &["produce", "--topic", "strict", "--value", "v", "--delivery-timeout-ms", "1000"]);
    let lines = all(&nodes);
    let failed = "kafka_server_brokertopicmetrics_failedproducerequests_total{topic=\"strict\"}";
    assert!(sum(&lines, failed).0 >= 1.0, "not enough replicas: {lines:#?}");
    nodes.push(places[2].start_with(1).may_complain());
    wait_for("all partitions in sync again, in the numbers", || {
        let lines = all(&nodes);
        let back = sum(&lines, "kafka_server_replicamanager_underreplicatedpartitions") == (0.0, 3)
            && sum(&lines, "kafka_server_replicamanager_underminisrpartitioncount") == (0.0, 3)
            && sum(&lines, "kafka_brokers") == (3.0, 1)
            && sum(&lines, "kafka_server_replicamanager_isrexpands_total").0 > 0.0;
        back.then_some(())
    });
}

#[test]
fn a_lag_is_shown_by_the_coordinator_where_it_can_know_it() {
    let places = three();
    let nodes: Vec<Node> = thread::scope(|scope| {
        let starting: Vec<_> =
            places.iter().map(|place| scope.spawn(|| place.start_with(1).may_complain())).collect();
        starting.into_iter().map(|starting| starting.join().unwrap()).collect()
    });
    let node = &nodes[0];
    for (topic, factor) in [("everywhere", "3"), ("somewhere", "1")] {
        let args = ["topic", "create", "--topic", topic, "--partitions", "3", "--replication-factor", factor];
        node.ok(&args);
        for partition in ["0", "1", "2"] {
            node.produce(&["--topic", topic, "--partition", partition], b"a\nb\nc\n");
        }
        node.ok(&[
            "group",
            "reset-offsets",
            "--group",
            "g",
            "--topic",
            topic,
            "--to-offset",
            "1",
            "--execute",
        ]);
    }
    let coordinator = node.json(&["group", "list"])[0][0]["coordinator"].clone();
    let described = node.json(&["topic", "describe", "--topic", "somewhere"])[0][0].clone();
    let led_there: Vec<bool> = described["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|partition| partition["leader"] == coordinator)
        .collect();
    assert!(led_there.contains(&false), "one broker does not have all of them: {described}");
    wait_for("lag in the numbers", || {
        let lines: Vec<Lines> = nodes.iter().map(|node| scrape(node, "?detail=partition")).collect();
        let of = |name: &str, labels: &str| sum(&lines, &format!("{name}{{consumergroup=\"g\",{labels}}}"));
        // A follower hears of the end of a log a little later.
        if of("kafka_consumergroup_lag_sum", "topic=\"everywhere\"") != (6.0, 1) {
            return None;
        }
        assert_eq!(of("kafka_consumergroup_lag_sum", "topic=\"somewhere\"").1, 0, "it is not known");
        for topic in ["everywhere", "somewhere"] {
            let sum = of("kafka_consumergroup_current_offset_sum", &format!("topic=\"{topic}\""));
            assert_eq!(sum, (3.0, 1), "{topic} is shown once");
        }
        for (partition, is_led_there) in led_there.iter().enumerate() {
            let lag = |topic| {
                of("kafka_consumergroup_lag", &format!("topic=\"{topic}\",partition=\"{partition}\""))
            };
            assert_eq!(lag("everywhere"), (2.0, 1));
            assert_eq!(lag("somewhere"), if *is_led_there { (2.0, 1) } else { (0.0, 0) });
        }
        Some(())
    });
}
