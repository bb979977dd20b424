//! DescribeTopicPartitions: the partitions of topics a page at a time, with the eligible leader replicas. KIP-966.

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks about the partitions of topics. API key 75.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 75, versions = "0", flexible = "0+")]
pub struct DescribeTopicPartitionsRequest {
    /// The topics; none asks about all.
    pub topics: Vec<TopicRequest>,
    /// How many partitions the answer may have.
    #[wire(default = 2000)]
    pub response_partition_limit: i32,
    /// Where to begin, as the answer before said.
    #[wire(nullable = "0+", default = null)]
    pub cursor: Option<Cursor>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct TopicRequest {
    /// Its name.
    pub name: Str,
}

/// A place in the list of all partitions, by topic name and index.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct Cursor {
    /// The topic.
    pub topic_name: Str,
    /// The first of its partitions.
    pub partition_index: i32,
}

/// The partitions.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 75, versions = "0", flexible = "0+")]
pub struct DescribeTopicPartitionsResponse {
    /// How long the client was held back for its quota.
    #[wire(ignorable)]
    pub throttle_time_ms: i32,
    /// The topics, by name.
    pub topics: Vec<DescribeTopicPartitionsResponseTopic>,
    /// Where the next page begins, if there is one.
    #[wire(nullable = "0+", default = null)]
    pub next_cursor: Option<Cursor>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeTopicPartitionsResponseTopic {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// Its name.
    #[wire(nullable = "0+")]
    pub name: Option<Str>,
    /// Its id.
    #[wire(ignorable)]
    pub topic_id: crate::ids::Uuid,
    /// Whether the cluster keeps it for itself.
    #[wire(default = false, ignorable)]
    pub is_internal: bool,
    /// Its partitions.
    pub partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    /// What the client may do to it, one bit each; the smallest number where nobody asks.
    #[wire(default = i32::MIN)]
    pub topic_authorized_operations: i32,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeTopicPartitionsResponsePartition {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// The partition.
    pub partition_index: i32,
    /// Its leader; -1 for none.
    pub leader_id: i32,
    /// The leader's epoch.
    #[wire(default = -1, ignorable)]
    pub leader_epoch: i32,
    /// All its replicas.
    pub replica_nodes: Vec<i32>,
    /// Those in the ISR.
    pub isr_nodes: Vec<i32>,
    /// Those outside of the ISR that have every committed record.
    #[wire(nullable = "0+", default = null)]
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// Those that had every committed record last, where nobody certainly does.
    #[wire(nullable = "0+", default = null)]
    pub last_known_elr: Option<Vec<i32>>,
    /// Those that are not to be reached.
    #[wire(ignorable)]
    pub offline_replicas: Vec<i32>,
}
