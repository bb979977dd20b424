//! ListOffsets and OffsetForLeaderEpoch: places in a log by name, by time and by epoch.

use super::Broker;
use crate::errors::ErrorCode;
use crate::ids::{ConnId, LeaderEpoch, Offset, OpId, PartitionIndex, RequestNumber, TopicPartition};
use crate::input::ReadResult;
use crate::output::{Extent, Look, Output, Outputs};
use crate::replica::{Replica, WaiterId};
use crate::wire::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use crate::wire::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use crate::wire::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    Response,
};
use alloc::vec::Vec;

/// A ListOffsets request that waits for look-ups in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OffsetsWait {
    conn: ConnId,
    number: RequestNumber,
    version: i16,
    response: ListOffsetsResponse,
    /// Places in the response that are looked up, with their partitions.
    parts: Vec<(usize, usize, TopicPartition)>,
    ops: Vec<OpId>,
    open: usize,
}

/// What answers a question about one partition.
enum Found {
    Now(ListOffsetsPartitionResponse),
    Look(Extent, Look),
}

/// The special timestamps of ListOffsets (KIP-79, KIP-734, KIP-405, KIP-1005).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

impl Broker {
    pub(super) fn on_list_offsets(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        version: i16,
        request: &ListOffsetsRequest,
        out: &mut Outputs,
    ) {
        let room = self.has_room_to_wait();
        let mut looks = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for (topic_at, topic) in request.topics.iter().enumerate() {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for (partition_at, wanted) in topic.partitions.iter().enumerate() {
                let found = self.list_offset(&topic.name, wanted);
                partitions.push(match found {
                    Ok(Found::Now(response)) => response,
                    Ok(Found::Look(..)) if !room => {
                        failed(wanted.partition_index, ErrorCode::RequestTimedOut)
                    }
                    Ok(Found::Look(extent, look)) => {
                        looks.push((topic_at, partition_at, extent, look));
                        failed(wanted.partition_index, ErrorCode::None)
                    }
                    Err(code) => failed(wanted.partition_index, code),
                });
            }
            topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions });
        }
        let response = ListOffsetsResponse { throttle_time_ms: 0, topics };
        if looks.is_empty() {
            self.reply(conn, number, for_version(response, version), out);
            return;
        }
        let waiter = self.next_waiter();
        let open = looks.len();
        let mut wait =
            OffsetsWait { conn, number, version, response, parts: Vec::new(), ops: Vec::new(), open };
        for (index, (topic_at, partition_at, extent, look)) in looks.into_iter().enumerate() {
            let op = self.next_op();
            self.reads.insert(op, (waiter, index));
            wait.parts.push((topic_at, partition_at, extent.partition));
            wait.ops.push(op);
            out.push(Output::Read { op, extent, look });
        }
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.waiters.insert(waiter);
        }
        self.offsets_waits.insert(waiter, wait);
    }

    fn list_offset(&self, topic: &str, wanted: &ListOffsetsPartition) -> Result<Found, ErrorCode> {
        let (topic_id, _) = self.committed.topic_named(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let partition = TopicPartition { topic_id, partition: PartitionIndex(wanted.partition_index) };
        let replica = self.leader_of(partition)?;
        Self::check_epoch(replica, known_epoch(wanted.current_leader_epoch))?;
        if self.is_cut_off(replica) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let leader = replica.leader().expect("leader_of gives leaders only");
        let high_watermark = replica.high_watermark();
        // A new leader does not know yet what is committed: any end that it named could go back (SAFETY R6, KIP-207).
        if !replica.knows_committed() && wanted.timestamp != EARLIEST && wanted.timestamp != EARLIEST_LOCAL {
            return Err(ErrorCode::OffsetNotAvailable);
        }
        let (log, start) = (replica.log(), replica.durable_start());
        let at = |offset: Offset, epoch: Option<LeaderEpoch>| {
            Ok(Found::Now(ListOffsetsPartitionResponse {
                partition_index: wanted.partition_index,
                error_code: ErrorCode::None.code(),
                timestamp: -1,
                offset: offset.0,
                leader_epoch: epoch.map_or(-1, |epoch| epoch.0),
            }))
        };
        let look = |look| {
            if start == high_watermark {
                return Ok(Found::Now(failed(wanted.partition_index, ErrorCode::None)));
            }
            let extent = Extent {
                partition,
                generation: log.generation(),
                from: start,
                to: high_watermark,
                bytes_max: u32::MAX,
            };
            Ok(Found::Look(extent, look))
        };
        match wanted.timestamp {
            LATEST => at(high_watermark, Some(leader.epoch)),
            // Without tiering the local log starts where the log starts (KIP-405).
            EARLIEST | EARLIEST_LOCAL => at(start, log.epoch_at(start)),
            MAX_TIMESTAMP => look(Look::MaxTimestamp),
            // Without tiering nothing is tiered (KIP-1005).
            LATEST_TIERED => at(Offset(-1), None),
            timestamp if timestamp >= 0 => look(Look::Timestamp(timestamp)),
            _ => Err(ErrorCode::UnsupportedVersion),
        }
    }

    /// A look-up ended.
    pub(super) fn on_offset_found(
        &mut self,
        waiter: WaiterId,
        part: usize,
        result: ReadResult,
        out: &mut Outputs,
    ) {
        let Some(wait) = self.offsets_waits.get_mut(&waiter) else { return };
        let (topic_at, partition_at, partition) = wait.parts[part];
        let response = &mut wait.response.topics[topic_at].partitions[partition_at];
        match result {
            ReadResult::Found { offset, timestamp_ms } => {
                let log = self.replicas.get(&partition).map(Replica::log);
                response.offset = offset.0;
                response.timestamp = timestamp_ms;
                response.leader_epoch = log.and_then(|log| log.epoch_at(offset)).map_or(-1, |epoch| epoch.0);
            }
            ReadResult::NotFound => {}
            ReadResult::Failed => response.error_code = ErrorCode::KafkaStorageError.code(),
        }
        wait.open -= 1;
        if wait.open == 0 {
            let wait = self.offsets_waits.remove(&waiter).expect("it was found above");
            if let Some(conn) = self.conns.get_mut(&wait.conn) {
                conn.waiters.remove(&waiter);
            }
            self.reply(wait.conn, wait.number, for_version(wait.response, wait.version), out);
        }
    }

    /// Its connection is gone.
    pub(super) fn forget_offsets(&mut self, waiter: WaiterId) {
        if let Some(wait) = self.offsets_waits.remove(&waiter) {
            for op in wait.ops {
                self.reads.remove(&op);
            }
        }
    }

    pub(super) fn on_offset_for_leader_epoch(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &OffsetForLeaderEpochRequest,
        out: &mut Outputs,
    ) {
        let topics = request.topics.iter().map(|topic| OffsetForLeaderTopicResult {
            topic: topic.topic.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|wanted| {
                    self.epoch_end(&topic.topic, wanted).unwrap_or_else(|code| EpochEndOffset {
                        error_code: code.code(),
                        partition: wanted.partition,
                        ..EpochEndOffset::default()
                    })
                })
                .collect(),
        });
        let response = OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics: topics.collect() };
        self.reply(conn, number, Response::OffsetForLeaderEpoch(response), out);
    }

    fn epoch_end(&self, topic: &str, wanted: &OffsetForLeaderPartition) -> Result<EpochEndOffset, ErrorCode> {
        let (topic_id, _) = self.committed.topic_named(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let partition = TopicPartition { topic_id, partition: PartitionIndex(wanted.partition) };
        let replica = self.leader_of(partition)?;
        Self::check_epoch(replica, known_epoch(wanted.current_leader_epoch))?;
        if !replica.knows_committed() {
            return Err(ErrorCode::OffsetNotAvailable);
        }
        let high_watermark = replica.high_watermark();
        let end = replica.log().end_offset_for_epoch(LeaderEpoch(wanted.leader_epoch));
        Ok(EpochEndOffset {
            error_code: ErrorCode::None.code(),
            partition: wanted.partition,
            leader_epoch: end.map_or(-1, |end| end.epoch.0),
            // What is not committed may still vanish: a client is not told of it (SAFETY J7).
            end_offset: end.map_or(-1, |end| end.end.min(high_watermark).0),
        })
    }
}

