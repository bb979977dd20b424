//! Produce requests with acks=all: the same batch again and again, to each partition in turn.

use super::client::{self, Client, Leaders, client_id};
use super::socket::{Socket, wait};
use super::{Latencies, LoadError, Loaded, own_cpu};
use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::records::BatchBuilder;
use seedlog_core::wire::produce::{PartitionProduceData, TopicProduceData};
use seedlog_core::wire::{ApiKey, ProduceRequest, Records, Request, Response, Str, encode_request};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Kafka 4.3 serves it, and its answer has everything at fixed places.
pub(super) const VERSION: i16 = 8;
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bytes of a record's value.
    pub value_bytes: usize,
    /// Records of a batch; each request has one.
    pub records: i32,
    /// Requests without an answer, on each connection.
    pub in_flight: usize,
    /// Connections to each broker.
    pub connections: usize,
    /// Requests a second in an open loop; `None` for a closed one.
    pub rate: Option<f64>,
    /// For how long.
    pub time: Duration,
}

/// One connection and the partitions that it writes to.
struct Lane {
    socket: Socket,
    requests: Vec<Bytes>,
    next: usize,
    sent: VecDeque<Instant>,
}

impl Lane {
    fn send(&mut self, at: Instant) {
        self.socket.push(self.requests[self.next % self.requests.len()].clone());
        self.next += 1;
        self.sent.push_back(at);
    }

    fn has_room(&self, shape: &Shape) -> bool {
        self.sent.len() < shape.in_flight
    }

    /// Takes answers; gives back how many.
    fn take(&mut self, name_bytes: usize, latencies: &mut Latencies) -> Result<u64, LoadError> {
        self.socket.fill()?;
        let mut count = 0;
        while let Some(answer) = self.socket.next() {
            check(answer, name_bytes)?;
            let sent = self.sent.pop_front();
            let sent =
                sent.ok_or_else(|| LoadError::Refused("an answer that nobody asked for".to_owned()))?;
            latencies.add(sent.elapsed());
            count += 1;
        }
        Ok(count)
    }
}

/// Writes to a topic. Counts what is there afterwards.
///
/// # Errors
/// A broker refuses, or what is there is not what was acknowledged.
pub fn produce(topic: &str, leaders: &Leaders, shape: &Shape) -> Result<Loaded, LoadError> {
    let before = ends(topic, leaders)?;
    let batch = batch(shape);
    let mut by_broker: BTreeMap<SocketAddr, Vec<Bytes>> = BTreeMap::new();
    for (partition, leader) in leaders.iter().enumerate() {
        by_broker.entry(*leader).or_default().push(request(topic, partition, &batch)?);
    }
    let mut lanes = Vec::new();
    for (leader, requests) in by_broker {
        for number in 0..shape.connections {
            let socket = Socket::connect(leader)?;
            lanes.push(Lane { socket, requests: requests.clone(), next: number, sent: VecDeque::new() });
        }
    }
    let (cpu, began, mut latencies) = (own_cpu(), Instant::now(), Latencies::new());
    let requests = run(&mut lanes, topic.len(), shape, &mut latencies)?;
    let (seconds, own_cpu_s) = (began.elapsed().as_secs_f64(), (own_cpu() - cpu).as_secs_f64());
    let records = requests * u64::from(shape.records.unsigned_abs());
    let found = ends(topic, leaders)? - before;
    if found != records {
        return Err(LoadError::Miscounted { expected: records, found });
    }
    Ok(Loaded {
        requests,
        records,
        value_bytes: records * shape.value_bytes as u64,
        batch_bytes: requests * batch.len() as u64,
        seconds,
        own_cpu_s,
        latency: latencies.summary(),
    })
}

fn run(
    lanes: &mut [Lane],
    name_bytes: usize,
    shape: &Shape,
    latencies: &mut Latencies,
) -> Result<u64, LoadError> {
    let (began, mut answered, mut due, mut turn) = (Instant::now(), 0, 0_u64, 0);
    let mut readable = Vec::new();
    let mut last_answer = began;
    loop {
        let is_over = began.elapsed() >= shape.time;
        let mut patience = Duration::from_millis(50);
        if !is_over {
            match shape.rate {
                None => lanes.iter_mut().for_each(|lane| {
                    while lane.has_room(shape) {
                        lane.send(Instant::now());
                    }
                }),
                Some(rate) => {
                    let at = |due: u64| began + Duration::from_secs_f64(due as f64 / rate);
                    while at(due) <= Instant::now() {
                        let count = lanes.len();
                        let free = (0..count).map(|step| (turn + step) % count);
                        let Some(lane) = free.into_iter().find(|&lane| lanes[lane].has_room(shape)) else {
                            break;
                        };
                        lanes[lane].send(at(due));
                        (turn, due) = (lane + 1, due + 1);
                    }
                    patience = patience.min(at(due).saturating_duration_since(Instant::now()));
                }
            }
        }
        for lane in &mut *lanes {
            lane.socket.flush()?;
        }
        if is_over && lanes.iter().all(|lane| lane.sent.is_empty()) {
            return Ok(answered);
        }
        let sockets: Vec<&Socket> = lanes.iter().map(|lane| &lane.socket).collect();
        wait(&sockets, patience, &mut readable)?;
        for (lane, _) in lanes.iter_mut().zip(&readable).filter(|(_, readable)| **readable) {
            answered += lane.take(name_bytes, latencies)?;
            last_answer = Instant::now();
        }
        if last_answer.elapsed() > PATIENCE && lanes.iter().any(|lane| !lane.sent.is_empty()) {
            return Err(LoadError::Refused(format!("no answer within {} s", PATIENCE.as_secs())));
        }
    }
}

