//! What everybody does with a node: topics, records with every acknowledgement and codec, offsets, the admin port.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use seedlog::client::{Cluster, ConnectionOptions, Consumer, ConsumerOptions, PartitionName};
use seedlog_core::records::Compression;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Place, http, read_lines, seedlog, wait_for, wait_for_exit};

fn values(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["value"].as_str().unwrap()).collect()
}

fn lines(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("record {number}")).collect()
}

#[test]
fn a_topic_lives_from_create_to_delete_and_its_name_can_be_used_again() {
    let place = Place::new();
    let node = place.start();
    let created = node.json(&["topic", "create", "--topic", "orders", "--partitions", "3"]);
    assert_eq!(created, [json!({ "topic": "orders", "created": true })]);
    let again = node.refuses(1, &["topic", "create", "--topic", "orders"]);
    assert!(again.contains("TOPIC_ALREADY_EXISTS") && again.contains("--if-not-exists"), "{again}");
    let again = node.json(&["topic", "create", "--topic", "orders", "--if-not-exists"]);
    assert_eq!(again, [json!({ "topic": "orders", "created": false })]);
    for (args, code) in [
        (["--topic", "a b", "--partitions", "1"], "INVALID_TOPIC_EXCEPTION"),
        (["--topic", "wide", "--replication-factor", "2"], "INVALID_REPLICATION_FACTOR"),
        (["--topic", "odd", "--config", "retention.mss=1"], "INVALID_CONFIG"),
    ] {
        let refused = node.refuses(1, &[&["topic", "create"][..], &args].concat());
        assert!(refused.contains(code), "{refused}");
    }
    let listed = &node.json(&["topic", "list"])[0];
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let first_id = listed[0]["topic_id"].as_str().unwrap().to_owned();
    assert_eq!(listed[0]["partition_count"], 3);

    node.ok(&["produce", "--topic", "orders", "--partition", "2", "--value", "old"]);
    let described = &node.json(&["topic", "describe", "--topic", "orders"])[0][0];
    assert_eq!(described["partitions"][2]["latest_offset"], 1);
    assert_eq!(described["partitions"][2]["leader"], 1);
    assert_eq!(described["partitions"][2]["isr"], json!([1]));

    node.ok(&["topic", "delete", "--topic", "orders"]);
    let gone = node.refuses(1, &["topic", "delete", "--topic", "orders"]);
    assert!(gone.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{gone}");
    assert_eq!(node.json(&["topic", "list"]), [json!([])]);
    node.ok(&["topic", "create", "--topic", "orders", "--partitions", "3"]);
    node.stop();

    let node = place.start();
    let listed = &node.json(&["topic", "list"])[0];
    assert_ne!(listed[0]["topic_id"].as_str().unwrap(), first_id);
    assert_eq!(node.ends("orders"), [0, 0, 0], "records of the deleted topic are not the new one's");
    node.stop();
}

#[test]
fn records_of_every_acknowledgement_are_read_back() {
    let place = Place::new();
    let node = place.start();
    let mut expected = Vec::new();
    node.ok(&["topic", "create", "--topic", "t"]);
    for (acks, range) in [("0", 0..500), ("1", 500..1000), ("all", 1000..1500)] {
        let numbers = lines(range.clone());
        let printed =
            node.produce(&["--topic", "t", "--acks", acks, "--json"], numbers.join("\n").as_bytes());
        let offsets: Vec<Value> = printed
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["offset"].clone())
            .collect();
        let known: Vec<Value> =
            range.map(|offset| if acks == "0" { Value::Null } else { json!(offset) }).collect();
        assert_eq!(offsets, known, "acks={acks}");
        expected.extend(numbers);
    }
    assert_eq!(values(&node.read("t", 1500)), expected);
    assert_eq!(node.ends("t"), [1500]);
    node.stop();
}

