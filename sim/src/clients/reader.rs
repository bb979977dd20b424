//! A reader: follows every partition of the node's topics from its start, with or without a fetch session (KIP-227).

use super::catalog::Catalog;
use super::{Behaviour, Context};
use crate::judges::{Judge, s6, s24};
use crate::marks::Mark;
use crate::plan::{Flush, NodePlan};
use crate::trace::Kind;
use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{Offset, PartitionIndex, TopicPartition, Uuid};
use seedlog_core::records::Batches;
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use seedlog_core::wire::{FetchRequest, FetchResponse, Response};
use std::collections::BTreeMap;

const BY_NAME_UP_TO: i16 = 12;
const SESSIONS_FROM: i16 = 7;

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

/// See the module.
#[derive(Debug)]
pub struct Reader {
    style: Style,
    catalog: Catalog,
    flushes_always: bool,
    connected: bool,
    metadata: Option<u64>,
    fetch: Option<(u64, u64)>,
    session: Session,
    positions: BTreeMap<TopicPartition, Position>,
    paused_until: u64,
    /// Partitions that an answer with nothing in it was about, since the last change.
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
    /// What the session was told last.
    told: Option<i64>,
    /// The log's end as an answer said it.
    high_watermark: i64,
    /// It cannot be read any more.
    lost: bool,
}

impl Reader {
    /// A reader of a node's stable topics.
    #[must_use]
    pub fn new(style: Style, node: &NodePlan) -> Self {
        Self {
            style,
            catalog: Catalog::new(node.topics.len()),
            flushes_always: node.flush == Flush::Always,
            connected: false,
            metadata: None,
            fetch: None,
            session: Session::default(),
            positions: BTreeMap::new(),
            paused_until: 0,
            idle_rounds: 0,
        }
    }

    /// How far each partition was read, and whether that is its end.
    pub fn progress(&self) -> impl Iterator<Item = (TopicPartition, Offset, bool)> {
        self.positions.iter().map(|(&partition, position)| {
            (partition, Offset(position.next), position.lost || position.next >= position.high_watermark)
        })
    }

    /// It has asked about everything and found nothing new several times.
    #[must_use]
    pub fn is_at_the_end(&self) -> bool {
        self.catalog.is_complete() && self.idle_rounds >= 2 && self.progress().all(|(_, _, at_end)| at_end)
    }

    fn uses_session(&self) -> bool {
        self.style.session && self.style.version >= SESSIONS_FROM
    }

    fn go_on(&mut self, ctx: &mut Context<'_>) {
        if !self.connected || self.metadata.is_some() || self.fetch.is_some() {
            return;
        }
        if ctx.now_us < self.paused_until {
            ctx.wake_in_ms((self.paused_until - ctx.now_us).div_ceil(1_000));
            return;
        }
        if !self.catalog.is_complete() {
            self.metadata = Some(ctx.send(self.catalog.request(), 12));
            return;
        }
        let request = self.request(ctx.draining);
        self.fetch = Some((ctx.send(request, self.style.version), ctx.now_us));
    }

