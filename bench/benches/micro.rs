//! What the parts of the core cost one by one: steps by kind, the codec, the check of a batch, recovery.
//!
//! ```sh
//! cargo bench -p seedlog-bench
//! ```

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use seedlog_core::broker::Broker;
use seedlog_core::config::{AdvertisedListener, Config};
use seedlog_core::door::{ClientRequest, admit};
use seedlog_core::ids::{ConnId, ListenerId, Lsn, NodeId, RequestNumber, Uuid};
use seedlog_core::input::Input;
use seedlog_core::journal::format::GroupPlace;
use seedlog_core::journal::recovery::{JournalSource, recover};
use seedlog_core::journal::{FILE_HEADER_BYTES, FileHeader, GroupWriter, QuorumChain};
use seedlog_core::output::{Output, Outputs};
use seedlog_core::records::{BatchBuilder, ProducedBatch};
use seedlog_core::recovered::{Recovered, replay};
use seedlog_core::time::{MonoMs, Now, WallMs};
use seedlog_core::wire::create_topics::CreatableTopic;
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic};
use seedlog_core::wire::metadata::MetadataRequestTopic;
use seedlog_core::wire::produce::{PartitionProduceData, TopicProduceData};
use seedlog_core::wire::{
    ApiKey, CreateTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest, Records, Request, Response,
    Str, decode_request, decode_response, encode_request, encode_response,
};
use std::convert::Infallible;
use std::hint::black_box;

const TOPIC: &str = "bench";
const PARTITIONS: i32 = 6;
const CONN: ConnId = ConnId(1);
const FETCH_VERSION: i16 = 4;
const PRODUCE_VERSION: i16 = 8;
const METADATA_VERSION: i16 = 5;

/// A node alone, whose disk is as fast as thought.
struct Node {
    broker: Broker,
    now_ms: u64,
    next_number: u64,
    last: Lsn,
    outputs: Outputs,
    /// The journal, where it is wanted.
    journal: Option<Journal>,
}

struct Journal {
    file: Vec<u8>,
    chain: QuorumChain,
}

impl Node {
    fn start(keeps_journal: bool) -> Self {
        let listener = AdvertisedListener { host: "bench".to_owned(), port: 9092 };
        let config = Config::new(NodeId(1), Uuid([2; 16]), listener);
        let journal = keeps_journal.then(Journal::new);
        let broker = Broker::new(config, 1, Recovered::default(), now(1));
        let (last, outputs) = (Lsn::ZERO, Outputs::new());
        let mut node = Self { broker, now_ms: 1, next_number: 0, last, outputs, journal };
        while !node.broker.is_serving() {
            node.now_ms += 10;
            node.step(Input::Wake);
            node.settle();
        }
        node.step(Input::ConnOpened { conn: CONN, listener: ListenerId(0), peer: "bench".to_owned() });
        let topic = CreatableTopic {
            name: Str::from_static(TOPIC),
            num_partitions: PARTITIONS,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let topics = vec![topic];
        node.ask(client_request(5, CreateTopicsRequest { topics, timeout_ms: 1000, validate_only: false }));
        node.settle();
        node
    }

    fn ask(&mut self, request: ClientRequest) {
        let number = RequestNumber(self.next_number);
        self.next_number += 1;
        self.step(Input::Request { conn: CONN, number, request });
    }

    fn step(&mut self, input: Input) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.broker.step(now(self.now_ms), input, &mut outputs);
        self.outputs = outputs;
    }