#[test]
fn every_codec_survives_the_way_there_and_back() {
    let place = Place::new();
    let node = place.start();
    let text: Vec<String> =
        (0..400).map(|number| format!("key {number}\tvalue {number} {}", "x".repeat(200))).collect();
    let codecs = [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    for (name, codec) in codecs {
        node.ok(&["topic", "create", "--topic", name]);
        let args =
            ["--topic", name, "--compression-codec", name, "--key-separator", "\t", "--header", "codec=yes"];
        node.produce(&args, text.join("\n").as_bytes());
        let read: Vec<String> = node
            .read(name, 400)
            .iter()
            .map(|record| {
                assert_eq!(record["headers"], json!([{ "key": "codec", "value": "yes" }]));
                format!("{}\t{}", record["key"].as_str().unwrap(), record["value"].as_str().unwrap())
            })
            .collect();
        assert_eq!(read, text, "{name}");
        assert!(
            batches_have(node.address(), name, codec),
            "{name} is what is stored, not what was asked for"
        );
    }
    node.stop();
}

/// Whether the first batches of a topic are compressed so.
fn batches_have(address: &str, topic: &str, codec: Compression) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::new(vec![address.to_owned()], ConnectionOptions::default());
        let mut consumer =
            Consumer::new(cluster, topic, BTreeMap::from([(0, 0)]), ConsumerOptions::default());
        let batches = consumer.poll(PATIENCE).await.unwrap();
        !batches.is_empty() && batches.iter().all(|batch| batch.header.compression() == Some(codec))
    })
}

#[test]
fn keys_headers_nulls_and_bytes_are_kept() {
    let place = Place::new();
    let node = place.start();
    let mut lines = b"key=value\nNULL=NULL\n=\nbytes=".to_vec();
    lines.extend([0xff, 0x00, 0x80, b'\n']);
    let args = [
        "--topic",
        "t",
        "--key-separator",
        "=",
        "--null-marker",
        "NULL",
        "--header",
        "a=1",
        "--timestamp",
        "7",
    ];
    // The first word of a topic creates it.
    node.produce(&args, &lines);
    let kept: Vec<Value> = node
        .read("t", 4)
        .into_iter()
        .map(|record| {
            json!([record["key"], record["value"], record["timestamp"], record["headers"][0]["value"]])
        })
        .collect();
    assert_eq!(
        kept,
        [
            json!(["key", "value", 7, "1"]),
            json!([null, null, 7, "1"]),
            json!(["", "", 7, "1"]),
            json!(["bytes", { "base64": "/wCA" }, 7, "1"]),
        ]
    );
    node.stop();
}

#[test]
fn large_records_fit_up_to_the_limit_and_are_refused_above_it() {
    let place = Place::new().with("message.max.bytes", "300000");
    let node = place.start();
    let fits = "f".repeat(299_000);
    node.produce(&["--topic", "t"], fits.as_bytes());
    let large = place.file("large");
    fs::write(&large, "l".repeat(301_000)).unwrap();
    let refused = node.refuses(1, &["produce", "--topic", "t", "--file", large.to_str().unwrap()]);
    assert!(refused.contains("MESSAGE_TOO_LARGE") && refused.contains("max.message.bytes"), "{refused}");
    assert_eq!(values(&node.read("t", 1)), [fits]);
    assert_eq!(node.ends("t"), [1]);
    node.stop();
}

#[test]
fn reading_begins_where_it_is_told_to() {
    let place = Place::new();
    let node = place.start();
    for number in 0..10 {
        let (value, time) = (format!("record {number}"), (1_000_000 + number * 1000).to_string());
        node.ok(&["produce", "--topic", "t", "--value", &value, "--timestamp", &time]);
    }
    let first = |args: &[&str]| {
        let args = [&["consume", "--topic", "t", "--max-messages", "1"], args].concat();
        node.json(&args)[0]["offset"].as_u64().unwrap()
    };
    assert_eq!(first(&["--from-beginning"]), 0);
    assert_eq!(first(&["--offset", "earliest"]), 0);
    assert_eq!(first(&["--offset", "6"]), 6);
    assert_eq!(first(&["--offset", "-3"]), 7);
    assert_eq!(first(&["--from-time", "1004000"]), 4);
    assert_eq!(first(&["--from-time", "1004001"]), 5);
    let beyond = node.refuses(1, &["consume", "--topic", "t", "--offset", "11"]);
    assert!(beyond.contains("t-0 has no offset 11: its log has 0 to 10"), "{beyond}");
    node.stop();
}

#[test]
fn a_consumer_that_waits_gets_what_comes() {
    let place = Place::new();
    let node = place.start();
    node.ok(&["topic", "create", "--topic", "t"]);
    let mut command = node.client(&["consume", "--topic", "t", "--offset", "0", "--max-messages", "20"]);
    let mut consumer = command.stdout(Stdio::piped()).spawn().unwrap();
    let came = read_lines(consumer.stdout.take().unwrap());
    for line in lines(0..20) {
        node.ok(&["produce", "--topic", "t", "--value", &line]);
        assert_eq!(came.recv_timeout(PATIENCE).unwrap(), line);
    }
    assert_eq!(wait_for_exit(&mut consumer).code(), Some(0));
    node.stop();
}

