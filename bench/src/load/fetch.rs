//! Readers: each reads all partitions of a topic on connections of its own, as fast as they come.

use super::client::{Leaders, client_id};
use super::socket::{Socket, wait};
use super::{Latencies, LoadError, Loaded, own_cpu};
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic};
use seedlog_core::wire::{FetchRequest, Request, Str, encode_request};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Kafka 4.3 serves it; its answer has most at fixed places.
const VERSION: i16 = 4;
/// As consumers ask by default.
pub(super) const PARTITION_BYTES_MAX: i32 = 1 << 20;
pub(super) const ANSWER_BYTES_MAX: i32 = 50 << 20;

/// How to read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Readers at once.
    pub readers: usize,
    /// For how long at most.
    pub time: Duration,
    /// A partition is read to its end, once; else a reader begins it anew there.
    pub once: bool,
}

/// The partitions that a reader reads from one broker.
struct Lane {
    socket: Socket,
    partitions: Vec<Position>,
    asked_at: Option<Instant>,
}

/// Where a reader is in a partition.
#[derive(Debug, Clone, Copy)]
struct Position {
    index: i32,
    /// From here to there, and again.
    start: i64,
    end: i64,
    next: i64,
}

/// What an answer had.
#[derive(Debug, Default)]
struct Taken {
    records: u64,
    bytes: u64,
}

/// Reads `parts` of a topic: of each partition from an offset to another one.
///
/// # Errors
/// A broker refuses, or an offset is missing.
pub fn fetch(
    topic: &str,
    leaders: &Leaders,
    parts: &[(i64, i64)],
    reading: &Reading,
) -> Result<Loaded, LoadError> {
    let mut by_broker: BTreeMap<SocketAddr, Vec<Position>> = BTreeMap::new();
    for ((index, leader), &(start, end)) in
        (0..).zip(leaders).zip(parts).filter(|(_, (start, end))| start < end)
    {
        by_broker.entry(*leader).or_default().push(Position { index, start, end, next: start });
    }
    let mut lanes = Vec::new();
    for _ in 0..reading.readers {
        for (leader, partitions) in &by_broker {
            let (socket, partitions) = (Socket::connect(*leader)?, partitions.clone());
            lanes.push(Lane { socket, partitions, asked_at: None });
        }
    }
    let (cpu, began, mut latencies) = (own_cpu(), Instant::now(), Latencies::new());
    let (mut requests, mut all) = (0, Taken::default());
    let mut readable = Vec::new();
    loop {
        let is_over = began.elapsed() >= reading.time;
        if is_over && reading.once {
            return Err(LoadError::Refused(format!("not all was read within {} s", reading.time.as_secs())));
        }
        for lane in lanes.iter_mut().filter(|lane| lane.asked_at.is_none() && !is_over) {
            lane.go_on(reading.once);
            if !lane.partitions.is_empty() {
                lane.ask(topic)?;
            }
        }
        if lanes.iter().all(|lane| lane.asked_at.is_none()) {
            break;
        }
        let sockets: Vec<&Socket> = lanes.iter().map(|lane| &lane.socket).collect();
        wait(&sockets, Duration::from_secs(60), &mut readable)?;
        if !readable.contains(&true) {
            return Err(LoadError::Refused("no answer to Fetch within 60 s".to_owned()));
        }
        for (lane, _) in lanes.iter_mut().zip(&readable).filter(|(_, readable)| **readable) {
            requests += lane.take(topic.len(), &mut all, &mut latencies)?;
        }
    }
    Ok(Loaded {
        requests,
        records: all.records,
        value_bytes: all.bytes,
        batch_bytes: all.bytes,
        seconds: began.elapsed().as_secs_f64(),
        own_cpu_s: (own_cpu() - cpu).as_secs_f64(),
        latency: latencies.summary(),
    })
}

impl Lane {
    /// What is to be asked for after an answer: of partitions that were read to their end the rest is left, or they begin anew.
    fn go_on(&mut self, once: bool) {
        if once {
            self.partitions.retain(|position| position.next < position.end);
        } else {
            let ended = self.partitions.iter_mut().filter(|position| position.next >= position.end);
            ended.for_each(|position| position.next = position.start);
        }
    }

    fn ask(&mut self, topic: &str) -> Result<(), LoadError> {
        let wanted = self.partitions.iter().map(|position| (position.index, position.next));
        self.socket.push(request(topic, wanted, (500, 1))?);
        self.asked_at = Some(Instant::now());
        self.socket.flush()
    }

    fn take(
        &mut self,
        name_bytes: usize,
        all: &mut Taken,
        latencies: &mut Latencies,
    ) -> Result<u64, LoadError> {
        self.socket.fill()?;
        let Some(answer) = self.socket.next() else { return Ok(0) };
        if let Some(asked) = self.asked_at.take() {
            latencies.add(asked.elapsed());
        }
        let mut answer = Answer::open(answer, name_bytes)?;
        while let Some((index, records)) = answer.partition()? {
            let position = self.partitions.iter_mut().find(|position| position.index == index);
            let position = position.ok_or_else(|| short("names a partition that was not asked for"))?;
            position.advance(records, all)?;
        }
        Ok(1)
    }
}

