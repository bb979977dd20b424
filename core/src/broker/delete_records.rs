//! DeleteRecords, and how the starts of a partition's logs move together (SAFETY R7).
//!
//! ```text
//!   leader: journals the start ──► mark to each follower ──► it journals the start ──► acknowledges it, once on disk
//!                                                                                          │
//!   answer, once every live replica has it ◄───────────────────────────────────────────────┘
//! ```
//!
//! A start is never ahead of what is committed. Whoever journaled one was asked to: a leader takes a later start from its
//! followers as well, so that none goes back with a change of leaders.

use super::Broker;
use super::journal::Deferred;
use super::waits::{Answer, WaitPart};
use crate::errors::ErrorCode;
use crate::group::is_internal;
use crate::ids::{ConnId, NodeId, Offset, PartitionIndex, RequestNumber, TopicPartition};
use crate::output::Outputs;
use crate::peer::PeerBody;
use crate::replica::progress::PeerRun;
use crate::replica::{Leader, Replica, Until};
use crate::wire::delete_records::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use crate::wire::{DeleteRecordsRequest, DeleteRecordsResponse, Str};
use alloc::vec::Vec;

/// The offset that stands for the high watermark.
const UP_TO_HIGH_WATERMARK: i64 = -1;

impl Broker {
    pub(super) fn on_delete_records(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &DeleteRecordsRequest,
        out: &mut Outputs,
    ) {
        let mut parts = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for (topic_at, topic) in request.topics.iter().enumerate() {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for (partition_at, wanted) in topic.partitions.iter().enumerate() {
                let outcome = self.delete_before(&topic.name, wanted.partition_index, wanted.offset, out);
                if let Ok((partition, offset)) = outcome {
                    let at = (topic_at, partition_at);
                    parts.push(WaitPart::new(partition, Until::Deleted(offset), at));
                }
                partitions.push(DeleteRecordsPartitionResult {
                    partition_index: wanted.partition_index,
                    low_watermark: -1,
                    error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
                });
            }
            topics.push(DeleteRecordsTopicResult { name: topic.name.detached(), partitions });
        }
        let waited_for: Vec<TopicPartition> = parts.iter().map(WaitPart::partition).collect();
        let response = DeleteRecordsResponse { throttle_time_ms: 0, topics };
        let timeout_ms = u32::try_from(request.timeout_ms).unwrap_or(0);
        self.wait_for_parts(conn, number, (Answer::DeleteRecords(response), parts), timeout_ms, out);
        for partition in waited_for {
            self.deleting.insert(partition);
            self.answer_deleted(partition, out);
        }
    }

    /// Moves the start of a log that this node leads. Gives out where it is to be.
    fn delete_before(
        &mut self,
        topic: &Str,
        index: i32,
        offset: i64,
        out: &mut Outputs,
    ) -> Result<(TopicPartition, Offset), ErrorCode> {
        if !self.is_serving() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if !self.has_room_to_wait() {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        let (topic_id, _) = self.committed.topic_named(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if is_internal(topic) {
            // Groups would forget what they hold.
            return Err(ErrorCode::InvalidTopicException);
        }
        let partition = TopicPartition { topic_id, partition: PartitionIndex(index) };
        let replica = self.leader_of(partition)?;
        if self.is_cut_off(replica) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if !replica.knows_committed() {
            // Its watermark may be behind: an offset above it is not out of range for good.
            return Err(ErrorCode::OffsetNotAvailable);
        }
        let high_watermark = replica.high_watermark();
        let offset = if offset == UP_TO_HIGH_WATERMARK { high_watermark } else { Offset(offset) };
        if offset < Offset::ZERO || offset > high_watermark {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        self.advance_start(partition, offset, out);
        Ok((partition, offset))
    }

    /// Moves a log's start, if `to` is beyond it, and lets the followers know.
    pub(super) fn advance_start(&mut self, partition: TopicPartition, to: Offset, out: &mut Outputs) {
        if !self.is_writable() {
            return;
        }
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let Some(entry) = replica.advance_start(partition, to) else { return };
        let start = replica.log().start();
        let lsn = self.journal(entry, out);
        self.after_sync(lsn, Deferred::LogStart { partition, start }, out);
        let leader = self.replicas.get(&partition).and_then(Replica::leader);
        let followers: Vec<NodeId> =
            leader.map(|leader| leader.followers().keys().copied().collect()).unwrap_or_default();
        for node in followers {
            if let Some((mark, peer)) = self.plan_mark(partition, node) {
                self.send(node, Some(peer.run), PeerBody::Marks(alloc::vec![mark]), out);
            }
            self.settle(partition, node);
        }
    }

    /// A log's start is on disk: readers and the leader are told.
    pub(super) fn on_log_start_synced(
        &mut self,
        partition: TopicPartition,
        start: Offset,
        out: &mut Outputs,
    ) {
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        if !replica.on_start_durable(start) {
            return;
        }
        if replica.leader().is_some() {
            self.moved.push(partition);
            self.answer_deleted(partition, out);
        } else {
            self.on_copy_durable(partition);
        }
    }

    /// The metadata is another one: who is live may be others, and nobody waits for those that are not.
    pub(super) fn answer_all_deleted(&mut self, out: &mut Outputs) {
        let waited_for: Vec<TopicPartition> = self.deleting.iter().copied().collect();
        for partition in waited_for {
            self.answer_deleted(partition, out);
        }
    }

    /// Answers those whose records are gone from every live replica.
    pub(super) fn answer_deleted(&mut self, partition: TopicPartition, out: &mut Outputs) {
        // Nearly always nobody waits, and every acknowledgement asks.
        if !self.deleting.remove(&partition) {
            return;
        }
        let brokers = self.committed.brokers();
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let low_watermark = replica.low_watermark(|node| {
            let broker = brokers.get(&node).filter(|broker| !broker.fenced)?;
            Some(PeerRun { incarnation: broker.incarnation, run: broker.run })
        });
        let reached = replica.take_deleted(low_watermark);
        if replica.leader().is_some_and(Leader::awaits_deletion) {
            self.deleting.insert(partition);
        }
        for waiter in reached {
            self.on_part_deleted(waiter, low_watermark, out);
        }
    }
}
