//! Produce: appends record batches to partitions. KIP-98 (transactions), KIP-467 (which records were refused), KIP-951
//! (the new leader along with the error), KIP-516 (topic ids instead of names, version 13).

use crate::{
    ids::Uuid,
    wire::{Records, Str, Wire},
};
use alloc::vec::Vec;

/// Appends record batches to partitions. API key 0. Versions 0-2 are advertised but refused (KAFKA-18659).
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 0, versions = "3-13", flexible = "9+")]
pub struct ProduceRequest {
    /// The producer's transactional id; null without transactions.
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub transactional_id: Option<Str>,
    /// Who must have the records before the answer: nobody (0), the leader (1), all in-sync replicas (-1).
    pub acks: i16,
    /// How long to wait for them.
    pub timeout_ms: i32,
    /// The records by topic.
    pub topic_data: Vec<TopicProduceData>,
}

/// The records for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct TopicProduceData {
    /// The topic, by name.
    #[wire(versions = "0-12", ignorable)]
    pub name: Str,
    /// The topic, by id.
    #[wire(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The records by partition.
    pub partition_data: Vec<PartitionProduceData>,
}

/// The records for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct PartitionProduceData {
    /// The partition.
    pub index: i32,
    /// One record batch.
    #[wire(nullable = "0+")]
    pub records: Option<Records>,
}

/// Where the records went.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 0, versions = "3-13", flexible = "9+")]
pub struct ProduceResponse {
    /// The results by topic.
    pub responses: Vec<TopicProduceResponse>,
    /// How long the client was held back for its quota.
    #[wire(versions = "1+", ignorable, default = 0)]
    pub throttle_time_ms: i32,
    /// Where the leaders named in the results listen.
    #[wire(versions = "10+", tag = 0, tagged = "10+")]
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// The results for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct TopicProduceResponse {
    /// The topic, by name.
    #[wire(versions = "0-12", ignorable)]
    pub name: Str,
    /// The topic, by id.
    #[wire(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The results by partition.
    pub partition_responses: Vec<PartitionProduceResponse>,
}

/// The result for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct PartitionProduceResponse {
    /// The partition.
    pub index: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The offset that the batch's first record got.
    pub base_offset: i64,
    /// The broker's clock at the append, if the topic is stamped by it; otherwise -1.
    #[wire(versions = "2+", default = -1, ignorable)]
    pub log_append_time_ms: i64,
    /// Where the log starts.
    #[wire(versions = "5+", default = -1, ignorable)]
    pub log_start_offset: i64,
    /// The records because of which the batch was refused.
    #[wire(versions = "8+", ignorable)]
    pub record_errors: Vec<BatchIndexAndErrorMessage>,
    /// What they have in common.
    #[wire(versions = "8+", nullable = "8+", default = null, ignorable)]
    pub error_message: Option<Str>,
    /// The leader to go to instead.
    #[wire(versions = "10+", tag = 0, tagged = "10+")]
    pub current_leader: LeaderIdAndEpoch,
}

/// A record because of which a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct BatchIndexAndErrorMessage {
    /// Its place within the batch.
    #[wire(versions = "8+")]
    pub batch_index: i32,
    /// What is wrong with it.
    #[wire(versions = "8+", nullable = "8+", default = null)]
    pub batch_index_error_message: Option<Str>,
}

/// A partition's leader as far as the broker knows.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct LeaderIdAndEpoch {
    /// The leader; -1 if unknown.
    #[wire(versions = "10+", default = -1)]
    pub leader_id: i32,
    /// Its epoch; -1 if unknown.
    #[wire(versions = "10+", default = -1)]
    pub leader_epoch: i32,
}

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct NodeEndpoint {
    /// The broker.
    #[wire(versions = "10+")]
    pub node_id: i32,
    /// Its host.
    #[wire(versions = "10+")]
    pub host: Str,
    /// Its port.
    #[wire(versions = "10+")]
    pub port: i32,
    /// Its rack, if it has one.
    #[wire(versions = "10+", nullable = "10+", default = null)]
    pub rack: Option<Str>,
}