    /// Everything that was asked of the disk is done.
    fn settle(&mut self) {
        while !self.outputs.is_empty() {
            let mut done = Vec::new();
            let mut group = None;
            let outputs: Vec<Output> = self.outputs.drain(..).collect();
            for output in outputs {
                match output {
                    Output::Journal { entry, batch } => {
                        self.last = Lsn(self.last.0 + 1);
                        if let Some(journal) = &self.journal {
                            let writer = group.get_or_insert_with(|| {
                                GroupWriter::new(Vec::new(), self.last, journal.chain)
                            });
                            writer.push(&entry, batch.as_ref().map(|(header, bytes)| (header, &bytes[..])));
                        }
                    }
                    Output::Store { op, .. } => done.push(Input::StoreDone { op, result: Ok(()) }),
                    Output::Reply { .. }
                    | Output::Close { .. }
                    | Output::Send { .. }
                    | Output::Read { .. }
                    | Output::ReadBatches { .. }
                    | Output::FindExpired { .. }
                    | Output::MeasureLogs { .. }
                    | Output::Compact { .. }
                    | Output::Halt { .. } => {}
                }
            }
            if let (Some(writer), Some(journal)) = (group, &mut self.journal) {
                journal.add(writer);
            }
            self.step(Input::Durable { written: self.last, synced: self.last });
            done.into_iter().for_each(|input| self.step(input));
        }
    }
}

impl Journal {
    fn new() -> Self {
        let header = FileHeader {
            seq: 1,
            salt: 7,
            first_lsn: Lsn(1),
            durable: Lsn::ZERO,
            node_id: NodeId(1),
            incarnation: Uuid([2; 16]),
            cut_at: None,
        };
        let mut file = header.encode().to_vec();
        file.resize(FILE_HEADER_BYTES, 0);
        Self { file, chain: QuorumChain::default() }
    }

    fn add(&mut self, writer: GroupWriter<Vec<u8>>) {
        self.chain = writer.quorum();
        let first = writer.next_lsn().0 - u64::from(writer.entries());
        let place = GroupPlace { seq: 1, salt: 7, position: self.file.len() as u64, durable: Lsn(first - 1) };
        self.file.extend(writer.finish(place).1);
    }
}

impl JournalSource for &Journal {
    type Error = Infallible;

    fn files(&self) -> Vec<u64> {
        vec![1]
    }

    fn with_file<T>(&mut self, _seq: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, Infallible> {
        Ok(read(&self.file))
    }
}

fn now(now_ms: u64) -> Now {
    Now { mono: MonoMs(now_ms), wall: WallMs(1_700_000_000_000 + i64::try_from(now_ms).unwrap_or(0)) }
}

fn frame(version: i16, request: impl Into<Request>) -> Bytes {
    let frame = encode_request(version, 1, Some(&Str::from_static("bench")), &request.into());
    frame.expect("a request of ours can be written").to_bytes().slice(4..)
}

fn client_request(version: i16, request: impl Into<Request>) -> ClientRequest {
    admit(frame(version, request)).expect("a request of ours is admitted").request
}

fn batch(records: usize, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.add(1_700_000_000_000, None, Some(&vec![b'x'; value_bytes]), &[]);
    }
    builder.finish()
}

fn produce(records: usize, value_bytes: usize) -> ProduceRequest {
    let records = Some(Records::from(batch(records, value_bytes)));
    let topic = TopicProduceData {
        name: Str::from_static(TOPIC),
        partition_data: vec![PartitionProduceData { index: 0, records }],
        ..TopicProduceData::default()
    };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() }
}

fn fetch(offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partitions = (0..PARTITIONS).map(|partition| FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    });
    let partitions = partitions.collect();
    let topic = FetchTopic { topic: Str::from_static(TOPIC), partitions, ..FetchTopic::default() };
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 50 << 20,
        topics: vec![topic],
        ..FetchRequest::default()
    }
}

fn metadata() -> MetadataRequest {
    let topic =
        MetadataRequestTopic { name: Some(Str::from_static(TOPIC)), ..MetadataRequestTopic::default() };
    MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() }
}

