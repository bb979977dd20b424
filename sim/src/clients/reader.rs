//! A reader: follows every partition of the topics from its start, at its leader, with or without a fetch session (KIP-227). Where
//! its place is out of range, it goes on where the log starts, as `auto.offset.reset=earliest` does.

use super::catalog::Catalog;
use super::{Behaviour, Context};
use crate::history::Batch;
use crate::judges::truth::TrueLog;
use crate::judges::{Judge, s6, s24};
use crate::marks::Mark;
use crate::plan::ClusterPlan;
use crate::trace::Kind;
use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{Offset, PartitionIndex, TopicPartition, Uuid};
use seedlog_core::records::{BatchHeader, Batches};
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use seedlog_core::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use seedlog_core::wire::{FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, Response};
use std::collections::BTreeMap;

const BY_NAME_UP_TO: i16 = 12;
const SESSIONS_FROM: i16 = 7;
/// The version of ListOffsets, and what asks for the start of a log in it.
const STARTS_VERSION: i16 = 7;
const EARLIEST: i64 = -2;

/// How a reader reads.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Through a fetch session.
    pub session: bool,
    /// How long a fetch may wait, in ms.
    pub wait_ms: i32,
    /// Bytes that are worth an answer.
    pub bytes_min: i32,
    /// Bytes of an answer, at most.
    pub bytes_max: i32,
    /// The version of Fetch.
    pub version: i16,
    /// Milliseconds between fetches.
    pub pause_ms: u64,
}

/// The first version of Fetch that names the leader epoch that the client knows (KIP-320).
const EPOCHS_FROM: i16 = 9;

/// See the module.
#[derive(Debug)]
pub struct Reader {
    style: Style,
    catalog: Catalog,
    /// Requests on their way: to whom, and since when.
    fetches: BTreeMap<u64, (u32, u64)>,
    sessions: BTreeMap<u32, Session>,
    positions: BTreeMap<TopicPartition, Position>,
    paused_until: u64,
    /// Answers with nothing in them since the last change.
    idle_rounds: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Session {
    id: i32,
    epoch: i32,
}

/// Where a reader is in a partition.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    next: i64,
    /// What the session of a broker was told last.
    told: Option<(u32, i64)>,
    /// The log's end as an answer said it.
    high_watermark: i64,
    /// Its leader has answered since the reader knows it.
    was_answered: bool,
    /// It cannot be read any more.
    lost: bool,
    /// There is nothing at `next`, and where the log starts is not known yet.
    is_astray: bool,
}

impl Reader {
    /// A reader of the stable topics.
    #[must_use]
    pub fn new(style: Style, first: u32, cluster: &ClusterPlan) -> Self {
        Self {
            style,
            catalog: Catalog::new(cluster.topics.len(), first),
            fetches: BTreeMap::new(),
            sessions: BTreeMap::new(),
            positions: BTreeMap::new(),
            paused_until: 0,
            idle_rounds: 0,
        }
    }

    /// How far each partition was read, and whether that is its end.
    pub fn progress(&self) -> impl Iterator<Item = (TopicPartition, Offset, bool)> {
        self.positions.iter().map(|(&partition, position)| {
            let at_end =
                position.was_answered && !position.is_astray && position.next >= position.high_watermark;
            (partition, Offset(position.next), position.lost || at_end)
        })
    }

    /// It has asked about everything, found nothing new several times, and read as far as it is `due`; `None` for partitions
    /// that need not be read.
    #[must_use]
    pub fn is_at_the_end(&self, due: impl Fn(TopicPartition) -> Option<Offset>) -> bool {
        let nobody_leads =
            self.positions.keys().all(|partition| self.catalog.leader_of(*partition).is_none());
        self.catalog.is_complete()
            && (self.idle_rounds >= 2 || nobody_leads)
            && self
                .progress()
                .all(|(partition, next, at_end)| due(partition).is_none_or(|due| at_end && next >= due))
    }

    fn uses_session(&self) -> bool {
        self.style.session && self.style.version >= SESSIONS_FROM
    }

