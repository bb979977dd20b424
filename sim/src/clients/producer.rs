//! A producer: plain or idempotent, at any acks, with up to five requests in flight, which sends again what was not answered.
//!
//! A batch keeps its number, bytes and sequence for life. After a broken connection everything unanswered of a partition is
//! sent again in order. An idempotent producer whose batch cannot be placed gives up all it has open, whose outcome is then
//! unknown, and begins with a new id (as Kafka's does after a fatal error in a partition).

use super::catalog::Catalog;
use super::lane::{Batch, Lane, is_before_the_append};
use super::{Behaviour, Context};
use crate::hash::hash64;
use crate::history::Outcome;
use crate::judges::Judge;
use crate::marks::Mark;
use crate::plan::{ClientPlan, ClusterPlan, Role};
use crate::trace::Kind;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchBuilder};
use seedlog_core::wire::produce::{PartitionProduceData, TopicProduceData};
use seedlog_core::wire::{InitProducerIdRequest, ProduceRequest, Records, Response};
use std::collections::BTreeMap;

/// Names are used up to here, ids from the next version on.
const BY_NAME_UP_TO: i16 = 12;
/// Tries before a batch is given up.
const TRIES_MAX: u32 = 25;

/// See the module.
#[derive(Debug)]
pub struct Producer {
    style: Style,
    catalog: Catalog,
    init: Option<(u64, u32)>,
    identity: Option<(ProducerId, ProducerEpoch)>,
    lanes: BTreeMap<TopicPartition, Lane>,
    /// Requests on their way, with the partitions and batches in them.
    in_flight: BTreeMap<u64, OnItsWay>,
    left: u64,
    next_number: u64,
    resetting: bool,
    paused_until: u64,
}

#[derive(Debug, Clone, Copy)]
struct Style {
    acks: i16,
    idempotent: bool,
    in_flight_max: usize,
    records_max: u64,
    value_bytes_max: u64,
    version: i16,
    pause_ms: u64,
    breaks_every: u64,
}

/// A request.
#[derive(Debug)]
struct OnItsWay {
    broker: u32,
    parts: Vec<(TopicPartition, u64)>,
}

impl Producer {
    /// The producer of a plan.
    #[must_use]
    pub fn new(plan: &ClientPlan, cluster: &ClusterPlan) -> Self {
        let Role::Producer {
            acks,
            idempotent,
            in_flight_max,
            batches,
            records_max,
            value_bytes_max,
            version,
        } = plan.role
        else {
            unreachable!("only a producer's plan makes a producer")
        };
        let pause_ms = plan.pause_ms;
        let breaks_every = plan.breaks_every;
        Self {
            style: Style {
                acks,
                idempotent,
                in_flight_max,
                records_max,
                value_bytes_max,
                version,
                pause_ms,
                breaks_every,
            },
            catalog: Catalog::new(cluster.topics.len(), plan.node),
            init: None,
            identity: None,
            lanes: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            left: batches,
            next_number: 0,
            resetting: false,
            paused_until: 0,
        }
    }

    /// Does whatever is to be done next.
    fn go_on(&mut self, ctx: &mut Context<'_>) {
        if self.init.is_some() {
            return;
        }
        if let Err(wait) = self.catalog.refresh(ctx) {
            wait.into_iter().for_each(|micros| ctx.wake_in_ms(micros.div_ceil(1_000)));
            return;
        }
        if self.resetting {
            if !self.in_flight.is_empty() {
                return;
            }
            self.give_up_all(ctx);
        }
        if self.style.idempotent && self.identity.is_none() {
            let request =
                InitProducerIdRequest { transaction_timeout_ms: -1, ..InitProducerIdRequest::default() };
            let broker = ctx.any_broker();
            self.init = Some((ctx.send(broker, request, 4), broker));
            return;
        }
        while !self.resetting {
            if ctx.now_us < self.paused_until {
                ctx.wake_in_ms((self.paused_until - ctx.now_us).div_ceil(1_000));
                return;
            }
            let sent = self.send_unsent(ctx);
            if ctx.disconnect.is_some() {
                return;
            }
            let may_make = self.left > 0 && !ctx.draining;
            if !sent && (!may_make || !self.make_fresh(ctx)) {
                break;
            }
        }
        if self.lanes.values().any(|lane| lane.open.iter().any(|batch| !batch.sent)) {
            // Somebody has no leader, or all its requests are on their way.
            self.catalog.doubt();
            ctx.wake_in_ms(50);
        } else if self.left > 0 {
            ctx.wake_in_ms(self.style.pause_ms.max(1));
        }
    }