    fn request(&mut self, draining: bool) -> FetchRequest {
        let full = !self.uses_session() || self.session.id == 0;
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (partition, position) in &mut self.positions {
            if !full && position.told == Some(position.next) {
                continue;
            }
            position.told = Some(position.next);
            let wanted = FetchPartition {
                partition: partition.partition.0,
                fetch_offset: position.next,
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
        let (session_id, session_epoch) = match (self.uses_session(), full) {
            (false, _) => (0, -1),
            (true, true) => (0, 0),
            (true, false) => (self.session.id, self.session.epoch),
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
    fn on_fetched(&mut self, ctx: &mut Context<'_>, response: &FetchResponse, asked_us: u64) {
        match ErrorCode::from_code(response.error_code).unwrap_or_default() {
            ErrorCode::None => {}
            _ => {
                if self.session.id != 0 {
                    ctx.mark(Mark::SessionLost);
                }
                self.session = Session::default();
                return;
            }
        }
        if self.uses_session() {
            if self.session.id != 0 {
                ctx.mark(Mark::SessionUsed);
            }
            // A broker without room for a session answers with none (KIP-227).
            let epoch = if self.session.id == response.session_id { self.session.epoch } else { 0 };
            self.session = Session { id: response.session_id, epoch: epoch + 1 };
        }
        let mut batches = 0;
        for topic in &response.responses {
            let topic_id = if self.style.version > BY_NAME_UP_TO {
                Some(topic.topic_id)
            } else {
                self.catalog.id_of(&topic.topic)
            };
            for data in &topic.partitions {
                batches += topic_id.map_or(0, |topic_id| self.on_part(ctx, topic_id, data));
            }
        }
        if batches > 0
            && ctx.now_us - asked_us > 20_000
            && self.style.bytes_min > 0
            && self.style.wait_ms > 20
        {
            ctx.mark(Mark::LongPollWaited);
        }
        self.idle_rounds = if batches == 0 { self.idle_rounds + 1 } else { 0 };
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Kafka has a hundred error codes, and all others are the same to this client"
    )]
    fn on_part(&mut self, ctx: &mut Context<'_>, topic_id: Uuid, data: &PartitionData) -> usize {
        let partition = TopicPartition { topic_id, partition: PartitionIndex(data.partition_index) };
        let Some(position) = self.positions.get_mut(&partition) else { return 0 };
        match ErrorCode::from_code(data.error_code).unwrap_or_default() {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => {
                let log = ctx.oracle.logs.get(&partition);
                let end = log.map_or(0, |log| log.end().0);
                // With flush=interval a power cut may take what a reader saw, and the log may have grown again since.
                let said =
                    if position.next <= end && self.flushes_always && !log.is_some_and(|log| log.given_up) {
                        Err(format!(
                            "{partition}: offset {} is out of range and the log ends at {end}",
                            position.next
                        ))
                    } else {
                        Ok(())
                    };
                ctx.hear(Judge::S6, said);
                *position = Position::default();
                return 0;
            }
            ErrorCode::KafkaStorageError => {
                position.lost = may_be_lost(ctx, partition);
                position.told = None;
                return 0;
            }
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
                self.catalog.clear();
                return 0;
            }
            _ => {
                position.told = None;
                return 0;
            }
        }
        position.high_watermark = data.high_watermark;
        let records = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
        let (next, batches) = check_records(ctx, partition, position.next, &records);
        if batches > 0 {
            ctx.note(
                Kind::Read,
                [u64::from(ctx.client), u64::try_from(position.next).unwrap_or(0), batches as u64],
            );
        }
        position.next = next;
        batches
    }
}

/// A refusal to serve must have its reason in a fault.
fn may_be_lost(ctx: &mut Context<'_>, partition: TopicPartition) -> bool {
    let excused = ctx.oracle.may_be_given_up(partition)
        || ctx.oracle.logs.get(&partition).is_some_and(|log| log.given_up)
        || ctx.oracle.flips.iter().any(|flip| !flip.whole_group);
    let said = if excused {
        Ok(())
    } else {
        Err(format!("{partition} is refused to a reader though no fault touched it"))
    };
    ctx.hear(Judge::S1, said);
    excused
}

/// Judges the batches of one partition; where the reader goes on, and how many there were.
pub(super) fn check_records(
    ctx: &mut Context<'_>,
    partition: TopicPartition,
    from: i64,
    bytes: &Bytes,
) -> (i64, usize) {
    let mut walk = Batches::new(bytes);
    let mut headers = Vec::new();
    for (_, range) in walk.by_ref() {
        match s24::check_received(ctx.register, &bytes[range]) {
            Ok(header) => headers.push(header),
            Err(says) => ctx.hear(Judge::S24, Err(format!("{partition}: {says}"))),
        }
    }
    if walk.end() != bytes.len() {
        ctx.hear(
            Judge::S24,
            Err(format!("{partition}: {} bytes behind the last whole batch", bytes.len() - walk.end())),
        );
    }
    match s6::check_batches(from, headers.iter()) {
        Ok(next) => (next, headers.len()),
        Err(says) => {
            ctx.hear(Judge::S6, Err(format!("{partition}: {says}")));
            (from, 0)
        }
    }
}

impl Behaviour for Reader {
    fn on_connected(&mut self, ctx: &mut Context<'_>) {
        self.connected = true;
        self.go_on(ctx);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a client reads the answers to what it asks for")]
    fn on_response(&mut self, ctx: &mut Context<'_>, number: u64, response: Response) {
        match response {
            Response::Metadata(response) if self.metadata == Some(number) => {
                self.metadata = None;
                self.catalog.learn(&response);
                let old = std::mem::take(&mut self.positions);
                for partition in self.catalog.partitions() {
                    self.positions.insert(partition, old.get(&partition).copied().unwrap_or_default());
                }
                self.session = Session::default();
                if !self.catalog.is_complete() {
                    self.paused_until = ctx.now_us + 100_000;
                }
            }
            Response::Fetch(response) => {
                let Some((_, asked_us)) = self.fetch.take_if(|(asked, _)| *asked == number) else { return };
                self.on_fetched(ctx, &response, asked_us);
                self.paused_until = ctx.now_us + ctx.rng.below(2 * self.style.pause_ms * 1_000 + 1);
            }
            _ => return,
        }
        self.go_on(ctx);
    }

    fn on_disconnected(&mut self, ctx: &mut Context<'_>) {
        self.connected = false;
        self.metadata = None;
        self.fetch = None;
        // A session outlives its connection; half of the readers find that out, the others begin anew.
        if ctx.rng.chance(500) {
            self.session = Session::default();
        }
        self.positions.values_mut().for_each(|position| position.told = None);
    }

    fn on_wake(&mut self, ctx: &mut Context<'_>) {
        self.go_on(ctx);
    }

    fn is_done(&self) -> bool {
        self.is_at_the_end()
    }

    fn waits_for(&self) -> String {
        let open: Vec<String> = self
            .positions
            .iter()
            .filter(|(_, position)| !position.lost && position.next < position.high_watermark)
            .map(|(partition, position)| {
                format!("{partition} at {} of {}", position.next, position.high_watermark)
            })
            .collect();
        format!("fetch {:?}, idle rounds {}, open {open:?}", self.fetch, self.idle_rounds)
    }
}
