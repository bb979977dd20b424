//! Many partitions whose records are soon too old: writes go round over all of them, while the broker rolls segments and lets
//! them go.

use super::caller::Stopwatch;
use super::client::{Client, END, Leaders, NewTopic, START, check, client_id};
use super::closed::{self, Pace, Work};
use super::produce::{Shape, VERSION, batch, body};
use super::socket::Socket;
use super::{Latency, LoadError, Loaded};
use bytes::Bytes;
use seedlog_core::wire::{ApiKey, Request, Response, decode_response, encode_request};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Partitions of one topic at most: each topic is created by one request.
const TOPIC_PARTITIONS_MAX: usize = 1_000;
/// Partitions that one request writes to, a record to each.
const REQUEST_PARTITIONS_MAX: usize = 100;
const VALUE_BYTES: usize = 1024;
const IN_FLIGHT: usize = 5;
/// What is written in a run, at most: what a broker has yet to remove takes room on the disk.
const VALUES_BYTES_MAX: u64 = 1_000_000_000;
/// A segment rolls before it is as old as so many runs.
const ROLLING_RUNS: u128 = 10;
/// At least one log in so many starts later after a run.
const MOVED_OF: usize = 20;
/// Partitions in a run of ten seconds or more; shorter ones have fewer.
const PARTITIONS: f64 = 10_000.0;
/// Longer than a file system takes for the first files of all partitions, a moment after as many were removed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Partitions in a run of this length.
pub(crate) fn partitions(time: Duration) -> usize {
    (PARTITIONS * (time.as_secs_f64() / 10.0).min(1.0)).ceil() as usize
}

/// Partitions of the first topic.
pub(crate) fn first_partitions(time: Duration) -> i32 {
    i32::try_from(partitions(time).min(TOPIC_PARTITIONS_MAX)).unwrap_or(i32::MAX)
}

/// The topics' settings. Of a partition only the segment that is written to is kept; a fifth of them or so rolls in a run of this
/// length, each at a time of its own. If all did at once, a broker that holds each segment open would hold two for each partition.
/// Kafka maps an index of 10 MiB for each segment, and reading ahead in these sparse files would be most of the row.
pub(crate) fn configs(time: Duration) -> Vec<(&'static str, String)> {
    let segment_ms = (ROLLING_RUNS * time.as_millis()).max(2);
    vec![
        ("retention.bytes", "1".to_owned()),
        ("segment.index.bytes", "65536".to_owned()),
        ("segment.ms", segment_ms.to_string()),
        ("segment.jitter.ms", (segment_ms - 1).to_string()),
        ("file.delete.delay.ms", "0".to_owned()),
    ]
}

/// The topics.
#[derive(Debug)]
pub(crate) struct Retention {
    topics: Vec<Topic>,
    lanes: Vec<Lane>,
    /// What has been sent of this run, and what was acknowledged since the beginning.
    sent: u64,
    written: u64,
    /// Each partition is written to once, and no more.
    is_first_round: bool,
}

#[derive(Debug)]
struct Topic {
    name: String,
    /// Partitions by the broker that leads them.
    led: BTreeMap<SocketAddr, Vec<usize>>,
}

/// One connection, and what goes round over it: parts of topics, by their number.
#[derive(Debug)]
struct Lane {
    leader: SocketAddr,
    parts: Vec<(usize, Vec<usize>)>,
    next: usize,
}

