//! Keeps a table in a compacted topic: writes keyed records and tombstones, deletes records from the front, reads; and reads all
//! of it in the end, to find the last value of each key and no deleted one.

use super::deletes::{self, Deletion};
use super::turns::Turns;
use super::visit::{leader_of, version};
use super::{Behaviour, Context};
use crate::hash::hash64;
use crate::judges::Judge;
use crate::judges::s20::Table;
use crate::judges::truth::Truth;
use crate::marks::Mark;
use crate::plan::TopicPlan;
use seedlog_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicPartition};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchBuilder, Batches, verify_crc};
use seedlog_core::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic};
use seedlog_core::wire::produce::{PartitionProduceData, TopicProduceData};
use seedlog_core::wire::{
    CreateTopicsRequest, FetchRequest, FetchResponse, ProduceRequest, Records, Request, Response, Str,
};
use std::collections::BTreeMap;

/// The topic.
const NAME: &str = "table";
const PARTITIONS: i32 = 2;
/// Reads in the end, of all partitions together, before the rest is left to others.
const LAST_READS_MAX: u32 = 60;

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    topic: TopicPlan,
    keys: u64,
    turns: Turns<Question>,
    written: u64,
    last_reads: u32,
    /// The last read of each partition: where it began, where it is, and what it found.
    last: BTreeMap<TopicPartition, LastRead>,
    waiting: Option<(u64, u32, TopicPartition)>,
}

#[derive(Debug, Clone)]
struct LastRead {
    from: Offset,
    next: Offset,
    /// When it began, and in which term of a leader.
    began: (u64, LeaderEpoch),
    /// Answers with records in them.
    answers: u32,
    table: Table,
    is_done: bool,
}

/// What an answer must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    Create,
    Write,
    Read,
    Delete(Deletion),
}

impl Keeper {
    /// One with so many operations on so many keys, of a topic that is as safe as `topic`.
    #[must_use]
    pub fn new((operations, keys): (u64, u64), pause_ms: u64, topic: TopicPlan) -> Self {
        Self {
            topic,
            keys,
            turns: Turns::new(operations, pause_ms),
            written: 0,
            last_reads: 0,
            last: BTreeMap::new(),
            waiting: None,
        }
    }

    fn go_on(&mut self, ctx: &mut Context<'_>) {
        if ctx.draining {
            self.read_all(ctx);
            return;
        }
        if !self.turns.is_due(ctx) {
            return;
        }
        if ctx.truth.image.end() == Offset::ZERO {
            self.turns.wait(ctx); // Nothing is founded yet.
            return;
        }
        let (question, partition, request, version) = self.ask(ctx);
        let leader = partition.and_then(|partition| leader_of(ctx.truth, partition));
        let leader = if ctx.rng.chance(50) { None } else { leader };
        let broker = leader.unwrap_or_else(|| ctx.any_broker());
        self.turns.asked(ctx.send(broker, request, version), broker, question);
    }

    fn ask(&mut self, ctx: &mut Context<'_>) -> (Question, Option<TopicPartition>, Request, i16) {
        let Some(topic_id) = ctx.truth.topic_named(NAME) else {
            return (Question::Create, None, self.create().into(), 7);
        };
        let index = i32::try_from(ctx.rng.below(PARTITIONS.unsigned_abs().into())).unwrap_or(0);
        let partition = TopicPartition { topic_id, partition: PartitionIndex(index) };
        match ctx.rng.below(20) {
            0 | 1 => {
                let (deletion, request) = deletes::ask(ctx, NAME, partition);
                (Question::Delete(deletion), Some(partition), request.into(), version(ctx, 0, 2))
            }
            2 | 3 => {
                let from = ctx.truth.log_mut(partition).asked;
                (Question::Read, Some(partition), read(partition, from).into(), version(ctx, 4, 12))
            }
            _ => {
                let request = self.write(ctx, partition.partition);
                (Question::Write, Some(partition), request.into(), version(ctx, 3, 12))
            }
        }
    }

