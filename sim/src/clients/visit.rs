//! Single writes to a partition and reads of it, by clients whose work they are not.

use super::Context;
use super::catalog::broker_of;
use super::producer::check_place;
use super::reader::check_records;
use crate::hash::hash64;
use crate::judges::truth::Truth;
use seedlog_core::ids::{PartitionIndex, TopicPartition};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchBuilder};
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic};
use seedlog_core::wire::produce::{PartitionProduceData, TopicProduceData};
use seedlog_core::wire::{FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, Records, Str};

/// The broker that leads a partition.
pub(super) fn leader_of(truth: &Truth, partition: TopicPartition) -> Option<u32> {
    broker_of(truth.image.partition(partition)?.state.leader?.0)
}

/// A version of a request.
pub(super) fn version(ctx: &mut Context<'_>, least: u64, most: u64) -> i16 {
    i16::try_from(ctx.rng.range(least, most)).unwrap_or(1)
}

/// Writes a batch of one record, the client's `number`-th. Gives the hash of its payload.
pub(super) fn write(
    ctx: &mut Context<'_>,
    name: &str,
    index: PartitionIndex,
    number: u64,
) -> (u64, ProduceRequest) {
    let mut builder = BatchBuilder::new();
    let mut value = format!("c{} {name} b{number} ", ctx.client).into_bytes();
    let filler = ctx.rng.below(4_000);
    value.extend(ctx.rng.bytes(usize::try_from(filler).unwrap_or(0)));
    builder.add(crate::world::WALL_START_MS, None, Some(&value), &[]);
    let bytes = builder.finish();
    let payload = hash64(&bytes[BATCH_HEADER_BYTES..]);
    ctx.register.produced(payload, ctx.client, number);
    let data = PartitionProduceData { index: index.0, records: Some(Records::from(bytes)) };
    let topic =
        TopicProduceData { name: Str::from(name), partition_data: vec![data], ..TopicProduceData::default() };
    let request =
        ProduceRequest { acks: 1, timeout_ms: 2_000, topic_data: vec![topic], ..ProduceRequest::default() };
    (payload, request)
}

/// Reads a partition from its start.
pub(super) fn read(name: &str, index: PartitionIndex) -> FetchRequest {
    let wanted =
        FetchPartition { partition: index.0, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topics =
        vec![FetchTopic { topic: Str::from(name), partitions: vec![wanted], ..FetchTopic::default() }];
    FetchRequest { max_bytes: 1 << 20, session_epoch: -1, topics, ..FetchRequest::default() }
}

/// Whether it was written; checks where, if nobody else can have been elected.
pub(super) fn judge_write(
    ctx: &mut Context<'_>,
    (partition, payload): (TopicPartition, u64),
    response: &ProduceResponse,
) -> bool {
    let answer = response.responses.first().and_then(|topic| topic.partition_responses.first());
    let Some(answer) = answer.filter(|answer| answer.error_code == 0) else { return false };
    if ctx.brokers == 1 {
        check_place(ctx, partition, payload, answer.base_offset);
    }
    true
}

/// Checks the records that were read.
pub(super) fn judge_read(ctx: &mut Context<'_>, partition: TopicPartition, response: &FetchResponse) {
    let Some(data) = response.responses.first().and_then(|topic| topic.partitions.first()) else { return };
    if data.error_code == 0 {
        let records = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
        check_records(ctx, partition, 0, &records);
    }
}