    fn go_on(&mut self, ctx: &mut Context<'_>) {
        if ctx.now_us < self.paused_until {
            ctx.wake_in_ms((self.paused_until - ctx.now_us).div_ceil(1_000));
            return;
        }
        if let Err(wait) = self.catalog.refresh(ctx) {
            wait.into_iter().for_each(|micros| ctx.wake_in_ms(micros.div_ceil(1_000)));
            return;
        }
        let mut by_leader: BTreeMap<u32, Vec<(TopicPartition, i32)>> = BTreeMap::new();
        for &partition in self.positions.keys() {
            if let Some((leader, epoch)) = self.catalog.leader_of(partition) {
                by_leader.entry(leader).or_default().push((partition, epoch));
            }
        }
        for (leader, partitions) in by_leader {
            if self.fetches.values().all(|(broker, _)| *broker != leader) {
                let astray = |(partition, _): &&(TopicPartition, i32)| self.positions[partition].is_astray;
                let astray: Vec<_> = partitions.iter().filter(astray).copied().collect();
                let number = if astray.is_empty() {
                    let request = self.request(leader, &partitions, ctx.draining);
                    ctx.send(leader, request, self.style.version)
                } else {
                    ctx.send(leader, self.ask_starts(&astray), STARTS_VERSION)
                };
                self.fetches.insert(number, (leader, ctx.now_us));
            }
        }
        ctx.wake_in_ms(100);
    }