impl Retention {
    /// Creates what is there besides the first topic, and writes to each partition: its first files cost more than what follows.
    ///
    /// # Errors
    /// A broker refuses.
    pub(crate) fn prepared(
        client: &mut Client,
        first: (&NewTopic<'_>, &Leaders),
        time: Duration,
    ) -> Result<Self, LoadError> {
        let (topic, leaders) = first;
        let mut topics = vec![Topic::new(topic.name, leaders)];
        let mut left = partitions(time) - leaders.len();
        while left > 0 {
            let name = format!("{}-{}", topic.name, topics.len());
            let count = left.min(TOPIC_PARTITIONS_MAX);
            let partitions = i32::try_from(count).unwrap_or(i32::MAX);
            let leaders = client.create_topic(&NewTopic { name: &name, partitions, ..topic.clone() })?;
            topics.push(Topic::new(&name, &leaders));
            left -= count;
        }
        let mut by_leader: BTreeMap<SocketAddr, Vec<(usize, Vec<usize>)>> = BTreeMap::new();
        for (number, topic) in topics.iter().enumerate() {
            for (leader, partitions) in &topic.led {
                let parts = partitions.chunks(REQUEST_PARTITIONS_MAX).map(|part| (number, part.to_vec()));
                by_leader.entry(*leader).or_default().extend(parts);
            }
        }
        let lane = |(leader, parts)| Lane { leader, parts, next: 0 };
        let lanes = by_leader.into_iter().map(lane).collect();
        let mut retention = Self { topics, lanes, sent: 0, written: 0, is_first_round: true };
        let began = Instant::now();
        while let Err(error) = retention.offsets(END) {
            // A broker may learn later than others that it leads.
            if began.elapsed() > PATIENCE {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        retention.go_round(PATIENCE)?;
        retention.is_first_round = false;
        // A broker that writes its segments behind makes their files only once there is enough to write.
        retention.go_round(time / 2)?;
        Ok(retention)
    }

    /// Writes for so long.
    ///
    /// # Errors
    /// A broker refuses.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Loaded, LoadError> {
        let before = self.written;
        let (watch, (requests, latency)) = self.go_round(time)?;
        let (seconds, own_cpu_s) = (watch.seconds(), watch.own_cpu_s());
        let records = self.written - before;
        let value_bytes = records * VALUE_BYTES as u64;
        let batch_bytes = records * batch(&shape()).len() as u64;
        Ok(Loaded { requests, records, value_bytes, batch_bytes, seconds, own_cpu_s, latency })
    }

    fn go_round(&mut self, time: Duration) -> Result<(Stopwatch, (u64, Latency)), LoadError> {
        let sockets = self.lanes.iter().map(|lane| Socket::connect(lane.leader));
        let mut sockets = sockets.collect::<Result<Vec<_>, _>>()?;
        self.sent = 0;
        let watch = Stopwatch::start();
        let pace = Pace { in_flight: IN_FLIGHT, time, patience: PATIENCE };
        Ok((watch, closed::run(&mut sockets, pace, self)?))
    }

    /// The logs end where the acknowledged records end, and many start later than they did.
    ///
    /// # Errors
    /// They do not.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let found = self.offsets(END)?.iter().map(|&end| u64::try_from(end).unwrap_or(0)).sum();
        if found != self.written {
            return Err(LoadError::Miscounted { expected: self.written, found });
        }
        let began = Instant::now();
        loop {
            let starts = self.offsets(START)?;
            let moved = starts.iter().filter(|start| **start > 0).count();
            if moved > starts.len() / MOVED_OF {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(LoadError::Refused(format!("of {} logs {moved} start later", starts.len())));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn offsets(&self, which: i64) -> Result<Vec<i64>, LoadError> {
        let mut all = Vec::new();
        for topic in &self.topics {
            for (leader, partitions) in &topic.led {
                let partitions = partitions.iter().map(|&it| i32::try_from(it).unwrap_or(i32::MAX));
                let partitions: Vec<i32> = partitions.collect();
                all.extend(Client::connect(*leader)?.offsets(&topic.name, &partitions, which)?);
            }
        }
        Ok(all)
    }

    /// Deletes the topics besides the first.
    ///
    /// # Errors
    /// A broker refuses.
    pub(crate) fn delete(&self, client: &mut Client) -> Result<(), LoadError> {
        self.topics.iter().skip(1).try_for_each(|topic| client.delete_topic(&topic.name))
    }
}

impl Topic {
    fn new(name: &str, leaders: &Leaders) -> Self {
        let mut led: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
        for (partition, leader) in leaders.iter().enumerate() {
            led.entry(*leader).or_default().push(partition);
        }
        Self { name: name.to_owned(), led }
    }
}

impl Work for Retention {
    fn next(&mut self, lane: usize) -> Result<Option<Bytes>, LoadError> {
        let Lane { parts, next, .. } = &mut self.lanes[lane];
        if self.sent * VALUE_BYTES as u64 >= VALUES_BYTES_MAX || (self.is_first_round && *next == parts.len())
        {
            return Ok(None);
        }
        let (topic, partitions) = &parts[*next % parts.len()];
        *next += 1;
        self.sent += partitions.len() as u64;
        // Each batch has the time at which it is sent: retention goes by it.
        let request = Request::from(body(&self.topics[*topic].name, partitions, &batch(&shape())));
        Ok(Some(encode_request(VERSION, 0, Some(&client_id()), &request)?.to_bytes()))
    }

    fn take(&mut self, _lane: usize, answer: &[u8]) -> Result<(), LoadError> {
        let (_, response) = decode_response(ApiKey::Produce, VERSION, Bytes::copy_from_slice(answer))?;
        let Response::Produce(response) = response else {
            return Err(LoadError::unexpected(ApiKey::Produce, "of another kind"));
        };
        for answer in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
            check(ApiKey::Produce, answer.error_code)?;
            self.written += 1;
        }
        Ok(())
    }
}

fn shape() -> Shape {
    let time = Duration::ZERO;
    Shape { value_bytes: VALUE_BYTES, records: 1, in_flight: IN_FLIGHT, connections: 1, rate: None, time }
}