    fn create(&self) -> CreateTopicsRequest {
        let setting = |name: &'static str, value: &str| CreatableTopicConfig {
            name: Str::from_static(name),
            value: Some(Str::from(value)),
        };
        let topic = CreatableTopic {
            name: Str::from_static(NAME),
            num_partitions: PARTITIONS,
            replication_factor: self.topic.replicas,
            configs: vec![
                setting("cleanup.policy", "compact"),
                setting("min.insync.replicas", &self.topic.min_insync.to_string()),
            ],
            ..CreatableTopic::default()
        };
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 2_000, validate_only: false }
    }

    fn write(&mut self, ctx: &mut Context<'_>, index: PartitionIndex) -> ProduceRequest {
        let mut builder = BatchBuilder::new();
        for _ in 0..ctx.rng.range(1, 4) {
            self.written += 1;
            let key = format!("k{}", ctx.rng.below(self.keys)).into_bytes();
            let mut value = format!("c{} w{} ", ctx.client, self.written).into_bytes();
            let filler = ctx.rng.below(600);
            value.extend(ctx.rng.bytes(usize::try_from(filler).unwrap_or(0)));
            let value = if ctx.rng.chance(250) { None } else { Some(value.as_slice()) };
            let header: (&[u8], Option<&[u8]>) = (b"n", Some(b"1"));
            let headers = if ctx.rng.chance(200) { &[header][..] } else { &[] };
            let late_ms = i64::try_from(ctx.now_us / 1_000 + ctx.rng.below(500)).unwrap_or(0);
            builder.add(crate::world::WALL_START_MS + late_ms, Some(&key), value, headers);
        }
        let bytes = builder.finish();
        ctx.register.produced(hash64(&bytes[BATCH_HEADER_BYTES..]), ctx.client, self.written);
        let data = PartitionProduceData { index: index.0, records: Some(Records::from(bytes)) };
        let name = Str::from_static(NAME);
        let topic = TopicProduceData { name, partition_data: vec![data], ..TopicProduceData::default() };
        ProduceRequest { acks: -1, timeout_ms: 2_000, topic_data: vec![topic], ..ProduceRequest::default() }
    }

    /// Everything is over: the table is read once more, from where nobody asked for anything to be deleted.
    fn read_all(&mut self, ctx: &mut Context<'_>) {
        if self.waiting.is_some() || self.last_reads >= LAST_READS_MAX {
            return;
        }
        let Some(topic_id) = ctx.truth.topic_named(NAME) else { return };
        for index in 0..PARTITIONS {
            let partition = TopicPartition { topic_id, partition: PartitionIndex(index) };
            let began = (ctx.now_us, term(ctx.truth, partition));
            let log = ctx.truth.log_mut(partition);
            let (from, table) = (log.asked, Table::default());
            let fresh = LastRead { from, next: from, began, answers: 0, table, is_done: from > log.end() };
            let read = self.last.entry(partition).or_insert(fresh);
            if read.is_done {
                continue;
            }
            self.last_reads += 1;
            let request = self::read(partition, read.next);
            let leader = leader_of(ctx.truth, partition).unwrap_or_else(|| ctx.any_broker());
            self.waiting = Some((ctx.send(leader, request, 12), leader, partition));
            return;
        }
    }

    fn on_last_read(&mut self, ctx: &mut Context<'_>, partition: TopicPartition, response: &FetchResponse) {
        let Some(read) = self.last.get_mut(&partition) else { return };
        let data = response.responses.first().and_then(|topic| topic.partitions.first());
        if let Some(data) = data.filter(|data| data.error_code == 0) {
            let bytes = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
            read.answers += u32::from(!bytes.is_empty());
            for (header, range) in Batches::new(&bytes) {
                let batch = &bytes[range];
                if !verify_crc(batch) {
                    let says =
                        format!("{partition}: a batch at {} does not match its CRC", header.base_offset);
                    ctx.hear(Judge::S24, Err(says));
                }
                read.table.on_read(&header, batch, read.next);
                read.next = header.next_offset();
            }
            let stays_us = ctx.truth.patience.tombstones_us.unwrap_or(0);
            let (began_us, began_in) = read.began;
            let is_slow = ctx.now_us >= began_us + stays_us || term(ctx.truth, partition) != began_in;
            let may_miss_tombstones = read.answers > 1 && is_slow;
            let log = ctx.truth.log_mut(partition);
            if read.next >= log.end() || log.is_beyond {
                read.is_done = true;
                if !log.is_beyond {
                    let said = read.table.check(log, may_miss_tombstones, read.from);
                    ctx.hear(Judge::S20, said.map_err(|says| format!("{partition}: {says}")));
                    ctx.mark(Mark::TableRead);
                }
            }
        }
        ctx.wake_in_ms(50);
    }
}

/// The term of a partition's leader.
fn term(truth: &Truth, partition: TopicPartition) -> LeaderEpoch {
    truth.image.partition(partition).map_or(LeaderEpoch(-1), |held| held.state.leader_epoch)
}

/// Reads a partition.
fn read(partition: TopicPartition, from: Offset) -> FetchRequest {
    let wanted = FetchPartition {
        partition: partition.partition.0,
        fetch_offset: from.0,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic = Str::from_static(NAME);
    let topics = vec![FetchTopic { topic, partitions: vec![wanted], ..FetchTopic::default() }];
    FetchRequest { max_bytes: 1 << 20, session_epoch: -1, topics, ..FetchRequest::default() }
}

impl Behaviour for Keeper {
    fn on_response(&mut self, ctx: &mut Context<'_>, _broker: u32, number: u64, response: Response) {
        if let Some((.., partition)) = self.waiting.take_if(|(asked, ..)| *asked == number) {
            if let Response::Fetch(response) = &response {
                self.on_last_read(ctx, partition, response);
            }
            self.go_on(ctx);
            return;
        }
        let Some(question) = self.turns.answered(number) else { return };
        if let (Question::Delete(deletion), Response::DeleteRecords(response)) = (&question, &response) {
            deletion.judge(ctx, response);
        }
        self.turns.rest(ctx);
        self.go_on(ctx);
    }

    fn on_disconnected(&mut self, ctx: &mut Context<'_>, broker: u32) {
        if self.waiting.take_if(|(_, asked, _)| *asked == broker).is_some() {
            ctx.wake_in_ms(50);
        }
        if let Some(Question::Delete(deletion)) = self.turns.lost(ctx, broker) {
            deletion.tell_unknown(ctx);
        }
        self.go_on(ctx);
    }

    fn on_wake(&mut self, ctx: &mut Context<'_>) {
        self.go_on(ctx);
    }

    fn is_done(&self) -> bool {
        let has_read = self.last.len() == PARTITIONS as usize && self.last.values().all(|read| read.is_done);
        let may_read = self.last_reads > 0 && self.last_reads < LAST_READS_MAX && !has_read;
        self.turns.is_done() && self.waiting.is_none() && !may_read
    }

    fn waits_for(&self) -> String {
        format!("{}; last reads {:?}", self.turns.waits_for(), self.waiting)
    }
}
