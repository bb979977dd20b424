//! Fetch: reads record batches, for consumers and for followers. KIP-227 (sessions), KIP-392 (reading from a follower),
//! KIP-595 (divergence), KIP-516 (topic ids, version 13), KIP-903 (replica epoch), KIP-951 (the new leader along with the
//! error), KIP-853 (directory ids), KIP-1166 (the follower's high watermark).

use crate::{
    ids::Uuid,
    wire::{Records, Str, Wire},
};
use alloc::vec::Vec;

/// Reads record batches. API key 1.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 1, versions = "4-18", flexible = "12+")]
pub struct FetchRequest {
    /// The cluster that the sender means, if it knows; checked between controllers.
    #[wire(versions = "12+", nullable = "12+", default = null, tag = 0, tagged = "12+", ignorable)]
    pub cluster_id: Option<Str>,
    /// The follower that asks; -1 for a consumer.
    #[wire(versions = "0-14", default = -1)]
    pub replica_id: i32,
    /// The same from version 15, with the follower's epoch.
    #[wire(versions = "15+", tag = 1, tagged = "15+")]
    pub replica_state: ReplicaState,
    /// How long to wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// How many bytes are worth an answer.
    pub min_bytes: i32,
    /// How many bytes the answer may have; the first batch is sent whatever its size (KIP-74).
    #[wire(versions = "3+", default = i32::MAX, ignorable)]
    pub max_bytes: i32,
    /// 0 reads all records up to the high watermark, 1 only committed ones up to the last stable offset.
    #[wire(versions = "4+", default = 0, ignorable)]
    pub isolation_level: i8,
    /// The fetch session; 0 for none yet.
    #[wire(versions = "7+", default = 0, ignorable)]
    pub session_id: i32,
    /// The place of this request within its session; 0 opens one, -1 closes it or does without.
    #[wire(versions = "7+", default = -1, ignorable)]
    pub session_epoch: i32,
    /// What to read; within a session only what changed.
    pub topics: Vec<FetchTopic>,
    /// What to drop from the session.
    #[wire(versions = "7+")]
    pub forgotten_topics_data: Vec<ForgottenTopic>,
    /// The consumer's rack.
    #[wire(versions = "11+", ignorable)]
    pub rack_id: Str,
}

/// Who fetches.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ReplicaState {
    /// The follower; -1 for a consumer.
    #[wire(versions = "15+", default = -1)]
    pub replica_id: i32,
    /// Its broker epoch; -1 if it has none.
    #[wire(versions = "15+", default = -1)]
    pub replica_epoch: i64,
}

/// What to read of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct FetchTopic {
    /// The topic, by name.
    #[wire(versions = "0-12", ignorable)]
    pub topic: Str,
    /// The topic, by id.
    #[wire(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<FetchPartition>,
}

/// What to read of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct FetchPartition {
    /// The partition.
    pub partition: i32,
    /// The leader epoch that the reader knows; -1 turns fencing off.
    #[wire(versions = "9+", default = -1, ignorable)]
    pub current_leader_epoch: i32,
    /// The first offset wanted.
    pub fetch_offset: i64,
    /// The epoch of the last record that the reader has; -1 if it has none or does not care about divergence.
    #[wire(versions = "12+", default = -1)]
    pub last_fetched_epoch: i32,
    /// Where the follower's log starts; -1 from a consumer.
    #[wire(versions = "5+", default = -1, ignorable)]
    pub log_start_offset: i64,
    /// How many bytes to read of this partition.
    pub partition_max_bytes: i32,
    /// The log directory of the fetching replica.
    #[wire(versions = "17+", tag = 0, tagged = "17+", ignorable)]
    pub replica_directory_id: Uuid,
    /// The high watermark that the replica knows: -1 if none, the largest number if it does not say.
    #[wire(versions = "18+", default = i64::MAX, tag = 1, tagged = "18+", ignorable)]
    pub high_watermark: i64,
}