/// One step of the broker, with all that it gives out; what it waits for is done outside of the time.
fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    let requests = [
        ("produce, 1 record of 100 B", client_request(PRODUCE_VERSION, produce(1, 100))),
        ("produce, 64 records of 1 KiB", client_request(PRODUCE_VERSION, produce(64, 1024))),
        ("fetch of 6 partitions, full answer", client_request(FETCH_VERSION, fetch(0, 500))),
        ("fetch of 6 partitions, nothing new", client_request(FETCH_VERSION, fetch(0, 0))),
        ("metadata of a topic", client_request(METADATA_VERSION, metadata())),
    ];
    for (name, request) in requests {
        let mut node = Node::start(false);
        if name.contains("full") {
            node.ask(client_request(PRODUCE_VERSION, produce(64, 1024)));
            node.settle();
        }
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let mut time = std::time::Duration::ZERO;
                for _ in 0..count {
                    let request = request.clone();
                    let began = std::time::Instant::now();
                    node.ask(request);
                    time += began.elapsed();
                    node.settle();
                }
                time
            });
        });
    }
    let mut node = Node::start(false);
    let request = client_request(PRODUCE_VERSION, produce(1, 100));
    group.bench_function("durable, acknowledges 32 requests", |bencher| {
        bencher.iter_custom(|count| {
            let mut time = std::time::Duration::ZERO;
            for _ in 0..count {
                (0..32).for_each(|_| node.ask(request.clone()));
                let began = std::time::Instant::now();
                node.settle();
                time += began.elapsed();
            }
            time
        });
    });
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let single = frame(PRODUCE_VERSION, produce(1, 100));
    group.bench_function("decode Produce, 1 record", |bencher| {
        bencher.iter(|| decode_request(black_box(single.clone())));
    });
    let asked = frame(FETCH_VERSION, fetch(0, 500));
    group.bench_function("decode Fetch, 6 partitions", |bencher| {
        bencher.iter(|| decode_request(black_box(asked.clone())));
    });
    let answer = metadata_answer();
    let bytes =
        encode_response(METADATA_VERSION, 1, &answer).expect("it can be written").to_bytes().slice(4..);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode Metadata, 1,000 partitions", |bencher| {
        bencher.iter(|| encode_response(METADATA_VERSION, 1, black_box(&answer)));
    });
    group.bench_function("decode Metadata, 1,000 partitions", |bencher| {
        bencher.iter(|| decode_response(ApiKey::Metadata, METADATA_VERSION, black_box(bytes.clone())));
    });
    group.finish();
}

fn metadata_answer() -> Response {
    use seedlog_core::wire::metadata::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};
    let partitions = (0..1_000).map(|partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        replica_nodes: vec![1, 2, 3],
        isr_nodes: vec![1, 2, 3],
        ..MetadataResponsePartition::default()
    });
    let partitions = partitions.collect();
    let name = Some(Str::from_static(TOPIC));
    let topics = vec![MetadataResponseTopic { name, partitions, ..MetadataResponseTopic::default() }];
    MetadataResponse { topics, ..MetadataResponse::default() }.into()
}

/// All that the door checks of a batch: its header, its CRC, its records.
fn validation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check a batch");
    for (name, records, value_bytes) in
        [("1 x 100 B", 1, 100), ("1,000 x 100 B", 1_000, 100), ("64 x 1 KiB", 64, 1024)]
    {
        let batch = batch(records, value_bytes);
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || batch.clone(),
                |batch| ProducedBatch::parse(batch, 1 << 20),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A journal of 64 MiB, read and judged, and its entries played back.
fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery");
    group.sample_size(10);
    for (name, records, value_bytes, at_once) in
        [("64 x 1 KiB", 64, 1024, 16), ("1 x 100 B, groups of 32", 1, 100, 32)]
    {
        let mut node = Node::start(true);
        let request = client_request(PRODUCE_VERSION, produce(records, value_bytes));
        let bytes = |node: &Node| node.journal.as_ref().map_or(0, |journal| journal.file.len());
        while bytes(&node) < 64 << 20 {
            (0..at_once).for_each(|_| node.ask(request.clone()));
            node.settle();
        }
        let journal = node.journal.take().expect("it was kept");
        group.throughput(Throughput::Bytes(journal.file.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let plan = recover(&mut &journal, Lsn::ZERO).expect("it is intact");
                assert_eq!(plan.end, node.last, "all of it counts");
                replay(&mut &journal, &plan, None, &mut |_, _, located| {
                    black_box(located);
                })
            });
        });
    }
    group.finish();
}

criterion_group!(micro, steps, codec, validation, recovery);
criterion_main!(micro);