    /// Asks where logs start.
    fn ask_starts(&self, partitions: &[(TopicPartition, i32)]) -> ListOffsetsRequest {
        let topic = |&(partition, epoch): &(TopicPartition, i32)| {
            let wanted = ListOffsetsPartition {
                partition_index: partition.partition.0,
                current_leader_epoch: if self.style.version >= EPOCHS_FROM { epoch } else { -1 },
                timestamp: EARLIEST,
            };
            ListOffsetsTopic { name: self.catalog.name_of(partition.topic_id), partitions: vec![wanted] }
        };
        let topics = partitions.iter().map(topic).collect();
        ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() }
    }

    fn on_starts(&mut self, ctx: &mut Context<'_>, response: &ListOffsetsResponse) {
        for topic in &response.topics {
            let Some(topic_id) = self.catalog.id_of(&topic.name) else { continue };
            for answer in &topic.partitions {
                let partition =
                    TopicPartition { topic_id, partition: PartitionIndex(answer.partition_index) };
                let position = self.positions.get_mut(&partition).filter(|position| position.is_astray);
                let Some(position) = position else { continue };
                if answer.error_code != 0 {
                    self.catalog.doubt();
                    continue;
                }
                let asked = ctx.truth.logs.get(&partition).map_or(Offset::ZERO, |log| log.asked);
                let said = if (0..=asked.0).contains(&answer.offset) {
                    Ok(())
                } else {
                    let start = answer.offset;
                    Err(format!(
                        "{partition}: the log starts at {start}, and clients asked to delete to {asked}"
                    ))
                };
                ctx.hear(Judge::S6, said);
                if answer.offset < position.next {
                    let to = u64::try_from(answer.offset).unwrap_or(0);
                    ctx.bench.history.on_seek(ctx.now_us, ctx.client, partition, to);
                }
                *position = Position { next: answer.offset, ..Position::default() };
            }
        }
    }

    fn request(&mut self, leader: u32, partitions: &[(TopicPartition, i32)], draining: bool) -> FetchRequest {
        let uses_session = self.uses_session();
        let session = self.sessions.entry(leader).or_default();
        let full = !uses_session || session.id == 0;
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (partition, epoch) in partitions {
            let Some(position) = self.positions.get_mut(partition) else { continue };
            if !full && position.told == Some((leader, position.next)) {
                continue;
            }
            position.told = Some((leader, position.next));
            let wanted = FetchPartition {
                partition: partition.partition.0,
                fetch_offset: position.next,
                current_leader_epoch: if self.style.version >= EPOCHS_FROM { *epoch } else { -1 },
                partition_max_bytes: self.style.bytes_max,
                ..FetchPartition::default()
            };
            match topics.iter_mut().find(|topic| topic.topic_id == partition.topic_id) {
                Some(topic) => topic.partitions.push(wanted),
                None => topics.push(FetchTopic {
                    topic: self.catalog.name_of(partition.topic_id),
                    topic_id: partition.topic_id,
                    partitions: vec![wanted],
                }),
            }
        }
        let (session_id, session_epoch) = match (uses_session, full) {
            (false, _) => (0, -1),
            (true, true) => (0, 0),
            (true, false) => (session.id, session.epoch),
        };
        FetchRequest {
            max_wait_ms: if draining { 10 } else { self.style.wait_ms },
            min_bytes: self.style.bytes_min,
            max_bytes: self.style.bytes_max,
            session_id,
            session_epoch,
            topics,
            ..FetchRequest::default()
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Kafka has a hundred error codes, and all others are the same to this client"
    )]
    fn on_fetched(&mut self, ctx: &mut Context<'_>, broker: u32, response: &FetchResponse, asked_us: u64) {
        let uses_session = self.uses_session();
        let session = self.sessions.entry(broker).or_default();
        match ErrorCode::from_code(response.error_code).unwrap_or_default() {
            ErrorCode::None => {}
            _ => {
                if session.id != 0 {
                    ctx.mark(Mark::SessionLost);
                }
                *session = Session::default();
                return;
            }
        }
        if uses_session {
            if session.id != 0 {
                ctx.mark(Mark::SessionUsed);
            }
            // A broker without room for a session answers with none (KIP-227).
            let epoch = if session.id == response.session_id { session.epoch } else { 0 };
            *session = Session { id: response.session_id, epoch: epoch + 1 };
        }
        let mut batches = 0;
        for topic in &response.responses {
            let topic_id = if self.style.version > BY_NAME_UP_TO {
                Some(topic.topic_id)
            } else {
                self.catalog.id_of(&topic.topic)
            };
            for data in &topic.partitions {
                batches += topic_id.map_or(0, |topic_id| self.on_part(ctx, broker, topic_id, data));
            }
        }
        if batches > 0
            && ctx.now_us - asked_us > 20_000
            && self.style.bytes_min > 0
            && self.style.wait_ms > 20
        {
            ctx.mark(Mark::LongPollWaited);
        }
        if uses_session {
            // What a session leaves out has nothing new.
            for (partition, position) in &mut self.positions {
                if self.catalog.leader_of(*partition).is_some_and(|(leader, _)| leader == broker) {
                    position.was_answered |= position.told == Some((broker, position.next));
                }
            }
        }
        self.idle_rounds = if batches == 0 { self.idle_rounds + 1 } else { 0 };
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Kafka has a hundred error codes, and all others are the same to this client"
    )]
    fn on_part(&mut self, ctx: &mut Context<'_>, broker: u32, topic_id: Uuid, data: &PartitionData) -> usize {
        let partition = TopicPartition { topic_id, partition: PartitionIndex(data.partition_index) };
        let Some(position) = self.positions.get_mut(&partition) else { return 0 };
        // Asked elsewhere, or from elsewhere, since.
        if position.told.is_none_or(|(asked, _)| asked != broker) {
            return 0;
        }
        match ErrorCode::from_code(data.error_code).unwrap_or_default() {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => {
                // An older leader, which the client cannot tell from the current one before version 9, may end earlier.
                let knows_epoch = self.style.version >= EPOCHS_FROM;
                let truth = ctx.truth.logs.get(&partition).filter(|log| !log.is_beyond && knows_epoch);
                let asked = truth.map_or(Offset::ZERO, |log| log.asked);
                let said = match truth.map(TrueLog::end) {
                    Some(end) if (asked.0..=end.0).contains(&position.next) => Err(format!(
                        "{partition}: offset {} is out of range, and what is below {end} is committed",
                        position.next
                    )),
                    Some(_) | None => Ok(()),
                };
                ctx.hear(Judge::S6, said);
                position.is_astray = true;
                position.told = None;
                self.catalog.doubt();
                return 0;
            }
            ErrorCode::KafkaStorageError => {
                position.lost = ctx.truth.is_beyond(partition);
                position.told = None;
                self.catalog.doubt();
                return 0;
            }
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
                position.told = None;
                self.catalog.doubt();
                return 0;
            }
            _ => {
                position.told = None;
                self.catalog.doubt();
                return 0;
            }
        }
        position.high_watermark = data.high_watermark;
        position.was_answered = true;
        let records = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
        let (next, batches) = check_records(ctx, partition, position.next, &records);
        let (from, count) = (u64::try_from(position.next).unwrap_or(0), batches.len());
        if count > 0 {
            ctx.note(Kind::Read, [u64::from(ctx.client), from, count as u64]);
            let batches = batches.iter().map(told).collect();
            ctx.bench.history.on_read(ctx.now_us, ctx.client, (partition, from), batches);
        }
        position.next = next;
        count
    }
}