/// Partitions to drop from a session.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ForgottenTopic {
    /// The topic, by name.
    #[wire(versions = "7-12", ignorable)]
    pub topic: Str,
    /// The topic, by id.
    #[wire(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// Its partitions.
    #[wire(versions = "7+")]
    pub partitions: Vec<i32>,
}

/// The records read.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 1, versions = "4-18", flexible = "12+")]
pub struct FetchResponse {
    /// How long the client was held back for its quota.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What is wrong with the whole request; 0 if nothing is.
    #[wire(versions = "7+", ignorable)]
    pub error_code: i16,
    /// The fetch session; 0 for none.
    #[wire(versions = "7+", default = 0)]
    pub session_id: i32,
    /// The records by topic.
    pub responses: Vec<FetchableTopicResponse>,
    /// Where the leaders named in the results listen.
    #[wire(versions = "16+", tag = 0, tagged = "16+")]
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// What was read of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct FetchableTopicResponse {
    /// The topic, by name.
    #[wire(versions = "0-12", ignorable)]
    pub topic: Str,
    /// The topic, by id.
    #[wire(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<PartitionData>,
}

/// What was read of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct PartitionData {
    /// The partition.
    pub partition_index: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The high watermark.
    pub high_watermark: i64,
    /// The offset below which every transaction is decided.
    #[wire(versions = "4+", default = -1, ignorable)]
    pub last_stable_offset: i64,
    /// Where the log starts.
    #[wire(versions = "5+", default = -1, ignorable)]
    pub log_start_offset: i64,
    /// Where the follower's log and this one part, if they do: the largest common epoch and its end.
    #[wire(versions = "12+", tag = 0, tagged = "12+")]
    pub diverging_epoch: EpochEndOffset,
    /// The leader to go to instead.
    #[wire(versions = "12+", tag = 1, tagged = "12+")]
    pub current_leader: LeaderIdAndEpoch,
    /// The snapshot to fetch, if the offset wanted is older than the log.
    #[wire(versions = "12+", tag = 2, tagged = "12+")]
    pub snapshot_id: SnapshotId,
    /// The aborted transactions among the records, for a reader of committed ones.
    #[wire(versions = "4+", nullable = "4+", ignorable)]
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The replica to read from next; -1 for no preference.
    #[wire(versions = "11+", default = -1)]
    pub preferred_read_replica: i32,
    /// The batches.
    #[wire(nullable = "0+")]
    pub records: Option<Records>,
}

/// The end of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct EpochEndOffset {
    /// The epoch.
    #[wire(versions = "12+", default = -1)]
    pub epoch: i32,
    /// The offset after its last record.
    #[wire(versions = "12+", default = -1)]
    pub end_offset: i64,
}

/// A partition's leader as far as the broker knows.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct LeaderIdAndEpoch {
    /// The leader; -1 if unknown.
    #[wire(versions = "12+", default = -1)]
    pub leader_id: i32,
    /// Its epoch; -1 if unknown.
    #[wire(versions = "12+", default = -1)]
    pub leader_epoch: i32,
}

/// The name of a snapshot of the metadata log.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct SnapshotId {
    /// The offset up to which it reaches.
    #[wire(default = -1)]
    pub end_offset: i64,
    /// The epoch of the record before that offset.
    #[wire(default = -1)]
    pub epoch: i32,
}

/// A transaction that was aborted.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct AbortedTransaction {
    /// Its producer.
    #[wire(versions = "4+")]
    pub producer_id: i64,
    /// Its first offset.
    #[wire(versions = "4+")]
    pub first_offset: i64,
}

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct NodeEndpoint {
    /// The broker.
    #[wire(versions = "16+")]
    pub node_id: i32,
    /// Its host.
    #[wire(versions = "16+")]
    pub host: Str,
    /// Its port.
    #[wire(versions = "16+")]
    pub port: i32,
    /// Its rack, if it has one.
    #[wire(versions = "16+", nullable = "16+", default = null)]
    pub rack: Option<Str>,
}
