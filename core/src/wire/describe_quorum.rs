//! DescribeQuorum: who writes the metadata log, and how far the others have copied it. KIP-595, KIP-836 (times), KIP-853
//! (directories and listeners).

use crate::ids::Uuid;
use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Kafka's name of the metadata log, which has one partition.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

/// Asks for the state of the quorum. API key 55.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 55, versions = "0-2", flexible = "0+")]
pub struct DescribeQuorumRequest {
    /// The topics: only that of the metadata log is kept by a quorum.
    pub topics: Vec<TopicRequest>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct TopicRequest {
    /// Its name.
    pub topic_name: Str,
    /// Its partitions.
    pub partitions: Vec<PartitionRequest>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct PartitionRequest {
    /// Its index.
    pub partition_index: i32,
}

/// The state of the quorum.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 55, versions = "0-2", flexible = "0+")]
pub struct DescribeQuorumResponse {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(versions = "2+", nullable = "2+", ignorable)]
    pub error_message: Option<Str>,
    /// The topics.
    pub topics: Vec<TopicData>,
    /// The voters, and where each listens for others.
    #[wire(versions = "2+")]
    pub nodes: Vec<Node>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct TopicData {
    /// Its name.
    pub topic_name: Str,
    /// Its partitions.
    pub partitions: Vec<PartitionData>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct PartitionData {
    /// Its index.
    pub partition_index: i32,
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The same in words.
    #[wire(versions = "2+", nullable = "2+", ignorable)]
    pub error_message: Option<Str>,
    /// The leader; -1 if unknown.
    pub leader_id: i32,
    /// Its term.
    pub leader_epoch: i32,
    /// The end of what is committed.
    pub high_watermark: i64,
    /// The voters, the leader among them.
    pub current_voters: Vec<ReplicaState>,
    /// Who copies the log without a vote.
    pub observers: Vec<ReplicaState>,
}

/// One node's copy of the log.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct ReplicaState {
    /// The node.
    pub replica_id: i32,
    /// Its directory.
    #[wire(versions = "2+")]
    pub replica_directory_id: Uuid,
    /// Where its log ends; -1 if unknown.
    pub log_end_offset: i64,
    /// When the leader heard of it last, by the leader's clock in ms; -1 for the leader, and if unknown.
    #[wire(versions = "1+", default = -1, ignorable)]
    pub last_fetch_timestamp: i64,
    /// When it had all that the leader had, by the leader's clock in ms; -1 if unknown.
    #[wire(versions = "1+", default = -1, ignorable)]
    pub last_caught_up_timestamp: i64,
}

/// One voter.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct Node {
    /// The node.
    #[wire(versions = "2+")]
    pub node_id: i32,
    /// Its listeners.
    #[wire(versions = "2+")]
    pub listeners: Vec<Listener>,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct Listener {
    /// Its name.
    #[wire(versions = "2+")]
    pub name: Str,
    /// Host name or address.
    #[wire(versions = "2+")]
    pub host: Str,
    /// Port.
    #[wire(versions = "2+")]
    pub port: u16,
}