#[test]
fn many_producers_share_a_topic() {
    const PRODUCERS: usize = 6;
    const RECORDS: usize = 300;
    let place = Place::new();
    let node = place.start();
    node.ok(&["topic", "create", "--topic", "t", "--partitions", "2"]);
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let node = &node;
            scope.spawn(move || {
                let lines: Vec<String> = (0..RECORDS).map(|number| format!("{producer}={number}")).collect();
                node.produce(&["--topic", "t", "--key-separator", "="], lines.join("\n").as_bytes());
            });
        }
    });
    let mut next = [0; PRODUCERS];
    for record in node.read("t", PRODUCERS * RECORDS) {
        let producer: usize = record["key"].as_str().unwrap().parse().unwrap();
        let number: usize = record["value"].as_str().unwrap().parse().unwrap();
        assert_eq!(number, next[producer], "records of a key keep their order");
        next[producer] += 1;
    }
    assert_eq!(next, [RECORDS; PRODUCERS]);
    assert_eq!(node.ends("t").iter().sum::<u64>(), (PRODUCERS * RECORDS) as u64);
    node.stop();
}

#[test]
fn every_listener_serves() {
    let place = Place::new()
        .with("listeners", "PLAINTEXT://127.0.0.1:0,INSIDE://127.0.0.1:0")
        .with("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT");
    let node = place.start();
    assert_eq!(node.addresses().len(), 2);
    for (number, address) in node.addresses().iter().enumerate() {
        let topic = format!("t{number}");
        // Metadata names the listener that was asked, so that the producer goes on there.
        let output =
            seedlog(&["produce", "--topic", &topic, "--value", "v", "-b", address]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(values(&node.read(&topic, 1)), ["v"]);
    }
    node.stop();
}

#[test]
fn the_admin_port_tells_of_health_and_numbers() {
    let place = Place::new().with("admin.listener", "127.0.0.1:0");
    let mut node = place.start();
    let admin = node.logged("admin port open")["address"].as_str().unwrap().to_owned();
    let health: Value = serde_json::from_str(&http(&admin, "/healthz").1).unwrap();
    assert_eq!(health, json!({ "live": true, "state": "ready", "reasons": [] }));
    let (status, ready) = http(&admin, "/readyz");
    assert_eq!((status, serde_json::from_str::<Value>(&ready).unwrap()["ready"].clone()), (200, json!(true)));
    assert!(http(&admin, "/version").1.contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(http(&admin, "/nothing").0, 404);

    node.produce(&["--topic", "t"], lines(0..100).join("\n").as_bytes());
    node.read("t", 100);
    let number = |name: &str| {
        let (status, text) = http(&admin, "/metrics");
        assert_eq!(status, 200);
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|number| number.parse::<f64>().ok())
    };
    for (name, least) in [
        ("kafka_server_brokertopicmetrics_messagesin_total", 100.0),
        ("kafka_server_brokertopicmetrics_bytesin_total", 800.0),
        ("kafka_server_brokertopicmetrics_bytesout_total", 800.0),
        ("kafka_network_requestmetrics_requests_total{request=\"Produce\"}", 1.0),
        ("seedlog_request_seconds_count{request=\"Fetch\"}", 1.0),
        ("seedlog_network_read_bytes_total", 800.0),
        ("seedlog_network_written_bytes_total", 800.0),
        ("kafka_server_replicamanager_partitioncount", 1.0),
        ("seedlog_journal_written_bytes_total", 800.0),
    ] {
        // Numbers are published from time to time.
        wait_for(name, || number(name).filter(|&number| number >= least));
    }
    node.is_sound();
    node.stop();
}

#[test]
fn the_configuration_that_is_shown_is_the_one_that_runs() {
    let place = Place::new();
    let file = place.file("node.properties");
    fs::write(&file, "node.id=3\nnum.partitions=4\nlog.segment.bytes=2097152\n").unwrap();
    let mut command = place.command(&["--show-config", "--config", file.to_str().unwrap()]);
    command.env("SEEDLOG_NUM_PARTITIONS", "5").env("SEEDLOG_NODE_ID", "6").args(["--override", "node.id=7"]);
    let shown = command.output().unwrap();
    assert_eq!(shown.status.code(), Some(0), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown = String::from_utf8(shown.stdout).unwrap();
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap();
    assert_eq!(line("node.id="), "node.id=7  # --override");
    assert_eq!(line("num.partitions="), "num.partitions=5  # environment SEEDLOG_NUM_PARTITIONS");
    assert!(line("log.segment.bytes=2097152  # ").ends_with("node.properties:3"), "{shown}");
    assert!(!place.data().exists(), "showing starts nothing");

    let place = place.with("num.partitions", "5").with("node.id", "7");
    let node = place.start();
    node.ok(&["topic", "create", "--topic", "t"]);
    let described = &node.json(&["topic", "describe", "--topic", "t"])[0][0];
    assert_eq!(
        (&described["partition_count"], &described["partitions"][0]["leader"]),
        (&json!(5), &json!(7))
    );
    node.stop();
}

#[test]
fn a_connection_that_says_nothing_is_closed_after_its_time() {
    let place = Place::new().with("connections.max.idle.ms", "200");
    let node = place.start();
    let mut silent = node.connect();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0, "the end of the stream, not a time-out of ours");
    node.ok(&["topic", "list"]);
    node.stop();
}

#[test]
fn a_log_that_nobody_reads_any_more_is_no_reason_to_stop() {
    let place = Place::new();
    let mut command = place.command(&["--print-ready"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    let ready = read_lines(child.stdout.take().unwrap()).recv_timeout(PATIENCE).unwrap();
    let address = ready.rsplit_once("://").unwrap().1;
    // A length that no request has is worth a line of the log.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[0xff; 4]).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    let produce = seedlog(&["produce", "--topic", "t", "--value", "v", "-b", address]).output().unwrap();
    assert_eq!(produce.status.code(), Some(0), "{}", String::from_utf8_lossy(&produce.stderr));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait_for_exit(&mut child).code(), Some(0));
}

/// The same client code as the command line's, for what needs an answer's bytes.
#[test]
fn offsets_of_a_fetch_are_those_of_its_batches() {
    let place = Place::new();
    let node = place.start();
    node.produce(&["--topic", "t", "--batch-bytes", "300"], lines(0..50).join("\n").as_bytes());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read: Vec<Bytes> = runtime.block_on(async {
        let cluster = Cluster::new(vec![node.address().to_owned()], ConnectionOptions::default());
        // In the middle of a batch, with an answer that has room for one batch at a time.
        let options = ConsumerOptions { fetch_bytes: 1, partition_bytes: 1, ..ConsumerOptions::default() };
        let mut consumer = Consumer::new(cluster, "t", BTreeMap::from([(0, 7)]), options);
        let mut read = Vec::new();
        while consumer.positions()[&PartitionName::new("t", 0)] < 50 {
            for batch in consumer.poll(Duration::from_secs(1)).await.unwrap() {
                let payload = batch.payload(1 << 20).unwrap();
                for record in seedlog_core::records::RecordIter::new(&batch.header, &payload) {
                    let record = record.unwrap();
                    if record.offset.0 >= batch.from {
                        read.push(Bytes::copy_from_slice(record.value.unwrap()));
                    }
                }
            }
        }
        read
    });
    assert_eq!(read, lines(7..50));
    node.stop();
}

/// A batch is looked into before it is in the log, whatever its codec; what the topic is counts from the answer to its change on.
#[test]
fn a_compacted_topic_takes_no_compressed_record_without_a_key() {
    const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
    let place = Place::new();
    let mut node = place.start();
    let produce = ["produce", "--topic", "table", "--value", "v", "--compression-codec"];
    let with_key = ["--key", "k"];
    for round in 0..2 {
        let policy = if round == 0 { "delete" } else { "compact" };
        if round == 0 {
            node.ok(&["topic", "create", "--topic", "table", "--config", "cleanup.policy=compact"]);
        }
        for codec in CODECS {
            let refused = node.refuses(1, &[&produce[..], &[codec]].concat());
            assert!(refused.contains("INVALID_RECORD"), "{codec}: {refused}");
            node.ok(&[&produce[..], &[codec], &with_key].concat());
        }
        node.ok(&["config", "alter", "--topic", "table", "--set", &format!("cleanup.policy={policy}")]);
        if round == 0 {
            node.ok(&[&produce[..], &["zstd"]].concat());
            node.ok(&["config", "alter", "--topic", "table", "--set", "cleanup.policy=compact"]);
            node.stop();
            node = place.start();
        }
    }
    assert_eq!(node.ends("table"), [11]);
    node.stop();
}