    /// Nothing is left to be sent but to some partitions.
    #[must_use]
    pub fn is_done_but_for(&self, excused: impl Fn(TopicPartition) -> bool) -> bool {
        let mut open = self.lanes.iter().filter(|(_, lane)| !lane.open.is_empty());
        open.all(|(&partition, _)| excused(partition))
    }

    fn has_room(&self, broker: u32) -> bool {
        let on_way = self.in_flight.values().filter(|request| request.broker == broker).count();
        on_way < self.style.in_flight_max
    }

    /// Sends, to each leader, of each partition the first batch that is not on its way, if none behind it is.
    fn send_unsent(&mut self, ctx: &mut Context<'_>) -> bool {
        let mut by_leader: BTreeMap<u32, Vec<(TopicPartition, u64)>> = BTreeMap::new();
        for (&partition, lane) in &self.lanes {
            let Some(at) = lane.open.iter().position(|batch| !batch.sent) else { continue };
            let Some((leader, _)) = self.catalog.leader_of(partition) else { continue };
            if !lane.open.iter().skip(at).any(|batch| batch.sent) && self.has_room(leader) {
                by_leader.entry(leader).or_default().push((partition, lane.open[at].number));
            }
        }
        let any = !by_leader.is_empty();
        for (leader, parts) in by_leader {
            self.send(ctx, leader, parts);
        }
        any
    }

    /// Makes new batches for one to three partitions whose leaders take requests.
    fn make_fresh(&mut self, ctx: &mut Context<'_>) -> bool {
        let all = self.catalog.partitions();
        let first = ctx.rng.index(all.len());
        let count = 1 + ctx.rng.index(all.len().min(3));
        let chosen: Vec<TopicPartition> = all.iter().cycle().skip(first).take(count).copied().collect();
        let mut made = 0;
        for partition in chosen {
            // Behind an unsent batch there is none that may be sent.
            let waits =
                self.lanes.get(&partition).is_some_and(|lane| lane.open.iter().any(|batch| !batch.sent));
            let has_room = self.catalog.leader_of(partition).is_some_and(|(leader, _)| self.has_room(leader));
            if self.left > 0 && !waits && has_room {
                self.left -= 1;
                made += 1;
                self.make_batch(ctx, partition);
            }
        }
        let pause = self.style.pause_ms * u64::max(made, 1);
        let until = ctx.now_us + ctx.rng.below(2 * pause * 1_000 + 1);
        if made > 0 {
            self.send_unsent(ctx);
        }
        self.paused_until = self.paused_until.max(until);
        made > 0 && ctx.disconnect.is_none()
    }

    fn make_batch(&mut self, ctx: &mut Context<'_>, partition: TopicPartition) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let lane = self.lanes.entry(partition).or_default();
        let mut builder = BatchBuilder::new();
        if let Some((id, epoch)) = self.identity {
            builder = builder.producer(id, epoch, lane.next_sequence);
        }
        // The client's clock; timestamps within a batch and between batches are not in order.
        let now_ms = crate::world::WALL_START_MS + i64::try_from(ctx.now_us / 1_000).unwrap_or(0);
        for index in 0..ctx.rng.range(1, self.style.records_max) {
            let mut value = format!("c{} b{number} r{index} ", ctx.client).into_bytes();
            let filler = ctx.rng.below(self.style.value_bytes_max);
            value.extend(ctx.rng.bytes(usize::try_from(filler).unwrap_or(0)));
            let timestamp = now_ms - i64::try_from(ctx.rng.below(2_000)).unwrap_or(0);
            builder.add(timestamp, None, Some(&value), &[]);
        }
        lane.next_sequence += builder.record_count();
        let records = u32::try_from(builder.record_count()).unwrap_or(0);
        let bytes = builder.finish();
        let payload = hash64(&bytes[BATCH_HEADER_BYTES..]);
        ctx.register.produced(payload, ctx.client, number);
        let batch = Batch { number, bytes, payload, records, tries: 0, refusals: 0, sent: false, broker: 0 };
        lane.open.push_back(batch);
        number
    }

