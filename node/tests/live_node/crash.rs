//! A node that is killed or stopped while it works: what it acknowledged is there afterwards, in order and once.

use std::fs;
use std::io::{ErrorKind, Write};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Node, PATIENCE, Place, read_lines, wait_for_exit};

/// Acknowledgements between one crash and the next.
const ACKS_A_ROUND: usize = 3_000;

/// `seedlog produce`, fed with numbers for as long as the test wants, and its acknowledgements as they come.
struct Stream {
    child: Child,
    acknowledged: mpsc::Receiver<String>,
    is_enough: Arc<AtomicBool>,
    feeder: Option<thread::JoinHandle<usize>>,
    seen: Vec<String>,
}

impl Stream {
    fn start(node: &Node, args: &[&str]) -> Self {
        let mut command = node.client(&[&["produce", "--print-offsets"], args].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let is_enough = Arc::new(AtomicBool::new(false));
        let enough = Arc::clone(&is_enough);
        let feeder = thread::spawn(move || {
            let mut number = 0;
            while !enough.load(Ordering::Relaxed) {
                match writeln!(stdin, "{number}") {
                    Ok(()) => number += 1,
                    // The producer gave up.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                    Err(error) => panic!("{error}"),
                }
            }
            number
        });
        let acknowledged = read_lines(child.stdout.take().unwrap());
        Self { child, acknowledged, is_enough, feeder: Some(feeder), seen: Vec::new() }
    }

    /// Waits for so many more acknowledgements.
    fn wait(&mut self, count: usize) {
        for _ in 0..count {
            self.seen.push(self.acknowledged.recv_timeout(PATIENCE).expect("records are acknowledged"));
        }
    }

    /// Ends the input and waits for the rest; how many were written and how many of them acknowledged.
    fn finish(&mut self) -> (usize, usize, Option<i32>) {
        self.is_enough.store(true, Ordering::Relaxed);
        let written = self.feeder.take().unwrap().join().unwrap();
        while let Ok(line) = self.acknowledged.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        let status = wait_for_exit(&mut self.child);
        (written, self.seen.len(), status.code())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.is_enough.store(true, Ordering::Relaxed);
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

fn numbers(records: &[Value]) -> Vec<usize> {
    records.iter().map(|record| record["value"].as_str().unwrap().parse().unwrap()).collect()
}

/// Kills the node again and again under one producer and one consumer that both stay.
fn survives_kills(mut place: Place, rounds: usize) {
    let mut node = place.start();
    place.set("listeners", &node.listeners());
    node.ok(&["topic", "create", "--topic", "t"]);
    let mut tail = node.client(&["consume", "--topic", "t", "--offset", "0", "--print-offset"]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let tailed = read_lines(tail.stdout.take().unwrap());
    let mut producer = Stream::start(&node, &["--topic", "t"]);
    for _ in 0..rounds {
        producer.wait(ACKS_A_ROUND);
        node.kill();
        node = place.start();
        assert_eq!(node.logged("data folder opened")["clean"], false);
    }
    producer.wait(1);
    let (written, acknowledged, code) = producer.finish();
    assert_eq!((acknowledged, code), (written, Some(0)), "an idempotent producer survives every restart");
    let expected: Vec<String> = (0..written).map(|offset| format!("t-0@{offset}")).collect();
    assert_eq!(producer.seen, expected);

    assert_eq!(numbers(&node.read("t", written)), (0..written).collect::<Vec<_>>());
    assert_eq!(node.ends("t"), [written as u64], "nothing is there twice");
    for number in 0..written {
        assert_eq!(tailed.recv_timeout(PATIENCE).unwrap(), format!("Offset:{number}\t{number}"));
    }
    tail.kill().and_then(|()| tail.wait()).unwrap();
    node.stop();
}

#[test]
fn kills_lose_nothing_that_was_acknowledged_and_repeat_nothing() {
    survives_kills(Place::new(), 3);
}

#[test]
fn kills_lose_nothing_with_buffered_writes_and_syncs_from_time_to_time() {
    survives_kills(Place::new().with("flush", "interval").with("disk.direct.io", "false"), 2);
}

#[test]
fn kills_lose_nothing_while_journal_files_go_and_segments_come() {
    let mut place = Place::with_small_journal().with("journal.bytes.max", "33554432");
    let mut node = place.start();
    place.set("listeners", &node.listeners());
    node.ok(&["topic", "create", "--topic", "large"]);
    // Incompressible enough: each record is its own number, many times over.
    let line = |number: usize| format!("{number:08}").repeat(2_000);
    let mut written = 0;
    for round in 0..3 {
        let lines: Vec<String> = (written..written + 700).map(line).collect();
        node.produce(&["--topic", "large"], lines.join("\n").as_bytes());
        written += 700;
        if round % 2 == 0 {
            node.kill();
        } else {
            node.stop();
        }
        node = place.start();
    }
    let is_segment = |name: &str| name.ends_with(".log") && !name.starts_with("journal-");
    assert!(folder_has(&place.data(), &is_segment), "segments were written");
    assert!(folder_has(&place.data(), &|name| name == "snapshot"), "a snapshot was written");
    assert_ne!(
        place.journal()[0].file_name().unwrap(),
        "journal-00000000000000000001.log",
        "files are let go"
    );
    for (number, record) in node.read("large", written).iter().enumerate() {
        assert_eq!(record["offset"], number);
        assert_eq!(record["value"].as_str().unwrap(), line(number));
    }
    assert_eq!(node.ends("large"), [written as u64]);
    node.stop();
}

fn folder_has(folder: &std::path::Path, is_it: &dyn Fn(&str) -> bool) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).any(|entry| {
        is_it(entry.file_name().to_str().unwrap())
            || entry.file_type().unwrap().is_dir() && folder_has(&entry.path(), is_it)
    })
}

#[test]
fn a_producer_that_gives_up_knows_what_was_written() {
    let mut place = Place::new();
    let node = place.start();
    place.set("listeners", &node.listeners());
    node.ok(&["topic", "create", "--topic", "t", "--partitions", "3"]);
    let mut producers: Vec<Stream> = (0..3)
        .map(|partition| {
            let partition = partition.to_string();
            let args =
                ["--topic", "t", "--partition", &partition, "--acks", "1", "--delivery-timeout-ms", "300"];
            Stream::start(&node, &args)
        })
        .collect();
    for producer in &mut producers {
        producer.wait(ACKS_A_ROUND / 3);
    }
    node.kill();
    let acknowledged: Vec<usize> = producers
        .iter_mut()
        .map(|producer| {
            let (written, acknowledged, code) = producer.finish();
            assert!(acknowledged <= written);
            assert_eq!(code, Some(1), "without a broker it fails");
            acknowledged
        })
        .collect();
    let node = place.start();
    for (partition, acknowledged) in acknowledged.into_iter().enumerate() {
        let end = node.ends("t")[partition] as usize;
        assert!(end >= acknowledged, "{acknowledged} were acknowledged, {end} are there");
        let (partition, end) = (partition.to_string(), end.to_string());
        let args = [
            "consume",
            "--topic",
            "t",
            "--partition",
            &partition,
            "--from-beginning",
            "--max-messages",
            &end,
        ];
        let read = numbers(&node.json(&args));
        // The last batch may have been sent twice: a producer without idempotence repeats what was not acknowledged.
        assert_eq!(read[..acknowledged], (0..acknowledged).collect::<Vec<_>>());
    }
    node.stop();
}

#[test]
fn a_node_that_is_asked_to_stop_under_load_ends_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut place = Place::new();
        let node = place.start();
        place.set("listeners", &node.listeners());
        node.ok(&["topic", "create", "--topic", "t"]);
        let mut waiting = node.client(&["consume", "--topic", "t"]);
        let mut waiting = waiting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut producer = Stream::start(&node, &["--topic", "t"]);
        producer.wait(ACKS_A_ROUND);
        node.signal(signal);
        node.ends_well();
        let node = place.start();
        let opened = node.logged("data folder opened");
        assert_eq!((&opened["clean"], &opened["cut"]), (&Value::Bool(true), &Value::Null));
        let (written, acknowledged, code) = producer.finish();
        assert_eq!((acknowledged, code), (written, Some(0)));
        assert_eq!(numbers(&node.read("t", written)), (0..written).collect::<Vec<_>>());
        assert_eq!(node.ends("t"), [written as u64]);
        waiting.kill().and_then(|()| waiting.wait()).unwrap();
        node.stop();
    }
}

