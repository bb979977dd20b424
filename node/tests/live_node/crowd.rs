//! Thousands of connections that mean harm, and a client that does not: it is served, and nothing of theirs stays.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seedlog_core::records::BatchBuilder;
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic};
use seedlog_core::wire::produce::{PartitionProduceData, TopicProduceData};
use seedlog_core::wire::{
    ApiKey, FetchRequest, MetadataRequest, ProduceRequest, Records, Request, Response, Str, decode_response,
    encode_request,
};
use tokio::net::TcpSocket;

use crate::support::{Node, PATIENCE, Place, http, wait_for};

/// Connections of the first hostile address, where descriptors allow; it tries to open more than it may have.
const CROWD: u64 = 2_500;
/// Of these, the node lets in so many.
const CROWD_MAX: u64 = 2_000;
/// Of the second address, by an exception.
const OTHERS: u64 = 300;
const OTHERS_MAX: u64 = 40;
/// Descriptors for everything else that the tests of this process do at the same time.
const SPARE: u64 = 700;
/// What the node may hold for requests, replies, recent records and itself.
const BUDGET_BYTES: u64 = 256 << 20;
/// Beside the budget: the program, its stacks, and 16 KiB that are read ahead on each connection.
const BESIDE_BYTES: u64 = 192 << 20;
/// How long the crowd stays.
const STAY: Duration = Duration::from_secs(8);
/// Records of the good client while it is there, at least.
const ROUNDS_MIN: u64 = 20;

/// How many connections both sides may have: the soft limit of descriptors is raised as far as it goes.
fn descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where that is refused, fewer connections have to do.
    setrlimit(Resource::Nofile, raised).ok();
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Connections from an address of loopback. Those beyond a cap are closed at once.
fn connect(node: &Node, from: [u8; 4], count: u64) -> Vec<TcpStream> {
    let to: SocketAddr = node.address().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let streams = (0..count).filter_map(|_| {
        let connected = runtime.block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::from(from), 0).into())?;
            socket.connect(to).await?.into_std()
        });
        // The node may be quicker to close it than we are to ask.
        connected.ok()
    });
    streams.collect()
}

fn frame(request: impl Into<Request>, version: i16) -> Bytes {
    encode_request(version, 1, None, &request.into()).unwrap().to_bytes()
}

/// A produce request of one record for all replicas.
fn produce(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.add(1, None, Some(value), &[]);
    let records = Some(Records::from(builder.finish()));
    let partition_data = vec![PartitionProduceData { index: 0, records }];
    let topic = TopicProduceData { name: Str::from("good"), partition_data, ..Default::default() };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 20_000, topic_data: vec![topic], ..Default::default() };
    frame(request, 9)
}

/// A fetch of all that there is.
fn fetch(bytes_max: i32) -> Bytes {
    let wanted = FetchPartition { partition_max_bytes: bytes_max, ..Default::default() };
    let topic = FetchTopic { topic: Str::from("good"), partitions: vec![wanted], ..Default::default() };
    frame(FetchRequest { max_bytes: bytes_max, min_bytes: 1, topics: vec![topic], ..Default::default() }, 11)
}