    /// Sends batches in one request.
    fn send(&mut self, ctx: &mut Context<'_>, broker: u32, parts: Vec<(TopicPartition, u64)>) {
        let mut topic_data: Vec<TopicProduceData> = Vec::new();
        for (partition, number) in &parts {
            let lane = self.lanes.get_mut(partition).expect("a batch has its lane");
            let batch =
                lane.open.iter_mut().find(|batch| batch.number == *number).expect("it was found there");
            batch.sent = true;
            if batch.tries == 0 {
                let told = batch.told(ctx.client);
                ctx.bench.history.on_send(ctx.now_us, *partition, told, !self.style.idempotent);
            }
            batch.tries += 1;
            batch.broker = broker;
            let data = PartitionProduceData {
                index: partition.partition.0,
                records: Some(Records::from(batch.bytes.clone())),
            };
            match topic_data.iter_mut().find(|topic| topic.topic_id == partition.topic_id) {
                Some(topic) => topic.partition_data.push(data),
                None => topic_data.push(TopicProduceData {
                    name: self.catalog.name_of(partition.topic_id),
                    topic_id: partition.topic_id,
                    partition_data: vec![data],
                }),
            }
        }
        let request = ProduceRequest {
            acks: self.style.acks,
            timeout_ms: 2_000,
            topic_data,
            ..ProduceRequest::default()
        };
        let number = ctx.send(broker, request, self.style.version);
        if self.style.acks == 0 {
            for (partition, number) in &parts {
                self.end(ctx, *partition, *number, Outcome::Unknown("acks=0: there is no answer"));
            }
        } else {
            self.in_flight.insert(number, OnItsWay { broker, parts });
        }
        if self.style.breaks_every > 0 && ctx.rng.below(self.style.breaks_every) == 0 {
            ctx.disconnect = Some(broker);
        }
    }

    fn close(&mut self, partition: TopicPartition, number: u64) -> Option<Batch> {
        let lane = self.lanes.get_mut(&partition)?;
        let at = lane.open.iter().position(|batch| batch.number == number)?;
        lane.open.remove(at)
    }

    /// The same, and the history gets to know what became of it.
    fn end(
        &mut self,
        ctx: &mut Context<'_>,
        partition: TopicPartition,
        number: u64,
        outcome: Outcome,
    ) -> Option<Batch> {
        let batch = self.close(partition, number)?;
        ctx.bench.history.on_outcome(ctx.now_us, partition, batch.told(ctx.client), outcome);
        Some(batch)
    }

    /// What an acknowledgement at an offset is worth.
    fn acked(&self, base_offset: Option<u64>) -> Outcome {
        if self.style.acks == -1 {
            Outcome::Acked(base_offset)
        } else {
            Outcome::Unknown("acks=1: a change of leader may lose it")
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Kafka has a hundred error codes, and all others are the same to this client"
    )]
    fn on_part(
        &mut self,
        ctx: &mut Context<'_>,
        partition: TopicPartition,
        number: u64,
        code: i16,
        base_offset: i64,
    ) {
        match ErrorCode::from_code(code).unwrap_or_default() {
            ErrorCode::None => {
                let acked = self.acked(u64::try_from(base_offset).ok());
                if let Some(batch) = self.end(ctx, partition, number, acked) {
                    if self.style.acks == -1 {
                        check_place(ctx, partition, batch.payload, base_offset);
                    }
                    if batch.tries > 1 {
                        ctx.mark(Mark::DuplicateAnswered);
                    }
                    let offset = u64::try_from(base_offset).unwrap_or(u64::MAX);
                    ctx.note(Kind::Produced, [u64::from(ctx.client), number, offset]);
                }
            }
            ErrorCode::DuplicateSequenceNumber => {
                self.end(ctx, partition, number, self.acked(None));
            }
            error @ (ErrorCode::NotLeaderOrFollower
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::LeaderNotAvailable) => {
                self.catalog.doubt();
                self.try_again(ctx, partition, number, error);
            }
            error @ (ErrorCode::RequestTimedOut
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::ThrottlingQuotaExceeded
            | ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::KafkaStorageError) => self.try_again(ctx, partition, number, error),
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
                self.catalog.doubt();
                self.try_again(ctx, partition, number, ErrorCode::UnknownTopicOrPartition);
            }
            // Everything else is final for the batch.
            _ => self.give_up(ctx, partition, number),
        }
    }

    fn try_again(&mut self, ctx: &mut Context<'_>, partition: TopicPartition, number: u64, error: ErrorCode) {
        if error == ErrorCode::OutOfOrderSequenceNumber {
            ctx.mark(Mark::OutOfOrderSequence);
        }
        if error == ErrorCode::KafkaStorageError {
            self.catalog.doubt();
            ctx.mark(Mark::DiskFullRefused);
        }
        if matches!(error, ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend) {
            ctx.mark(Mark::MinIsrRefused);
        }
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let Some(at) = lane.open.iter().position(|batch| batch.number == number) else { return };
        let batch = &mut lane.open[at];
        batch.sent = false;
        batch.refusals += u32::from(is_before_the_append(error));
        // A gap at the front of the queue is one that sending again does not close.
        let hopeless = error == ErrorCode::OutOfOrderSequenceNumber && at == 0 && batch.tries > 3;
        if hopeless || batch.tries >= TRIES_MAX {
            self.give_up(ctx, partition, number);
        }
        self.paused_until = self.paused_until.max(ctx.now_us + 20_000 + ctx.rng.below(100_000));
    }

    /// A batch cannot be placed.
    fn give_up(&mut self, ctx: &mut Context<'_>, partition: TopicPartition, number: u64) {
        if self.style.idempotent {
            // Its sequence will never come: nothing behind it can be placed either.
            self.resetting = true;
        } else if let Some(batch) = self.close(partition, number) {
            batch.tell_given_up(ctx, partition);
        }
    }

    fn give_up_all(&mut self, ctx: &mut Context<'_>) {
        let batches: usize = self.lanes.values().map(|lane| lane.open.len()).sum();
        for (partition, lane) in std::mem::take(&mut self.lanes) {
            lane.open.iter().for_each(|batch| batch.tell_given_up(ctx, partition));
        }
        self.identity = None;
        self.resetting = false;
        ctx.mark(Mark::ProducerRestarted);
        ctx.note(Kind::Abandoned, [u64::from(ctx.client), batches as u64, 0]);
    }
}