impl Position {
    fn advance(&mut self, records: &[u8], all: &mut Taken) -> Result<(), LoadError> {
        for batch in Batches(records) {
            if batch.base > self.next || batch.next <= self.next {
                return Err(LoadError::Refused(format!(
                    "offset {} of partition {} was due, and a batch from {} to {} came",
                    self.next, self.index, batch.base, batch.next
                )));
            }
            self.next = batch.next;
            all.records += batch.records;
            all.bytes += batch.bytes;
        }
        Ok(())
    }
}

/// A whole frame that asks for records of partitions from offsets on, with a wait in ms and the least bytes worth it.
pub(super) fn request(
    topic: &str,
    partitions: impl Iterator<Item = (i32, i64)>,
    (max_wait_ms, min_bytes): (i32, i32),
) -> Result<bytes::Bytes, LoadError> {
    let partitions = partitions.map(|(partition, fetch_offset)| FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: PARTITION_BYTES_MAX,
        ..FetchPartition::default()
    });
    let topic =
        FetchTopic { topic: Str::from(topic), partitions: partitions.collect(), ..FetchTopic::default() };
    let request = FetchRequest {
        max_wait_ms,
        min_bytes,
        max_bytes: ANSWER_BYTES_MAX,
        topics: vec![topic],
        ..FetchRequest::default()
    };
    Ok(encode_request(VERSION, 0, Some(&client_id()), &Request::from(request))?.to_bytes())
}

/// An answer of one topic, partition by partition.
pub(super) struct Answer<'a> {
    rest: &'a [u8],
    left: i32,
}

impl<'a> Answer<'a> {
    pub(super) fn open(frame: &'a [u8], name_bytes: usize) -> Result<Self, LoadError> {
        // Correlation id, throttle time, one topic, its name.
        let rest = frame.get(4 + 4..).ok_or_else(|| short("is too short"))?;
        let (topics, rest) = int(rest)?;
        if topics == 0 {
            return Ok(Self { rest, left: 0 });
        }
        let rest = rest.get(2 + name_bytes..).ok_or_else(|| short("is too short"))?;
        let (left, rest) = int(rest)?;
        Ok(Self { rest, left })
    }

    /// The next partition with its records.
    pub(super) fn partition(&mut self) -> Result<Option<(i32, &'a [u8])>, LoadError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let (index, rest) = int(self.rest)?;
        let (code, rest) = rest.split_first_chunk().ok_or_else(|| short("is too short"))?;
        match i16::from_be_bytes(*code) {
            0 => {}
            code => {
                let name = ErrorCode::from_code(code).map_or("an unknown error", ErrorCode::name);
                return Err(LoadError::Refused(format!("Fetch: {name} ({code})")));
            }
        }
        // High watermark, last stable offset.
        let rest = rest.get(8 + 8..).ok_or_else(|| short("is too short"))?;
        let (aborted, rest) = int(rest)?;
        let aborted = usize::try_from(aborted).unwrap_or(0);
        let rest = rest.get(16 * aborted..).ok_or_else(|| short("is too short"))?;
        let (bytes, rest) = int(rest)?;
        let bytes = usize::try_from(bytes).unwrap_or(0);
        let (records, rest) = rest.split_at_checked(bytes).ok_or_else(|| short("is too short"))?;
        self.rest = rest;
        Ok(Some((index, records)))
    }
}

/// One whole batch.
pub(super) struct BatchSeen {
    pub(super) base: i64,
    pub(super) next: i64,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// The whole batches of some records: the last one may be cut short.
pub(super) struct Batches<'a>(pub(super) &'a [u8]);

impl Iterator for Batches<'_> {
    type Item = BatchSeen;

    fn next(&mut self) -> Option<BatchSeen> {
        let at = |from: usize| self.0.get(from..)?.first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
        let base = i64::from_be_bytes(*self.0.first_chunk()?);
        let bytes = 12 + usize::try_from(at(8)?).ok()?;
        let (last_delta, records) = (at(23)?, at(57)?);
        self.0 = self.0.get(bytes..)?;
        Some(BatchSeen {
            base,
            next: base + i64::from(last_delta) + 1,
            records: u64::from(records.unsigned_abs()),
            bytes: bytes as u64,
        })
    }
}

fn int(bytes: &[u8]) -> Result<(i32, &[u8]), LoadError> {
    let (value, rest) = bytes.split_first_chunk().ok_or_else(|| short("is too short"))?;
    Ok((i32::from_be_bytes(*value), rest))
}

fn short(what: &str) -> LoadError {
    LoadError::Refused(format!("an answer to Fetch {what}"))
}