/// Sends a request and takes its answer.
fn ask(stream: &mut TcpStream, request: &[u8], api: ApiKey, version: i16) -> Response {
    stream.write_all(request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    decode_response(api, version, Bytes::from(answer)).unwrap().1
}

/// The good client: each of its records is acknowledged at the offset that is due, and what it reads is there.
fn produce_and_read(node: &Node, first_offset: i64, is_over: &AtomicBool, rounds: &AtomicU64) {
    let mut stream = node.connect();
    while !is_over.load(Ordering::Relaxed) || rounds.load(Ordering::Relaxed) < ROUNDS_MIN {
        let round = rounds.load(Ordering::Relaxed);
        let Response::Produce(produced) = ask(&mut stream, &produce(b"a record"), ApiKey::Produce, 9) else {
            unreachable!("it goes by the question")
        };
        let answer = &produced.responses[0].partition_responses[0];
        let due = first_offset + i64::try_from(round).unwrap();
        assert_eq!((answer.error_code, answer.base_offset), (0, due));
        let Response::Fetch(fetched) = ask(&mut stream, &fetch(100_000), ApiKey::Fetch, 11) else {
            unreachable!("it goes by the question")
        };
        let data = &fetched.responses[0].partitions[0];
        assert_eq!(data.error_code, 0);
        assert!(!data.records.as_ref().unwrap().is_empty());
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a hostile connection says first, by its number: most say nothing, and none of them ever reads.
fn words(number: usize) -> Vec<u8> {
    let begun = |bytes: i32| [&bytes.to_be_bytes()[..], &[0; 40]].concat();
    let everything = MetadataRequest { topics: None, ..Default::default() };
    match number {
        // More than one address may have.
        _ if is_large(number) => begun(60 << 20),
        // All together as much once more.
        _ if number % 50 == 3 => begun(1 << 20),
        _ if number % 8 == 2 => vec![0, 0],
        // More than a socket takes, again and again.
        _ if number % 8 == 6 => fetch(48 << 20).repeat(20),
        _ if number % 8 == 7 => frame(everything, 9).repeat(2_000),
        _ => Vec::new(),
    }
}

fn is_large(number: usize) -> bool {
    [5, 1_005].contains(&number)
}

fn begin(number: usize, stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    // It may be closed already, or take no more: both are as it should be.
    stream.write_all(&words(number)).ok();
}

/// Those that have begun something: they go on byte by byte.
fn dribbling(crowd: &mut [TcpStream]) -> impl Iterator<Item = (usize, &mut TcpStream)> {
    crowd
        .iter_mut()
        .enumerate()
        .filter(|&(number, _)| is_large(number) || number % 50 == 3 || number % 8 == 2)
}

/// The node has closed it.
fn is_closed(stream: &mut TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// A number of the admin port.
fn number(admin: &str, name: &str) -> u64 {
    let (status, text) = http(admin, "/metrics");
    assert_eq!(status, 200);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

fn crowded_place() -> Place {
    Place::new()
        .with("admin.listener", "127.0.0.1:0")
        .with("max.connections.per.ip", &CROWD_MAX.to_string())
        .with("max.connections.per.ip.overrides", &format!("127.0.0.3:{OTHERS_MAX}"))
        .with("memory.budget.bytes", &BUDGET_BYTES.to_string())
        .with("memory.tail.cache.bytes", "67108864")
        .with("socket.request.max.bytes", "67108864")
        .with("fetch.max.bytes", "50331648")
        .with("request.arrival.ms", "2000")
}

/// With the usual 20,000 descriptors 2,800 connections are opened, of which 2,040 are let in; with fewer, as many as there are.
#[test]
fn a_crowd_that_means_harm_keeps_nobody_from_being_served() {
    let crowd_size = CROWD.min(descriptors().saturating_sub(SPARE + OTHERS));
    let place = crowded_place();
    let mut node = place.start();
    let admin = node.logged("admin port open")["address"].as_str().unwrap().to_owned();
    // Something to fetch that does not fit into a socket's buffers.
    let line = "x".repeat(100_000);
    node.produce(&["--topic", "good"], format!("{line}\n").repeat(300).as_bytes());
    let first_offset = i64::try_from(node.ends("good")[0]).unwrap();

    let (is_over, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut crowd, mut silent, mut rss_bytes_max) = (Vec::new(), Vec::new(), 0);
    thread::scope(|scope| {
        let good = scope.spawn(|| produce_and_read(&node, first_offset, &is_over, &rounds));
        crowd = connect(&node, [127, 0, 0, 2], crowd_size);
        silent = connect(&node, [127, 0, 0, 3], OTHERS);
        crowd.iter_mut().enumerate().for_each(|(number, stream)| begin(number, stream));
        let stays_until = Instant::now() + STAY;
        let served_before = rounds.load(Ordering::Relaxed);
        while Instant::now() < stays_until && !good.is_finished() {
            for (_, stream) in dribbling(&mut crowd) {
                stream.write_all(&[0]).ok();
            }
            rss_bytes_max = rss_bytes_max.max(node.rss_bytes());
            let open = number(&admin, "seedlog_connections");
            assert!(open <= CROWD_MAX + OTHERS_MAX + 1, "{open} connections are open");
            thread::sleep(Duration::from_millis(100));
        }
        wait_for("the good client's records", || {
            let served = rounds.load(Ordering::Relaxed) - served_before;
            (served >= ROUNDS_MIN || good.is_finished()).then_some(())
        });
        is_over.store(true, Ordering::Relaxed);
        good.join().unwrap();
    });
    assert!(rss_bytes_max < BUDGET_BYTES + BESIDE_BYTES, "{rss_bytes_max} bytes of memory");
    let refused = number(&admin, "seedlog_connections_refused_total");
    assert!(refused >= crowd_size.saturating_sub(CROWD_MAX) + OTHERS - OTHERS_MAX, "{refused} were refused");

    // What was begun and did not go on was closed, though its sender is there; who only says nothing may stay.
    let deadline = Instant::now() + PATIENCE;
    for (at, stream) in dribbling(&mut crowd) {
        while !is_closed(stream) {
            assert!(Instant::now() < deadline, "connection {at} is still open");
            thread::sleep(Duration::from_millis(10));
        }
    }
    assert!(!is_closed(&mut crowd[0]));
    drop((crowd, silent));
    wait_for("everything to be given back", || {
        let kept = ["seedlog_connections", r#"seedlog_memory_used_bytes{part="requests"}"#]
            .into_iter()
            .chain([r#"seedlog_memory_used_bytes{part="replies"}"#])
            .map(|name| number(&admin, name));
        // The numbers are told while something happens.
        node.ok(&["topic", "list"]);
        (kept.sum::<u64>() == 0).then_some(())
    });
    node.is_sound();
    node.stop();
}