/// The acknowledgement names the place where the batch is. With less than acks=all it may be another's by the time the client
/// hears of it.
pub(super) fn check_place(ctx: &mut Context<'_>, partition: TopicPartition, payload: u64, base_offset: i64) {
    let Some(log) = ctx.truth.logs.get(&partition).filter(|log| !log.is_beyond) else { return };
    let said = match log.at(Offset(base_offset)) {
        Some(found) if found.acked && found.batch.payload != payload => {
            Err(format!("{partition}: a batch is acknowledged at offset {base_offset}, where another is"))
        }
        Some(_) | None => Ok(()),
    };
    ctx.hear(Judge::S24, said);
}

impl Behaviour for Producer {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a client reads the answers to what it asks for")]
    fn on_response(&mut self, ctx: &mut Context<'_>, _broker: u32, number: u64, response: Response) {
        match response {
            Response::Metadata(response) => {
                self.catalog.learn(ctx, number, &response);
            }
            Response::InitProducerId(response) if self.init.is_some_and(|(asked, _)| asked == number) => {
                self.init = None;
                if response.error_code == 0 {
                    self.identity =
                        Some((ProducerId(response.producer_id), ProducerEpoch(response.producer_epoch)));
                } else {
                    ctx.wake_in_ms(50);
                    return;
                }
            }
            Response::Produce(response) => {
                let Some(OnItsWay { parts, .. }) = self.in_flight.remove(&number) else { return };
                for topic in &response.responses {
                    let topic_id = if self.style.version > BY_NAME_UP_TO {
                        Some(topic.topic_id)
                    } else {
                        self.catalog.id_of(&topic.name)
                    };
                    for part in &topic.partition_responses {
                        let ours = parts.iter().find(|(partition, _)| {
                            Some(partition.topic_id) == topic_id && partition.partition.0 == part.index
                        });
                        if let Some(&(partition, batch)) = ours {
                            self.on_part(ctx, partition, batch, part.error_code, part.base_offset);
                        }
                    }
                }
                // What the answer did not mention is as good as unanswered.
                for (partition, batch) in parts {
                    if let Some(lane) = self.lanes.get_mut(&partition) {
                        lane.open
                            .iter_mut()
                            .filter(|open| open.number == batch)
                            .for_each(|open| open.sent = false);
                    }
                }
            }
            _ => return,
        }
        self.go_on(ctx);
    }

    fn on_disconnected(&mut self, ctx: &mut Context<'_>, broker: u32) {
        self.catalog.on_disconnected(ctx, broker);
        self.init.take_if(|(_, asked)| *asked == broker);
        self.in_flight.retain(|_, request| request.broker != broker);
        for lane in self.lanes.values_mut() {
            lane.open.iter_mut().filter(|batch| batch.broker == broker).for_each(|batch| batch.sent = false);
        }
        self.paused_until = self.paused_until.max(ctx.now_us + ctx.rng.range(5_000, 150_000));
        self.go_on(ctx);
    }

    fn on_wake(&mut self, ctx: &mut Context<'_>) {
        self.go_on(ctx);
    }

    fn is_done(&self) -> bool {
        self.lanes.values().all(|lane| lane.open.is_empty()) && self.in_flight.is_empty()
    }

    fn waits_for(&self) -> String {
        let open: usize = self.lanes.values().map(|lane| lane.open.len()).sum();
        format!("{open} batches open, {} requests in flight", self.in_flight.len())
    }
}