/// An epoch on the wire; -1 is none, and then nothing is checked (SAFETY K4).
pub(super) fn known_epoch(epoch: i32) -> Option<LeaderEpoch> {
    (epoch >= 0).then_some(LeaderEpoch(epoch))
}

/// Clients before version 4 know no leader epochs, and the codec refuses to drop one silently (KIP-320). Those before version 5
/// know no `OFFSET_NOT_AVAILABLE`: they are told what they ask again upon (KIP-207).
fn for_version(mut response: ListOffsetsResponse, version: i16) -> Response {
    /// From here on answers name the epoch of an offset.
    const EPOCHS_FROM: i16 = 4;
    /// From here on a leader that does not know yet what is committed says so.
    const OFFSET_NOT_AVAILABLE_FROM: i16 = 5;
    if version < EPOCHS_FROM {
        let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        partitions.for_each(|partition| partition.leader_epoch = -1);
    }
    if version < OFFSET_NOT_AVAILABLE_FROM {
        let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        partitions
            .filter(|partition| partition.error_code == ErrorCode::OffsetNotAvailable.code())
            .for_each(|partition| partition.error_code = ErrorCode::LeaderNotAvailable.code());
    }
    Response::ListOffsets(response)
}

fn failed(partition_index: i32, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: code.code(),
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
    }
}