#[test]
fn an_idle_node_comes_back_the_same_time_after_time() {
    let mut place = Place::new();
    let mut node = place.start();
    place.set("listeners", &node.listeners());
    node.ok(&["topic", "create", "--topic", "t", "--partitions", "2"]);
    node.ok(&["produce", "--topic", "t", "--partition", "1", "--value", "v"]);
    let identity = node.logged("data folder opened")["incarnation"].clone();
    for restart in 0..6 {
        if restart % 2 == 0 {
            node.stop();
        } else {
            node.kill();
        }
        node = place.start();
        let opened = node.logged("data folder opened");
        assert_eq!(opened["incarnation"], identity);
        assert_eq!(opened["clean"], restart % 2 == 0);
        assert_eq!(node.ends("t"), [0, 1]);
    }
    node.stop();
}

#[test]
fn restarts_do_not_fill_the_journal() {
    let mut place = Place::with_small_journal();
    for restart in 0..20 {
        let node = place.start();
        place.set("listeners", &node.listeners());
        node.ok(&["produce", "--topic", "t", "--value", "v", "--delivery-timeout-ms", "5000"]);
        if restart % 2 == 0 { node.kill() } else { node.stop() }
    }
    assert!(place.journal().len() <= 9, "{:?}", place.journal());
}

#[test]
fn small_writes_do_not_fill_the_journal() {
    let place = Place::with_small_journal();
    let node = place.start();
    let lines: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
    // A batch for each record, and one in flight: each is a group of its own.
    let args = ["--topic", "t", "--acks", "1", "--batch-bytes", "1", "--delivery-timeout-ms", "5000"];
    node.produce(&args, lines.join("\n").as_bytes());
    assert_eq!(node.ends("t"), [5_000]);
    node.stop();
}