/// A batch as it was received, with who produced it, and as which of its batches.
pub(super) type Received = (BatchHeader, (u32, u64));

/// Its base offset and its records, for the history.
fn told((header, (client, number)): &Received) -> (u64, Batch) {
    let records = u32::try_from(header.record_count).unwrap_or(0);
    let base = u64::try_from(header.base_offset.0).unwrap_or(0);
    (base, Batch { client: *client, number: *number, records })
}

/// Judges the batches of one partition; where the reader goes on, and those that it was given.
pub(super) fn check_records(
    ctx: &mut Context<'_>,
    partition: TopicPartition,
    from: i64,
    bytes: &Bytes,
) -> (i64, Vec<Received>) {
    let mut walk = Batches::new(bytes);
    let mut received = Vec::new();
    for (_, range) in walk.by_ref() {
        match s24::check_received(ctx.register, &bytes[range]) {
            Ok(batch) => received.push(batch),
            Err(says) => ctx.hear(Judge::S24, Err(format!("{partition}: {says}"))),
        }
    }
    if walk.end() != bytes.len() {
        ctx.hear(
            Judge::S24,
            Err(format!("{partition}: {} bytes behind the last whole batch", bytes.len() - walk.end())),
        );
    }
    match s6::check_batches(from, received.iter().map(|(header, _)| header)) {
        Ok(next) => (next, received),
        Err(says) => {
            ctx.hear(Judge::S6, Err(format!("{partition}: {says}")));
            (from, Vec::new())
        }
    }
}

impl Behaviour for Reader {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a client reads the answers to what it asks for")]
    fn on_response(&mut self, ctx: &mut Context<'_>, broker: u32, number: u64, response: Response) {
        match response {
            Response::Metadata(response) => {
                if !self.catalog.learn(ctx, number, &response) {
                    return;
                }
                let old = std::mem::take(&mut self.positions);
                for partition in self.catalog.partitions() {
                    let known = old.get(&partition).copied();
                    if known.is_none() {
                        ctx.bench.history.on_seek(ctx.now_us, ctx.client, partition, 0);
                    }
                    let mut position = known.unwrap_or_default();
                    position.told = None;
                    position.was_answered = false;
                    self.positions.insert(partition, position);
                }
                self.sessions.clear();
                if !self.catalog.is_complete() {
                    self.paused_until = ctx.now_us + 100_000;
                }
            }
            Response::Fetch(response) => {
                let Some((_, asked_us)) = self.fetches.remove(&number) else { return };
                self.on_fetched(ctx, broker, &response, asked_us);
                self.paused_until = ctx.now_us + ctx.rng.below(2 * self.style.pause_ms * 1_000 + 1);
            }
            Response::ListOffsets(response) => {
                if self.fetches.remove(&number).is_none() {
                    return;
                }
                self.on_starts(ctx, &response);
            }
            _ => return,
        }
        self.go_on(ctx);
    }

    fn on_disconnected(&mut self, ctx: &mut Context<'_>, broker: u32) {
        self.catalog.on_disconnected(ctx, broker);
        self.fetches.retain(|_, (asked, _)| *asked != broker);
        // A session outlives its connection; half of the readers find that out, the others begin anew.
        if ctx.rng.chance(500) {
            self.sessions.remove(&broker);
        }
        self.positions.values_mut().for_each(|position| position.told = None);
        self.paused_until = self.paused_until.max(ctx.now_us + ctx.rng.range(5_000, 150_000));
        self.go_on(ctx);
    }

    fn on_wake(&mut self, ctx: &mut Context<'_>) {
        self.go_on(ctx);
    }

    fn is_done(&self) -> bool {
        self.is_at_the_end(|_| Some(Offset::ZERO))
    }

    fn waits_for(&self) -> String {
        let open: Vec<String> = self
            .positions
            .iter()
            .filter(|(_, position)| {
                !position.lost && (!position.was_answered || position.next < position.high_watermark)
            })
            .map(|(partition, position)| {
                let leader = self.catalog.leader_of(*partition);
                format!("{partition} at {} of {}, leader {leader:?}", position.next, position.high_watermark)
            })
            .collect();
        format!("fetches {:?}, idle rounds {}, open {open:?}", self.fetches, self.idle_rounds)
    }
}