/// A batch of records of letters: nothing that a broker or a file system could make smaller unasked.
pub(super) fn batch(shape: &Shape) -> Bytes {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = i64::try_from(now.as_millis()).unwrap_or(0);
    let mut state = 42_u64;
    let mut builder = BatchBuilder::new();
    for _ in 0..shape.records {
        let value: Vec<u8> = (0..shape.value_bytes)
            .map(|_| {
                // Knuth's MMIX generator.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                b'A' + u8::try_from((state >> 33) % 26).unwrap_or(0)
            })
            .collect();
        builder.add(timestamp, None, Some(&value), &[]);
    }
    builder.finish()
}

/// Writes one record to each of some partitions that one broker leads, in one request, and gives those whose part was refused.
///
/// # Errors
/// There is no answer.
pub fn produce_each(
    client: &mut Client,
    topic: &str,
    partitions: &[usize],
) -> Result<Vec<(usize, LoadError)>, LoadError> {
    let time = Duration::ZERO;
    let shape = Shape { value_bytes: 100, records: 1, in_flight: 1, connections: 1, rate: None, time };
    let Response::Produce(response) = client.ask(body(topic, partitions, &batch(&shape)), VERSION)? else {
        return Err(LoadError::unexpected(ApiKey::Produce, "of another kind"));
    };
    let answers: BTreeMap<i32, i16> = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses)
        .map(|answer| (answer.index, answer.error_code))
        .collect();
    let refused = partitions.iter().filter_map(|&partition| {
        let code = answers.get(&index(partition)).copied();
        let error = match code {
            Some(code) => client::check(ApiKey::Produce, code).err()?,
            None => LoadError::unexpected(ApiKey::Produce, "without all partitions"),
        };
        Some((partition, error))
    });
    Ok(refused.collect())
}

/// A whole frame that writes the batch to a partition.
pub(super) fn request(topic: &str, partition: usize, batch: &Bytes) -> Result<Bytes, LoadError> {
    let request = Request::from(body(topic, &[partition], batch));
    Ok(encode_request(VERSION, 0, Some(&client_id()), &request)?.to_bytes())
}

pub(super) fn body(topic: &str, partitions: &[usize], batch: &Bytes) -> ProduceRequest {
    let data = |&partition| PartitionProduceData {
        index: index(partition),
        records: Some(Records::from(batch.clone())),
    };
    let topic = TopicProduceData {
        name: Str::from(topic),
        partition_data: partitions.iter().map(data).collect(),
        ..TopicProduceData::default()
    };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() }
}

fn index(partition: usize) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// Correlation id, one topic with its name, one partition with its index, the error.
pub(super) fn check(answer: &[u8], name_bytes: usize) -> Result<(), LoadError> {
    let at = 4 + 4 + 2 + name_bytes + 4 + 4;
    let code = answer.get(at..).and_then(|rest| rest.first_chunk()).map(|code| i16::from_be_bytes(*code));
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            let name = ErrorCode::from_code(code).map_or("an unknown error", ErrorCode::name);
            Err(LoadError::Refused(format!("Produce: {name} ({code})")))
        }
        None => Err(LoadError::Refused("an answer to Produce is too short".to_owned())),
    }
}

/// The sum of the ends of a topic's logs.
pub fn ends(topic: &str, leaders: &Leaders) -> Result<u64, LoadError> {
    let mut clients = BTreeMap::new();
    let mut sum = 0;
    for (partition, leader) in leaders.iter().enumerate() {
        if !clients.contains_key(leader) {
            clients.insert(*leader, Client::connect(*leader)?);
        }
        let Some(client) = clients.get_mut(leader) else { continue };
        let end = client.end_offset(topic, i32::try_from(partition).unwrap_or(i32::MAX))?;
        sum += u64::try_from(end).unwrap_or(0);
    }
    Ok(sum)
}
